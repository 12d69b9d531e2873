"""Samples that wait until event time has passed them, and the way from a series to the rows that want it."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fallow.batch import BoolArray, Float64Array, Int32Array, Int64Array, MetricBatch
from fallow.promql.state import STRETCH, WAITING, Queues, grown
from fallow.series._memory import borrowed, part
from fallow.series.layout import FAR, Records
from fallow.state import Saved, State

# numba compiles what it infers; the stubs of numpy know neither the fields of records nor scalars out of arrays.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

VERSION: Final = 3
UNSEEN: Final = -1
NOBODY: Final = -1


class Wants(NamedTuple):
    """Which rows want a series: ``start`` and ``stop`` (series,) into ``row`` and ``offset``; the clock that it moves or -1."""

    start: Int64Array
    stop: Int64Array
    clock: Int64Array
    row: Int32Array
    offset: Int64Array


class Arrived(NamedTuple):
    """Columns of samples, by series or by row."""

    of: Int32Array
    time: Int64Array
    value: Float64Array
    stale: BoolArray


@njit(cache=True, nogil=True, error_model="numpy")
def _count(arrived: Arrived, wants: Wants, rows: Records, waiting: Int32Array, touched: Int32Array) -> tuple[int, int]:
    """Count the samples to come for each unit, and list the units; returns how many samples and units that is."""
    units = samples = 0
    for i in range(len(arrived.of)):
        s = arrived.of[i]
        if s < 0:
            continue
        for k in range(wants.start[s], wants.stop[s]):
            unit = rows[wants.row[k]].unit
            if waiting[unit] == 0:
                touched[units] = unit
                units += 1
            waiting[unit] += 1
            samples += 1
    return samples, units


@njit(cache=True, nogil=True, error_model="numpy")
def _begin_stretches(
    at: int, touched: Int32Array, waiting: Int32Array, stretches: Records, free: Int32Array, queues: Queues
) -> None:
    """Put an empty stretch with room for what was counted at the end of each of these units' queues; there are free ones."""
    for k in range(len(touched)):
        unit = touched[k]
        new = free[0]
        free[0] = stretches[new].next
        stretches[new].start = at
        at += int(waiting[unit])
        waiting[unit] = 0
        stretches[new].count = 0
        stretches[new].least = FAR
        stretches[new].next = NOBODY
        if queues.head[unit] == NOBODY:
            queues.head[unit] = new
            queues.first[unit] = FAR
        else:
            stretches[queues.tail[unit]].next = new
        queues.tail[unit] = new


@part
def _wait(
    row: int, time: int, value: float, stale: bool, unit: int, pool: Records, stretches: Records, queues: Queues
) -> None:
    """Put a sample at the end of its unit's last stretch, which has room."""
    s = queues.tail[unit]
    at = stretches[s].start + stretches[s].count
    stretches[s].count += 1
    stretches[s].least = min(stretches[s].least, time)
    pool[at].time = time
    pool[at].value = value
    pool[at].row = row
    pool[at].stale = stale


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(
    arrived: Arrived,
    wants: Wants,
    newest: Int64Array,
    rows: Records,
    pool: Records,
    stretches: Records,
    touched: Int32Array,
    queues: Queues,
    wake: Int64Array,
) -> None:
    """Let each sample wait once for every row that wants it, and move the clocks."""
    pool, stretches, rows = borrowed(pool), borrowed(stretches), borrowed(rows)
    for i in range(len(arrived.of)):
        s = arrived.of[i]
        if s < 0:
            continue
        c, time = wants.clock[s], arrived.time[i]
        if c >= 0 and time > newest[c]:
            newest[c] = time
        for k in range(wants.start[s], wants.stop[s]):
            row = wants.row[k]
            unit = rows[row].unit
            _wait(row, time + wants.offset[k], arrived.value[i], arrived.stale[i], unit, pool, stretches, queues)
    for k in range(len(touched)):
        unit = touched[k]
        queues.first[unit] = min(queues.first[unit], stretches[queues.tail[unit]].least)
        wake[unit] = min(wake[unit], queues.first[unit])


@njit(cache=True, nogil=True, error_model="numpy")
def _join(merged: Int64Array, stretches: Records, queues: Queues) -> None:
    """Let what waits for a unit (merged[k, 1]) wait for the one (merged[k, 0]) that it has become part of."""
    for k in range(len(merged)):
        into, gone = merged[k]
        if queues.head[gone] == NOBODY:
            continue
        if queues.head[into] == NOBODY:
            queues.head[into] = queues.head[gone]
            queues.first[into] = queues.first[gone]
        else:
            stretches[queues.tail[into]].next = queues.head[gone]
            queues.first[into] = min(queues.first[into], queues.first[gone])
        queues.tail[into] = queues.tail[gone]
        queues.head[gone] = NOBODY


