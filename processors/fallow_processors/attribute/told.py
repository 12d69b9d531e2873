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
        self._known: dict[tuple[str, int, str], tuple[Span, int]] = {}
        """By name, run and host or device: the series. The run is kept, so that its number stays its own."""

    def run(self, span: Span, host: str, instant: int) -> None:
        """How long a run has lasted at an instant, and its number."""
        device = {semconv.HOST_NAME: host}
        self._say(semconv.JOB_AGE, span, host, device, instant, (instant - span.start) / SECOND)
        if span.restarts.isdigit():
            self._say(semconv.JOB_RESTARTS, span, host, device, instant, float(span.restarts))

    def first_activity(self, span: Span, number: int, device: Mapping[str, str], instant: int, began: int) -> None:
        """After how long the device of that number began to work for a run."""
        value = (began - span.start) / SECOND
        self._say(semconv.JOB_GPU_FIRST_ACTIVITY, span, str(number), device, instant, value)

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

    def forget(self) -> None:
        """Look up anew what series are called: runs come and go, and devices get more labels."""
        self._known.clear()

    def _say(self, name: str, span: Span, where: str, device: Mapping[str, str], time: int, value: float) -> None:
        found = self._known.get((name, id(span), where))
        if found is None:
            found = self._known[name, id(span), where] = span, self._intern(name, {**device, **span.labels})
        if found[1] >= 0:
            self._rows.append((found[1], time, value, False))

    def _intern(self, name: str, labels: dict[str, str]) -> int:
        if name == semconv.JOB_GPU_FIRST_ACTIVITY:
            labels[semconv.HW_TYPE] = "gpu"
        resource = tuple(sorted((k, v) for k, v in labels.items() if k.startswith(_RESOURCE)))
        point = tuple(sorted((k, v) for k, v in labels.items() if not k.startswith(_RESOURCE)))
        return self._series.intern(SeriesKey(name, SIGNALS[name], "", resource, point))
