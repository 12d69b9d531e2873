"""One rule at work: a tree of conditions, each with a matcher for every tuple of correlated values.

A condition's matcher lives for one tuple of the values of ``correlations`` (an inner condition takes over those of the
outer one). A log node without correlations has a matcher for each resource, a machine without correlations has one. A
hit of an inner condition is an event of the outer one, at the time of its last event.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fallow_processors.cre.happening import Happening, joined
from fallow_processors.cre.matchers import INTENDED, Defect, Hit, Matcher, Negative, Variant, itself, matcher
from fallow_processors.cre.rule import Item, Metric, Node, Rule, Term

Key = tuple[str, ...]
Holds = Callable[[Metric, Mapping[str, str], int, int], bool | None]
"""Whether a condition held in a span for results with these labels; None where that is unknown."""


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
        limit: matchers held at most; the one that was begun first goes for a new one.
        holds: answers for negatives that are conditions over signals.
        defects: those of published engines that its matchers have.
    """

    def __init__(
        self,
        node: Node,
        parent: Condition | None,
        bit: int,
        correlations: Key,
        limit: int,
        holds: Holds,
        defects: frozenset[Defect],
    ) -> None:
        self.node = node
        self.parent = parent
        self.bit = bit
        self.correlations = node.correlations or correlations
        self.forgotten = 0
        self.late = 0
        self._limit = limit
        self._holds = holds
        self._defects = defects
        self._ids = _numbered(node)
        self._positives = [self._ids[_key(item)] for item in node.positives for _ in range(_count(item))]
        self._negatives = [
            Negative(
                term=self._ids[_key(item)],
                window=item.negate.window,
                slide=item.negate.slide,
                anchor=item.negate.anchor,
                absolute=item.negate.absolute,
                asked=isinstance(item, Metric),
            )
            for item in node.negatives
        ]
        self._matchers: OrderedDict[Key, Matcher[Happening]] = OrderedDict()
        self.variant: Callable[[Key], Variant] = lambda _: itself
        """What to make instead of a plain matcher, for each tuple; for those who watch."""

    def number(self, item: Item) -> int:
        """The number of one of the node's items; equal terms share one."""
        return self._ids[_key(item)]

    def key(self, properties: Mapping[str, str], otherwise: Key) -> Key:
        """The tuple of correlated values; without correlations ``otherwise``."""
        if not self.correlations:
            return otherwise if self.node.is_log else ()
        return tuple(properties.get(name, "") for name in self.correlations)

    def has_begun(self, key: Key) -> bool:
        """Whether something is held for a tuple."""
        return key in self._matchers

    def offer(self, time: int, mask: int, item: Happening, resource: Key = ()) -> list[Match]:
        """What follows from an event; bit ``i`` of ``mask``: item ``i`` matches it."""
        key = self.key(item.properties, resource)
        found = self._matchers.get(key)
        if found is None:
            found = self._matchers[key] = self._new(key)
            if len(self._matchers) > self._limit:
                self._matchers.popitem(last=False)
                self.forgotten += 1
        hits = found.scan(time, mask, item)
        self.late += found.late
        found.late = 0
        return self._settled(key, found, hits)

    def advance(self, clock: int, key: Key | None = None) -> list[Match]:
        """What follows from time having come to ``clock``, for all tuples or one."""
        if not self._negatives:
            return []
        out: list[Match] = []
        for which in [key] if key is not None else list(self._matchers):
            found = self._matchers.get(which)
            if found is not None:
                out += self._settled(which, found, found.eval(clock))
        return out

    def _new(self, key: Key) -> Matcher[Happening]:
        labels = {name: value for name, value in zip(self.correlations, key, strict=False) if value}

        def asked(negative: int, start: int, end: int) -> bool | None:
            item = self.node.negatives[negative]
            assert isinstance(item, Metric)
            return self._holds(item, labels, start, end)

        return matcher(
            self._positives,
            self._negatives,
            self.node.window,
            ordered=self.node.ordered,
            asked=asked,
            defects=self._defects,
            variant=self.variant(key),
        )

    def _settled(self, key: Key, found: Matcher[Happening], hits: list[Hit[Happening]]) -> list[Match]:
        out: list[Match] = []
        for hit, unknown in [(hit, False) for hit in hits] + [(hit, True) for hit in found.held_back()]:
            happening = joined(tuple(item for _, item in hit), origin=self.node.origin)
            decided = found.decided_at([time for time, _ in hit])
            if self.parent is None:
                out.append(Match(happening, key, decided, unknown))
            elif not unknown:
                out += self.parent.offer(happening.time, 1 << self.bit, happening)
        if found.idle:
            self._matchers.pop(key, None)
        return out


class Machine:
    """A rule at work: its conditions, innermost first."""

    def __init__(self, rule: Rule, limit: int, holds: Holds, defects: frozenset[Defect] = INTENDED) -> None:
        self.rule = rule
        self.conditions: list[Condition] = []
        self.logs: list[Condition] = []
        self.metrics: list[tuple[Metric, Condition, int]] = []
        self._limit, self._holds, self._defects = limit, holds, defects
        self.root = self._grow(rule.root, None, 0, ())
        self.conditions.reverse()
        node = rule.root
        self.is_metric = len(node.items) == 1 and len(node.positives) == 1 and isinstance(node.positives[0], Metric)
        """Whether the rule is one condition over signals and nothing else: what it says needs no matcher."""
        self.is_local = node.is_log and not node.is_points and not self.root.correlations
        """Whether the rule is about the records of one resource at a time, which come in order."""
        has_points = any(condition.node.is_points for condition in self.logs)
        self.is_mixed = has_points or (bool(self.metrics) and not self.is_metric)
        """Whether signals take part beside records or other signals."""

    def _grow(self, node: Node, parent: Condition | None, bit: int, correlations: Key) -> Condition:
        made = Condition(node, parent, bit, correlations, self._limit, self._holds, self._defects)
        self.conditions.append(made)
        if node.is_log:
            self.logs.append(made)
        for item in node.items:
            if isinstance(item, Metric):
                self.metrics.append((item, made, made.number(item)))
            elif isinstance(item, Node):
                self._grow(item, made, made.number(item), made.correlations)
        return made

    def advance(self, clock: int) -> list[Match]:
        """What follows from time having come to ``clock``."""
        return [match for condition in self.conditions for match in condition.advance(clock)]


def _key(item: Item) -> object:
    return item.pattern if isinstance(item, Term) else id(item)


def _numbered(node: Node) -> dict[object, int]:
    numbers: dict[object, int] = {}
    for item in node.items:
        numbers.setdefault(_key(item), len(numbers))
    return numbers


def _count(item: Item) -> int:
    return item.count if isinstance(item, Term) else 1