@njit(cache=True, nogil=True, error_model="numpy")
def _packed(pool: Records, stretches: Records, queues: Queues, into: Records) -> int:
    """Copy what waits, unit by unit in order of arrival, and let it lie there from now on; returns how much that is."""
    end = 0
    for unit in range(len(queues.head)):
        s = queues.head[unit]
        while s != NOBODY:
            start = stretches[s].start
            stretches[s].start = end
            for k in range(start, start + stretches[s].count):
                into[end] = pool[k]
                end += 1
            s = stretches[s].next
    return end


class Pending:
    """A queue of samples for each unit, in order of arrival, all in one pool: row, time (with the selector's offset
    added), value, stale. What a batch brings for a unit lies side by side: a stretch.
    """

    def __init__(self) -> None:
        self.pool: Records = np.zeros(1024, dtype=WAITING)
        self.stretches: Records = np.zeros(64, dtype=STRETCH)
        self.stretches["next"] = np.arange(1, 65)
        none = np.zeros(0, dtype=np.int32)
        self.queues = Queues(none, none, np.zeros(0, dtype=np.int64))
        self.free: Int32Array = np.asarray([0, 64], dtype=np.int32)
        """The first free stretch, and how many there are."""
        self._end = 0
        self._waiting = np.zeros(0, dtype=np.int32)
        self._start = np.full(1024, UNSEEN, dtype=np.int64)
        self._stop = np.zeros(1024, dtype=np.int64)
        self._clock = np.zeros(1024, dtype=np.int64)
        self._wants_row = np.zeros(64, dtype=np.int32)
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
            self._waiting = np.zeros(len(head), dtype=np.int32)
        if merged:
            _join(np.asarray(merged, dtype=np.int64), self.stretches, self.queues)

    def add(self, batch: MetricBatch, newest: Int64Array, rows: Records, wake: Int64Array) -> None:
        """Hold a batch's samples; ``newest`` (clocks,) and ``wake`` (units,) are moved in place."""
        wants = Wants(self._start, self._stop, self._clock, self._wants_row, self._wants_offset)
        self._take(Arrived(batch.series, batch.time, batch.value, batch.stale), wants, newest, rows, wake)

    def _take(self, arrived: Arrived, wants: Wants, newest: Int64Array, rows: Records, wake: Int64Array) -> None:
        touched = np.empty(len(self._waiting), dtype=np.int32)
        samples, units = _count(arrived, wants, rows, self._waiting, touched)
        touched = touched[:units]
        self._reserve(samples, units)
        _begin_stretches(self._end, touched, self._waiting, self.stretches, self.free, self.queues)
        self._end += samples
        self.free[1] -= units
        _fill(arrived, wants, newest, rows, self.pool, self.stretches, touched, self.queues, wake)

    def _reserve(self, samples: int, stretches: int) -> None:
        known = len(self.stretches)
        if stretches > self.free[1]:
            self.stretches = grown(self.stretches, known + stretches)
            self.stretches["next"][known:] = np.arange(known + 1, len(self.stretches) + 1)
            self.stretches["next"][-1] = self.free[0]
            self.free[:] = known, self.free[1] + len(self.stretches) - known
        if self._end + samples > len(self.pool):
            waiting = self._pack(np.empty(len(self.pool), dtype=WAITING))
            if 2 * (waiting + samples) > len(self.pool):  # half of it is kept free, so that this is seldom
                self.pool = np.concatenate((self.pool, np.empty(2 * samples + len(self.pool), dtype=WAITING)))

    def _pack(self, into: Records) -> int:
        """Let all that waits lie side by side."""
        self._end = _packed(self.pool, self.stretches, self.queues, into)
        self.pool = into
        return self._end

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
        self._pack(np.empty(len(self.pool), dtype=WAITING))
        waiting = self.pool[: self._end].copy()
        return lambda: State(version=VERSION, arrays={name: waiting[name] for name in WAITING.names or ()})

    def restore(self, state: State, became: Int64Array, rows: Records, wake: Int64Array) -> None:
        """Let it wait on; ``became[r]`` is what row r of the state is now, -1 where it is gone."""
        saved = state.of(VERSION).arrays
        row = became[saved["row"]].astype(np.int32)
        kept = row >= 0
        here = np.arange(len(rows), dtype=np.int64)
        itself = Wants(here, here + 1, np.full(len(rows), -1), here.astype(np.int32), np.zeros_like(here))
        waiting = Arrived(row[kept], saved["time"][kept], saved["value"][kept], saved["stale"][kept] != 0)
        self._take(waiting, itself, np.zeros(0, dtype=np.int64), rows, wake)
