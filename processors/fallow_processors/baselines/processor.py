"""The ``baselines`` processor."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from opentelemetry.metrics import CallbackOptions, Observation

from fallow import semconv
from fallow.batch import Batch, Int8Array, Int32Array, MetricBatch
from fallow.component import Context
from fallow.entity import device_of
from fallow.series import SeriesKey
from fallow.state import Past, Saved, State
from fallow_processors.baselines import _kernels as kernels
from fallow_processors.baselines.config import BaselinesConfig

VERSION = 1

KINDS: Mapping[str, int] = {
    semconv.GPU_POWER: kernels.POWER,
    semconv.HOST_POWER: kernels.POWER,
    semconv.GPU_MEMORY_USAGE: kernels.MEMORY,
    semconv.GPU_UTILIZATION: kernels.UTILIZATION,
    semconv.GPU_ENGINE: kernels.UTILIZATION,
    semconv.GPU_SM: kernels.UTILIZATION,
    semconv.SERVING_REQUEST_RATE: kernels.RATE,
    semconv.SERVING_REQUESTS: kernels.COUNT,
}
SAID: Mapping[tuple[str, int], str] = {
    (semconv.GPU_POWER, kernels.IDLE): semconv.GPU_POWER_IDLE,
    (semconv.GPU_POWER, kernels.RUNNING): semconv.GPU_POWER_RUNNING,
    (semconv.GPU_POWER, kernels.PERIOD): semconv.STEP_PERIOD,
    (semconv.HOST_POWER, kernels.IDLE): semconv.HOST_POWER_IDLE,
    (semconv.HOST_POWER, kernels.RUNNING): semconv.HOST_POWER_RUNNING,
    (semconv.HOST_POWER, kernels.PERIOD): semconv.STEP_PERIOD,
    (semconv.GPU_MEMORY_USAGE, kernels.IDLE): semconv.GPU_MEMORY_IDLE,
    (semconv.SERVING_REQUEST_RATE, kernels.EXPECTED): semconv.REQUESTS_EXPECTED,
    (semconv.SERVING_REQUESTS, kernels.EXPECTED): semconv.REQUESTS_EXPECTED,
}
"""(what a series is of, what is said of it) → the signal under which it is said."""
WAYS = 4  # IDLE, RUNNING, PERIOD, EXPECTED

Labels = tuple[tuple[str, str], ...]


class BaselinesProcessor:
    """Learns from samples in order of event time; what it says has the time of the sample that made it known.

    Rows are by device and quantity, not by series: a device goes on being itself under the labels of the next job.
    """

    def __init__(self, config: BaselinesConfig, context: Context) -> None:
        self._config = config
        self._series = context.series
        self._limits = np.array(
            [
                config.span,
                config.busy_above,
                config.contrast,
                config.memory_reserved_max,
                config.half_life,
                config.forget_after,
                config.max_gap,
                config.repeat,
                config.repeat_running,
            ],
            dtype=np.float64,
        )
        # By series id: its row in the table of its kind, and the series under which each thing is said of it.
        self._row: Int32Array = np.full(0, kernels.UNSEEN, dtype=np.int32)
        self._kind: Int8Array = np.zeros(0, dtype=np.int8)
        self._out: Int32Array = np.full((0, WAYS), kernels.UNSEEN, dtype=np.int32)
        self._levels = np.zeros(0, dtype=kernels.LEVEL)
        self._devices = np.zeros(0, dtype=kernels.DEVICE)
        self._models = np.zeros(0, dtype=kernels.MODEL)
        self._endpoints = np.zeros(0, dtype=kernels.ENDPOINT)
        self._level_ids: dict[tuple[int, str], int] = {}
        self._device_ids: dict[Labels, int] = {}
        self._model_ids: dict[tuple[str, str], int] = {}
        self._endpoint_count = 0
        self._labels = {"processor": context.id}
        self._refused = context.meter.create_counter(
            "fallow_processor_baselines_refused",
            unit="{series}",
            description="Series of which nothing is learnt because max_series is reached.",
        )
        self._late = context.meter.create_counter(
            "fallow_processor_baselines_late",
            unit="{sample}",
            description="Samples that came after a newer one of their series and taught nothing.",
        )
        context.meter.create_observable_gauge(
            "fallow_processor_baselines_learnt",
            callbacks=[self._learnt],
            unit="{baseline}",
            description="Baselines that are learnt, by signal and by whose they are.",
        )

    # -- the contract of processors ------------------------------------------------------------------------------------
    def process(self, batch: Batch) -> Batch:
        """The batch with what there is to say of its samples, behind them."""
        metrics = batch.metrics
        if metrics is None or len(metrics) == 0:
            return batch
        if not kernels.all_known(metrics.series, self._row):
            self._learn(metrics.series)
        mine = np.flatnonzero(self._row[metrics.series] >= 0)
        if not len(mine):
            return batch
        if not kernels.in_order(metrics.time):
            mine = mine[np.argsort(metrics.time[mine], kind="stable")]
        said = self._take(metrics, mine)
        if said is None:
            return batch
        return dataclasses.replace(batch, metrics=_joined(metrics, said))

    def tick(self, now: int) -> Batch:
        """Nothing is learnt from time alone."""
        return Batch()

    def finish(self) -> Batch:
        """Nothing is held back."""
        return Batch()

    def _take(self, metrics: MetricBatch, rows: NDArray[np.int64]) -> MetricBatch | None:
        room = 3 * len(rows)
        series, what = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.int8)
        time, value = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.float64)
        said, late = kernels.take(
            self._row,
            self._kind,
            self._levels,
            self._devices,
            self._models,
            self._endpoints,
            metrics.series[rows],
            metrics.time[rows],
            metrics.value[rows],
            metrics.stale[rows],
            self._limits,
            series,
            what,
            time,
            value,
        )
        if late:
            self._late.add(late, self._labels)
        if not said:
            return None
        out = self._spoken(series[:said], what[:said])
        there = out >= 0
        return MetricBatch(
            series=out[there],
            time=time[:said][there],
            value=value[:said][there],
            stale=np.zeros(int(there.sum()), dtype=np.bool_),
        )

    def _spoken(self, series: Int32Array, what: Int8Array) -> Int32Array:
        """The series under which each is said: labelled as the one that it is about, so that PromQL joins them."""
        out = self._out[series, what]
        for i in np.flatnonzero(out == kernels.UNSEEN).tolist():
            about, way = int(series[i]), int(what[i])
            if self._out[about, way] == kernels.UNSEEN:
                key = self._series.key(about)
                name = SAID[key.name, way]
                made = SeriesKey(name, semconv.SIGNALS[name], "", key.resource, key.attributes)
                self._out[about, way] = self._series.intern(made)
        return self._out[series, what]

    # -- who is who ----------------------------------------------------------------------------------------------------
    def _learn(self, series: Int32Array) -> None:
        size = int(series.max()) + 1
        if size > len(self._row):
            more = max(size, 2 * len(self._row), 1024) - len(self._row)
            self._row = np.concatenate([self._row, np.full(more, kernels.UNSEEN, dtype=np.int32)])
            self._kind = np.concatenate([self._kind, np.zeros(more, dtype=np.int8)])
            self._out = np.concatenate([self._out, np.full((more, WAYS), kernels.UNSEEN, dtype=np.int32)])
        for one in np.unique(series[self._row[series] == kernels.UNSEEN]).tolist():
            self._row[one] = self._learn_one(one)

    def _learn_one(self, series: int) -> int:
        if series >= len(self._series):
            return kernels.NOT_LEARNT  # not of this service's table: nothing is known about it
        key = self._series.key(series)
        kind = KINDS.get(key.name)
        if kind is None:
            return kernels.NOT_LEARNT
        self._kind[series] = kind
        if kind in (kernels.RATE, kernels.COUNT):
            return self._endpoint()
        device = self._device(device_of(key.labels))
        if kind == kernels.UTILIZATION or device < 0:
            return device
        return self._level(device, key, kind)

    def _level(self, device: int, key: SeriesKey, kind: int) -> int:
        found = self._level_ids.get((device, key.name))
        if found is not None:
            return found
        if self._full(len(self._level_ids)):
            return kernels.REFUSED
        new = self._level_ids[device, key.name] = len(self._level_ids)
        self._levels = _room(self._levels, new)
        one = np.zeros((), dtype=kernels.LEVEL)
        one["kind"], one["device"], one["model"] = kind, device, self._model(key)
        one["slot"] = one["series"] = -1
        for name in ("last", "met", "second", "rose", "said_at"):
            one[name] = kernels.NONE
        for name in ("low", "candidate"):
            one[name] = np.nan
        self._levels[new] = one
        return new

    def _model(self, key: SeriesKey) -> int:
        model = key.labels.get(semconv.HW_MODEL)
        if not model:
            return -1
        found = self._model_ids.get((key.name, model))
        if found is None:
            found = self._model_ids[key.name, model] = len(self._model_ids)
            self._models = _room(self._models, found)
            self._models[found] = (0, np.nan, np.full(kernels.RING, np.nan))
        return found

    def _device(self, whose: Labels) -> int:
        found = self._device_ids.get(whose)
        if found is None:
            if self._full(len(self._device_ids)):
                return kernels.REFUSED
            found = self._device_ids[whose] = len(self._device_ids)
            self._devices = _room(self._devices, found)
            self._devices[found] = (kernels.NONE, kernels.NONE)
        return found

    def _endpoint(self) -> int:
        if self._full(self._endpoint_count):
            return kernels.REFUSED
        new = self._endpoint_count
        self._endpoint_count += 1
        self._endpoints = _room(self._endpoints, new)
        self._endpoints[new] = (
            kernels.NONE,
            0.0,
            0,
            0.0,
            0,
            kernels.NONE,
            np.full(kernels.WEEK, np.nan, dtype=np.float32),
        )
        return new

    def _full(self, count: int) -> bool:
        if count < self._config.max_series:
            return False
        self._refused.add(1, self._labels)
        return True

    # -- own metrics ---------------------------------------------------------------------------------------------------
    def _learnt(self, options: CallbackOptions) -> Iterable[Observation]:
        own, whole = kernels.count_learnt(self._levels[: len(self._level_ids)], self._models, self._config.contrast, 2)
        names = {kernels.POWER: "power", kernels.MEMORY: "memory"}
        for kind, name in names.items():
            yield Observation(int(own[kind]), self._labels | {"baseline": name, "of": "own"})
            yield Observation(int(whole[kind] - own[kind]), self._labels | {"baseline": name, "of": "model"})
        hours = self._endpoints["hours"][: self._endpoint_count]
        yield Observation(
            int((~np.isnan(hours)).any(axis=1).sum()), self._labels | {"baseline": "requests", "of": "own"}
        )

    # -- across a restart ----------------------------------------------------------------------------------------------
    def save(self) -> Saved:
        """All that was learnt."""
        levels, devices = len(self._level_ids), len(self._device_ids)
        arrays: dict[str, NDArray[Any]] = {
            "row": self._row.copy(),
            "kind": self._kind.copy(),
            "out": self._out.copy(),
            "levels": self._levels[:levels].copy(),
            "devices": self._devices[:devices].copy(),
            "models": self._models[: len(self._model_ids)].copy(),
            "endpoints": self._endpoints[: self._endpoint_count].copy(),
        }
        ids, whose, models = list(self._level_ids), list(self._device_ids), list(self._model_ids)
        return lambda: State(
            version=VERSION, document={"levels": ids, "devices": whose, "models": models}, arrays=arrays
        )

    def restore(self, state: State, past: Past) -> Mapping[str, int]:
        """Go on from there; a span that a restart cut is seen anew where the gap is long."""
        saved = state.of(VERSION)
        document, arrays = saved.document, saved.arrays
        self._level_ids = {(device, name): i for i, (device, name) in enumerate(document["levels"])}
        self._device_ids = {
            tuple((label, value) for label, value in whose): i for i, whose in enumerate(document["devices"])
        }
        self._model_ids = {(name, model): i for i, (name, model) in enumerate(document["models"])}
        self._levels, self._devices = arrays["levels"].copy(), arrays["devices"].copy()
        self._models, self._endpoints = arrays["models"].copy(), arrays["endpoints"].copy()
        self._endpoint_count = len(self._endpoints)
        known = min(len(arrays["row"]), len(past.series))
        ids = past.series[:known]
        there = np.flatnonzero(ids >= 0)
        size = int(ids.max(initial=-1)) + 1
        self._row = np.full(size, kernels.UNSEEN, dtype=np.int32)
        self._kind = np.zeros(size, dtype=np.int8)
        self._out = np.full((size, WAYS), kernels.UNSEEN, dtype=np.int32)
        self._row[ids[there]], self._kind[ids[there]] = arrays["row"][there], arrays["kind"][there]
        out = arrays["out"][there]
        self._out[ids[there]] = np.where(out >= 0, past.series[np.maximum(out, 0)], out)
        series = self._levels["series"]
        self._levels["series"] = np.where(series >= 0, past.series[np.maximum(series, 0)], -1)
        return {"levels": len(self._levels), "endpoints": self._endpoint_count}


def _room(array: Any, index: int) -> Any:
    """The array, or a longer copy of it in which there is an ``index``."""
    if index < len(array):
        return array
    more = max(index + 1, 2 * len(array), 64) - len(array)
    return np.concatenate([array, np.zeros(more, dtype=array.dtype)])


def _joined(first: MetricBatch, second: MetricBatch) -> MetricBatch:
    return MetricBatch(
        series=np.concatenate([first.series, second.series]),
        time=np.concatenate([first.time, second.time]),
        value=np.concatenate([first.value, second.value]),
        stale=np.concatenate([first.stale, second.stale]),
    )
