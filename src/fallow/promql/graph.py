"""The graph of slots: what each node's elements are, and which of them are evaluated together.

A series that is seen for the first time makes a row and a slot at every leaf that selects it; each slot is handed to
the nodes above, which make slots or link it into groups by their matching labels. Slots that read one another, and all
slots of one clock, form a *unit*: it has one event time and one tape. Units are merged when a link joins them.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fallow.batch import Int32Array, Int64Array
from fallow.promql import ops
from fallow.promql._tape import ClockColumns, Unit, UnitColumns
from fallow.promql.builder import GROUPED, PER_CLOCK
from fallow.promql.plan import ALL, ANY_NAME, NAME, Element, Labels, Node, Plan
from fallow.promql.rhythm import Class
from fallow.promql.state import RESULT, Units, grown
from fallow.series import Rows
from fallow.series.layout import FAR, NONE, Records
from fallow.state import Saved, State

NOWHERE: Final = -1
_CARRIED: Final = frozenset(
    {ops.MAP, ops.WITH_NUMBER, ops.WITH_VECTOR, ops.AND, ops.UNLESS, ops.RELABEL, ops.STAMP, ops.MEMBER}
)
"""Operations whose element is that of slot a."""
NOBODY: Final[Element] = ((), "", False)
VERSION: Final = 3
SAID: Final = ("value", "first", "last", "count", "flags", "key")
"""What a slot says, in words of a record; the others say where it stands."""
ResultKey = tuple[int, str, Labels]
"""Condition, metric name and labels: what tells a result from others, whatever else is evaluated."""


@dataclass(slots=True)
class Key:
    """What a binary node or aggregation has found under one matching key."""

    anchor: int = NOWHERE
    """A slot by which the key's unit is found."""
    lefts: int = NOWHERE
    rights: int = NOWHERE
    left_slots: list[int] | None = None
    """The slots of each side, where they have to be paired one by one."""
    right_slots: list[int] | None = None
    made: int = NOWHERE

    def add(self, position: int, slot: int) -> list[int]:
        """Take a slot of one side (0: the left) in; returns those of the other."""
        if self.left_slots is None or self.right_slots is None:
            self.left_slots, self.right_slots = [], []
        (self.left_slots if position == 0 else self.right_slots).append(slot)
        return self.right_slots if position == 0 else self.left_slots


class Mark(NamedTuple):
    """How far the graph's lists have come."""

    slots: int
    rows: int
    series: int
    groups: int
    results: int
    links: int
    units: int
    merged: int
    keys: tuple[int, ...]


class Made(NamedTuple):
    """A part of the graph: its slots as (node, a, b, c), who they are; the (domain, signal, name, labels) of its
    rows; its groups' heads, links as (next, slot), results' slots, and (node, labels, key)s.
    """

    staged: list[tuple[int, int, int, int]]
    labels: list[Labels]
    names: list[str]
    drops: list[bool]
    row_keys: list[tuple[int, int, str, Labels]]
    heads: list[int]
    links: list[tuple[int, int]]
    results: list[int]
    keys: list[tuple[int, Labels, Key]]


