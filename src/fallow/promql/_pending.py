"""Samples that wait until event time has passed them, and the way from a series to the rows that want it."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fallow.batch import BoolArray, Float64Array, Int32Array, Int64Array, MetricBatch
from fallow.promql.state import WAITING, Queues, grown
from fallow.series.layout import Records
from fallow.state import Saved, State

# numba compiles what it infers; the stubs of numpy know neither the fields of records nor scalars out of arrays.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

VERSION: Final = 2
UNSEEN: Final = -1
NOBODY: Final = -1


@njit(cache=True, nogil=True, error_model="numpy")
def wait(
    row: int, time: int, value: float, stale: bool, unit: int, pool: Records, queues: Queues, free: Int32Array
) -> None:
    """Put a sample at the end of its unit's queue; the pool has room."""
    node = free[0]
    free[0] = pool[node].next
    pool[node].time = time
    pool[node].value = value
    pool[node].row = row
    pool[node].stale = stale
    pool[node].next = NOBODY
    if queues.head[unit] == NOBODY:
        queues.head[unit] = node
        queues.first[unit] = time
    else:
        pool[queues.tail[unit]].next = node
        queues.first[unit] = min(queues.first[unit], time)
    queues.tail[unit] = node


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
    rows: Records,
    pool: Records,
    queues: Queues,
    free: Int32Array,
) -> None:
    """Let each sample wait once for every row that wants it, and move the clocks."""
    for i in range(len(series)):
        s = series[i]
        if s < 0:
            continue
        c = clock[s]
        if c >= 0 and time[i] > newest[c]:
            newest[c] = time[i]
        for k in range(start[s], stop[s]):
            wait(row[k], time[i] + offset[k], value[i], stale[i], rows[row[k]].unit, pool, queues, free)


@njit(cache=True, nogil=True, error_model="numpy")
def _join(merged: Int64Array, pool: Records, queues: Queues) -> None:
    """Let what waits for a unit (merged[k, 1]) wait for the one (merged[k, 0]) that it has become part of."""
    for k in range(len(merged)):
        into, gone = merged[k]
        if queues.head[gone] == NOBODY:
            continue
        if queues.head[into] == NOBODY:
            queues.head[into] = queues.head[gone]
            queues.first[into] = queues.first[gone]
        else:
            pool[queues.tail[into]].next = queues.head[gone]
            queues.first[into] = min(queues.first[into], queues.first[gone])
        queues.tail[into] = queues.tail[gone]
        queues.head[gone] = NOBODY


@njit(cache=True, nogil=True, error_model="numpy")
def _places(count: int, pool: Records, queues: Queues) -> Int32Array:
    """Where in the pool the samples are that wait, unit by unit, in order of arrival."""
    found = np.empty(count, dtype=np.int32)
    n = 0
    for unit in range(len(queues.head)):
        node = queues.head[unit]
        while node != NOBODY:
            found[n] = node
            n += 1
            node = pool[node].next
    return found[:n]


@njit(cache=True, nogil=True, error_model="numpy")
def _wait_on(
    row: Int64Array,
    time: Int64Array,
    value: Float64Array,
    stale: BoolArray,
    rows: Records,
    pool: Records,
    queues: Queues,
    free: Int32Array,
) -> None:
    for i in range(len(row)):
        wait(row[i], time[i], value[i], stale[i], rows[row[i]].unit, pool, queues, free)


class Pending:
    """A queue of samples for each unit, in order of arrival, all in one pool: row, time (with the selector's offset
    added), value, stale.
    """

    def __init__(self) -> None:
        self.pool: Records = np.zeros(0, dtype=WAITING)
        none = np.zeros(0, dtype=np.int32)
        self.queues = Queues(none, none, np.zeros(0, dtype=np.int64))
        self.free: Int32Array = np.asarray([NOBODY, 0], dtype=np.int32)
        """The first free place of the pool, and how many samples wait."""
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
        self.reserve(int(series.max()) + 1)
        new = series[(self._start[series] == UNSEEN) & (series >= 0)]
        return np.unique(new) if len(new) else new

    def reserve(self, count: int) -> None:
        """Make room for the series with ids below ``count``."""
        if count > len(self._start):
            self._start = grown(self._start, count, UNSEEN)
            self._stop, self._clock = grown(self._stop, len(self._start)), grown(self._clock, len(self._start))

    def enter(self, series: int, clock: int, wants: list[tuple[int, int]]) -> None:
        """Which rows want a series' samples, and after what offset; clock -1: it moves none."""
        end = self._wants + len(wants)
        self._wants_row, self._wants_offset = grown(self._wants_row, end), grown(self._wants_offset, end)
        for row, offset in wants:
            self._wants_row[self._wants], self._wants_offset[self._wants] = row, offset
            self._wants += 1
        self._start[series], self._stop[series], self._clock[series] = end - len(wants), end, clock

    def regroup(self, units: int, merged: list[tuple[int, int]]) -> None:
        """There are so many units now, of which some have been merged: (into, gone), in order."""
        if units > len(self.queues.head):
            head, tail = (grown(column, units, NOBODY) for column in (self.queues.head, self.queues.tail))
            self.queues = Queues(head, tail, grown(self.queues.first, len(head)))
        if merged:
            _join(np.asarray(merged, dtype=np.int64), self.pool, self.queues)

    def add(self, batch: MetricBatch, newest: Int64Array, rows: Records) -> None:
        """Hold a batch's samples; ``newest`` (clocks,) is moved in place."""
        series = np.maximum(batch.series, 0)
        self._reserve(int((self._stop[series] - self._start[series]).sum()))
        _expand(
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
            rows,
            self.pool,
            self.queues,
            self.free,
        )

    def _reserve(self, more: int) -> None:
        self.free[1] += more
        known, need = len(self.pool), int(self.free[1])
        if need > known:
            self.pool = grown(self.pool, max(need, 1024))
            self.pool["next"][known:] = np.arange(known + 1, len(self.pool) + 1)
            self.pool["next"][-1] = self.free[0]
            self.free[0] = known

    def clocks_of(self, series: Int64Array) -> Int64Array:
        """The clock that each of these moves; -1: none."""
        return self._clock[series]

    # -- across a restart ----------------------------------------------------------------------------------------------
    def makers(self, births: Int64Array, rows: int) -> Int64Array:
        """(rows,) the first of these series, in their order, that wants each row; -1: none does."""
        first, stop = self._start[births], self._stop[births]
        counts = stop - first
        ends = np.cumsum(counts)
        wants = np.arange(int(counts.sum())) + np.repeat(first - (ends - counts), counts)
        found = np.full(rows, NOBODY, dtype=np.int64)
        found[self._wants_row[wants][::-1]] = np.repeat(births, counts)[::-1]  # the last one written stays
        return found

    def save(self) -> Saved:
        """What waits."""
        waiting = self.pool[_places(int(self.free[1]), self.pool, self.queues)]
        arrays = {name: waiting[name].copy() for name in ("row", "time", "value", "stale")}
        return lambda: State(version=VERSION, arrays=arrays)

    def restore(self, state: State, became: Int64Array, rows: Records) -> None:
        """Let it wait on; ``became[r]`` is what row r of the state is now, -1 where it is gone."""
        saved = state.of(VERSION).arrays
        row = became[saved["row"]]
        kept = row >= 0
        self._reserve(int(kept.sum()))
        time, value, stale = (saved[name][kept] for name in ("time", "value", "stale"))
        _wait_on(row[kept], time, value, stale, rows, self.pool, self.queues, self.free)
