"""A plan: the conditions as one directed graph of nodes without repeats, in an order in which operands come first."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from fallow.promql import ops
from fallow.series import StoreSpec, pane_width
from fallow.series.layout import FAR

Labels = tuple[tuple[str, str], ...]
"""PromQL names and values, sorted by name, without the metric name."""

NAME = "__name__"
ANY_NAME = ""
"""The name of a signal of which every name is tested."""


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Labels kept (``by``, ``on``) or left out (``without``, ``ignoring``)."""

    names: frozenset[str]
    keep: bool

    def of(self, labels: Labels, name: str) -> Labels:
        """What is kept of an element's labels; the metric name, where it is wanted, first."""
        if not self.keep:
            return tuple(pair for pair in labels if pair[0] not in self.names)
        kept = tuple(pair for pair in labels if pair[0] in self.names)
        return ((NAME, name), *kept) if name and NAME in self.names else kept


ALL = LabelSet(frozenset(), keep=False)

Element = tuple[Labels, str, bool]
"""Who an element is: its labels, its metric name, and whether a result will be without that name."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a plan answers where it is no condition: instants from ``start`` to ``end`` (ns), ``step`` (0: one) apart."""

    start: int
    end: int
    step: int = 0

    @property
    def grid(self) -> int:
        """Every instant is a multiple of this, and not before the first of its multiples that matters."""
        return math.gcd(self.start, self.step) or 86_400_000_000_000

    @property
    def instants(self) -> range:
        return range(self.start, self.end + 1, self.step or 1) if self.step else range(self.start, self.start + 1)


@dataclass(eq=False, slots=True, kw_only=True)
class Node:
    """One operation over a vector. ``p`` are numbers, ``store`` the store of the signal's layout that a window has."""

    index: int
    op: int
    fn: int = 0
    flags: int = 0
    p: tuple[float, float] = (0.0, 0.0)
    ns: int = 0
    """INSTANT: the lookback. ROOT: what it has to hold for. FEED: the subquery's step. TIME, STAMP: the shift."""
    children: tuple[Node, ...] = ()
    parents: list[tuple[Node, int]] = field(default_factory=list["tuple[Node, int]"])
    classes: int = 0
    """Bits of the plan's classes in which it is evaluated."""
    domain: int = 0
    signal: int = -1
    """Leaves and FEED: which signal."""
    store: int = -1
    accept: Callable[[Mapping[str, str]], bool] | None = None
    """Leaves: whether a series' labels match."""
    relabel: Callable[[Labels, str, bool], Element] | None = None
    match: LabelSet = ALL
    one_to_one: bool = True
    include: tuple[str, ...] = ()
    keeps_name: bool = False
    """Results keep the metric name that the operand's elements have."""
    scalar: bool = False
    labels: Labels = ()
    """ABSENT: the labels of its element."""
    held: int = FAR
    """Leaves under ``@``: the instant from which on the value stays as it is."""
    interval: int = 0
    """FEED: how often it is looked at."""
    level: int = 0
    """How many subqueries lie one in the other below it."""
    text: str = ""


@dataclass(slots=True)
class Signal:
    """One (name, offset) that the conditions of one domain read, with the windows that are asked of it."""

    name: str
    offset: int
    domain: int
    stores: list[StoreSpec] = field(default_factory=list[StoreSpec])
    derived: bool = False
    """Its samples are a subquery's results."""

    def store(
        self,
        window: int,
        statistics: frozenset[int],
        grid: int = 0,
        *,
        limit: float | None = None,
        includes: bool = False,
    ) -> int:
        """The number of the store of this window, which from now on keeps these statistics too.

        Its windows end at multiples of the pane's width, which divides ``grid`` (0: is as it comes).
        """
        for i, known in enumerate(self.stores):
            if known.window == window and (limit is None or known.limit in (None, limit)):
                if limit is not None and known.limit is not None and known.includes != includes:
                    continue
                self.stores[i] = replace(
                    known,
                    statistics=known.statistics | statistics,
                    limit=known.limit if limit is None else limit,
                    includes=known.includes if limit is None else includes,
                )
                return i
        width = math.gcd(pane_width(window), grid)
        self.stores.append(StoreSpec(window=window, width=width, statistics=statistics, limit=limit, includes=includes))
        return len(self.stores) - 1


@dataclass(slots=True)
class Plan:
    """Every node and signal; ``roots`` has the ROOT node of each condition."""

    nodes: list[Node] = field(default_factory=list[Node])
    signals: list[Signal] = field(default_factory=list[Signal])
    roots: list[Node] = field(default_factory=list[Node])
    _known: dict[tuple[object, ...], Node] = field(default_factory=dict["tuple[object, ...]", Node])

    def node(self, key: tuple[object, ...], node: Callable[[int], Node]) -> Node:
        """The node of this key, made where it is new."""
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = node(len(self.nodes))
            self.nodes.append(found)
            found.level = max((child.level + (child.op == ops.FEED) for child in found.children), default=0)
            for position, child in enumerate(found.children):
                child.parents.append((found, position))
        return found

    def signal(self, name: str, offset: int, domain: int) -> int:
        """The number of the signal of this name and offset in a domain."""
        for i, known in enumerate(self.signals):
            if (known.name, known.offset, known.domain, known.derived) == (name, offset, domain, False):
                return i
        self.signals.append(Signal(name, offset, domain))
        return len(self.signals) - 1

    def derived(self, text: str, domain: int) -> int:
        """The number of a new signal, the results of a subquery."""
        self.signals.append(Signal(text, 0, domain, derived=True))
        return len(self.signals) - 1


def below(node: Node) -> list[Node]:
    """The node and everything under it, operands first, each once."""
    seen: dict[int, Node] = {}
    todo = [node]
    while todo:
        found = todo.pop()
        if found.index not in seen:
            seen[found.index] = found
            todo.extend(found.children)
    return [seen[i] for i in sorted(seen)]
