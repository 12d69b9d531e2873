"""What makes a query fail in PromQL: elements that cannot be told apart. A condition is unknown there instead."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from fallow.promql import ops
from fallow.promql.errors import EvaluationError, UnsupportedError
from fallow.promql.graph import Graph, paired
from fallow.promql.plan import NAME, Element, Labels, Node, Plan
from fallow.series.layout import NONE, RAW_LIMIT

SAME_LABELS = "vector cannot contain metrics with the same labelset"


def check_answer(plan: Plan, graph: Graph) -> None:
    """Raise where the newest instant has no answer.

    Raises:
        EvaluationError: in PromQL.
        UnsupportedError: here, because a window holds more samples than are kept.
    """
    if (graph.said("flags") & ops.TRUNCATED).any():
        raise UnsupportedError(f"a window of more than {RAW_LIMIT} samples is not supported for this function", 0)
    for node in plan.nodes:
        if node.op == ops.WITH_VECTOR and not node.children[1].scalar:
            _check_pairs(node, graph)
        elif node.op == ops.RELABEL:
            _check_distinct(graph.element(slot) for slot in _present(graph, node))
        elif node.op == ops.ROOT:
            _check_distinct(_shown(graph.element(slot)) for slot in _present(graph, node.children[0]))
        elif node.op == ops.TOP:
            _check_number(node, graph)
        elif node.op == ops.FEED and (graph.said("last")[list(_fed(graph, node))] != NONE).any():
            raise EvaluationError("the subquery has no answer at one of its instants")


def _slots(graph: Graph, node: Node) -> Sequence[int]:
    return [slot for slot in range(len(graph.labels)) if graph.node_of(slot) == node.index]


def _present(graph: Graph, node: Node) -> Iterable[int]:
    flags = graph.said("flags")
    return (slot for slot in _slots(graph, node) if flags[slot] & ops.PRESENT)


def _fed(graph: Graph, node: Node) -> Iterable[int]:
    count = graph.said("count")
    return (slot for slot in _slots(graph, node) if count[slot] > 0)


def _shown(element: Element) -> Element:
    labels, name, drops = element
    return labels, "" if drops else name, False


def _check_distinct(elements: Iterable[Element], message: str = SAME_LABELS) -> None:
    counts = Counter((labels, name) for labels, name, _ in elements)
    if counts and max(counts.values()) > 1:
        raise EvaluationError(message)


def _check_number(node: Node, graph: Graph) -> None:
    values = graph.said("value")
    changing = [float(values[graph.operand(slot)]) for slot in _slots(graph, node)]
    for number in changing if len(node.children) > 1 else [node.p[0]]:
        if math.isnan(number):
            raise EvaluationError("Parameter value is NaN")
        if abs(number) >= 2.0**63:
            raise EvaluationError(f"Scalar value {number:g} overflows int64")


def _check_pairs(node: Node, graph: Graph) -> None:
    flags = graph.said("flags")

    def present(slots: list[int]) -> list[int]:
        return [slot for slot in slots if flags[slot] & ops.PRESENT]

    pairs = [(m, present(lefts), present(rights)) for m, lefts, rights in graph.matches(node)]
    if not any(lefts for _, lefts, _ in pairs):
        return
    side = "left" if node.flags & ops.SWAPPED else "right"
    for matching, lefts, rights in pairs:
        if len(rights) > 1:
            series = ", ".join(sorted(_text(*graph.element(slot)) for slot in rights)[:2])
            raise EvaluationError(
                f"found duplicate series for the match group {_text(matching, '', False)} on the {side} hand-side of "
                f"the operation: [{series}];many-to-many matching not allowed: matching labels must be unique on one side"
            )
        if rights and node.one_to_one and len(lefts) > 1:
            raise EvaluationError(
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
            )
        if rights:
            _check_distinct(
                (_grouped(node, graph, left, rights[0]) for left in lefts),
                "multiple matches for labels: grouping labels must ensure unique matches",
            )


def _grouped(node: Node, graph: Graph, many: int, one: int) -> Element:
    """Who the pair of an element of the many and the one is."""
    labels, name, drops = paired(node, graph.element(many), ())
    if node.one_to_one:
        return graph.element(many)
    theirs = dict(graph.labels[one])
    kept = {k: v for k, v in labels if k not in node.include} | {k: theirs[k] for k in node.include if k in theirs}
    return tuple(sorted(kept.items())), name, drops


def _text(labels: Labels, name: str, _: bool) -> str:
    pairs = [*((NAME, name) for _ in range(bool(name))), *labels]
    return "{" + ", ".join(f'{k}="{v}"' for k, v in pairs) + "}"
