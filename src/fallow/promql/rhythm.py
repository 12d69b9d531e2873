"""When a node can change: a window does at its pane boundaries alone, what reads the newest sample at every instant.

Nodes are evaluated in *classes*: one for each interval of conditions and, within it, for each rhythm. A class is
looked at on the grid of its rhythm, so that what rests on windows with panes of a minute costs once a minute.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from fallow.promql import ops
from fallow.promql.plan import Node, Plan


class Class(NamedTuple):
    """``level``: how many subqueries lie below; ns: the interval of the conditions, and how often what they read can
    change, a multiple of it.
    """

    level: int
    interval: int
    rhythm: int


def classes_of(plan: Plan) -> tuple[Class, ...]:
    """The classes in the order in which they are evaluated; sets each node's bits.

    What feeds a subquery comes before its readers. Within a level and interval the slowest comes first: a node's operands
    are of its own class or a slower one.
    """
    wanted: dict[int, set[Class]] = {}
    watched = [(root, int(root.p[0])) for root in plan.roots]
    watched += [(node, node.interval) for node in plan.nodes if node.op == ops.FEED]
    for top, interval in watched:
        _mark(top, Class(top.level, interval, _rhythm(plan, top, interval) or interval), plan, wanted)
    classes = sorted({c for found in wanted.values() for c in found}, key=lambda c: (c.level, c.interval, -c.rhythm))
    for index, found in wanted.items():
        node = plan.nodes[index]
        node.classes = sum(1 << classes.index(c) for c in found)
        if node.op == ops.RANGE and all(c.rhythm == _width(plan, node) for c in found):
            node.flags |= ops.STEADY
    return tuple(classes)


def _mark(node: Node, reader: Class, plan: Plan, wanted: dict[int, set[Class]]) -> None:
    """Give the node and those below it their class; what never changes has the class of its reader."""
    here = reader._replace(rhythm=_rhythm(plan, node, reader.interval) or reader.rhythm)
    found = wanted.setdefault(node.index, set())
    if here not in found:
        found.add(here)
        for child in node.children:
            if child.op != ops.FEED:
                _mark(child, here, plan, wanted)


def _rhythm(plan: Plan, node: Node, interval: int) -> int:
    """How often the node can change where it is looked at every ``interval``; 0: never."""
    if node.op == ops.CONSTANT:
        return 0
    if node.op in (ops.FEED, ops.SUBRANGE) or (not node.children and node.op != ops.RANGE):
        return interval
    below = [_rhythm(plan, child, interval) for child in node.children]
    if node.op == ops.RANGE:
        width = _width(plan, node)
        below.append(width if width % interval == 0 else interval)
    return math.gcd(*below)


def _width(plan: Plan, node: Node) -> int:
    """Of the panes of a window, in ns."""
    return plan.signals[node.signal].stores[node.store].width
