"""Sixty conditions over ten signals with windows of one minute to thirty, and telemetry under which they have something to say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fallow.batch import MetricBatch
from fallow.promql import Condition
from fallow.series import SeriesKey, SeriesTable
from fallow.units import SECOND

Float64Array = NDArray[np.float64]

SIGNALS: Final = (
    "hw.gpu.utilization",
    "hw.gpu.memory.usage",
    "hw.gpu.memory.limit",
    "hw.power",
    "hw.temperature",
    "hw.energy",
    "hw.errors",
    "fallow.gpu.sm.utilization",
    "fallow.gpu.dram.utilization",
    "fallow.gpu.nvlink.throughput",
)
GPUS_A_HOST: Final = 8
GPUS_A_JOB: Final = 32
EPOCH: Final = 1_700_000_000 * SECOND

_ALIAS: Final = {
    "$util": "hw_gpu_utilization",
    "$used": "hw_gpu_memory_usage",
    "$room": "hw_gpu_memory_limit",
    "$power": "hw_power",
    "$temp": "hw_temperature",
    "$energy": "hw_energy",
    "$errors": "hw_errors",
    "$sm": "fallow_gpu_sm_utilization",
    "$dram": "fallow_gpu_dram_utilization",
    "$link": "fallow_gpu_nvlink_throughput",
    "$job": "fallow_job_id",
}
# An expression and for how many seconds it has to be true.
_RULES: Final = (
    # GPUs that are held and not used
    ("max_over_time($util[30m]) < 0.05", 60),
    ("max_over_time($util[15m]) == 0 and $used > 1e9", 0),
    ("max_over_time($sm[20m]) < 0.04", 0),
    ("max_over_time($dram[10m]) < 0.02", 60),
    ("max_over_time($link[30m]) == 0 and max_over_time($util[30m]) > 0.5", 0),
    ("avg_over_time($util[5m]) < 0.25 and $used / $room > 0.3", 120),
    ("avg_over_time($util[15m]) < 0.25 and on (hw_id) last_over_time($used[1m]) / $room > 0.3", 0),
    ("avg_over_time($util[30m]) < 0.2", 0),
    ("avg_over_time($sm[10m]) < 0.15 and avg_over_time($util[10m]) > 0.5", 60),
    ("avg_over_time($dram[10m]) < 0.05", 300),
    ("avg_over_time($power[30m]) < 90", 0),
    ("avg_over_time($power[5m]) < 120 and on (hw_id) avg_over_time($util[5m]) > 0.8", 0),
    ("$util == 0 and $used > 1e9", 600),
    ("$util < 0.05 unless on (hw_id) $used / $room < 0.01", 300),
    ("min_over_time($used[30m]) / $room > 0.4 and on (hw_id) max_over_time($util[30m]) < 0.05", 0),
    ("quantile_over_time(0.9, $util[10m]) < 0.2", 0),
    ("quantile_over_time(0.5, $sm[5m]) < 0.1", 60),
    ("avg_over_time($util[1m]) < 0.1 and on (hw_id) avg_over_time($util[15m]) > 0.7", 60),
    ("avg_over_time($util[5m]) - avg_over_time($sm[5m]) > 0.4", 300),
    # work that stalls or swings
    ("stddev_over_time($util[10m]) > 0.4", 0),
    ("stddev_over_time($power[5m]) > 150", 60),
    ("stddev_over_time($sm[15m]) / avg_over_time($sm[15m]) > 1", 0),
    ("changes($util[10m]) == 0 and on (hw_id) $util > 0.5", 0),
    ("changes($temp[15m]) == 0", 0),
    ("changes($used[30m]) == 0 and on (hw_id) avg_over_time($util[30m]) < 0.1", 0),
    ("changes($link[2m]) > 20 and $util > 0.5", 300),
    ("max_over_time($power[5m]) - min_over_time($power[5m]) > 400", 0),
    ("max_over_time($util[5m]) - min_over_time($util[5m]) > 0.9", 60),
    ("delta($used[10m]) > 1e10", 0),
    # errors
    ("increase($errors[1m]) > 0", 0),
    ("increase($errors[5m]) > 0 and on (hw_id) $util > 0", 0),
    ("increase($errors[30m]) > 3 and on (hw_id) $temp > 80", 0),
    ("rate($errors[5m]) > 0.1", 0),
    ("changes($errors[15m]) > 2", 0),
    ("resets($energy[10m]) > 0", 0),
    # heat and power
    ("$temp > 84", 60),
    ("min_over_time($temp[5m]) > 80", 0),
    ("avg_over_time($temp[15m]) > 80", 0),
    ("quantile_over_time(0.99, $temp[15m]) > 84", 0),
    ("deriv($temp[10m]) > 0.05", 0),
    ("deriv($temp[5m]) > 0.1", 60),
    ("deriv($power[5m]) < -1", 60),
    ("avg_over_time($power[1m]) > 640", 0),
    ("max_over_time($power[1m]) > 690", 0),
    ("rate($energy[2m]) > 600", 120),
    ("rate($energy[1m]) < 80 and $used > 1e9", 300),
    ("increase($energy[30m]) / 1800 < 90", 0),
    ("rate($energy[10m]) - avg_over_time($power[10m]) > 100", 0),
    # hosts and jobs
    ("count by (host_name) ($util > 0.9) >= 8", 60),
    ("sum by (host_name) ($power) > 5200", 60),
    ("sum by (host_name) (rate($errors[5m])) > 0", 0),
    ("count by (host_name) ($util == 0) / count by (host_name) ($util) > 0.5", 300),
    ("max by (host_name) ($temp) - min by (host_name) ($temp) > 45", 120),
    ("avg by ($job) (avg_over_time($sm[10m])) < 0.2", 0),
    ("avg by ($job) (avg_over_time($util[30m])) < 0.2", 0),
    ("max by ($job) (max_over_time($util[15m])) < 0.1", 0),
    ("stddev by ($job) (avg_over_time($sm[5m])) > 0.3", 0),
    (
        "min by ($job) (avg_over_time($util[5m])) < 0.1 and on ($job) max by ($job) (avg_over_time($util[5m])) > 0.8",
        60,
    ),
    ("sum by ($job) (rate($energy[5m])) < 4000", 0),
    ("$util < 0.1 and on ($job) avg by ($job) ($util) > 0.7", 120),
)


def _spelled(expr: str) -> str:
    for short, name in _ALIAS.items():
        expr = expr.replace(short, name)
    return expr


RULES: Final = tuple((_spelled(expr), hold) for expr, hold in _RULES)
CONDITIONS: Final = tuple(Condition(expr=expr, for_ns=hold * SECOND) for expr, hold in RULES)


def labels_of(gpu: int) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """(resource, attributes) of a GPU's series."""
    resource = (("fallow.job.id", f"j{gpu // GPUS_A_JOB}"), ("host.name", f"n{gpu // GPUS_A_HOST}"))
    return resource, (("hw.id", f"GPU-{gpu}"),)


