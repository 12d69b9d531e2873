"""What nested rules mean, straight from their definition: the whole stream at once, innermost nodes first.

Plain and slow on purpose, and on its own: it shares the parsed rule with the engine and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import re2

from fallow_processors.cre.rule import Extract, Item, Node, Term

FOREVER = 1 << 62
Key = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """An event of a node: a record, or a hit of an inner node."""

    time: int
    rank: tuple[int, Key]
    items: frozenset[int]
    """Which of the node's items it is, by place."""
    properties: Mapping[str, str]
    resource: Key | None
    records: tuple[int, ...]
    blame: tuple[bool, int]
    """Whether it comes from the node to blame, and the first record that does."""
    decided: int = 0


@dataclass(frozen=True, kw_only=True)
class Record:
    """A log record; ``resource`` is what tells its resource."""

    time: int
    text: str
    attributes: Mapping[str, str]
    resource: Key


@dataclass(frozen=True, kw_only=True)
class OracleHit:
    """What a node found: its records slot by slot, the tuple, and when it was decided."""

    time: int
    key: Key
    decided: int
    records: tuple[int, ...]
    properties: Mapping[str, str]
    resource: Key | None
    blame: tuple[bool, int]


def detections(root: Node, records: Sequence[Record]) -> list[OracleHit]:
    """Every detection of a rule over records that are given in order of arrival, each resource's in order of time."""
    return _hits(root, (), records, is_root=True)


def _hits(node: Node, outer: Key, records: Sequence[Record], *, is_root: bool = False) -> list[OracleHit]:
    names = node.correlations or outer
    is_local = is_root and node.is_log and not names
    events = _of_records(node, records) if node.is_log else _of_nodes(node, names, records)
    tuples: dict[Key, list[Seen]] = {}
    for event in sorted(events, key=lambda event: (event.time, event.rank)):
        key = _tuple(node, names, event)
        if key is not None:
            tuples.setdefault(key, []).append(event)
    found: list[OracleHit] = []
    for key, own in tuples.items():
        for hit, when in _matched(node, own, begins_anew=not is_local):
            found.append(_joined(hit, key, max(when, *(event.decided for event in hit))))
    return found


def _of_records(node: Node, records: Sequence[Record]) -> Iterator[Seen]:
    for number, record in enumerate(records):
        matched = [i for i, item in enumerate(node.items) if isinstance(item, Term) and _is(item, record.text)]
        if not matched:
            continue
        taken: dict[str, str] = {}
        for i in matched:
            item = node.items[i]
            assert isinstance(item, Term)
            taken |= {e.name: v for e in item.extract if (v := _taken(e, record.text)) is not None}
        yield Seen(
            time=record.time,
            rank=(0, record.resource),
            items=frozenset(matched),
            properties={**record.attributes, **taken},
            resource=record.resource,
            records=(number,),
            blame=(node.origin, number),
        )


def _of_nodes(node: Node, names: Key, records: Sequence[Record]) -> Iterator[Seen]:
    for place, item in enumerate(node.items):
        assert isinstance(item, Node)
        for hit in _hits(item, names, records):
            yield Seen(
                time=hit.time,
                rank=(place, hit.key),
                items=frozenset([place]),
                properties=hit.properties,
                resource=hit.resource,
                records=hit.records,
                blame=hit.blame,
                decided=hit.decided,
            )


def _is(term: Term, text: str) -> bool:
    return term.pattern.text in text


def _taken(extract: Extract, text: str) -> str | None:
    found: Any = re2.search(extract.text, text)
    return str(found.group(1)) if found else None


def _tuple(node: Node, names: Key, event: Seen) -> Key | None:
    if not names:
        return (event.resource or ()) if node.is_log else ()
    values: list[str] = []
    for name in names:
        value = event.properties.get(name, "")
        if not value:
            if event.resource is None:
                return None
            value = "\0" + "|".join(event.resource)
        values.append(value)
    return tuple(values)


