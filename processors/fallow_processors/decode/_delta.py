"""Delta points become running totals per series, so that everything downstream sees cumulative values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import numpy as np

from fallow.batch import BoolArray, Float64Array, Int32Array, Int64Array
from fallow.state import Past, Saved, State
from fallow_processors.decode._points import DELTA, STALE, Columns, UInt8Array

VERSION = 1
OUT_OF_ORDER, NOT_FINITE = 0, 1

Accumulate = Callable[
    [Int32Array, Int64Array, Float64Array, UInt8Array, Float64Array, Int64Array, BoolArray, Int64Array], None
]


def accumulate(
    series: Int32Array,
    time: Int64Array,
    value: Float64Array,
    flags: UInt8Array,
    total: Float64Array,
    last: Int64Array,
    keep: BoolArray,
    dropped: Int64Array,
) -> None:
    """Replace delta values by totals, in place.

    A delta point that is no newer than the last of its series is a repetition or came too late, and one that is not
    finite would spoil the total for ever: neither is kept.

    Args:
        series, time, value, flags: (n,) points in order; ``value`` is written.
        total, last: (m,) by series id: the total so far and the time of the last delta point (0: none).
        keep: (n,) written: False where a point is not to be used.
        dropped: (2,) written: counts of OUT_OF_ORDER and NOT_FINITE.
    """
    for i in range(len(series)):
        keep[i] = True
        if flags[i] & DELTA == 0 or flags[i] & STALE != 0:
            continue
        s = series[i]
        if time[i] <= last[s]:
            keep[i] = False
            dropped[OUT_OF_ORDER] += 1
            continue
        summed = float(total[s]) + float(value[i])
        if not math.isfinite(summed):
            keep[i] = False
            dropped[NOT_FINITE] += 1
            continue
        last[s] = time[i]
        total[s] = summed
        value[i] = summed


class DeltaTotals:
    """The totals of all delta series seen; memory is 16 B for each series id of the service once there is any delta."""

    def __init__(self, run: Accumulate = accumulate) -> None:
        self._run = run
        self._total = np.zeros(0, dtype=np.float64)
        self._last = np.zeros(0, dtype=np.int64)

    def apply(self, columns: Columns, dropped: Counter[str]) -> Columns:
        """The columns with totals for deltas; the arrays given may be written."""
        if not (columns.flags & DELTA).any():
            return columns
        self._grow(int(columns.series.max()) + 1)
        keep = np.empty(len(columns.series), dtype=np.bool_)
        counts = np.zeros(2, dtype=np.int64)
        args = (columns.series, columns.time, columns.value, columns.flags)
        self._run(*args, self._total, self._last, keep, counts)
        for reason, n in (("delta_order", counts[OUT_OF_ORDER]), ("delta_not_finite", counts[NOT_FINITE])):
            if n:
                dropped[reason] += int(n)
        if keep.all():
            return columns
        return Columns(
            series=columns.series[keep],
            time=columns.time[keep],
            value=columns.value[keep],
            flags=columns.flags[keep],
        )

    def save(self) -> Saved:
        """The totals, by series id."""
        known = np.flatnonzero(self._last)
        series, total, last = known.astype(np.int32), self._total[known], self._last[known]
        return lambda: State(version=VERSION, arrays={"series": series, "total": total, "last": last})

    def restore(self, state: State, past: Past) -> int:
        """Go on adding to them; returns how many there are. After a gap a total lacks what was lost."""
        saved = state.of(VERSION).arrays
        series = past.series[saved["series"]]
        kept = series >= 0
        self._grow(int(series.max(initial=-1)) + 1)
        self._total[series[kept]], self._last[series[kept]] = saved["total"][kept], saved["last"][kept]
        return int(kept.sum())

    def _grow(self, size: int) -> None:
        if size > len(self._total):
            size = max(size, 2 * len(self._total), 1024)
            self._total = np.concatenate([self._total, np.zeros(size - len(self._total))])
            self._last = np.concatenate([self._last, np.zeros(size - len(self._last), dtype=np.int64)])
