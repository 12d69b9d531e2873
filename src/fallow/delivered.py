"""What a deployment delivers to rules: signals with the labels they have, events and records; as seen, and as a document."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from fallow import semconv
from fallow.batch import BoolArray, LogBatch, MetricBatch
from fallow.series import SeriesTable

MOST_SHAPES: Final = 256
"""Sets of labels remembered for each signal; beyond them a signal is known by those."""
MOST_EVENTS: Final = 1000
ANY: Final = "*"
"""Stands for the value of a label that tells one from another: that it is there is all that counts."""
_VALUES_COUNT: Final = frozenset(
    {
        semconv.HW_TYPE,
        semconv.IO_DIRECTION,
        semconv.ERROR_TYPE,
        semconv.EVENT_NAME,
        semconv.SIGNAL,
        semconv.THROTTLE_REASON,
        semconv.GPU_ENGINE_NAME,
        semconv.ATTRIBUTION_AMBIGUOUS,
        semconv.CUDA_COPY_KIND,
        semconv.CUDA_WAIT_SCOPE,
        semconv.NCCL_OPERATION,
        "fallow.scheduler.state",
        semconv.JOB_STATE,
    }
)


class Delivered:
    """Takes note of what has passed the processors; may be asked from another thread."""

    def __init__(self, series: SeriesTable) -> None:
        self._series = series
        self._lock = threading.Lock()
        self._seen: BoolArray = np.zeros(0, dtype=np.bool_)
        self._shapes: dict[str, dict[tuple[tuple[str, str], ...], None]] = {}
        self._counts: dict[str, int] = {}
        self._events: dict[str, int] = {}
        self._records = 0

    def observe(self, metrics: MetricBatch | None, logs: LogBatch | None) -> None:
        """Take note of a batch."""
        with self._lock:
            if metrics is not None and len(metrics):
                self._observe(metrics)
            if logs is not None and len(logs):
                self._records += len(logs)
                for name in logs.event_name:
                    if name and (name in self._events or len(self._events) < MOST_EVENTS):
                        self._events[name] = self._events.get(name, 0) + 1

    def document(self) -> dict[str, Any]:
        """What was seen, as JSON can say it: ``{signals: {name: {series, labels}}, events: {name: n}, records: n}``."""
        with self._lock:
            signals = {
                name: {"series": self._counts[name], "labels": [dict(shape) for shape in shapes]}
                for name, shapes in sorted(self._shapes.items())
            }
            return {"signals": signals, "events": dict(sorted(self._events.items())), "records": self._records}

    def _observe(self, metrics: MetricBatch) -> None:
        top = int(metrics.series.max()) + 1
        if top > len(self._seen):
            grown = np.zeros(max(top, 2 * len(self._seen), 1024), dtype=np.bool_)
            grown[: len(self._seen)] = self._seen
            self._seen = grown
        new = ~self._seen[metrics.series]
        if not new.any():
            return
        for series in np.unique(metrics.series[new]).tolist():
            self._seen[series] = True
            if series < len(self._series):
                key = self._series.key(series)
                shapes = self._shapes.setdefault(key.name, {})
                self._counts[key.name] = self._counts.get(key.name, 0) + 1
                if len(shapes) < MOST_SHAPES:
                    shapes[shape_of(key.labels)] = None


def shape_of(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The labels, with what only tells one device, job or process from another left open.

    >>> shape_of({"hw.id": "GPU-1", "hw.type": "gpu", "fallow.job.id": ""})
    (('hw.id', '*'), ('hw.type', 'gpu'))
    """
    return tuple(sorted((name, value if name in _VALUES_COUNT else ANY) for name, value in labels.items() if value))
