"""Series thinned for drawing: the least and the greatest value of each stretch of time, so that no peak is lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from fallow.batch import Float64Array, MetricBatch
from fallow.semconv import (
    GPU_MEMORY_USAGE,
    GPU_POWER,
    GPU_SM,
    GPU_UTILIZATION,
    SERVING_REQUEST_RATE,
)
from fallow.series import SeriesTable
from fallow.units import SECOND

DRAWN: Final = (GPU_UTILIZATION, GPU_SM, GPU_MEMORY_USAGE, GPU_POWER, SERVING_REQUEST_RATE)
BUCKETS: Final = 512
_UNSEEN, _NOT_DRAWN = -2, -1


class Curves:
    """Keeps up to ``limit`` series, (rows, 512) of them; stretches double in length as the span grows either way.

    Args:
        table: what series ids mean.
    """

    def __init__(self, table: SeriesTable, limit: int) -> None:
        self.width = SECOND
        self.left_out = 0
        self._table = table
        self._limit = limit
        self._row = np.zeros(0, dtype=np.int32)
        self._names: list[tuple[str, Mapping[str, str]]] = []
        self._low = np.full((16, BUCKETS), np.inf, dtype=np.float32)
        self._high = np.full((16, BUCKETS), -np.inf, dtype=np.float32)
        self._origin: int | None = None
        self._last = 0

    def add(self, metrics: MetricBatch) -> None:
        """Take samples in, in any order of time; those without a time or a finite value are not drawn."""
        rows = self._rows(metrics)
        use = (rows >= 0) & ~metrics.stale & np.isfinite(metrics.value) & (metrics.time > 0)
        if not use.any():
            return
        rows, time, value = rows[use], metrics.time[use], metrics.value[use]
        bucket = (time - self._reach(int(time.min()), int(time.max()))) // self.width
        np.minimum.at(self._low, (rows, bucket), value)
        np.maximum.at(self._high, (rows, bucket), value)

    def named(self) -> list[tuple[int, str, Mapping[str, str]]]:
        """(row, signal, labels) of every series."""
        return [(row, name, labels) for row, (name, labels) in enumerate(self._names)]

    def points(self, row: int) -> tuple[Float64Array, Float64Array]:
        """(n,) times in Unix seconds and (n,) values; NaN where nothing came for several stretches."""
        seen = np.flatnonzero(np.isfinite(self._low[row]))
        low, high = self._low[row][seen].astype(np.float64), self._high[row][seen].astype(np.float64)
        start = ((self._origin or 0) + seen * self.width) / SECOND
        step = self.width / SECOND
        same = low == high
        time = np.stack((start + np.where(same, step / 2, step / 4), np.where(same, np.nan, start + 3 * step / 4)))
        times, values = time.T.ravel(), np.stack((low, np.where(same, np.nan, high))).T.ravel()
        kept = ~np.isnan(times)
        return _with_gaps(times[kept], values[kept], np.diff(seen))

    def _rows(self, metrics: MetricBatch) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        top = int(metrics.series.max(initial=-1)) + 1
        if top > len(self._row):
            self._row = np.concatenate(
                (self._row, np.full(max(top, 2 * len(self._row)) - len(self._row), _UNSEEN, np.int32))
            )
        known = metrics.series >= 0
        for series in np.unique(metrics.series[known][self._row[metrics.series[known]] == _UNSEEN]).tolist():
            self._row[series] = self._new(series)
        return np.where(
            known, self._row[np.where(known, metrics.series, 0)] if len(self._row) else _NOT_DRAWN, _NOT_DRAWN
        )

    def _new(self, series: int) -> int:
        key = self._table.key(series)
        if key.name not in DRAWN:
            return _NOT_DRAWN
        if len(self._names) >= self._limit:
            self.left_out += 1
            return _NOT_DRAWN
        self._names.append((key.name, key.labels))
        if len(self._names) > len(self._low):
            self._low = np.concatenate((self._low, np.full_like(self._low, np.inf)))
            self._high = np.concatenate((self._high, np.full_like(self._high, -np.inf)))
        return len(self._names) - 1

    def _reach(self, first: int, last: int) -> int:
        """The origin after making room for samples from ``first`` to ``last``, Unix ns."""
        if self._origin is None:
            self._origin = self._last = first
        self._last = max(self._last, last)
        while self._last - self._origin + self._earlier(first) * self.width >= BUCKETS * self.width:
            self._halve()
        if shift := self._earlier(first):
            # What rolls round from the end is empty: the loop above has seen to that.
            self._low, self._high = np.roll(self._low, shift, axis=1), np.roll(self._high, shift, axis=1)
            self._origin -= shift * self.width
        return self._origin

    def _earlier(self, first: int) -> int:
        """By how many stretches ``first`` lies before the origin."""
        return max(0, -((first - (self._origin or 0)) // self.width))

    def _halve(self) -> None:
        """Stretches become twice as long."""
        self.width *= 2
        half = BUCKETS // 2
        self._low[:, :half] = np.minimum(self._low[:, ::2], self._low[:, 1::2])
        self._high[:, :half] = np.maximum(self._high[:, ::2], self._high[:, 1::2])
        self._low[:, half:], self._high[:, half:] = np.inf, -np.inf


def _with_gaps(
    times: Float64Array, values: Float64Array, steps: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> tuple[Float64Array, Float64Array]:
    """A NaN wherever the distance to the next point is far beyond what is usual."""
    if len(times) < 3 or not len(steps):
        return times, values
    gaps = np.diff(times)
    wide = np.flatnonzero(gaps > 6 * np.median(gaps))
    at = wide + 1
    return np.insert(times, at, times[wide] + 1e-3), np.insert(values, at, np.nan)