class Graph:
    """Slots, groups and units of one plan; ``flush`` brings their columns up to date for the kernels.

    ``named``: results have metric names, so that what ``or`` takes from either side is one element only where they agree.
    """

    def __init__(self, plan: Plan, rows: Rows, classes: Sequence[Class], *, named: bool = False) -> None:
        self.plan = plan
        self._named = named
        self.rows = rows
        self.labels: list[Labels] = []
        """Of each slot, without the metric name."""
        self.names: list[str] = []
        """Of each slot, the metric name, also where a result will be without it (``drops``): it can be matched on."""
        self.drops: list[bool] = []
        self.results: Records = np.zeros(64, dtype=RESULT)
        self.result_slots: list[int] = []
        self.units: list[Unit] = []
        self.merged: list[tuple[int, int]] = []
        """Units that became part of others: (into, gone), until somebody takes note."""
        self.unseen_births = False
        """Whether nobody saw what is born now begin, because of a gap."""
        self._staged: list[tuple[int, int, int, int]] = []
        self._node: list[int] = []
        self._unit: list[int] = []
        self.keys: list[dict[Labels, Key]] = [{} for _ in plan.nodes]
        """Of each node, what it has found under each of its matching keys."""
        self._interned: dict[Labels, Labels] = {}
        self._rows: dict[tuple[int, int, str, Labels], int] = {}
        self._feeds: dict[int, int] = {}
        """By row, the slot that feeds it."""
        self._lasting: list[tuple[int, float]] = []
        self._ranked: dict[int, list[tuple[Labels, str, int]]] = {}
        self._unranked: set[int] = set()
        self._clock_units: dict[int, int] = {}
        self._heads: list[int] = []
        """Groups are lists of slots: each group's head is a link or -1, as is the next of each link."""
        self._links: list[tuple[int, int]] = []
        self._touched: set[int] = set()
        self._flushed_results = 0
        self._conditions = {root.index: i for i, root in enumerate(plan.roots)}
        self._parent: list[int] = []
        self._classes = tuple(classes)
        self._columns = UnitColumns(plan, len(classes))
        self._leaves: dict[str, list[Node]] = {}
        for node in plan.nodes:
            if node.signal >= 0 and node.op != ops.FEED:
                self._leaves.setdefault(plan.signals[node.signal].name, []).append(node)
        self._namesakes = ANY_NAME in self._leaves or any(node.op == ops.RELABEL for node in plan.nodes)
        """Whether several elements of one vector may have the same labels."""
        # Readers first, so that an operand finds them; copies of numbers last, when the numbers are there.
        for node in sorted(plan.nodes, key=lambda n: (n.op == ops.COPY, -n.index)):
            self._static(node)
        self._static_results = len(self.result_slots)

    # -- births --------------------------------------------------------------------------------------------------------
    def add_series(
        self, name: str, labels: Labels, test: Mapping[str, str], clock: int, domain: int | None = None
    ) -> list[tuple[int, int]] | None:
        """The (row, offset) pairs that want the samples of a series seen for the first time; None at the limit.

        Where a domain is given, only what it reads.
        """
        found: dict[int, int] = {}
        test = {**test, NAME: name}
        for node in (*self._leaves.get(name, ()), *self._leaves.get(ANY_NAME, ())):
            if domain is not None and node.domain != domain:
                continue
            if node.accept is not None and not node.accept(test):
                continue
            known = self._rows.get((node.domain, node.signal, name, labels))
            if known is None:
                unit = self._unit_for(node.domain, clock)
                known = self.rows.add(node.signal)
                if known < 0:
                    return None
                self._own_row(known, unit)
                self._rows[node.domain, node.signal, name, labels] = known
            found[known] = self.plan.signals[node.signal].offset
            unit = self.find(int(self.rows.rows["unit"][known]))
            self.units[unit].clocks.add(clock)
            keys = self.keys[node.index]
            if ((NAME, name), *labels) not in keys:
                keys[((NAME, name), *labels)] = Key()
                number = self._parameter(node, 0, unit)
                self._joined(number, self._new(node, known, c=number, of=(labels, name, False), unit=unit))
        return list(found.items())

    def _unit_for(self, domain: int, clock: int) -> int:
        if domain == GROUPED:
            unit = self._new_unit()
            # A series of any clock may still join what is read together, so every clock holds it.
            self.units[unit].everywhere = True
            return unit
        if clock not in self._clock_units:
            self._clock_units[clock] = self._new_unit()
        return self.find(self._clock_units[clock])

    def _own_row(self, row: int, unit: int) -> None:
        self.rows.rows[row]["unit"] = unit
        self.units[unit].rows.append(row)

    def _static(self, node: Node) -> None:
        """Slots that are there without any series: numbers, and what speaks of absence."""
        if node.domain == PER_CLOCK or node.op not in (ops.ABSENT, ops.SCALAR, ops.CONSTANT, ops.COPY):
            return
        unit = self._new_unit()
        self.units[unit].everywhere = True
        self._columns.first_due(unit)
        if node.op == ops.COPY:
            number = self._number(node.children[0], unit)
            self._joined(number, self._new(node, number, of=NOBODY, unit=unit))
            return
        group = self._new_group() if node.op != ops.CONSTANT else NOWHERE
        slot = self._new(node, b=group, of=(node.labels, "", False), unit=unit)
        self.keys[node.index][()] = Key(made=slot, rights=group)

    # -- many births at once -------------------------------------------------------------------------------------------
    def mark(self) -> Mark:
        """How far everything has come."""
        return Mark(
            slots=len(self._node),
            rows=len(self.rows),
            series=len(self._rows),
            groups=len(self._heads),
            results=len(self.result_slots),
            links=len(self._links),
            units=len(self.units),
            merged=len(self.merged),
            keys=tuple([len(keys) for keys in self.keys]),
        )

    def since(self, mark: Mark) -> Made:
        """What was made since, as it is numbered here; no ``flush`` may lie between."""
        flushed = len(self._node) - len(self._staged)
        return Made(
            staged=self._staged[mark.slots - flushed :],
            labels=self.labels[mark.slots :],
            names=self.names[mark.slots :],
            drops=self.drops[mark.slots :],
            row_keys=list(islice(self._rows, mark.series, None)),
            heads=self._heads[mark.groups :],
            links=self._links[mark.links :],
            results=self.result_slots[mark.results :],
            keys=[
                (node, *item)
                for node, (keys, known) in enumerate(zip(self.keys, mark.keys, strict=True))
                if len(keys) > known
                for item in islice(keys.items(), known, None)
            ],
        )

    def accepts(self, name: str, test: Mapping[str, str]) -> tuple[bool, ...]:
        """Which of the matchers of the signal's selectors take a series with these labels."""
        test = {**test, NAME: name}
        leaves = (*self._leaves.get(name, ()), *self._leaves.get(ANY_NAME, ()))
        return tuple([node.accept(test) for node in leaves if node.accept is not None])

    def has_clock(self, clock: int) -> bool:
        """Whether anything of the clock was made yet."""
        return clock in self._clock_units

    def extend(self, clock: int, made: Made) -> bool:
        """Make this, numbered as from now on, of a new clock; False where part of it is there already, or no room."""
        if len(self.rows) + len(made.row_keys) > self.rows.limit:
            return False
        if any(labels in self.keys[node] for node, labels, _ in made.keys):
            return False
        unit = self._unit_for(PER_CLOCK, clock)
        first, row = len(self._node), len(self.rows)
        interned = self._interned
        for _, signal, _, _ in made.row_keys:
            self.rows.add(signal)
        self.rows.rows["unit"][row : len(self.rows)] = unit
        self._rows.update(zip(made.row_keys, range(row, len(self.rows)), strict=True))
        self._node.extend([staged[0] for staged in made.staged])
        self._staged.extend(made.staged)
        self._unit.extend([unit] * len(made.staged))
        self.labels.extend([interned.setdefault(labels, labels) for labels in made.labels])
        self.names.extend(made.names)
        self.drops.extend(made.drops)
        self._heads.extend(made.heads)
        self._links.extend(made.links)
        self.result_slots.extend(made.results)
        for node, labels, key in made.keys:
            self.keys[node][labels] = key
        members = self.units[unit]
        members.slots.extend(range(first, len(self._node)))
        members.rows.extend(range(row, len(self.rows)))
        members.clocks.add(clock)
        self._touched.add(unit)
        return True

    # -- units ---------------------------------------------------------------------------------------------------------
    def _new_unit(self) -> int:
        self.units.append(Unit())
        self._parent.append(len(self._parent))
        self._columns.add()
        return len(self.units) - 1

    def find(self, unit: int) -> int:
        """The unit that this one has been merged into."""
        while self._parent[unit] != unit:
            self._parent[unit] = self._parent[self._parent[unit]]
            unit = self._parent[unit]
        return unit

    def unit_of(self, slot: int) -> int:
        return self.find(self._unit[slot])

    def _merge(self, slot: int, other: int) -> None:
        a, b = self.unit_of(slot), self.unit_of(other)
        if a == b:
            return
        if len(self.units[a].slots) < len(self.units[b].slots):
            a, b = b, a
        into, gone = self.units[a], self.units[b]
        into.slots += gone.slots
        into.rows += gone.rows
        into.clocks |= gone.clocks
        into.everywhere |= gone.everywhere
        self.rows.rows["unit"][gone.rows] = a
        self._parent[b] = a
        self._columns.merge(a, b)
        self.merged.append((a, b))
        self.units[b] = Unit()
        self._touched |= {a, b}

    # -- slots ---------------------------------------------------------------------------------------------------------
    def _new(self, node: Node, a: int = -1, b: int = -1, c: int = -1, *, of: Element, unit: int) -> int:
        slot = self._add(node, a, b, c, of, unit)
        for parent, position in node.parents:
            self._hand_up(parent, position, slot)
        return slot

    def _add(self, node: Node, a: int, b: int, c: int, of: Element, unit: int) -> int:
        slot, unit = len(self._node), self.find(unit)
        labels, name, drops = of
        self._node.append(node.index)
        self._unit.append(unit)
        self._staged.append((node.index, a, b, c))
        self.labels.append(self._interned.setdefault(labels, labels))
        self.names.append(name)
        self.drops.append(drops or not node.keeps_name)
        self.units[unit].slots.append(slot)
        self._touched.add(unit)
        return slot

    def element(self, slot: int) -> Element:
        """Who a slot is."""
        return self.labels[slot], self.names[slot], self.drops[slot]

    def _number(self, node: Node, unit: int) -> int:
        """A slot of a changing number for one reader."""
        if node.op == ops.SCALAR:
            return self.keys[node.index][()].made
        below = [self._number(child, unit) for child in node.children]
        pair = below[1] if len(below) > 1 else -1
        group = self._group_of([pair]) if pair >= 0 else -1
        slot = self._add(node, below[0] if below else -1, group, -1, NOBODY, unit)
        for other in below:
            self._merge(other, slot)
        return slot

    def _parameter(self, node: Node, position: int, unit: int) -> int:
        """A slot of the changing number that is the operand at this position; -1 where there is none."""
        return self._number(node.children[position], unit) if position < len(node.children) else NOWHERE

    def _set(self, slot: int, operand: int, value: int) -> None:
        """Give a slot another a (1) or c (3)."""
        flushed = len(self._node) - len(self._staged)
        if slot < flushed:
            self._columns.operands[slot, operand] = value
            return
        staged = list(self._staged[slot - flushed])
        staged[operand] = value
        node, a, b, c = staged
        self._staged[slot - flushed] = node, a, b, c

    def _new_group(self) -> int:
        self._heads.append(-1)
        return len(self._heads) - 1

    def _link(self, group: int, slot: int) -> None:
        self._links.append((self._heads[group], slot))
        self._heads[group] = len(self._links) - 1

    def _group_of(self, slots: Iterable[int]) -> int:
        group = self._new_group()
        for slot in slots:
            self._link(group, slot)
        return group

    # -- from operand to operation -------------------------------------------------------------------------------------
    def _hand_up(self, node: Node, position: int, slot: int) -> None:
        """Let a node know of a new slot of one of its operands."""
        if node.children[position].scalar or (node.scalar and node.op != ops.SCALAR):
            return
        match node.op:
            case ops.ABSENT | ops.SCALAR:
                key = self.keys[node.index][()]
                self._link(key.rights, slot)
                self._merge(key.made, slot)
            case ops.ROOT:
                self.result_slots.append(self._over(node, slot, len(self.result_slots)))
            case ops.WITH_NUMBER | ops.STAMP:
                self._over(node, slot)
            case ops.MAP:
                self._map(node, slot)
            case ops.RELABEL:
                self._relabel(node, slot)
            case ops.BUCKET:
                self._bucket(node, slot)
            case ops.AGGREGATE | ops.HISTOGRAM:
                self._aggregate(node, slot)
            case ops.MEMBER if position == 0:
                self._member(node, slot)
            case ops.FEED:
                self._feed(node, slot)
            case ops.SUBRANGE:
                number = self._joined(self._parameter(node, 1, self.unit_of(slot)), slot)
                self._over(node, self._fed_row(slot), slot, number, like=slot)
            case ops.WITH_VECTOR if node.children[1].scalar:
                number = self._joined(self._number(node.children[1], self.unit_of(slot)), slot)
                self._over(node, slot, self._group_of([number]))
            case ops.COPY | ops.TOP | ops.MEMBER:
                pass
            case _:
                self._match(node, position, slot)

    def _over(self, node: Node, a: int, b: int = -1, c: int = -1, *, like: int = NOWHERE) -> int:
        """A slot over slot ``a`` that is the same element as it (or as ``like``)."""
        like = a if like == NOWHERE else like
        return self._new(node, a, b, c, of=self.element(like), unit=self.unit_of(like))

    def _joined(self, number: int, slot: int) -> int:
        """The slot of a changing number, from now on evaluated together with its reader's operand."""
        if number >= 0:
            self._merge(number, slot)
        return number

    def _map(self, node: Node, slot: int) -> None:
        changing = [self._joined(self._number(c, self.unit_of(slot)), slot) for c in node.children[1:]]
        b = changing[0] if node.flags & ops.CHANGING_0 else NOWHERE
        c = changing[-1] if node.flags & ops.CHANGING_1 else NOWHERE
        self._over(node, slot, b, c)

    def _relabel(self, node: Node, slot: int) -> None:
        assert node.relabel is not None
        self._new(node, slot, of=node.relabel(*self.element(slot)), unit=self.unit_of(slot))

    def _bucket(self, node: Node, slot: int) -> None:
        """One bucket of a classic histogram, its bound kept as the slot's key."""
        bound = _bound(dict(self.labels[slot]).get("le", ""))
        if bound is not None:
            self._lasting.append((len(self._node), bound))
            self._over(node, slot)

    def _feed(self, node: Node, slot: int) -> None:
        """The row that a subquery's results go to."""
        row = self.rows.add(node.signal)
        if row >= 0:
            self._own_row(row, self.unit_of(slot))
            self._feeds[row] = len(self._node)
            self._over(node, slot, row, self._carrier(slot))

    def _carrier(self, slot: int) -> int:
        """The slot whose elements those of ``slot`` are, filtered or changed: where it is absent, data is missing."""
        node, a, _, _ = self._read(slot)
        return self._carrier(a) if self.plan.nodes[node].op in _CARRIED else slot

    def _fed_row(self, feed: int) -> int:
        return self._read(feed)[2]

    def _aggregate(self, node: Node, slot: int) -> None:
        labels, name, drops = self.element(slot)
        if node.op == ops.HISTOGRAM and name:
            matching: Labels = ((NAME, name), *node.match.of(labels, name))
        else:
            matching = node.match.of(labels, name)
        keys = self.keys[node.index]
        key = keys.get(matching)
        if key is None:
            group = self._group_of([slot])
            keys[matching] = Key(rights=group, anchor=slot)
            number = self._joined(self._parameter(node, 1, self.unit_of(slot)), slot)
            self._new(node, number, group, of=(*_split(matching), drops), unit=self.unit_of(slot))
            return
        self._link(key.rights, slot)
        self._merge(key.anchor, slot)

    def _member(self, node: Node, slot: int) -> None:
        """An element among those of which TOP chooses."""
        top = node.children[1]
        matching = node.match.of(self.labels[slot], self.names[slot])
        keys = self.keys[node.index]
        key = keys.get(matching)
        if key is None:
            key = keys[matching] = Key(rights=self._new_group(), anchor=slot)
            number = self._joined(self._parameter(top, 1, self.unit_of(slot)), slot)
            self._add(top, number, key.rights, -1, NOBODY, self.unit_of(slot))
        self._merge(key.anchor, slot)
        made = self._over(node, slot)
        self._link(key.rights, made)
        insort(self._ranked.setdefault(key.rights, []), (*self.element(slot)[:2], made))
        self._unranked.add(key.rights)

    def _match(self, node: Node, position: int, slot: int) -> None:
        matching = node.match.of(self.labels[slot], self.names[slot])
        keys = self.keys[node.index]
        key = keys.get(matching)
        if key is None:
            key = keys[matching] = Key(lefts=self._new_group(), rights=self._new_group(), anchor=slot)
        elif key.anchor != slot:
            self._merge(key.anchor, slot)
        self._link(key.lefts if position == 0 else key.rights, slot)
        if node.op == ops.OR:
            self._either(node, key, position, slot)
        elif node.include:
            for other in key.add(position, slot):
                self._pair(node, *((slot, other) if position == 0 else (other, slot)))
        elif position == 0:
            self._left(node, key, slot, matching)

    def _left(self, node: Node, key: Key, slot: int, matching: Labels) -> None:
        of = self.element(slot)
        peers = NOWHERE
        if node.op == ops.WITH_VECTOR:
            if node.one_to_one and (node.match is not ALL or self._namesakes):
                peers = key.lefts
            of = paired(node, of, matching)
        self._new(node, slot, key.rights, peers, of=of, unit=self.unit_of(slot))

    def _pair(self, node: Node, many: int, one: int) -> None:
        """group_left with labels: an element of the many, with labels of the one."""
        labels, name, drops = paired(node, self.element(many), ())
        kept = {k: v for k, v in labels if k not in node.include}
        kept |= {k: v for k, v in self.labels[one] if k in node.include}
        of = tuple(sorted(kept.items())), name, drops
        self._new(node, many, self._group_of([one]), of=of, unit=self.unit_of(many))

    def _either(self, node: Node, key: Key, position: int, slot: int) -> None:
        """``or``: one slot per element, whichever side it comes from."""
        shown = self.names[slot] if self._named and not self.drops[slot] else ""
        same = ((NAME, "or"), (NAME, shown), *self.labels[slot])
        known = self.keys[node.index].get(same)
        if known is not None and not (known.left_slots if position == 0 else known.right_slots):
            known.add(position, slot)
            self._set(known.made, 1 if position == 0 else 3, slot)
            return
        a, c = (slot, -1) if position == 0 else (-1, slot)
        made = Key()
        made.add(position, slot)
        self.keys[node.index][same] = made
        made.made = self._over(node, a, key.lefts, c, like=slot)

    # -- reading -------------------------------------------------------------------------------------------------------
    def members(self, group: int) -> list[int]:
        """The slots of a group."""
        found: list[int] = []
        link = self._heads[group]
        while link >= 0:
            link, slot = self._links[link]
            found.append(slot)
        return found

    def matches(self, node: Node) -> Iterator[tuple[Labels, list[int], list[int]]]:
        """(matching labels, slots on the left, slots on the right) of a node that pairs its operands."""
        for matching, key in self.keys[node.index].items():
            if key.lefts >= 0:
                yield matching, self.members(key.lefts), self.members(key.rights)

    def _read(self, slot: int) -> tuple[int, int, int, int]:
        """(node, a, b, c) of a slot, written out or not."""
        flushed = len(self._node) - len(self._staged)
        if slot >= flushed:
            return self._staged[slot - flushed]
        node, a, b, c = self._columns.operands[slot].tolist()
        return node, a, b, c

    # -- columns -------------------------------------------------------------------------------------------------------
    def flush(self) -> None:
        """Bring the columns up to date with what was born since."""
        if not self._touched:
            return
        self._columns.add_slots(self._staged)
        self._staged.clear()
        known = len(self.results)
        self.results = grown(self.results, len(self.result_slots))
        self.results["frozen"][known:] = NONE
        self.results["unseen"][self._flushed_results :] = self.unseen_births
        self._flushed_results = len(self.result_slots)
        self._columns.rewrite(self._touched, self.units, self._heads, self._links)
        self._touched.clear()
        self._flush_keys()

    def _flush_keys(self) -> None:
        slots, place = self._columns.slots, self._columns.place
        for slot, value in self._lasting:
            slots["key"][place[slot]] = value
        self._lasting.clear()
        for group in self._unranked:
            ordered = np.asarray([slot for _, _, slot in self._ranked[group]], dtype=np.int64)
            slots["key"][place[ordered]] = np.arange(len(ordered))
        self._unranked.clear()

    def said(self, name: str) -> NDArray[Any]:
        """(slots,) what each slot says: one of ``SAID``."""
        return self._columns.said(name)

    def rouse(self) -> None:
        """Let every result be looked at again: something else than the kernels has changed them."""
        self._columns.slots["flags"][self._columns.place[self.result_slots]] = 0

    def operand(self, slot: int) -> int:
        """The slot, row or group that is a slot's a."""
        return self._read(slot)[1]

    def node_of(self, slot: int) -> int:
        """The number of the node that a slot is an element of."""
        return self._node[slot]

    @property
    def columns(self) -> Units:
        return self._columns.view()

    @property
    def arrays(self) -> tuple[Records, Records, Int32Array]:
        """(slots, groups, their members) as the kernels read them."""
        return self._columns.slots, self._columns.groups, self._columns.members

    def columns_begin(self, first: int, intervals: Int64Array) -> None:
        """Event time begins with ``first``: what speaks of absence is looked at from its instant on."""
        due = self._columns.view().due
        due[:] = np.where(due == NONE, -(-first // intervals) * intervals, due)
        self._columns.look_again()

    def clock_columns(self) -> ClockColumns:
        """(unit, first, stop, clock, everywhere): the clocks of each unit that has not been merged into another, those
        that depend on every clock last.
        """
        return self._columns.clocks(self.units)

    # -- across a restart ----------------------------------------------------------------------------------------------
    @property
    def fed(self) -> dict[int, object]:
        """By row that a subquery feeds, whose results they are; of several of one element, which of them."""
        return _numbered({row: self.element(slot) for row, slot in self._feeds.items()})

    def fed_in(self, state: State) -> dict[int, object]:
        """The same of the rows of a state."""
        labels = _labels_of(state)
        return _numbered({row: (labels[key], name, drops) for row, _, key, name, drops in state.document["fed"]})

    def distrust_fed(self, until: int) -> None:
        """Subqueries have not seen what came up to then."""
        for slot in self._feeds.values():
            fed = self._columns.slots[self._columns.place[slot]]
            if fed["count"]:
                fed["first"] = max(int(fed["first"]), until + self.plan.nodes[self._node[slot]].ns)

    def result_key(self, result: int) -> ResultKey:
        """What tells a result from others; the condition is the number of its root among the plan's."""
        slot = self.result_slots[result]
        below = self.operand(slot)
        return self._conditions[self._node[slot]], self.names[below], self.labels[slot]

    @property
    def size(self) -> list[int]:
        """How much there is of everything: a graph of the same conditions and births has the same, number by number."""
        return [len(self._node), len(self.rows), len(self._heads), len(self.result_slots), len(self.units)]

    def save(self, also: Iterable[int]) -> Saved:
        """How far units and results have come, and what slots say. Results that say nothing but that nothing is, are left
        out; not ``also``.
        """
        self.flush()
        count = len(self.result_slots)
        results = self.results[:count]
        live = (results["state"] != 0) | (results["unknown"] != 0) | (results["unseen"] != 0)
        live[: self._static_results] = True
        live[list(also)] = True
        chosen = np.flatnonzero(live)
        records = self.results[chosen]
        into = np.asarray(self._parent, dtype=np.int64)
        of_rows = self.rows.rows["unit"][: len(self.rows)].copy()
        view = self.columns
        columns = {"due": view.due.copy(), "limit": view.limit.copy(), "done": view.done.copy()}
        slots = {f"slot_{name}": self.said(name) for name in SAID}
        feeds, size = dict(self._feeds), self.size

        def made() -> State:
            labels: dict[Labels, int] = {}
            elements: list[tuple[int, int, int, str, bool]] = []
            for row, slot in feeds.items():
                of, name, drops = self.element(slot)
                elements.append((row, slot, labels.setdefault(of, len(labels)), name, drops))
            of_results = np.asarray([self._unit[self.result_slots[i]] for i in chosen.tolist()], dtype=np.int64)
            while (into[of_results] != of_results).any():
                of_results = into[of_results]
            names: dict[str, int] = {}
            keys = [self.result_key(i) for i in chosen.tolist()]
            which = [(c, names.setdefault(n, len(names)), labels.setdefault(k, len(labels))) for c, n, k in keys]
            return State(
                version=VERSION,
                document={
                    "classes": [list(one) for one in self._classes],
                    "size": size,
                    "names": list(names),
                    "labels": list(labels),
                    "fed": elements,
                },
                arrays={
                    "results": records,
                    "result_numbers": chosen,
                    "result_keys": np.asarray(which, dtype=np.int64).reshape(-1, 3),
                    "result_units": of_results,
                    "row_units": of_rows,
                    **columns,
                    **slots,
                },
            )

        return made

    def resume(self, state: State) -> dict[int, int]:
        """Be what the graph of the state was, which had the same conditions, births and ``size``; returns its results."""
        self.flush()
        saved = state.of(VERSION).arrays
        self.results[saved["result_numbers"]] = saved["results"]
        for name in SAID:
            self._columns.slots[name][self._columns.place[: len(self._node)]] = saved[f"slot_{name}"]
        self.rouse()
        columns = self.columns
        columns.due[:], columns.limit[:], columns.done[:] = saved["due"], saved["limit"], saved["done"]
        self._columns.look_again()
        return {number: number for number in saved["result_numbers"].tolist()}

    def restore(
        self,
        state: State,
        old: Int64Array,
        new: Int64Array,
        conditions: Mapping[int, int],
        since: int,
        *,
        at_once: bool,
    ) -> dict[int, int]:
        """Go on from another graph, once everything that was born then is born again.

        Args:
            old, new: rows of the state, and what they are now.
            conditions: by their number in the state, what it is now.
            since: what the state has nothing of begins after this time.
            at_once: whether everything has to be looked at at its next instant, because it is not what it was.

        Returns:
            By the number of a result in the state, what it is now.
        """
        self.flush()
        saved = state.of(VERSION)
        results = self._found(saved, conditions)
        now = np.asarray(list(results.values()), dtype=np.int64)
        at = np.asarray(list(results), dtype=np.int64)
        self.results[now] = saved.arrays["results"][at]
        self.rouse()
        of = np.asarray([self.unit_of(self.result_slots[i]) for i in now.tolist()], dtype=np.int64)
        here = np.concatenate((of, self.rows.rows["unit"][new]))
        there = np.concatenate((saved.arrays["result_units"][at], saved.arrays["row_units"][old]))
        self._catch_up(saved, here, there, at_once=at_once)
        self._restore_fed(saved, dict(zip(old.tolist(), new.tolist(), strict=True)))
        for result in set(range(self._static_results)) - set(now.tolist()):
            self.columns.due[self.unit_of(self.result_slots[result])] = NONE
        if since != NONE:
            self.columns_begin(since + 1, np.asarray([c.interval for c in self._classes], dtype=np.int64))
        self._columns.look_again()
        return dict(zip(saved.arrays["result_numbers"][at].tolist(), now.tolist(), strict=True))

    def _catch_up(self, saved: State, here: Int64Array, there: Int64Array, *, at_once: bool) -> None:
        """Let units come as far as those of the state had, of which they have something, and be due when those were.

        What slots said is not known, so that all classes of one interval are looked at together the first time.
        """
        columns, known = self.columns, saved.document["classes"]
        columns.due[here] = FAR
        np.maximum.at(columns.limit, here, saved.arrays["limit"][there])
        np.maximum.at(columns.done, here, saved.arrays["done"][there])
        done = columns.done[here]
        for interval in {one.interval for one in self._classes}:
            together = [one for one in self._classes if one.interval == interval]
            due = np.full(len(here), FAR, dtype=np.int64)
            if at_once or any(list(one) not in known for one in together):
                due = np.where(done == NONE, FAR, (done // interval + 1) * interval)
            for one in together:
                if list(one) in known:
                    was = saved.arrays["due"][there, known.index(list(one))]
                    due = np.minimum(due, np.where((was > done) | (done == NONE), was, FAR))
            for k, one in enumerate(self._classes):
                if one.interval == interval:
                    np.minimum.at(columns.due[:, k], here, due)

    def _restore_fed(self, saved: State, rows: Mapping[int, int]) -> None:
        """What subqueries know of the instants that they have seen."""
        for row, slot, *_ in saved.document["fed"]:
            if row in rows:
                fed = self._columns.slots[self._columns.place[self._feeds[rows[row]]]]
                for name in ("first", "last", "count", "key"):
                    fed[name] = saved.arrays[f"slot_{name}"][slot]

    def _found(self, saved: State, conditions: Mapping[int, int]) -> dict[int, int]:
        """By its place in the state, each result that is here too; of several of one key, in their order."""
        labels = _labels_of(saved)
        wanted: dict[ResultKey, list[int]] = {}
        for at, (condition, name, key) in enumerate(saved.arrays["result_keys"].tolist()):
            if condition in conditions:
                full = conditions[condition], saved.document["names"][name], labels[key]
                wanted.setdefault(full, []).append(at)
        found: dict[int, int] = {}
        for result in range(len(self.result_slots)):
            places = wanted.get(self.result_key(result))
            if places:
                found[places.pop(0)] = result
        return found


def _labels_of(state: State) -> list[Labels]:
    return [tuple((str(k), str(v)) for k, v in one) for one in state.document["labels"]]


def _numbered(elements: Mapping[int, object]) -> dict[int, object]:
    """Equal ones told apart by how many came before."""
    seen: Counter[object] = Counter()
    found: dict[int, object] = {}
    for row, element in elements.items():
        found[row] = (element, seen[element])
        seen[element] += 1
    return found


def paired(node: Node, of: Element, matching: Labels) -> Element:
    """Who the result of a pair is: the element of the many; of one to one, what was matched of it.

    An operation that makes a new value leaves no name at all.
    """
    labels, name, drops = of
    if node.fn < ops.FIRST_COMPARISON:
        name = ""
    if node.one_to_one:
        labels, kept = _split(matching)
        if node.match.keep:
            name = kept
    return labels, name, drops


def _split(matching: Labels) -> tuple[Labels, str]:
    """(labels, metric name) of what a label set keeps."""
    if matching and matching[0][0] == NAME:
        return matching[1:], matching[0][1]
    return matching, ""


def _bound(text: str) -> float | None:
    """What an ``le`` label says; None where it is no number."""
    try:
        return float(text)
    except ValueError:
        return None
