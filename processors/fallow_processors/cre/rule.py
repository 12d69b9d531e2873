"""A rule as the engine runs it: references resolved, durations in nanoseconds, every check passed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from fallow.document import Location

TermKind = Literal["value", "regex", "jq"]

POINTS = "cre.metrics"
"""The source of metric points: each is an event. ``cre.metrics.…`` are such sources too."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a term looks for, and where: in the attribute ``field`` of a record that has it, else in its text."""

    kind: TermKind
    text: str
    field: str = ""


@dataclass(frozen=True, slots=True)
class Extract:
    """A value taken from the text of what matched, under a name that correlations may use."""

    name: str
    kind: Literal["regex", "jq"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NegateOptions:
    """Where the interval of a negative lies; durations in ns."""

    window: int = 0
    slide: int = 0
    anchor: int = 0
    absolute: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A scalar term; ``count`` copies of it are wanted."""

    pattern: Pattern
    count: int = 1
    negate: NegateOptions = NegateOptions()
    extract: tuple[Extract, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A condition over signals."""

    expr: str
    for_ns: int
    interval_ns: int
    source: str
    origin: bool
    negate: NegateOptions = NegateOptions()
    at: Location = field(default=(), compare=False)
    """Where the expression stands in the document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A condition. A *log node* has a source and holds terms; a *machine* holds nodes and metrics."""

    ordered: bool
    window: int
    positives: tuple[Item, ...]
    negatives: tuple[Item, ...]
    correlations: tuple[str, ...]
    source: str
    origin: bool
    negate: NegateOptions = NegateOptions()
    at: Location = field(default=(), compare=False)
    place: Location = field(default=(), compare=False)
    """Where published compilers say that it stands."""

    @property
    def is_log(self) -> bool:
        return bool(self.source)

    @property
    def is_points(self) -> bool:
        """Whether its terms are about metric points."""
        return self.source == POINTS or self.source.startswith(f"{POINTS}.")

    @property
    def items(self) -> tuple[Item, ...]:
        """Positives, then negatives."""
        return self.positives + self.negatives


Item = Term | Metric | Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of a document."""

    cre: str
    id: str
    hash: str
    stable_hash: str
    version: str
    kind: str
    title: str
    severity: int
    tags: tuple[str, ...]
    root: Node
    optimize: Mapping[str, object] = field(default_factory=dict[str, object])
    stated_hash: str = ""
    """The hash that the document states; "" where it states none."""
    file: str = ""
    line: int = 0
    column: int = 0

    @property
    def asks_signals(self) -> bool:
        """Whether it has a condition over signals: logs alone cannot answer it."""
        return any(True for _ in metrics(self.root))


def nodes(node: Node) -> Iterator[Node]:
    """The node and every node below it, outermost first, in the order of the text."""
    yield node
    for item in node.items:
        if isinstance(item, Node):
            yield from nodes(item)


def metrics(node: Node) -> Iterator[Metric]:
    """Every metric condition in the node and below."""
    for one in nodes(node):
        yield from (item for item in one.items if isinstance(item, Metric))


def expanded(items: tuple[Item, ...]) -> list[Item]:
    """Positives with each term repeated as often as it counts."""
    return [item for item in items for _ in range(item.count if isinstance(item, Term) else 1)]
