"""One rule at work: a tree of conditions, each with a matcher for every tuple of correlated values.

A condition's matcher lives for one tuple of the values of ``correlations`` (an inner condition takes over those of the
outer one, unless it states its own). A log node without correlations has a matcher for each resource, a machine without
correlations has one. A hit of an inner condition is an event of the outer one, at the time of its last event; the outer
one sees events of a time only when no inner condition can still find a hit of that time.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fallow_processors.cre.happening import Happening, correlated, joined
from fallow_processors.cre.matchers import INTENDED, Defect, Hit, Matcher, Negative, Variant, itself, matcher
from fallow_processors.cre.order import NEVER, Agenda, InOrder, Rank
from fallow_processors.cre.rule import Item, Metric, Node, Rule, Term, metrics

LATE = "late record"
UNCORRELATED = "event without a correlated value"
SHED = "event beyond max_tuple_events or max_events"
FORGOTTEN = "partial match beyond max_partial or max_events"
_MISSING = "\0"

Key = tuple[str, ...]
Holds = Callable[[Metric, Mapping[str, str], int, int], bool | None]
"""Whether a condition held in a span for results with these labels; None where that is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one condition may hold."""

    tuples: int
    """Matchers; the one that was begun first goes for a new one."""
    tuple_events: int
    """Events in one matcher; the oldest go."""
    events: int
    """Events in all matchers, and as many that wait to be seen; the matcher that was begun first, the oldest event go."""


@dataclass(frozen=True, slots=True)
class Event:
    """What a condition is offered; bit ``i`` of ``mask``: its item ``i`` matches."""

    mask: int
    happening: Happening


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that matched (or, ``unknown``, would have if a negative were known not to hold)."""

    happening: Happening
    key: Key
    decided: int
    unknown: bool = False


