"""The ``rhythm`` processor."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from opentelemetry.metrics import CallbackOptions, Observation

from fallow import semconv
from fallow.batch import Batch, Float64Array, Int8Array, Int32Array, MetricBatch
from fallow.component import Context
from fallow.series import SeriesKey
from fallow.state import Past, Saved, State
from fallow_processors.rhythm import _kernels as kernels
from fallow_processors.rhythm.config import RhythmConfig

VERSION = 1
ROLES: Mapping[str, int] = {
    semconv.GPU_UTILIZATION: kernels.UTILIZATION,
    semconv.SERVING_REQUESTS: kernels.COUNTER,
    semconv.SERVING_REQUEST_RATE: kernels.LEVEL,
    semconv.SERVING_RUNNING: kernels.LEVEL,
}
Key = tuple[str, ...]


class RhythmProcessor:
    """Takes idle GPUs as waiting for the next request, which comes to each of a pool at some rate.

    The rate is the product of two things. The *demand* on the pool of late: returns to work by idle GPU-second, fading
    with ``demand_half_life`` towards what is usual. And the GPU's *share*: its own returns by those that the demand
    would have made likely, drawn towards 1 (a gamma prior of weight 1; the frailty of survival analysis). That it stays
    idle over the horizon has then the probability exp(−demand × share × horizon).

    Everything is a function of event time: an estimate at a time rests on whole parts of time (15 s) that ended
    ``lateness`` before it, so that hosts may come in any order. Memory: some 80 bytes a GPU, 3 KB a pool.
    """

    def __init__(self, config: RhythmConfig, context: Context) -> None:
        self._config = config
        self._series = context.series
        self._settings = np.zeros(1, dtype=kernels.SETTINGS)
        one: Any = self._settings[0]
        one["horizon"], one["settle"] = config.horizon, config.settle
        one["gap"], one["busy_above"] = config.gap, config.busy_above
        one["lateness"] = min(config.lateness, (kernels.PARTS // 2) * kernels.PART)
        one["keep"] = 0.5 ** (kernels.PART / config.demand_half_life)
        one["keep_usual"] = 0.5 ** (kernels.PART / config.memory_half_life)
        one["memory"], one["min_returns"] = config.memory_half_life, config.min_returns
        # By series id: what it is, whose it is, and of a counter the last value.
        self._role: Int8Array = np.zeros(0, dtype=np.int8)
        self._row: Int32Array = np.zeros(0, dtype=np.int32)
        self._count: Float64Array = np.zeros(0)
        self._gpus = np.zeros(0, dtype=kernels.GPU)
        self._pools = np.zeros(0, dtype=kernels.POOL)
        self._workloads = np.zeros(0, dtype=kernels.WORKLOAD)
        self._spoken = np.zeros((0, 2), dtype=np.int32)
        """By GPU: the series under which its outlook is said, now and at its peak."""
        self._gpu_ids: dict[int, int] = {}
        self._pool_ids: dict[Key, int] = {}
        self._workload_ids: dict[Key, int] = {}
        self._refused = 0
        self._labels = {"processor": context.id}
        for name, what, size in (
            ("gpus", "GPUs that are followed.", lambda: len(self._gpu_ids)),
            ("pools", "Pools whose demand is learned.", lambda: len(self._pool_ids)),
            ("refused", "GPUs that are not followed, for max_gpus or max_pools.", lambda: self._refused),
        ):
            context.meter.create_observable_gauge(
                f"fallow_processor_rhythm_{name}",
                callbacks=[self._observed(size)],
                unit="{pool}" if name == "pools" else "{gpu}",
                description=what,
            )

    # -- the contract of processors ------------------------------------------------------------------------------------
    def process(self, batch: Batch) -> Batch:
        """The batch with what is to be said of idle GPUs, in order of time."""
        metrics = batch.metrics
        if metrics is None or len(metrics) == 0:
            return batch
        if not kernels.all_known(metrics.series, self._row):
            self._learn(metrics.series)
        if not kernels.in_order(metrics.time):
            metrics = _picked(metrics, np.argsort(metrics.time, kind="stable"))
        room = len(metrics)
        gpu, time = np.empty(room, np.int32), np.empty(room, np.int64)
        now, peak = np.empty(room), np.empty(room)
        said = kernels.take(
            self._gpus,
            self._pools,
            self._workloads,
            self._role,
            self._row,
            self._count,
            metrics.series,
            metrics.time,
            metrics.value,
            metrics.stale,
            gpu,
            time,
            now,
            peak,
            self._settings,
        )
        if not said:
            return batch
        series = self._spoken[gpu[:said]].ravel()
        there = series >= 0
        value = np.column_stack([now[:said], peak[:said]]).ravel()[there]
        spoken = MetricBatch(
            series=series[there],
            time=np.repeat(time[:said], 2)[there],
            value=value,
            stale=np.zeros(len(value), dtype=np.bool_),
        )
        return dataclasses.replace(batch, metrics=_merged(metrics, spoken))

    def tick(self, now: int) -> Batch:
        """Nothing is said by time alone."""
        return Batch()

    def finish(self) -> Batch:
        """Nothing is held back."""
        return Batch()

    # -- who is who ----------------------------------------------------------------------------------------------------
    def _learn(self, series: Int32Array) -> None:
        size = int(series.max()) + 1
        if size > len(self._row):
            more = max(size, 2 * len(self._row), 1024) - len(self._row)
            self._role = np.concatenate([self._role, np.zeros(more, dtype=np.int8)])
            self._row = np.concatenate([self._row, np.full(more, kernels.UNSEEN, dtype=np.int32)])
            self._count = np.concatenate([self._count, np.full(more, np.nan)])
        for one in np.unique(series[self._row[series] == kernels.UNSEEN]).tolist():
            self._row[one] = self._learn_one(one)

    def _learn_one(self, series: int) -> int:
        if series >= len(self._series):
            return kernels.IGNORED  # not of this service's table: nothing is known about it
        key = self._series.key(series)
        role = ROLES.get(key.name, kernels.OTHER)
        self._role[series] = role
        if role == kernels.OTHER:
            return kernels.IGNORED
        return self._gpu(series, key) if role == kernels.UTILIZATION else self._workload(key.labels)

    def _gpu(self, series: int, key: SeriesKey) -> int:
        pool = self._pool(tuple(key.labels.get(name, "") for name in self._config.pool))
        if pool < 0 or len(self._gpu_ids) >= self._config.max_gpus:
            self._refused += 1
            return kernels.IGNORED
        new = self._gpu_ids[series] = len(self._gpu_ids)
        self._gpus, self._spoken = _room(self._gpus, new), _room(self._spoken, new)
        one: Any = np.zeros((), dtype=kernels.GPU)
        one["pool"], one["workload"] = pool, self._workload(key.labels)
        one["last"] = one["active"] = one["said"] = one["faded"] = kernels.NONE
        self._gpus[new] = one
        for column, name in enumerate((semconv.GPU_IDLE_PERSISTENCE, semconv.GPU_IDLE_PERSISTENCE_PEAK)):
            said = dataclasses.replace(key, name=name, unit=semconv.SIGNALS[name], scope="")
            self._spoken[new, column] = self._series.intern(said)
        return new

    def _pool(self, key: Key) -> int:
        found = self._pool_ids.get(key)
        if found is None:
            if len(self._pool_ids) >= self._config.max_pools:
                return -1
            found = self._pool_ids[key] = len(self._pool_ids)
            self._pools = _room(self._pools, found)
            self._pools["folded"][found] = kernels.NONE
        return found

    def _workload(self, labels: Mapping[str, str]) -> int:
        """The number of the job, pod or container that a series is of; -2 where it says none."""
        key = workload_of(labels)
        if not key:
            return kernels.IGNORED
        found = self._workload_ids.get(key)
        if found is None:
            if len(self._workload_ids) >= self._config.max_gpus:
                return kernels.IGNORED
            found = self._workload_ids[key] = len(self._workload_ids)
            self._workloads = _room(self._workloads, found)
            self._workloads[found] = (kernels.NONE, kernels.NONE)
        return found

    def _observed(self, size: Any) -> Any:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            return [Observation(size(), self._labels)]

        return observe

    # -- across a restart ----------------------------------------------------------------------------------------------
    def save(self) -> Saved:
        """What is known of each GPU, pool and workload."""
        arrays: dict[str, NDArray[Any]] = {
            "role": self._role.copy(),
            "row": self._row.copy(),
            "count": self._count.copy(),
            "gpus": self._gpus[: len(self._gpu_ids)].copy(),
            "spoken": self._spoken[: len(self._gpu_ids)].copy(),
            "pools": self._pools[: len(self._pool_ids)].copy(),
            "workloads": self._workloads[: len(self._workload_ids)].copy(),
        }
        pools, workloads, refused = list(self._pool_ids), list(self._workload_ids), self._refused
        return lambda: State(
            version=VERSION, document={"pools": pools, "workloads": workloads, "refused": refused}, arrays=arrays
        )

    def restore(self, state: State, past: Past) -> Mapping[str, int]:
        """Go on from there. After a loss idleness counts anew; what was learned stays."""
        saved = state.of(VERSION)
        document, arrays = saved.document, saved.arrays
        self._pool_ids = {tuple(key): i for i, key in enumerate(document["pools"])}
        self._workload_ids = {tuple(key): i for i, key in enumerate(document["workloads"])}
        self._refused = document["refused"]
        self._gpus, self._pools = arrays["gpus"].copy(), arrays["pools"].copy()
        self._workloads = arrays["workloads"].copy()
        spoken = arrays["spoken"]
        self._spoken = np.where(spoken >= 0, past.series[spoken], -1).astype(np.int32)
        known = min(len(arrays["row"]), len(past.series))
        there = np.flatnonzero(past.series[:known] >= 0)
        now = past.series[there]
        size = int(now.max(initial=-1)) + 1
        self._role, self._row = np.zeros(size, np.int8), np.full(size, kernels.UNSEEN, np.int32)
        self._count = np.full(size, np.nan)
        self._role[now], self._row[now], self._count[now] = (arrays[c][there] for c in ("role", "row", "count"))
        self._gpu_ids = {
            int(one): int(self._row[one])
            for one in np.flatnonzero((self._role == kernels.UTILIZATION) & (self._row >= 0))
        }
        # Rows of series that the table refused stay taken, so that numbers go on from where they were.
        for row in set(range(len(self._gpus))) - set(self._gpu_ids.values()):
            self._gpu_ids[-1 - row] = row
        if past.gap is not None:
            self._gpus["last"] = kernels.NONE
        return {"gpus": len(self._gpus), "pools": len(self._pools)}


def workload_of(labels: Mapping[str, str]) -> Key:
    """What names the job, pod or container; empty where nothing does."""
    if job := labels.get(semconv.JOB_ID):
        return (semconv.JOB_ID, job)
    if pod := labels.get(semconv.K8S_POD_NAME):
        return (semconv.K8S_POD_NAME, labels.get(semconv.K8S_NAMESPACE_NAME, ""), pod)
    container = labels.get(semconv.CONTAINER_ID)
    return (semconv.CONTAINER_ID, container) if container else ()


def _room(array: Any, index: int) -> Any:
    """The array, or a longer copy of it in which there is an ``index``."""
    if index < len(array):
        return array
    more = max(index + 1, 2 * len(array), 64) - len(array)
    return np.concatenate([array, np.zeros((more, *array.shape[1:]), dtype=array.dtype)])


def _picked(metrics: MetricBatch, order: Any) -> MetricBatch:
    return MetricBatch(
        series=metrics.series[order],
        time=metrics.time[order],
        value=metrics.value[order],
        stale=metrics.stale[order],
    )


def _merged(first: MetricBatch, second: MetricBatch) -> MetricBatch:
    """Both in order of time; at one time the first before the second."""
    both = MetricBatch(
        series=np.concatenate([first.series, second.series]),
        time=np.concatenate([first.time, second.time]),
        value=np.concatenate([first.value, second.value]),
        stale=np.concatenate([first.stale, second.stale]),
    )
    return _picked(both, np.argsort(both.time, kind="stable"))
