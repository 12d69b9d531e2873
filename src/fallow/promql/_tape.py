"""What is evaluated together, as the kernels walk through it: the slots of a unit lie side by side, node by node.

A unit's slots are written out anew whenever something is born in it or it is merged with another one: what they say moves with
them, and the place that they had is given up. Everything else numbers slots as they were born.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fallow.batch import Int32Array, Int64Array
from fallow.promql import ops
from fallow.promql.plan import Plan
from fallow.promql.state import GROUP, RUN, SLOT, Units, grown
from fallow.series.layout import FAR, NONE, Records

# numba compiles what it infers; the stubs of numpy know neither the fields of records nor scalars out of arrays.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

ClockColumns = tuple[Int64Array, Int64Array, Int64Array, Int64Array, Int64Array]
NOWHERE: Final = -1

_SLOT, _GROUP = 1, 2
_OPERANDS: Final = {
    ops.RANGE: (0, 0, _SLOT),
    ops.MAP: (_SLOT, _SLOT, _SLOT),
    ops.WITH_NUMBER: (_SLOT, 0, 0),
    ops.WITH_VECTOR: (_SLOT, _GROUP, _GROUP),
    ops.AND: (_SLOT, _GROUP, 0),
    ops.UNLESS: (_SLOT, _GROUP, 0),
    ops.OR: (_SLOT, _GROUP, _SLOT),
    ops.AGGREGATE: (_SLOT, _GROUP, 0),
    ops.ABSENT: (0, _GROUP, 0),
    ops.SCALAR: (0, _GROUP, 0),
    ops.COPY: (_SLOT, 0, 0),
    ops.ROOT: (_SLOT, 0, 0),
    ops.RELABEL: (_SLOT, 0, 0),
    ops.STAMP: (_SLOT, 0, 0),
    ops.BUCKET: (_SLOT, 0, 0),
    ops.HISTOGRAM: (_SLOT, _GROUP, 0),
    ops.TOP: (_SLOT, _GROUP, 0),
    ops.MEMBER: (_SLOT, 0, 0),
    ops.FEED: (_SLOT, 0, _SLOT),
    ops.SUBRANGE: (0, _SLOT, _SLOT),
}
"""Which of a, b and c are slots, and which are groups."""


@njit(cache=True, nogil=True, error_model="numpy")
def _lay(
    first: int,
    order: Int64Array,
    operands: Int32Array,
    kinds: Int64Array,
    place: Int64Array,
    slots: Records,
    stale: Int32Array,
) -> int:
    """Write where the operands of the unit's slots, which have their places from ``first`` on, stand.

    Returns how many groups it has, listed in ``stale``; a group may be there more than once.
    """
    found = 0
    for k in range(len(order)):
        node = operands[order[k], 0]
        slots[first + k].node = node
        for f in range(3):
            operand = operands[order[k], f + 1]
            if operand >= 0:
                if kinds[node, f] == _SLOT:
                    operand = place[operand]
                elif kinds[node, f] == _GROUP:
                    stale[found] = operand
                    found += 1
            if f == 0:
                slots[first + k].a = operand
            elif f == 1:
                slots[first + k].b = operand
            else:
                slots[first + k].c = operand
    return found


@dataclass(slots=True)
class Unit:
    """Members of one unit, as long as it has not been merged into another."""

    slots: list[int] = field(default_factory=list[int])
    rows: list[int] = field(default_factory=list[int])
    clocks: set[int] = field(default_factory=set[int])
    everywhere: bool = False
    """It depends on series of any clock, or on their absence, so every clock holds it."""


class UnitColumns:
    """The units' columns, and the arenas of their slots, of the members of their groups and of their tapes."""

    def __init__(self, plan: Plan, classes: int) -> None:
        self.slots: Records = np.zeros(64, dtype=SLOT)
        """In the order in which they are evaluated; with gaps where units were before they were written anew."""
        self.place: Int64Array = np.zeros(64, dtype=np.int64)
        """Of each slot, where it is; NOWHERE before its unit has been written."""
        self.operands: Int32Array = np.zeros((64, 4), dtype=np.int32)
        """(slots, 4): node, a, b and c of each slot, which may change before its unit is written anew."""
        self.groups: Records = np.zeros(64, dtype=GROUP)
        self.members: Int32Array = np.zeros(64, dtype=np.int32)
        self._known = self._slots_used = self._members_used = 0
        self._classes = classes
        self._node_classes = np.asarray([node.classes for node in plan.nodes], dtype=np.int64)
        none = (0, 0, 0)
        self._kinds = np.asarray([_OPERANDS.get(node.op, none) for node in plan.nodes], dtype=np.int64).reshape(-1, 3)
        self._count = 0
        self._tape: Records = np.zeros(256, dtype=RUN)
        self._used = 0
        self._start = np.zeros((16, classes), dtype=np.int64)
        self._stop = np.zeros((16, classes), dtype=np.int64)
        self._lengths = np.zeros((16, classes), dtype=np.int64)
        self._due = np.full((16, classes), FAR, dtype=np.int64)
        self._limit = np.full(16, NONE, dtype=np.int64)
        self._done = np.full(16, NONE, dtype=np.int64)
        self._heeded = np.full(16, NONE, dtype=np.int64)
        self._wake = np.full(16, NONE, dtype=np.int64)
        self._clocks: ClockColumns | None = None

    # -- units ---------------------------------------------------------------------------------------------------------
    def add(self) -> None:
        if self._count == len(self._limit):
            self._start, self._stop, self._lengths = (
                np.concatenate((c, np.zeros_like(c))) for c in (self._start, self._stop, self._lengths)
            )
            self._due = np.concatenate((self._due, np.full_like(self._due, FAR)))
            self._limit, self._done, self._heeded, self._wake = (
                np.concatenate((c, np.full_like(c, NONE))) for c in (self._limit, self._done, self._heeded, self._wake)
            )
        self._count += 1
        self._clocks = None

    def first_due(self, unit: int) -> None:
        """The unit has to be looked at even before it has a sample."""
        self._due[unit] = NONE

    def merge(self, into: int, gone: int) -> None:
        self._due[into] = np.minimum(self._due[into], self._due[gone])
        self._due[gone] = FAR
        self._limit[into] = max(self._limit[into], self._limit[gone])
        self._done[into] = max(self._done[into], self._done[gone])

    # -- slots ---------------------------------------------------------------------------------------------------------
    def add_slots(self, staged: Sequence[tuple[int, int, int, int]]) -> None:
        """Take slots in, as (node, a, b, c); they get their places when their units are written."""
        first, self._known = self._known, self._known + len(staged)
        if self._known > len(self.place):
            self.place = grown(self.place, self._known)
            more = np.zeros((len(self.place) - len(self.operands), 4), dtype=np.int32)
            self.operands = np.concatenate((self.operands, more))
        if staged:
            self.operands[first : self._known] = staged
            self.place[first : self._known] = NOWHERE

    def said(self, name: str) -> NDArray[Any]:
        """(slots,) one field of each, as they were born."""
        return self.slots[name][self.place[: self._known]]

    def rewrite(
        self,
        touched: Iterable[int],
        units: Sequence[Unit],
        heads: Sequence[int],
        links: Sequence[tuple[int, int]],
    ) -> None:
        """Write these units anew; their groups are lists of links (next, slot)."""
        self._clocks = None
        touched = list(touched)
        more = sum(len(units[unit].slots) for unit in touched)
        source = self.slots
        if self._slots_used + more > len(source):
            live = sum(len(unit.slots) for unit in units)
            if self._slots_used > 2 * live:  # most of it are gaps: everything is written anew
                touched = list(range(len(units)))
                self._slots_used, self._members_used, more = 0, 0, live
            self.slots = np.zeros(max(len(source), 2 * (self._slots_used + more)), dtype=SLOT)
            self.slots[: self._slots_used] = source[: self._slots_used]
        self.groups = grown(self.groups, len(heads))
        for unit in touched:
            self._write(unit, units[unit], source, heads, links)

    def _write(
        self, unit: int, members: Unit, source: Records, heads: Sequence[int], links: Sequence[tuple[int, int]]
    ) -> None:
        if not members.slots:
            self._stop[unit] = self._start[unit]
            self._lengths[unit] = 0
            return
        mine = np.sort(np.asarray(members.slots, dtype=np.int64))
        order = mine[np.argsort(self.operands[mine, 0], kind="stable")]
        first, self._slots_used = self._slots_used, self._slots_used + len(order)
        was = self.place[order]
        self.slots[first : self._slots_used] = source[was]
        self.slots[first : self._slots_used][was == NOWHERE] = np.zeros((), dtype=SLOT)
        self.place[order] = np.arange(first, self._slots_used)
        found = np.empty(2 * len(order), dtype=np.int32)
        count = _lay(first, order, self.operands, self._kinds, self.place, self.slots, found)
        for group in set(found[:count].tolist()):
            self._write_group(group, heads[group], links)
        nodes = self.slots["node"][first : self._slots_used]
        starts = np.flatnonzero(np.diff(nodes, prepend=-1))
        runs = np.empty(len(starts), dtype=RUN)
        runs["node"], runs["start"] = nodes[starts], first + starts
        runs["count"] = np.diff(starts, append=len(nodes))
        classes = self._node_classes[runs["node"]]
        for k in range(self._classes):
            tape = runs[(classes >> k) & 1 == 1]
            if not len(tape):
                self._due[unit, k] = (
                    FAR  # what is never looked at would stay due, for a unit that it becomes part of too
                )
            if self._used + len(tape) > len(self._tape):
                self._compact(len(tape))
            self._tape[self._used : self._used + len(tape)] = tape
            self._start[unit, k], self._stop[unit, k] = self._used, self._used + len(tape)
            self._lengths[unit, k] = tape["count"].sum()
            self._used += len(tape)

    def _write_group(self, group: int, link: int, links: Sequence[tuple[int, int]]) -> None:
        found: list[int] = []
        while link >= 0:
            link, slot = links[link]
            found.append(slot)
        first, self._members_used = self._members_used, self._members_used + len(found)
        self.members = grown(self.members, self._members_used)
        self.members[first : self._members_used] = self.place[found]
        self.groups[group] = first, self._members_used

    # -- tapes ---------------------------------------------------------------------------------------------------------
    def _compact(self, more: int) -> None:
        """Drop the tapes that were written anew since, and make room."""
        start, stop = self._start[: self._count], self._stop[: self._count]
        lengths = (stop - start).ravel()
        ends = np.cumsum(lengths)
        live = int(ends[-1])
        tape = np.zeros(2 * (live + more) + 256, dtype=RUN)
        tape[:live] = self._tape[np.arange(live) + np.repeat(start.ravel() - (ends - lengths), lengths)]
        start[:], stop[:] = (ends - lengths).reshape(start.shape), ends.reshape(stop.shape)
        self._tape, self._used = tape, live

    def view(self) -> Units:
        n = self._count
        columns = (self._start, self._stop, self._lengths, self._due, self._limit, self._done, self._heeded, self._wake)
        return Units(self._tape, *(column[:n] for column in columns))

    def look_again(self) -> None:
        """Something else than what the kernels do themselves has changed what is due."""
        self._wake[:] = NONE

    def clocks(self, units: list[Unit]) -> ClockColumns:
        if self._clocks is None:
            living = [i for i, unit in enumerate(units) if unit.slots]
            living.sort(key=lambda i: units[i].everywhere)
            counts = np.asarray([len(units[i].clocks) for i in living], dtype=np.int64)
            stop = np.cumsum(counts)
            self._clocks = (
                np.asarray(living, dtype=np.int64),
                stop - counts,
                stop,
                np.asarray([c for i in living for c in units[i].clocks], dtype=np.int64),
                np.asarray([units[i].everywhere for i in living], dtype=np.int64),
            )
        return self._clocks