class Condition:
    """A node of a rule at work.

    Args:
        node: what it is.
        parent: what takes its hits; None at the root.
        bit: as which of its parent's items.
        correlations: those of the nodes around it.
        limits: what it may hold.
        holds: answers for negatives that are conditions over signals.
        lost: counts what could not be used, by reason.
        defects: those of published engines that its matchers have.
    """

    def __init__(
        self,
        node: Node,
        parent: Condition | None,
        bit: int,
        correlations: Key,
        limits: Limits,
        holds: Holds,
        lost: Counter[str],
        defects: frozenset[Defect],
    ) -> None:
        self.node = node
        self.parent = parent
        self.bit = bit
        self.correlations = node.correlations or correlations
        self.is_local = parent is None and node.is_log and not node.is_points and not self.correlations
        """Whether each of its matchers has a time of its own: that of its resource."""
        self.inner: list[Condition] = []
        self.inbox: InOrder[Event] = InOrder()
        """Events that wait until all that is older has come."""
        self.mark = NEVER
        """Every hit with a last event up to this time has been found."""
        self._limits = limits
        self._holds = holds
        self._lost = lost
        self._defects = defects
        self._ids = _numbered(node)
        self._positives = [self._ids[_key(item)] for item in node.positives for _ in range(_count(item))]
        self._negatives = [self._negative(item) for item in node.negatives]
        self._doubtful: dict[int, int] = {}
        for item in node.negatives:
            if isinstance(item, Node) and any(True for _ in metrics(item)):
                number = self._doubtful[self.number(item)] = len(self._ids) + len(self._doubtful)
                self._negatives.append(self._negative(item, doubtful=number))
        self._matchers: OrderedDict[Key, Matcher[Happening]] = OrderedDict()
        self.variant: Callable[[Key], Variant] = lambda _: itself
        """What to make instead of a plain matcher, for each tuple; for those who watch."""
        self._held = 0
        self._blind = NEVER
        self._due: Agenda[Key] = Agenda()
        """Tuples with a complete frame, by the time that has to pass before more can be said of it."""
        self._pending: Agenda[Key] = Agenda()
        """The same tuples by the frame's last event, which no later hit of the tuple precedes."""
        self._stale: Agenda[Key] = Agenda()
        """All tuples by a time before which they matter."""
        self._unseen: Sequence[int] = ()
        """For each negative, up to when it may have been there without having been seen; empty: never."""

    def number(self, item: Item) -> int:
        """The number of one of the node's items; equal terms share one."""
        return self._ids[_key(item)]

    def key(self, properties: Mapping[str, str], resource: Key | None) -> Key | None:
        """The tuple of correlated values; without correlations the resource, at a machine nothing.

        A value that is missing is compared by where the event came from instead; None where that is no one resource.
        """
        if not self.correlations:
            return (resource or ()) if self.node.is_log else ()
        values = tuple(correlated(properties, name) for name in self.correlations)
        if all(values):
            return values
        return None if resource is None else tuple(value or _from(resource) for value in values)

    def has_begun(self, key: Key | None) -> bool:
        """Whether something is held for a tuple."""
        return key in self._matchers

    @property
    def is_quiet(self) -> bool:
        """Whether nothing waits for time to pass."""
        return not len(self.inbox) and not len(self._due)

    # -- what comes in -------------------------------------------------------------------------------------------------
    def receive(self, time: int, rank: Rank, event: Event) -> None:
        """Hold an event until all that is older has come."""
        self.inbox.add(time, rank, event)
        if len(self.inbox) > self._limits.events:
            self._lose(*self.inbox.pop())

    def offer(self, time: int, event: Event, clock: int) -> list[Match]:
        """What follows from an event, once time has come to ``clock``: what time alone decides is decided first."""
        item = event.happening
        if not self._positives:  # published compilers accept a machine of negatives alone: nothing can make a hit
            return []
        key = self.key(item.properties, item.resource)
        if key is None:
            self._lost[UNCORRELATED] += 1
            return []
        found = self._matchers.get(key) or self._begun(key, time)
        self._held -= found.held
        hits = found.eval(clock)
        if not self.is_local and found.forgets() < time and found.waits() is None:
            found.clear()
        hits += found.scan(time, event.mask, item)
        if found.held > self._limits.tuple_events:
            hits += found.drop_oldest(self._limits.tuple_events)
        self._held += found.held
        if found.late or found.shed:
            self._lost.update({LATE: found.late, SHED: found.shed})
            found.late = found.shed = 0
        out = self._settled(key, found, hits)
        while self._held > self._limits.events:
            self._evict()
        return out

    # -- time ----------------------------------------------------------------------------------------------------------
    def advance(self, clock: int) -> list[Match]:
        """What follows from everything up to ``clock`` having come."""
        clock = min([clock, *(inner.mark for inner in self.inner)])
        out: list[Match] = []
        for time, event in self.inbox.release(clock):
            out += self.offer(time, event, time)
        for key in self._due.due(clock):
            out += self._decided(key, clock + 1)
        self.mark = max(self.mark, min(clock, self._pending.earliest() - 1))
        return out

    def advance_each(self, clocks: Mapping[Key, int]) -> list[Match]:
        """What follows from tuples having come to a time each."""
        out: list[Match] = []
        for key in self._due.keys() & clocks.keys():
            if self._due.time(key) < clocks[key]:
                out += self._decided(key, clocks[key])
        return out

    def _decided(self, key: Key, clock: int) -> list[Match]:
        found = self._matchers[key]
        self._held -= found.held
        hits = found.eval(clock)
        self._held += found.held
        return self._settled(key, found, hits)

    # -- matchers ------------------------------------------------------------------------------------------------------
    def _begun(self, key: Key, time: int) -> Matcher[Happening]:
        if not self.is_local:
            for old in self._stale.due(time - 1):
                self._forget_stale(old, time)
        if len(self._matchers) >= self._limits.tuples:
            self._evict()
        found = self._matchers[key] = self._new(key)
        found.blind = self._blind
        return found

    def _new(self, key: Key) -> Matcher[Happening]:
        labels = {n: v for n, v in zip(self.correlations, key, strict=False) if not v.startswith(_MISSING)}

        def asked(negative: int, start: int, end: int) -> bool | None:
            item = self.node.negatives[negative]
            assert isinstance(item, Metric)
            return self._holds(item, labels, start, end)

        made = matcher(
            self._positives,
            self._negatives,
            self.node.window,
            ordered=self.node.ordered,
            asked=asked,
            defects=self._defects,
            variant=self.variant(key),
        )
        made.unseen = self._unseen, 0
        return made

    def _negative(self, item: Item, doubtful: int | None = None) -> Negative:
        return Negative(
            term=self.number(item) if doubtful is None else doubtful,
            window=item.negate.window,
            slide=item.negate.slide,
            # published compilers accept an anchor of 1 at a machine of one positive
            anchor=max(0, min(item.negate.anchor, len(self._positives) - 1)),
            absolute=item.negate.absolute,
            asked=isinstance(item, Metric),
            doubtful=doubtful is not None,
        )

    def _forget_stale(self, key: Key, time: int) -> None:
        found = self._matchers[key]
        if found.waits() is None and found.forgets() < time:
            self._forget(key)
        else:
            self._stale.put(key, max(time, found.forgets()))

    def _evict(self) -> None:
        """The tuple that was begun first goes; what vetoes it knew is not known any more."""
        key, found = next(iter(self._matchers.items()))
        self._blind = max(self._blind, found.clock)
        self._lost[FORGOTTEN] += 1
        self._forget(key)

    def _lose(self, time: int, event: Event) -> None:
        self._lost[SHED] += 1
        key = self.key(event.happening.properties, event.happening.resource)
        found = self._matchers.get(key) if key is not None else None
        if found is not None:
            found.blind = max(found.blind, time)
        else:
            self._blind = max(self._blind, time)

    def _forget(self, key: Key) -> None:
        found = self._matchers.pop(key)
        self._held -= found.held
        self._blind = max(self._blind, found.blind)
        for agenda in (self._due, self._pending, self._stale):
            agenda.put(key, None)

    # -- what goes out -------------------------------------------------------------------------------------------------
    def _settled(self, key: Key, found: Matcher[Happening], hits: list[Hit[Happening]]) -> list[Match]:
        out: list[Match] = []
        for hit, unknown in [(hit, False) for hit in hits] + [(hit, True) for hit in found.held_back()]:
            happening = joined(
                tuple(item for _, item in hit),
                origin=self.node.origin,
                decided=found.decided_at([time for time, _ in hit]),
                unknown=unknown,
            )
            if self.parent is None:
                out.append(Match(happening, key, happening.decided, happening.unknown))
            else:
                self._reported(key, happening)
        if found.idle:
            self._forget(key)
        else:
            self._note(key, found)
        return out

    def _reported(self, key: Key, happening: Happening) -> None:
        assert self.parent is not None
        bit = self.parent._doubtful.get(self.bit, self.bit) if happening.unknown else self.bit
        rank = (self.bit, key, happening.unknown)
        self.parent.receive(happening.time, rank, Event(1 << bit, happening))

    def _note(self, key: Key, found: Matcher[Happening]) -> None:
        waits = found.waits() if self._negatives else None
        self._due.put(key, None if waits is None else waits[1])
        if self.parent is not None:
            self._pending.put(key, None if waits is None else waits[0])
        if not self.is_local and key not in self._stale:
            self._stale.put(key, found.forgets())

    # -- across a restart ----------------------------------------------------------------------------------------------
    def save(self) -> Callable[[], Any]:
        """Its matchers, the one that was begun first first, what waits, and what they may have missed."""
        matchers = [(key, found.saved(), found.unseen[1]) for key, found in self._matchers.items()]
        agendas = [agenda.entries() for agenda in (self._due, self._pending, self._stale)]
        inbox, unseen, mark, blind = self.inbox.held(), self._unseen, self.mark, self._blind

        def made() -> Any:
            return {
                "matchers": [(key, _documents(saved), since) for key, saved, since in matchers],
                "agendas": agendas,
                "inbox": [(time, rank, event.mask, event.happening.document()) for time, rank, event in inbox],
                "unseen": unseen,
                "mark": mark,
                "blind": blind,
            }

        return made

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on with these matchers and what waits."""
        self._unseen, self.mark, self._blind = saved["unseen"], saved["mark"], saved["blind"]
        for key, found, since in saved["matchers"]:
            made = self._matchers[tuple(key)] = self._new(tuple(key))
            queues = [[(time, Happening.of(item)) for time, item in queue] for queue in found["queues"]]
            made.restore({**found, "queues": queues})
            made.unseen = self._unseen, since
            self._held += made.held
        for agenda, entries in zip((self._due, self._pending, self._stale), saved["agendas"], strict=True):
            for key, time in entries:
                agenda.put(tuple(key), time)
        for time, (number, whose, unknown), mask, item in saved["inbox"]:
            self.inbox.add(time, (number, tuple(whose), unknown), Event(mask, Happening.of(item)))

    def missing(self, until: int, reach: Callable[[Metric], int]) -> None:
        """What happened up to ``until`` since the matchers' clocks stood still may not have been seen.

        A matcher that is not there yet may have missed all that came before. ``reach`` says how much longer than that
        a condition over signals stays uncertain.
        """
        before = self._unseen
        ends = {self.number(item): until + _reach(item, reach) for item in self.node.negatives}
        ends |= {doubtful: ends[number] for number, doubtful in self._doubtful.items()}
        self._unseen = [ends[negative.term] for negative in self._negatives]
        for found in self._matchers.values():
            found.unseen = self._unseen, min(found.unseen[1], found.clock) if before else found.clock


class Machine:
    """A rule at work: its conditions, innermost first."""

    def __init__(
        self,
        rule: Rule,
        limits: Limits,
        holds: Holds,
        lost: Counter[str],
        defects: frozenset[Defect] = INTENDED,
    ) -> None:
        self.rule = rule
        self.conditions: list[Condition] = []
        self.logs: list[Condition] = []
        self.metrics: list[tuple[Metric, Condition, int]] = []
        self._limits, self._holds, self._lost, self._defects = limits, holds, lost, defects
        self.root = self._grow(rule.root, None, 0, ())
        self.conditions.reverse()
        node = rule.root
        self.is_metric = len(node.items) == 1 and len(node.positives) == 1 and isinstance(node.positives[0], Metric)
        """Whether the rule is one condition over signals and nothing else: what it says needs no matcher."""
        self.is_local = self.root.is_local
        """Whether the rule is about the records of one resource at a time."""
        self.has_records = any(not condition.node.is_points for condition in self.logs)
        self.has_signals = bool(self.metrics) or any(condition.node.is_points for condition in self.logs)

    def _grow(self, node: Node, parent: Condition | None, bit: int, correlations: Key) -> Condition:
        made = Condition(node, parent, bit, correlations, self._limits, self._holds, self._lost, self._defects)
        self.conditions.append(made)
        if parent is not None:
            parent.inner.append(made)
        if node.is_log:
            self.logs.append(made)
        for item in node.items:
            if isinstance(item, Metric):
                self.metrics.append((item, made, made.number(item)))
            elif isinstance(item, Node):
                self._grow(item, made, made.number(item), made.correlations)
        return made

    @property
    def is_quiet(self) -> bool:
        """Whether nothing waits for time to pass."""
        return all(condition.is_quiet for condition in self.conditions)

    def advance(self, clock: int) -> list[Match]:
        """What follows from everything up to ``clock`` having come."""
        return [match for condition in self.conditions for match in condition.advance(clock)]

    def save(self) -> Callable[[], Any]:
        """What each of its conditions holds."""
        conditions = [condition.save() for condition in self.conditions]
        return lambda: [made() for made in conditions]

    def restore(self, saved: Sequence[Any]) -> None:
        """Go on from what another machine of the same rule saved."""
        for condition, one in zip(self.conditions, saved, strict=True):
            condition.restore(one)

    def missing(self, until: int, reach: Callable[[Metric], int]) -> None:
        """What happened up to ``until`` may not have been seen."""
        for condition in self.conditions:
            condition.missing(until, reach)


def _reach(item: Item, metric: Callable[[Metric], int]) -> int:
    """How long before an event of the item what made it one may lie."""
    if isinstance(item, Term):
        return 0
    if isinstance(item, Metric):
        return metric(item)
    around = max((abs(n.negate.slide) + n.negate.window for n in item.negatives), default=0)
    return item.window + around + max((_reach(inner, metric) for inner in item.items), default=0)


def _documents(saved: Mapping[str, Any]) -> dict[str, Any]:
    """What a matcher saved, as JSON has it."""
    return {**saved, "queues": [[(time, item.document()) for time, item in queue] for queue in saved["queues"]]}


def _from(resource: Key) -> str:
    """Stands for a value that an event of this resource lacks."""
    return _MISSING + "|".join(resource)


def _key(item: Item) -> object:
    return item.pattern if isinstance(item, Term) else id(item)


def _numbered(node: Node) -> dict[object, int]:
    numbers: dict[object, int] = {}
    for item in node.items:
        numbers.setdefault(_key(item), len(numbers))
    return numbers


def _count(item: Item) -> int:
    return item.count if isinstance(item, Term) else 1