def cluster(gpus: int, first: int = 0) -> tuple[SeriesTable, NDArray[np.int32]]:
    """A table with every series of so many GPUs, and their ids as (gpus, signals)."""
    table = SeriesTable()
    ids = []
    for gpu in range(first, first + gpus):
        resource, attributes = labels_of(gpu)
        ids.append([table.intern(SeriesKey(name=s, resource=resource, attributes=attributes)) for s in SIGNALS])
    return table, np.asarray(ids, dtype=np.int32)


class Telemetry:
    """Values of all signals of some GPUs as time passes: idle, busy, swinging, warming up, and now and then an error."""

    def __init__(self, gpus: int, step_s: int = 1, seed: int = 1) -> None:
        self._rng = rng = np.random.default_rng(seed)
        self._step = step_s
        self._kind = rng.choice(5, gpus, p=(0.08, 0.72, 0.08, 0.04, 0.08))
        self._phase = rng.uniform(0, 600, gpus)
        self._period = rng.choice((60.0, 120.0, 600.0, 1800.0), gpus)
        self._held = np.where(rng.random(gpus) < 0.5, 4e10, 0.0)
        self._errs = rng.random(gpus) < 0.05
        self._energy = rng.uniform(0, 1e9, gpus)
        self._errors = np.zeros(gpus)
        self._link = np.zeros(gpus)
        self._noise = rng.normal(0, 0.03, 1 << 20)
        self.seconds = 0

    def step(self) -> Float64Array:
        """(gpus, signals) the values of the next moment."""
        t, n = self.seconds, len(self._kind)
        self.seconds += self._step
        start = int(self._rng.integers(0, len(self._noise)))
        noise = np.take(self._noise, np.arange(start, start + n), mode="wrap")
        on = (t + self._phase) % self._period < 0.6 * self._period
        ramp = 0.5 + 0.45 * np.sin(2 * np.pi * (t + self._phase) / 1800)
        base = np.choose(self._kind, (0.0 * ramp, 0.0 * ramp + 0.9, 0.95 * on, ramp, 0.97 * on))
        busy = base > 0
        util = np.round(np.clip(base + noise * busy, 0, 1), 2)
        power = np.round(70 + 600 * base + 200 * noise, 1)
        self._energy += power * self._step
        restarts = self._rng.integers(0, n, 1) if self._rng.random() < 0.001 * self._step else np.zeros(0, dtype=int)
        self._energy[restarts] = 0.0
        hit = self._rng.integers(0, n, max(1, n * self._step // 5000))
        self._errors[hit] += self._errs[hit]
        self._link = np.where(t % 7 < self._step, np.round(base * 2e10 * (1 + noise)), self._link)
        return np.stack(
            (
                util,
                np.where(self._kind == 0, self._held, 3e10 + 4e9 * np.round(8 * base)),
                np.full(n, 8e10),
                power,
                np.round(32 + 54 * base + 20 * noise),
                self._energy,
                self._errors,
                np.clip(0.7 * base + noise * busy / 2, 0, 1),
                np.clip(0.4 * base + noise * busy / 3, 0, 1),
                self._link,
            ),
            axis=1,
        )


def batches(ids: NDArray[np.int32], values: Float64Array, second: int, parts: int) -> Iterator[MetricBatch]:
    """The samples of one moment in so many requests, each from some hosts, spread over the second."""
    hosts = -(-len(ids) // GPUS_A_HOST)
    edges = np.linspace(0, hosts, parts + 1).astype(int) * GPUS_A_HOST
    for part in range(parts):
        few = ids[edges[part] : edges[part + 1]]
        if not few.size:
            continue
        at = EPOCH + second * SECOND + part * SECOND // (parts + 1)
        yield MetricBatch(
            series=few.ravel(),
            time=np.full(few.size, at, dtype=np.int64),
            value=values[edges[part] : edges[part + 1]].ravel(),
            stale=np.zeros(few.size, dtype=np.bool_),
        )