def _joined(hit: Sequence[Seen], key: Key, decided: int) -> OracleHit:
    ranked = sorted(hit, key=lambda event: not event.blame[0])
    properties: dict[str, str] = {}
    for event in ranked:
        properties = {**event.properties, **properties}
    resources = {event.resource for event in hit}
    return OracleHit(
        time=max(event.time for event in hit),
        key=key,
        decided=decided,
        records=tuple(number for event in hit for number in event.records),
        properties=properties,
        resource=resources.pop() if len(resources) == 1 else None,
        blame=ranked[0].blame,
    )


# -- one node, one tuple -----------------------------------------------------------------------------------------------
def _same(a: Item, b: Item) -> bool:
    return a.pattern == b.pattern if isinstance(a, Term) and isinstance(b, Term) else a is b


def _slots(node: Node) -> list[tuple[int, int]]:
    """(place of the item, how many are needed)."""
    slots: list[tuple[int, int]] = []
    for place, item in enumerate(node.positives):
        need = item.count if isinstance(item, Term) else 1
        before = range(len(slots) - 1, len(slots)) if node.ordered else range(len(slots))
        same = [i for i in before if i >= 0 and _same(node.positives[slots[i][0]], item)]
        if same:
            slots[same[0]] = (slots[same[0]][0], slots[same[0]][1] + need)
        else:
            slots.append((place, need))
    return slots


def _matched(node: Node, events: Sequence[Seen], *, begins_anew: bool) -> Iterator[tuple[list[Seen], int]]:
    slots = _slots(node)
    if node.negatives:
        yield from _Vetoed(node, slots, begins_anew=begins_anew).run(events)
    elif len(slots) == 1 and slots[0][1] == 1 and not node.ordered:
        yield from (([event], event.time) for event in events)
    else:
        yield from ((hit, hit[-1].time if node.ordered else max(e.time for e in hit)) for hit in _plain(node, events))


def _plain(node: Node, events: Sequence[Seen]) -> Iterator[list[Seen]]:
    slots = _slots(node)
    queues: list[list[Seen]] = [[] for _ in slots]
    for event in events:
        too_old = event.time - node.window
        if node.ordered:
            if queues[0] and queues[0][0].time < too_old:
                queues[0] = [e for e in queues[0] if e.time >= too_old]
                _in_order(slots, queues)
            _enter(slots, queues, event)
        else:
            for (place, _), queue in zip(slots, queues, strict=True):
                queue[:] = [e for e in queue if e.time >= too_old]
                if place in event.items:
                    queue.append(event)
        if _full(slots, queues) == len(slots):
            yield _taken_from(slots, queues)
            if node.ordered:
                _in_order(slots, queues)


def _full(slots: Sequence[tuple[int, int]], queues: Sequence[list[Seen]]) -> int:
    """How many leading slots are full."""
    for i, (_, need) in enumerate(slots):
        if len(queues[i]) < need:
            return i
    return len(slots)


def _enter(slots: Sequence[tuple[int, int]], queues: Sequence[list[Seen]], event: Seen) -> None:
    """A sequence takes an event into every full leading slot and into the next one."""
    for i in range(min(_full(slots, queues) + 1, len(slots))):
        if slots[i][0] in event.items:
            queues[i].append(event)


def _in_order(slots: Sequence[tuple[int, int]], queues: list[list[Seen]]) -> None:
    """In a sequence nothing precedes the last used event of the slot before, and nothing follows a slot not full."""
    for i in range(1, len(slots)):
        need = slots[i - 1][1]
        if len(queues[i - 1]) < need:
            queues[i] = []
        else:
            queues[i] = [e for e in queues[i] if e.time >= queues[i - 1][need - 1].time]


def _taken_from(slots: Sequence[tuple[int, int]], queues: list[list[Seen]]) -> list[Seen]:
    hit = [event for i, (_, need) in enumerate(slots) for event in queues[i][:need]]
    for i, (_, need) in enumerate(slots):
        queues[i] = queues[i][need:]
    return hit


