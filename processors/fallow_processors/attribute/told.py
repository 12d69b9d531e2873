"""What the processor says itself: age, restarts and first activity of runs, and where a series ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from fallow import semconv
from fallow.batch import MetricBatch
from fallow.semconv import SIGNALS
from fallow.series import SeriesKey, SeriesTable
from fallow.units import SECOND
from fallow_processors.attribute.runs import Span

_RESOURCE: Final = ("host.", "k8s.")


class Told:
    """Collects samples until they are taken."""

    def __init__(self, series: SeriesTable) -> None:
        self._series = series
        self._rows: list[tuple[int, int, float, bool]] = []

    def run(self, span: Span, host: str, instant: int) -> None:
        """How long a run has lasted at an instant, and its number."""
        labels = {semconv.HOST_NAME: host, **span.labels}
        self._say(semconv.JOB_AGE, labels, instant, (instant - span.start) / SECOND)
        if span.restarts.isdigit():
            self._say(semconv.JOB_RESTARTS, labels, instant, float(span.restarts))

    def first_activity(self, span: Span, device: Mapping[str, str], instant: int, began: int) -> None:
        """After how long a device began to work for a run."""
        labels = {semconv.HW_TYPE: "gpu", **device, **span.labels}
        self._say(semconv.JOB_GPU_FIRST_ACTIVITY, labels, instant, (began - span.start) / SECOND)

    def end(self, series: int, time: int) -> None:
        """A series ends: what it measured goes on under another name."""
        self._rows.append((series, time, 0.0, True))

    def taken(self) -> MetricBatch | None:
        """What was said since the last time; None where nothing was."""
        if not self._rows:
            return None
        series, time, value, stale = zip(*self._rows, strict=True)
        self._rows.clear()
        return MetricBatch(
            series=np.asarray(series, dtype=np.int32),
            time=np.asarray(time, dtype=np.int64),
            value=np.asarray(value, dtype=np.float64),
            stale=np.asarray(stale, dtype=np.bool_),
        )

    def _say(self, name: str, labels: Mapping[str, str], time: int, value: float) -> None:
        resource = tuple(sorted((k, v) for k, v in labels.items() if k.startswith(_RESOURCE)))
        point = tuple(sorted((k, v) for k, v in labels.items() if not k.startswith(_RESOURCE)))
        series = self._series.intern(SeriesKey(name, SIGNALS[name], "", resource, point))
        if series >= 0:
            self._rows.append((series, time, value, False))
