"""A cluster in good order: training, serving and batch jobs that load, work, pause for a reason, end and make room."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fallow import semconv
from fallow.batch import MetricBatch
from fallow.series import SeriesKey, SeriesTable
from fallow.series.table import pairs
from fallow.units import SECOND

GPUS = 8
"""Of a host; one job has all of them."""
EPOCH = 1_767_571_200 * SECOND
GIB = 2.0**30
SIGNALS = (
    semconv.GPU_UTILIZATION,
    semconv.GPU_MEMORY_USAGE,
    semconv.GPU_MEMORY_LIMIT,
    semconv.GPU_POWER,
    semconv.GPU_TEMPERATURE,
    semconv.GPU_SM,
    semconv.GPU_TENSOR,
    semconv.GPU_DRAM,
    semconv.SERVING_REQUESTS,
)
FREE, TRAINING, SERVING, BATCH = range(4)
LOADS, WORKS, PAUSES, ENDS = range(4)

# Activity of a job at work: utilisation, SM, tensor, DRAM (0 to 1), W. Of the same kind as in published H100 telemetry.
AT_WORK = np.array(
    [
        (0.0, 0.0, 0.0, 0.0, 72.0),
        (0.97, 0.78, 0.42, 0.48, 610.0),
        (0.62, 0.44, 0.16, 0.52, 390.0),
        (0.88, 0.70, 0.30, 0.40, 520.0),
    ]
)
MEMORY = np.array([0.0, 66.0, 72.0, 41.0])  # GiB
LOADING = ((0, 0), (60, 360), (30, 240), (20, 150))  # s, from and to
STRETCH = ((0, 0), (1500, 2100), (240, 1800), (600, 2400))  # of work between two pauses
PAUSE = ((0, 0), (15, 75), (20, 240), (10, 90))  # a checkpoint or an evaluation; no request; the next file
LIFE = ((60, 900), (2 * 3600, 12 * 3600), (8 * 3600, 48 * 3600), (1800, 3 * 3600))
"""Of a job, or how long a host stays free."""


class Healthy:
    """Samples of all signals of so many GPUs, step by step.

    Everything is in order here: a pause is shorter than the work around it, loading ends, memory is held by who works,
    a host without a job has its memory free. It begins with free hosts, to which jobs come within half an hour.
    """

    def __init__(self, gpus: int, step_s: int, seed: int = 1) -> None:
        self._rng = np.random.default_rng(seed)
        self.table = SeriesTable()
        self._step = step_s
        hosts = gpus // GPUS
        self._kind = np.zeros(hosts, dtype=np.int64)
        self._phase = np.full(hosts, ENDS)
        self._until = self._rng.uniform(60, 1800, hosts)  # watched before anything runs
        self._over = np.zeros(hosts)
        self._began = np.zeros(hosts)
        self._served = np.zeros(hosts)
        self._jobs = 0
        self._ids = np.full((hosts, GPUS, len(SIGNALS)), -1, dtype=np.int32)
        self._ids[:] = [self._series(host) for host in range(hosts)]
        self._noise = self._rng.normal(0, 1, 1 << 20)

    def steps(self, seconds: int) -> Iterator[MetricBatch]:
        """The samples of each moment."""
        for now in range(0, seconds, self._step):
            self._pass_on(now)
            yield self._sampled(now)

    def _between(self, ranges: tuple[tuple[int, int], ...], hosts: NDArray[np.int64]) -> NDArray[np.float64]:
        low, high = np.asarray(ranges, dtype=np.float64).T
        drawn: NDArray[np.float64] = self._rng.uniform(low[self._kind[hosts]], high[self._kind[hosts]])
        return drawn

    def _pass_on(self, now: int) -> None:
        """Bring every host whose phase is over into its next one."""
        over = (self._phase != ENDS) & (now >= self._over)
        self._enter(np.flatnonzero(over), FREE, now)
        due = np.flatnonzero(now >= self._until)
        free = due[self._phase[due] == ENDS]
        if len(free):
            self._enter(free, self._rng.choice((TRAINING, SERVING, BATCH), len(free), p=(0.5, 0.35, 0.15)), now)
        rest = np.setdiff1d(due, free, assume_unique=True)
        works = self._phase[rest] == WORKS
        self._phase[rest] = np.where(works, PAUSES, WORKS)
        self._until[rest] = now + np.where(works, self._between(PAUSE, rest), self._between(STRETCH, rest))

    def _enter(self, hosts: NDArray[np.int64], kind: int | NDArray[np.int64], now: int) -> None:
        self._kind[hosts] = kind
        self._phase[hosts] = ENDS if np.ndim(kind) == 0 else LOADS
        self._until[hosts] = now + self._between(LIFE if np.ndim(kind) == 0 else LOADING, hosts)
        self._over[hosts] = now + self._between(LIFE, hosts)
        self._began[hosts] = now
        self._served[hosts] = 0
        for host in hosts.tolist():
            self._ids[host] = self._series(host)

    def _series(self, host: int) -> list[list[int]]:
        """Series of the GPUs of a host under the job that it has now."""
        kind = int(self._kind[host])
        resource = {"host.name": f"node-{host:04d}"}
        if kind != FREE:
            self._jobs += 1
            resource |= {semconv.JOB_ID: str(100_000 + self._jobs), semconv.USER_NAME: f"user{self._jobs % 97}"}
        whose = pairs(resource)
        return [
            [
                self.table.intern(SeriesKey(name, semconv.SIGNALS[name], "", whose, gpu))
                if name != semconv.SERVING_REQUESTS or kind == SERVING
                else -1
                for name in SIGNALS
            ]
            for gpu in (pairs({"hw.id": f"GPU-{host:04d}-{g}", "hw.type": "gpu"}) for g in range(GPUS))
        ]

    def _sampled(self, now: int) -> MetricBatch:
        hosts = len(self._kind)
        start = int(self._rng.integers(len(self._noise)))
        noise = np.take(self._noise, np.arange(start, start + hosts * GPUS), mode="wrap").reshape(hosts, GPUS)
        works = (self._phase == WORKS)[:, None]
        base = AT_WORK[self._kind][:, None, :]
        scale = 1 + np.where(self._kind == SERVING, 0.18, 0.02)[:, None] * noise
        active = np.where(works[..., None], np.clip(base[..., :4] * scale[..., None], 0.01, 1.0), 0.0)
        loaded = np.where(self._phase == LOADS, np.clip((now - self._began) / 120, 0.005, 1), 1.0)
        memory = (MEMORY[self._kind] * loaded)[:, None] * GIB * np.ones((1, GPUS))
        held = np.where(self._kind == FREE, 72.0, 118.0)[:, None]
        power = np.where(works, base[..., 4] * scale, held) + noise
        self._served += np.where(self._phase == WORKS, self._rng.poisson(3 * self._step, hosts), 0)
        values = np.stack(
            (
                np.round(active[..., 0], 2),
                memory,
                np.full((hosts, GPUS), 80 * GIB),
                power,
                np.round(30 + power / 16),
                *(active[..., i] for i in (1, 2, 3)),
                np.broadcast_to(self._served[:, None], (hosts, GPUS)),
            ),
            axis=-1,
        )
        series = self._ids.ravel()
        there = series >= 0
        count = int(there.sum())
        return MetricBatch(
            series=series[there],
            time=np.full(count, EPOCH + now * SECOND),
            value=values.ravel()[there],
            stale=np.zeros(count, dtype=np.bool_),
        )
