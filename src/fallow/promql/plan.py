"""A plan: the conditions as one directed graph of nodes without repeats, in an order in which operands come first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fallow.series import StoreSpec, pane_width

Labels = tuple[tuple[str, str], ...]
"""PromQL names and values, sorted by name, without the metric name."""

NAME = "__name__"


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Labels kept (``by``, ``on``) or left out (``without``, ``ignoring``)."""

    names: frozenset[str]
    keep: bool

    def of(self, labels: Labels, name: str) -> Labels:
        """What is kept of an element's labels."""
        if not self.keep:
            return tuple(pair for pair in labels if pair[0] not in self.names)
        kept = tuple(pair for pair in labels if pair[0] in self.names)
        return ((NAME, name), *kept) if name and NAME in self.names else kept


ALL = LabelSet(frozenset(), keep=False)


@dataclass(eq=False, slots=True, kw_only=True)
class Node:
    """One operation over a vector. ``p`` are numbers, ``store`` the store of the signal's layout that a window has."""

    index: int
    op: int
    fn: int = 0
    flags: int = 0
    p: tuple[float, float] = (0.0, 0.0)
    ns: int = 0
    """INSTANT: the lookback. ROOT: what it has to hold for."""
    children: tuple[Node, ...] = ()
    parents: list[tuple[Node, int]] = field(default_factory=list["tuple[Node, int]"])
    classes: int = 0
    """Bits of the interval classes of the conditions that read it."""
    domain: int = 0
    signal: int = -1
    """Leaves: which signal."""
    store: int = -1
    accept: Callable[[Mapping[str, str]], bool] | None = None
    """Leaves: whether a series' labels match."""
    match: LabelSet = ALL
    one_to_one: bool = True
    include: tuple[str, ...] = ()
    keeps_name: bool = False
    scalar: bool = False
    labels: Labels = ()
    """ABSENT: the labels of its element."""
    text: str = ""


@dataclass(slots=True)
class Signal:
    """One (name, offset) that the conditions read, with the windows that are asked of it."""

    name: str
    offset: int
    stores: list[StoreSpec] = field(default_factory=list[StoreSpec])

    def store(self, window: int, statistics: frozenset[int]) -> int:
        """The number of the store of this window, which from now on keeps these statistics too."""
        for i, known in enumerate(self.stores):
            if known.window == window:
                self.stores[i] = StoreSpec(window=window, width=known.width, statistics=known.statistics | statistics)
                return i
        self.stores.append(StoreSpec(window=window, width=pane_width(window), statistics=statistics))
        return len(self.stores) - 1


@dataclass(slots=True)
class Plan:
    """Every node, signal and interval class; ``roots`` has the ROOT node of each condition."""

    nodes: list[Node] = field(default_factory=list[Node])
    signals: list[Signal] = field(default_factory=list[Signal])
    intervals: list[int] = field(default_factory=list[int])
    roots: list[Node] = field(default_factory=list[Node])
    _known: dict[tuple[object, ...], Node] = field(default_factory=dict["tuple[object, ...]", Node])

    def node(self, key: tuple[object, ...], node: Callable[[int], Node]) -> Node:
        """The node of this key, made where it is new."""
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = node(len(self.nodes))
            self.nodes.append(found)
            for position, child in enumerate(found.children):
                child.parents.append((found, position))
        return found

    def signal(self, name: str, offset: int) -> int:
        """The number of the signal of this name and offset."""
        for i, known in enumerate(self.signals):
            if (known.name, known.offset) == (name, offset):
                return i
        self.signals.append(Signal(name, offset))
        return len(self.signals) - 1

    def finish(self, root: Node, interval: int) -> None:
        """Take a condition's root in: everything below it belongs to the class of its interval."""
        if interval not in self.intervals:
            self.intervals.append(interval)
        bit = 1 << self.intervals.index(interval)
        self.roots.append(root)
        todo = [root]
        while todo:
            node = todo.pop()
            if not node.classes & bit:
                node.classes |= bit
                todo.extend(node.children)


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
