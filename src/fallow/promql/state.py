"""What the kernels work on: structured arrays of nodes, slots, groups, runs and results, and the columns of units."""

from __future__ import annotations

from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fallow.batch import Int32Array, Int64Array
from fallow.series.layout import Records


def _record(**fields: type[np.generic]) -> np.dtype[np.void]:
    return np.dtype(list(fields.items()))


_I4, _I8, _F8 = np.int32, np.int64, np.float64

NODE: Final = _record(
    op=_I8, fn=_I8, flags=_I8, p0=_F8, p1=_F8, ns=_I8, store=_I8, condition=_I8, held=_I8, sure=_I8, wanted=_I8
)
"""What a node does; ``store`` numbers its store among all; ``held``: see plan. Before ``sure`` there may be elements that
it has not seen, because a snapshot does not have them. ``wanted``: a bit for each statistic of its window."""

SLOT: Final = _record(node=_I4, a=_I4, b=_I4, c=_I4, value=_F8, first=_I8, last=_I8, count=_I8, flags=_I8, key=_F8)
"""One element of one node, present or not; those of one unit and node lie side by side. ``a``, ``b``, ``c``: see ops.
Its evidence: the time of its first sample and of its last, and how many there are. ``key``: what a slot of its operation has
for life. 64 bytes: a line of the cache."""

GROUP: Final = _record(start=_I4, stop=_I4)
"""A group of slots: a stretch of the array of all groups' members."""

RUN: Final = _record(node=_I4, start=_I4, count=_I4)
"""Slots of one node that lie side by side, evaluated one after the other."""

RESULT: Final = _record(
    state=_I8,
    since=_I8,
    frozen=_I8,
    start=_I8,
    end=_I8,
    count=_I8,
    value=_F8,
    began=_I8,
    unknown=_I8,
    unknown_since=_I8,
    unseen=_I8,
)
"""How far a result of a condition has come. ``state``: 0 not true · 1 true, not yet for long enough · 2 holding;
``frozen``: since when a pending result is unknown, or NONE; ``unknown``: 0 known · 1 unknown · 2 and true on what is
there · 3 said so; ``unseen``: 1 where nobody saw it begin if it is true, because of a gap."""

SETTING: Final = _record(coverage=_F8, plain=np.bool_)
"""What holds for an engine's life. ``plain``: PromQL as Prometheus has it, nothing unknown, the lookback as it is."""


WAITING: Final = _record(time=_I8, value=_F8, row=_I4, stale=_I4)
"""A sample that waits."""

STRETCH: Final = _record(start=_I8, least=_I8, count=_I4, next=_I4)
"""Samples of one unit that lie side by side in the pool, in order of arrival, and their least time; ``next``:
the unit's next stretch, or -1. Stretches that are free hang together by ``next`` too."""


class Queues(NamedTuple):
    """(units,): the first and last stretch of what waits for each unit, -1 where nothing does, and its least time."""

    head: Int32Array
    tail: Int32Array
    first: Int64Array


class Units(NamedTuple):
    """(units,): what is evaluated together, on one event time.

    ``tape_start`` and ``tape_stop`` (units, classes) index ``tape``, the runs in evaluation order, which have ``tape_slots``
    slots; ``due`` is the next instant at which the class has to be looked at; ``limit`` the last that may be; ``heeded`` the limit up to which
    ``done`` says so; nothing is to be done before ``wake``.
    """

    tape: Records
    tape_start: Int64Array
    tape_stop: Int64Array
    tape_slots: Int64Array
    due: Int64Array
    limit: Int64Array
    done: Int64Array
    heeded: Int64Array
    wake: Int64Array


BEGAN, ENDED, SAID_UNKNOWN, UNKNOWN_FROM, KNOWN_AGAIN, BEGAN_UNSEEN = range(6)


T = TypeVar("T", bound=np.generic)


def grown(column: NDArray[T], size: int, fill: float = 0) -> NDArray[T]:
    """The column with room for ``size``, at least doubled where it was too short."""
    if size <= len(column):
        return column
    more = np.zeros(max(size, 2 * len(column)) - len(column), dtype=column.dtype)
    if fill:
        more[:] = fill
    return np.concatenate((column, more))
