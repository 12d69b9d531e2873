"""The ``health`` processor."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from opentelemetry.metrics import CallbackOptions, Observation

from fallow import semconv
from fallow.batch import Batch, Float64Array, Int8Array, Int32Array, Int64Array, MetricBatch
from fallow.component import Context
from fallow.entity import INSTANCE, device_of
from fallow.series import SeriesKey, clock_of
from fallow.series.table import pairs
from fallow.signals import HEALTH_STATES, PROFILING, signal
from fallow.state import Past, Saved, State
from fallow.units import SECOND
from fallow_processors.health import _kernels as kernels
from fallow_processors.health.config import HealthConfig

VERSION = 1
TOLERANCE = 0.01  # what rounding may put a ratio above its range
SILENT_NS = 120_000_000_000
_MORE = 4096

JUDGED = ("hw.", "fallow.gpu.", "fallow.serving.")
OF_HOST = {semconv.HOST_BOOT_TIME: kernels.BOOT_TIME, semconv.HOST_UPTIME: kernels.UPTIME}
ROLES: Mapping[str, int] = (
    dict.fromkeys(PROFILING, kernels.COUNTER)
    | OF_HOST
    | {
        semconv.GPU_UTILIZATION: kernels.UTILIZATION,
        semconv.GPU_SM: kernels.WITNESS,
        semconv.GPU_ENGINE: kernels.WITNESS,
        semconv.GPU_ENERGY: kernels.ENERGY,
    }
)
DEVICE = (semconv.HW_ID, INSTANCE, semconv.HW_PARENT)
WORKLOAD = (semconv.CONTAINER_ID, semconv.K8S_NAMESPACE_NAME, semconv.K8S_POD_NAME, semconv.SERVICE_NAME)
SHOWN = (semconv.HOST_NAME, semconv.HW_TYPE, semconv.HW_MODEL, semconv.GPU_INDEX, *DEVICE)
APART = (semconv.IO_DIRECTION, "error.type", "fallow.gpu.throttle.reason", "service.instance.id")
"""Labels that tell signals of one device from each other."""

Labels = tuple[tuple[str, str], ...]


class HealthProcessor:
    """Takes samples in order of event time, and judges a host each time that its clock passes an instant of the grid.

    What is judged rests on the samples before that instant, and is said with that instant as its time, so that batches
    may be cut anywhere. A host of which nothing comes is not judged: its clock stands, and rules know nothing of it.
    """

    def __init__(self, config: HealthConfig, context: Context) -> None:
        self._config = config
        self._series = context.series
        self._limits = np.array(
            [config.interval, config.repeat, config.warm_up, config.forget_after, config.samples], dtype=np.int64
        )
        # By series id: the signal it is a sample of, and its range.
        self._row: Int32Array = np.full(0, kernels.UNSEEN, dtype=np.int32)
        self._low: Float64Array = np.zeros(0)
        self._high: Float64Array = np.zeros(0)
        self._signals = np.zeros(0, dtype=kernels.SIGNAL)
        self._hosts = np.zeros(0, dtype=kernels.HOST)
        self._devices = np.zeros(0, dtype=kernels.DEVICE)
        self._spoken: Int32Array = np.zeros(0, dtype=np.int32)
        """By signal: the series under which its state is said."""
        self._said = _scratch(0)
        self._names: list[str] = []
        self._signal_ids: dict[tuple[int, str, Labels], int] = {}
        self._host_ids: dict[tuple[str, str], int] = {}
        self._device_ids: dict[Labels, int] = {}
        self._now = 0
        self._labels = {"processor": context.id}
        self._changes = context.meter.create_counter(
            "fallow_processor_health_changes",
            unit="{change}",
            description="Changes of state, by the signal and the state that began.",
        )
        context.meter.create_observable_gauge(
            "fallow_processor_health_signals",
            callbacks=[self._by_state],
            unit="{signal}",
            description="Signals that are judged, by state.",
        )
        context.meter.create_observable_gauge(
            "fallow_processor_health_silent_hosts",
            callbacks=[self._silent],
            unit="{host}",
            description="Hosts of which nothing was heard for two minutes of event time; their signals are unknown to "
            "rules by themselves.",
        )

    # -- the contract of processors ------------------------------------------------------------------------------------
    def process(self, batch: Batch) -> Batch:
        """The batch without what cannot be true, and with what is to be said of signals."""
        metrics = batch.metrics
        if metrics is None or len(metrics) == 0:
            return batch
        if not kernels.all_known(metrics.series, self._row):
            self._learn(metrics.series)
        spoken, withheld = self._take(metrics)
        if not spoken and withheld is None:
            return batch
        kept = metrics
        dropped = Counter(batch.dropped)
        if withheld is not None:
            stays = withheld == 0
            kept = MetricBatch(
                series=metrics.series[stays],
                time=metrics.time[stays],
                value=metrics.value[stays],
                stale=metrics.stale[stays],
            )
            counts = np.bincount(withheld).tolist()
            dropped.update({HEALTH_STATES[state]: n for state, n in enumerate(counts) if state and n})
        # What is said comes first: it is older than what made it known.
        return dataclasses.replace(batch, metrics=_joined([*spoken, kept]), dropped=dict(dropped))

    def tick(self, now: int) -> Batch:
        """Nothing is judged by time alone: a host that is late would have its telemetry called stale."""
        self._now = max(self._now, now)
        return Batch()

    def finish(self) -> Batch:
        """Nothing is held back."""
        return Batch()

    def _take(self, metrics: MetricBatch) -> tuple[list[MetricBatch], Int8Array | None]:
        """What is to be said, and for each sample why it is withheld (0: it is not); None where none is."""
        columns = metrics.series, metrics.time, metrics.value, metrics.stale
        order = None
        if not kernels.in_order(metrics.time):
            order = np.argsort(metrics.time, kind="stable")
            columns = metrics.series[order], metrics.time[order], metrics.value[order], metrics.stale[order]
        withheld = np.zeros(len(metrics), dtype=np.int8)
        parts: list[MetricBatch] = []
        taken = any_withheld = 0
        while taken < len(metrics):
            row, time, state, was = self._said
            taken, said, kept_back = kernels.take(
                taken,
                self._signals,
                self._hosts,
                self._devices,
                self._row,
                self._low,
                self._high,
                *columns,
                withheld,
                *self._said,
                self._limits,
                self._config.busy_above,
                self._config.missed,
            )
            any_withheld += kept_back
            if not said:
                continue
            self._count(row[:said], state[:said], was[:said])
            series = self._spoken[row[:said]]
            there = series >= 0
            parts.append(
                MetricBatch(
                    series=series[there],
                    time=time[:said][there],
                    value=state[:said][there].astype(np.float64),
                    stale=np.zeros(int(there.sum()), dtype=np.bool_),
                )
            )
        if not any_withheld:
            return parts, None
        if order is not None:
            in_order, withheld = withheld, np.zeros_like(withheld)
            withheld[order] = in_order
        return parts, withheld

    def _count(self, row: Int32Array, state: Int8Array, was: Int8Array) -> None:
        changed = Counter((self._names[row[i]], HEALTH_STATES[state[i]]) for i in np.flatnonzero(state != was).tolist())
        for (name, began), times in changed.items():
            self._changes.add(times, self._labels | {"signal": name, "state": began})

    # -- who is who ----------------------------------------------------------------------------------------------------
    def _learn(self, series: Int32Array) -> None:
        size = int(series.max()) + 1
        if size > len(self._row):
            more = max(size, 2 * len(self._row), 1024) - len(self._row)
            self._row = np.concatenate([self._row, np.full(more, kernels.UNSEEN, dtype=np.int32)])
            self._low = np.concatenate([self._low, np.full(more, -np.inf)])
            self._high = np.concatenate([self._high, np.full(more, np.inf)])
        for one in np.unique(series[self._row[series] == kernels.UNSEEN]).tolist():
            self._row[one] = self._learn_one(one)

    def _learn_one(self, series: int) -> int:
        if series >= len(self._series):
            return kernels.NOT_JUDGED  # not of this service's table: nothing is known about it
        key = self._series.key(series)
        if key.name not in semconv.SIGNALS or key.name in (semconv.EVENT, semconv.SIGNAL_HEALTH):
            return kernels.NOT_JUDGED
        about = signal(key.name)
        self._low[series] = about.low
        self._high[series] = about.high * (1 + TOLERANCE)
        if not key.name.startswith(JUDGED) and key.name not in OF_HOST:
            return kernels.NOT_JUDGED
        return self._signal(key)

    def _signal(self, key: SeriesKey) -> int:
        labels = key.labels
        clock = clock_of(labels)
        if not clock[0]:
            return kernels.NOT_JUDGED
        device = self._device(device_of(labels))
        apart = tuple((label, labels[label]) for label in APART if labels.get(label))
        whose = device, key.name, apart
        found = self._signal_ids.get(whose)
        if found is not None:
            return found
        if len(self._signal_ids) >= self._config.max_signals:
            return kernels.NOT_JUDGED
        new = self._signal_ids[whose] = len(self._signal_ids)
        if new >= len(self._signals):
            self._signals = _room(self._signals, new)
            self._said = _scratch(len(self._signals))
        self._spoken = _room(self._spoken, new)
        self._names.append(key.name)
        role = ROLES.get(key.name, kernels.OTHER)
        one = np.zeros((), dtype=kernels.SIGNAL)
        one["host"], one["device"], one["role"] = self._host(clock), device, role
        one["next"], one["state"] = -1, kernels.WARMING_UP
        one["cadence"] = int(signal(key.name).cadence_s * SECOND)
        one["last"] = one["said"] = kernels.NONE
        self._signals[new] = one
        shown = {
            label: labels[label] for label in (*SHOWN, *WORKLOAD[: 0 if _is_gpu(labels) else None]) if labels.get(label)
        }
        # With the label of the clock, for rules to see a signal and its health at one time.
        said = pairs(shown | dict([clock, *apart]) | {semconv.SIGNAL: key.name})
        self._spoken[new] = self._series.intern(
            SeriesKey(semconv.SIGNAL_HEALTH, semconv.SIGNALS[semconv.SIGNAL_HEALTH], attributes=said)
        )
        if role == kernels.UTILIZATION:
            self._devices["utilization"][device] = new
        elif role == kernels.WITNESS:
            self._devices["sm" if key.name == semconv.GPU_SM else "witness"][device] = new
        return new

    def _host(self, clock: tuple[str, str]) -> int:
        found = self._host_ids.get(clock)
        if found is None:
            found = self._host_ids[clock] = len(self._host_ids)
            self._hosts = _room(self._hosts, found)
            self._hosts[found] = (-1, kernels.NONE, kernels.NONE, kernels.NONE)
        return found

    def _device(self, whose: Labels) -> int:
        found = self._device_ids.get(whose)
        if found is None:
            found = self._device_ids[whose] = len(self._device_ids)
            self._devices = _room(self._devices, found)
            self._devices[found] = (-1, -1, -1, -1, False, kernels.NONE)
            if any(label == INSTANCE for label, _ in whose):
                whole = self._device(tuple((label, value) for label, value in whose if label != INSTANCE))
                self._devices["whole"][found] = whole
                self._devices["split"][whole] = True
        return found

    # -- own metrics ---------------------------------------------------------------------------------------------------
    def _by_state(self, options: CallbackOptions) -> Iterable[Observation]:
        linked = self._signals[self._signals["linked"]]["state"]
        counts = np.bincount(linked, minlength=len(HEALTH_STATES)).tolist()
        return [Observation(n, self._labels | {"state": s}) for s, n in zip(HEALTH_STATES, counts, strict=True)]

    def _silent(self, options: CallbackOptions) -> Iterable[Observation]:
        heard = self._hosts["newest"][: len(self._host_ids)]
        now = max(self._now, int(heard.max(initial=0)))
        return [Observation(int((heard < now - SILENT_NS).sum()), self._labels)]

    # -- across a restart ----------------------------------------------------------------------------------------------
    def save(self) -> Saved:
        """What is known of each signal, host and device."""
        signals, hosts, devices = len(self._names), len(self._host_ids), len(self._device_ids)
        arrays: dict[str, NDArray[Any]] = {
            "row": self._row.copy(),
            "low": self._low.copy(),
            "high": self._high.copy(),
            "signals": self._signals[:signals].copy(),
            "spoken": self._spoken[:signals].copy(),
            "hosts": self._hosts[:hosts].copy(),
            "devices": self._devices[:devices].copy(),
        }
        ids, clocks, whose = list(self._signal_ids), list(self._host_ids), list(self._device_ids)
        names, now = self._names[:], self._now
        return lambda: State(
            version=VERSION,
            document={"signals": ids, "hosts": clocks, "devices": whose, "names": names, "now": now},
            arrays=arrays,
        )

    def restore(self, state: State, past: Past) -> Mapping[str, int]:
        """Go on from there. What was lost meanwhile makes nothing stale, and breaks off what stood in a row."""
        saved = state.of(VERSION)
        document, arrays = saved.document, saved.arrays
        self._names = list(document["names"])
        self._signal_ids = {(d, name, _labels(apart)): i for i, (d, name, apart) in enumerate(document["signals"])}
        self._host_ids = {(label, value): i for i, (label, value) in enumerate(document["hosts"])}
        self._device_ids = {_labels(whose): i for i, whose in enumerate(document["devices"])}
        self._now = document["now"]
        self._signals, self._hosts = arrays["signals"].copy(), arrays["hosts"].copy()
        self._devices = arrays["devices"].copy()
        self._said = _scratch(len(self._signals))
        self._spoken = np.asarray(past.series[arrays["spoken"]], dtype=np.int32)
        self._spoken[arrays["spoken"] < 0] = -1
        known = min(len(arrays["row"]), len(past.series))
        series = past.series[:known]
        there = np.flatnonzero(series >= 0)
        size = int(series.max(initial=-1)) + 1
        self._row = np.full(size, kernels.UNSEEN, dtype=np.int32)
        self._low, self._high = np.full(size, -np.inf), np.full(size, np.inf)
        for mine, name in ((self._row, "row"), (self._low, "low"), (self._high, "high")):
            mine[series[there]] = arrays[name][there]
        if past.gap is not None:
            seen = self._signals["last"] != kernels.NONE
            self._signals["last"][seen] = np.maximum(self._signals["last"][seen], past.gap.until)
            for column in ("zeros", "busy", "bad"):
                self._signals[column] = 0
        return {"signals": len(self._names)}


def _is_gpu(labels: Mapping[str, str]) -> bool:
    return bool(labels.get(semconv.HW_ID) or labels.get(semconv.GPU_INDEX))


def _room(array: Any, index: int) -> Any:
    """The array, or a longer copy of it in which there is an ``index``."""
    if index < len(array):
        return array
    more = max(index + 1, 2 * len(array), 64) - len(array)
    return np.concatenate([array, np.zeros(more, dtype=array.dtype)])


def _scratch(signals: int) -> tuple[Int32Array, Int64Array, Int8Array, Int8Array]:
    """Room for what is said of all signals at least once: row, time, state and the state before."""
    room = signals + _MORE
    return np.empty(room, np.int32), np.empty(room, np.int64), np.empty(room, np.int8), np.empty(room, np.int8)


def _joined(parts: list[MetricBatch]) -> MetricBatch:
    if len(parts) == 1:
        return parts[0]
    return MetricBatch(
        series=np.concatenate([p.series for p in parts]),
        time=np.concatenate([p.time for p in parts]),
        value=np.concatenate([p.value for p in parts]),
        stale=np.concatenate([p.stale for p in parts]),
    )


def _labels(saved: Iterable[Iterable[str]]) -> Labels:
    return tuple((label, value) for label, value in saved)
