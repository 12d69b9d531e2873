"""What was seen and found, added up: GPU-time observed, and GPU-time that could have been had back.

Observed: per GPU the union of the time that its utilisation samples cover (fallow.replay.coverage says what that is).

Reclaimable: per GPU the union, over detections with a recommendation that claims a saving, of the time from the
detection to its final end, as far as the GPU was observed under the labels that the recommendation's target names.

Memory: that of the coverage, a few labels for each GPU series, and one small record for each detection.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fallow.batch import Batch, Int64Array, MetricBatch
from fallow.model import Detection, Recommendation
from fallow.replay.coverage import Coverage
from fallow.replay.intervals import Spans
from fallow.semconv import (
    CONTAINER_ID,
    GPU_ENGINE,
    GPU_INDEX,
    GPU_SM,
    GPU_UTILIZATION,
    HOST_NAME,
    HW_ID,
    IDENTITY,
    K8S_NAMESPACE_NAME,
    K8S_POD_NAME,
    SIGNALS,
)
from fallow.series import SeriesTable
from fallow.summary import RuleSummary, Summary
from fallow.units import SECOND

OF_GPUS = frozenset(name for name in SIGNALS if name.startswith(("hw.", "fallow.gpu.")))
UTILIZATION = frozenset({GPU_UTILIZATION, GPU_ENGINE, GPU_SM})
Gpu = tuple[str, ...]

_UNSEEN, _OTHER = -2, -1


@dataclass(slots=True)
class _Found:
    """One detection as far as it counts."""

    rule: str
    time: int
    end: int
    entity: Mapping[str, str]
    saves: bool = False


class Accounting:
    """Observes processed batches; ``summary`` may be asked for at any time, from another thread too.

    Args:
        series: what the batches' series ids mean; without it only counts are known, no GPUs. It may be set later,
            before the first batch.
    """

    def __init__(self, series: SeriesTable | None = None) -> None:
        self.series = series
        self._lock = threading.Lock()
        self._samples = self._events = self._late = self._unknown = self._recommendations = 0
        self._span: tuple[int, int] | None = None
        self._found: dict[str, _Found] = {}
        self._gpus: dict[Gpu, int] = {}
        self._coverage = Coverage()
        self._slot = np.zeros(0, dtype=np.int32)
        self._slots: dict[tuple[str, str], list[int]] = {}
        self._labels: list[Mapping[str, str]] = []
        self._owner: list[int] = []

    def observe(self, batch: Batch) -> None:
        """Take note of a batch after the last processor."""
        with self._lock:
            if batch.metrics is not None and len(batch.metrics):
                self._samples += len(batch.metrics)
                self._seen(batch.metrics.time)
                self._cover(batch.metrics)
            if batch.logs is not None and len(batch.logs):
                self._events += sum(map(bool, batch.logs.event_name))
                self._seen(batch.logs.time)
            self._late += sum(n for reason, n in batch.dropped.items() if reason.startswith("late"))
            for detection in batch.detections:
                self._detected(detection)
            for recommendation in batch.recommendations:
                self._recommended(recommendation)

    def summary(self) -> Summary:
        """The numbers so far."""
        with self._lock:
            covered = self._coverage.spans()
            owner = np.array(self._owner, dtype=np.int64)
            observed = Spans(owner[covered.owner], covered.start, covered.end).union()
            reclaimable = self._reclaimable(covered)
            counts: dict[str, int] = {}
            for found in self._found.values():
                counts[found.rule] = counts.get(found.rule, 0) + 1
            return Summary(
                detections=len(self._found),
                recommendations=self._recommendations,
                entities=len(self._gpus),
                samples=self._samples,
                events=self._events,
                span_s=0.0 if self._span is None else (self._span[1] - self._span[0]) / SECOND,
                gpu_seconds_observed=observed.total() / SECOND,
                gpu_seconds_reclaimable=_gpu_seconds(list(reclaimable.values()), owner),
                late=self._late,
                unknown=self._unknown,
                by_rule={
                    rule: RuleSummary(
                        detections=count,
                        gpu_seconds_reclaimable=_gpu_seconds([reclaimable[rule]] if rule in reclaimable else [], owner),
                    )
                    for rule, count in sorted(counts.items())
                },
            )

    def _seen(self, time: Int64Array) -> None:
        first, last = int(time.min()), int(time.max())
        self._span = (first, last) if self._span is None else (min(self._span[0], first), max(self._span[1], last))

    def _detected(self, detection: Detection) -> None:
        if detection.state == "unknown":
            self._unknown += 1
            return
        found = self._found.get(detection.id)
        if found is None:
            self._found[detection.id] = _Found(detection.rule, detection.time, detection.end, detection.entity)
        else:
            found.end = max(found.end, detection.end)

    def _recommended(self, made: Recommendation) -> None:
        if made.state == "proposed":
            self._recommendations += 1
        found = self._found.get(made.detection)
        if found is not None and made.saving.basis != "none":
            found.saves, found.entity = True, made.target

    def _cover(self, metrics: MetricBatch) -> None:
        if self.series is None:
            return
        self._learn(metrics, self.series)
        slot = self._slot[metrics.series]
        rows = np.flatnonzero(slot >= 0)
        if len(rows):
            self._coverage.add(slot[rows].astype(np.int64), metrics.time[rows], metrics.stale[rows])

    def _learn(self, metrics: MetricBatch, table: SeriesTable) -> None:
        top = int(metrics.series.max()) + 1
        if top > len(self._slot):
            more = np.full(max(top, 2 * len(self._slot)) - len(self._slot), _UNSEEN, dtype=np.int32)
            self._slot = np.concatenate([self._slot, more])
        for one in np.unique(metrics.series[self._slot[metrics.series] == _UNSEEN]).tolist():
            key = table.key(one)
            self._slot[one] = _OTHER
            if key.name not in OF_GPUS or (gpu := gpu_of(key.labels)) is None:
                continue
            number = self._gpus.setdefault(gpu, len(self._gpus))
            if key.name in UTILIZATION:
                self._slot[one] = len(self._owner)
                for name in IDENTITY:
                    if text := key.labels.get(name):
                        self._slots.setdefault((name, text), []).append(len(self._owner))
                self._owner.append(number)
                self._labels.append({n: key.labels[n] for n in IDENTITY if n in key.labels})

    def _reclaimable(self, covered: Spans) -> dict[str, Spans]:
        """By rule the spans, by series, that its detections could have given back."""
        claimed: dict[str, list[tuple[int, int, int]]] = {}
        slots: dict[tuple[tuple[str, str], ...], list[int]] = {}
        for found in self._found.values():
            if not found.saves or found.end <= found.time:
                continue
            target = tuple((n, found.entity[n]) for n in IDENTITY if found.entity.get(n))
            if target not in slots:
                slots[target] = self._matching(target)
            claimed.setdefault(found.rule, []).extend((slot, found.time, found.end) for slot in slots[target])
        return {rule: Spans.of(rows).intersection(covered) for rule, rows in claimed.items()}

    def _matching(self, target: tuple[tuple[str, str], ...]) -> list[int]:
        """The series of the GPUs that a target means: they have its most specific attribute, and none is another."""
        if not target:
            return []
        found = self._slots.get(target[0], [])
        return [slot for slot in found if all(self._labels[slot].get(n, text) == text for n, text in target)]


def gpu_of(labels: Mapping[str, str]) -> Gpu | None:
    """What identifies the GPU: its id, else its index on its host, else the container or pod that has it."""
    if gpu := labels.get(HW_ID):
        return (gpu,)
    if index := labels.get(GPU_INDEX):
        return (labels.get(HOST_NAME, ""), index)
    if container := labels.get(CONTAINER_ID):
        return (CONTAINER_ID, container)
    if pod := labels.get(K8S_POD_NAME):
        return (K8S_POD_NAME, labels.get(K8S_NAMESPACE_NAME, ""), pod)
    return None


def _gpu_seconds(parts: list[Spans], owner: Int64Array) -> float:
    spans = Spans.joined(parts)
    return Spans(owner[spans.owner], spans.start, spans.end).union().total() / SECOND