class _Vetoed:
    """A node with negatives."""

    def __init__(self, node: Node, slots: list[tuple[int, int]], *, begins_anew: bool) -> None:
        self.node, self.slots, self.begins_anew = node, slots, begins_anew
        self.queues: list[list[Seen]] = [[] for _ in slots]
        self.vetoes: list[list[int]] = [[] for _ in node.negatives]
        self.left = max(0, *(-n.negate.slide for n in node.negatives))
        self.right = node.window + max(0, *(n.negate.window + n.negate.slide for n in node.negatives))

    def run(self, events: Sequence[Seen]) -> Iterator[tuple[list[Seen], int]]:
        for event in events:
            yield from self.settle(event.time)
            self.age(event.time)
            self.take(event)
            yield from self.settle(event.time)
        yield from self.settle(FOREVER)

    @property
    def complete(self) -> bool:
        return _full(self.slots, self.queues) == len(self.slots)

    def age(self, now: int) -> None:
        self.held = any(self.queues)
        if self.complete:
            return
        times = [e.time for queue in self.queues for e in queue] + [t for veto in self.vetoes for t in veto]
        if self.begins_anew and times and max(times) + self.right + self.left < now:
            self.queues = [[] for _ in self.queues]
            self.vetoes = [[] for _ in self.vetoes]
            self.held = False
        young = [[e for e in queue if e.time >= now - self.right] for queue in self.queues]
        gone = young != self.queues
        self.queues = young
        self.vetoes = [[t for t in veto if t >= now - self.right - self.left] for veto in self.vetoes]
        if gone:
            self.dropped()

    def take(self, event: Seen) -> None:
        if self.node.ordered:
            if self.queues[0] or self.left or self.slots[0][0] in event.items:
                self.note(event)
                _enter(self.slots, self.queues, event)
            return
        for (place, _), queue in zip(self.slots, self.queues, strict=True):
            if place in event.items:
                queue.append(event)
        if self.held or self.left or any(self.queues):
            self.note(event)

    def note(self, event: Seen) -> None:
        first = len(self.node.positives)
        for i, veto in enumerate(self.vetoes):
            if first + i in event.items:
                veto.append(event.time)

    def dropped(self) -> None:
        if self.node.ordered:
            _in_order(self.slots, self.queues)

    def settle(self, clock: int) -> Iterator[tuple[list[Seen], int]]:
        while self.complete:
            places = [(s, k) for s, (_, need) in enumerate(self.slots) for k in range(need)]
            if not self.node.ordered:
                places.sort(key=lambda at: self.queues[at[0]][at[1]].time)
            times = [self.queues[s][k].time for s, k in places]
            if max(times) - min(times) > self.node.window:
                self.drop(places[0])
                continue
            vetoed = self.vetoed(times, clock)
            if vetoed is None:
                return
            if vetoed >= 0:
                self.drop(places[vetoed])
                continue
            ends = [self.interval(n, times)[1] for n in self.node.negatives]
            yield _taken_from(self.slots, self.queues), max(*times, *ends)
            self.dropped()

    def drop(self, place: tuple[int, int]) -> None:
        del self.queues[place[0]][place[1]]
        self.dropped()

    def vetoed(self, times: Sequence[int], clock: int) -> int | None:
        """The anchor that is vetoed, -1 for none, None where that is not decided yet."""
        for negative, seen in zip(self.node.negatives, self.vetoes, strict=True):
            start, end = self.interval(negative, times)
            if any(start <= t <= end for t in seen):
                return negative.negate.anchor
            if end >= clock:
                return None
        return -1

    def interval(self, negative: Item, times: Sequence[int]) -> tuple[int, int]:
        at = negative.negate
        width = at.window if at.absolute else at.window + times[-1] - times[0]
        start = times[at.anchor] + at.slide
        return start, start + max(0, width)
