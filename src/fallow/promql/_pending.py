"""Samples that wait until event time has passed them, and the way from a series to the rows that want it."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fallow.batch import BoolArray, Float64Array, Int32Array, Int64Array, MetricBatch
from fallow.promql.state import grown

UNSEEN: Final = -1


@njit(cache=True, nogil=True, error_model="numpy")
def _expand(
    series: Int32Array,
    time: Int64Array,
    value: Float64Array,
    stale: BoolArray,
    start: Int64Array,
    stop: Int64Array,
    clock: Int64Array,
    row: Int64Array,
    offset: Int64Array,
    newest: Int64Array,
    at: int,
    out_row: Int64Array,
    out_time: Int64Array,
    out_value: Float64Array,
    out_stale: BoolArray,
) -> int:
    """Write each sample once for every row that wants it, and move the clocks; returns where the columns now end."""
    for i in range(len(series)):
        s = series[i]
        if s < 0:
            continue
        c = clock[s]
        if c >= 0 and time[i] > newest[c]:
            newest[c] = time[i]
        for k in range(start[s], stop[s]):
            out_row[at] = row[k]
            out_time[at] = time[i] + offset[k]
            out_value[at] = value[i]
            out_stale[at] = stale[i]
            at += 1
    return at


class Pending:
    """Columns of what waits: row, time (with the selector's offset added), value, stale."""

    def __init__(self) -> None:
        self.count = 0
        self.row = np.zeros(1024, dtype=np.int64)
        self.time = np.zeros(1024, dtype=np.int64)
        self.value = np.zeros(1024, dtype=np.float64)
        self.stale = np.zeros(1024, dtype=np.bool_)
        self.fate = np.zeros(1024, dtype=np.int64)
        self._start = np.full(1024, UNSEEN, dtype=np.int64)
        self._stop = np.zeros(1024, dtype=np.int64)
        self._clock = np.zeros(1024, dtype=np.int64)
        self._wants_row = np.zeros(64, dtype=np.int64)
        self._wants_offset = np.zeros(64, dtype=np.int64)
        self._wants = 0

    def unseen(self, series: Int32Array) -> NDArray[np.int32]:
        """The ids among these that have no entry yet, each once."""
        if len(series) == 0:
            return series
        top = int(series.max()) + 1
        if top > len(self._start):
            self._start = grown(self._start, top, UNSEEN)
            self._stop, self._clock = grown(self._stop, len(self._start)), grown(self._clock, len(self._start))
        new = series[(self._start[series] == UNSEEN) & (series >= 0)]
        return np.unique(new) if len(new) else new

    def enter(self, series: int, clock: int, wants: list[tuple[int, int]]) -> None:
        """Which rows want a series' samples, and after what offset; clock -1: it moves none."""
        end = self._wants + len(wants)
        self._wants_row, self._wants_offset = grown(self._wants_row, end), grown(self._wants_offset, end)
        for row, offset in wants:
            self._wants_row[self._wants], self._wants_offset[self._wants] = row, offset
            self._wants += 1
        self._start[series], self._stop[series], self._clock[series] = end - len(wants), end, clock

    def add(self, batch: MetricBatch, newest: Int64Array) -> None:
        """Hold a batch's samples; ``newest`` (clocks,) is moved in place."""
        series = np.maximum(batch.series, 0)
        size = self.count + int((self._stop[series] - self._start[series]).sum())
        if size > len(self.row):
            self.row, self.time = grown(self.row, size), grown(self.time, size)
            self.value, self.stale = grown(self.value, size), grown(self.stale, size)
            self.fate = grown(self.fate, size)
        self.count = _expand(
            batch.series,
            batch.time,
            batch.value,
            batch.stale,
            self._start,
            self._stop,
            self._clock,
            self._wants_row,
            self._wants_offset,
            newest,
            self.count,
            self.row,
            self.time,
            self.value,
            self.stale,
        )

    def take(self, fate: int) -> tuple[Int64Array, Int64Array, Float64Array, BoolArray]:
        """Copies of the columns of the samples of this fate, in order of arrival."""
        where = np.flatnonzero(self.fate[: self.count] == fate)
        return self.row[where], self.time[where], self.value[where], self.stale[where]

    def keep_waiting(self) -> None:
        """Drop all but those whose fate is to wait."""
        where = np.flatnonzero(self.fate[: self.count] == 0)
        for column in (self.row, self.time, self.value, self.stale):
            column[: len(where)] = column[where]
        self.count = len(where)
        if len(self.row) > 8 * max(self.count, 1024):
            size = 2 * max(self.count, 1024)
            self.row, self.time = self.row[:size].copy(), self.time[:size].copy()
            self.value, self.stale, self.fate = (
                self.value[:size].copy(),
                self.stale[:size].copy(),
                self.fate[:size].copy(),
            )


def in_order(
    unit: Int64Array, row: Int64Array, time: Int64Array, value: Float64Array, stale: BoolArray
) -> NDArray[np.intp]:
    """Samples by unit, time and row; of several of one row at one time the one that counts comes last.

    That is a number before NaN before a stale mark, and of numbers the largest: no order of arrival can change it.
    """
    order = np.lexsort((row, time, unit))
    again = (row[order[1:]] == row[order[:-1]]) & (time[order[1:]] == time[order[:-1]])
    if not again.any():
        return order
    missing = np.isnan(value) | stale
    rank = np.where(stale, 0, np.where(missing, 1, 2))
    return np.lexsort((np.where(missing, 0.0, value), rank, row, time, unit))
