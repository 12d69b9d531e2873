"""Births of many series at once. Hosts are mostly alike: what the first one made of the graph is made again for the others.

A stamp is what the series of one new clock made of the conditions that read each clock by itself: slots, groups, links,
results and rows, all numbered from where they began. Series of another new clock that differ in nothing but the values of
their labels make the same, with other values. Where that is not sure, each series is added by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fallow.promql import ops
from fallow.promql.builder import GROUPED, PER_CLOCK
from fallow.promql.graph import NOWHERE, Graph, Key, Made, Mark
from fallow.promql.plan import NAME, Labels

Pair = tuple[str, str]
Wants = list[tuple[int, int]]
"""(row, offset) pairs that want the samples of a series."""

SHAPES: Final = 64
"""Stamps kept; hosts of yet another kind are made series by series."""
_KINDS: Final = ("", "slot", "row", "group", "result")
_NONE, _SLOT, _ROW, _GROUP, _RESULT = range(len(_KINDS))
_FIELDS: Final = {
    ops.INSTANT: (_ROW, _NONE, _NONE),
    ops.RANGE: (_ROW, _NONE, _SLOT),
    ops.MAP: (_SLOT, _SLOT, _SLOT),
    ops.WITH_NUMBER: (_SLOT, _NONE, _NONE),
    ops.WITH_VECTOR: (_SLOT, _GROUP, _GROUP),
    ops.AND: (_SLOT, _GROUP, _GROUP),
    ops.UNLESS: (_SLOT, _GROUP, _GROUP),
    ops.OR: (_SLOT, _GROUP, _SLOT),
    ops.AGGREGATE: (_SLOT, _GROUP, _NONE),
    ops.ROOT: (_SLOT, _RESULT, _NONE),
}
"""What the fields a, b and c of a slot number, for the operations that are stamped."""


class Newborn(NamedTuple):
    """A series seen for the first time: its PromQL name and labels."""

    name: str
    labels: Labels
    test: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Stamp:
    """A part of the graph with everything numbered from 0, and labels as numbers of ``sets``."""

    staged: NDArray[np.int64]
    kinds: NDArray[np.int64]
    """(slots, 4): what the fields of ``staged`` number."""
    labels: list[int]
    row_keys: list[tuple[int, int, str, int]]
    keys: list[tuple[int, int, Key]]
    sets: list[list[Pair | int]]
    """Sets of labels: each pair as it stands, or the number of one that differs."""
    names: list[str]
    drops: list[bool]
    heads: list[int]
    links: list[tuple[int, int]]
    results: list[int]
    wants: list[Wants]


class Births:
    """Adds series to a graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._stamps: dict[object, _Stamp | None] = {}

    def add(self, clock: int, series: Sequence[Newborn]) -> list[Wants | None]:
        """Which rows want the samples of each of some series of one clock; None beyond the limit."""
        graph = self._graph
        if graph.has_clock(clock):
            return [graph.add_series(s.name, s.labels, s.test, clock) for s in series]
        pairs: dict[Pair, int] = {}
        shape = self._shape(series, pairs)
        if shape not in self._stamps and len(self._stamps) < SHAPES:
            mark = graph.mark()
            found = [graph.add_series(s.name, s.labels, s.test, clock, PER_CLOCK) for s in series]
            self._stamps[shape] = self._cut(mark, found, pairs)
        else:
            stamp = self._stamps.get(shape)
            stamped = self._press(stamp, clock, list(pairs)) if stamp is not None else None
            found = stamped or [graph.add_series(s.name, s.labels, s.test, clock, PER_CLOCK) for s in series]
        for i, (one, own) in enumerate(zip(series, found, strict=True)):
            more = graph.add_series(one.name, one.labels, one.test, clock, GROUPED)
            found[i] = None if own is None or more is None else own + more
        return found

    def _shape(self, series: Sequence[Newborn], pairs: dict[Pair, int]) -> object:
        """What series have to have in common to be stamped alike; numbers their pairs in order of appearance."""
        return tuple(
            (
                s.name,
                tuple([(pair[0], pairs.setdefault(pair, len(pairs))) for pair in s.labels]),
                self._graph.accepts(s.name, s.test),
            )
            for s in series
        )

    # -- cutting a stamp -----------------------------------------------------------------------------------------------
    def _cut(self, was: Mark, found: Sequence[Wants | None], pairs: Mapping[Pair, int]) -> _Stamp | None:
        """What was made since; None where it hangs together with anything from before."""
        graph = self._graph
        now = graph.mark()
        if any(wants is None for wants in found) or now.merged != was.merged or now.units != was.units + 1:
            return None
        if now.rows - was.rows != now.series - was.series:
            return None
        made = graph.since(was)
        staged = np.asarray(made.staged, dtype=np.int64).reshape(-1, 4)
        operations = [graph.plan.nodes[node].op for node in staged[:, 0].tolist()]
        if any(op not in _FIELDS for op in operations):
            return None
        kinds = np.asarray([(_NONE, *_FIELDS[op]) for op in operations], dtype=np.int64).reshape(-1, 4)
        kinds[staged < 0] = _NONE
        base = _base(was)
        if ((staged < base[kinds]) & (kinds != _NONE)).any():
            return None
        sets: dict[Labels, int] = {}
        labels = [sets.setdefault(of, len(sets)) for of in made.labels]
        keys = [(node, sets.setdefault(of, len(sets)), _moved(key, was, -1)) for node, of, key in made.keys]
        row_keys = [(d, signal, name, sets.setdefault(of, len(sets))) for d, signal, name, of in made.row_keys]
        if any(pair not in pairs and pair[0] != NAME for of in sets for pair in of):
            return None
        return _Stamp(
            staged=staged - base[kinds],
            kinds=kinds,
            labels=labels,
            row_keys=row_keys,
            keys=keys,
            sets=[[pairs.get(pair, pair) for pair in of] for of in sets],
            names=made.names,
            drops=made.drops,
            heads=[head - was.links if head >= 0 else NOWHERE for head in made.heads],
            links=[(n - was.links if n >= 0 else NOWHERE, slot - was.slots) for n, slot in made.links],
            results=[slot - was.slots for slot in made.results],
            wants=[[(row - was.rows, offset) for row, offset in wants or ()] for wants in found],
        )

    # -- pressing it ---------------------------------------------------------------------------------------------------
    def _press(self, stamp: _Stamp, clock: int, pairs: Sequence[Pair]) -> list[Wants | None] | None:
        """Make the same for a new clock; None where something of it is there already."""
        graph = self._graph
        was = graph.mark()
        sets = [tuple([pairs[p] if isinstance(p, int) else p for p in of]) for of in stamp.sets]
        made = Made(
            staged=(stamp.staged + _base(was)[stamp.kinds]).tolist(),
            labels=[sets[of] for of in stamp.labels],
            names=stamp.names,
            drops=stamp.drops,
            row_keys=[(d, signal, name, sets[of]) for d, signal, name, of in stamp.row_keys],
            heads=[head + was.links if head >= 0 else NOWHERE for head in stamp.heads],
            links=[(n + was.links if n >= 0 else NOWHERE, slot + was.slots) for n, slot in stamp.links],
            results=[slot + was.slots for slot in stamp.results],
            keys=[(node, sets[of], _moved(key, was, 1)) for node, of, key in stamp.keys],
        )
        if not graph.extend(clock, made):
            return None
        return [[(row + was.rows, offset) for row, offset in wants] for wants in stamp.wants]


def _base(mark: Mark) -> NDArray[np.int64]:
    """Where the numbers of each kind begin."""
    return np.asarray([0, mark.slots, mark.rows, mark.groups, mark.results], dtype=np.int64)


def _moved(key: Key, mark: Mark, way: int) -> Key:
    """The key with all that it numbers moved by where the mark stands, up or down."""
    slots, groups = way * mark.slots, way * mark.groups
    return Key(
        key.anchor + slots if key.anchor >= 0 else NOWHERE,
        key.lefts + groups if key.lefts >= 0 else NOWHERE,
        key.rights + groups if key.rights >= 0 else NOWHERE,
        None if key.left_slots is None else [slot + slots for slot in key.left_slots],
        None if key.right_slots is None else [slot + slots for slot in key.right_slots],
        key.made + slots if key.made >= 0 else NOWHERE,
    )
