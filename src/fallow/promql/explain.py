"""A condition's plan in words."""

from __future__ import annotations

from fallow.promql import ops
from fallow.promql.builder import GROUPED
from fallow.promql.plan import LabelSet, Node, Plan, below
from fallow.series.layout import RAW, RAW_LIMIT
from fallow.units import duration_text

_NAMES = {
    ops.INSTANT: "newest sample of",
    ops.RANGE: "window",
    ops.MAP: "function",
    ops.AND: "and",
    ops.UNLESS: "unless",
    ops.OR: "or",
    ops.AGGREGATE: "aggregation",
    ops.ABSENT: "absent",
    ops.SCALAR: "scalar",
    ops.CONSTANT: "number",
    ops.TIME: "time",
    ops.COPY: "vector",
    ops.RELABEL: "relabel",
    ops.STAMP: "timestamp",
    ops.BUCKET: "buckets",
    ops.HISTOGRAM: "quantile or share of the histogram",
    ops.MEMBER: "the chosen of",
}
_OPERATORS = {number: text for text, number in ops.OPERATORS.items()}
_AGGREGATIONS = {number: text for text, number in ops.AGGREGATIONS.items()}
_CHOICES = {number: text for text, number in ops.CHOICES.items()}
_MAPS = {number: text for text, number in ops.MAPS.items()} | {ops.NEGATE: "negation"}


def explain(plan: Plan, condition: int) -> str:
    """One line per node, operands first; shared nodes are marked."""
    root = plan.roots[condition]
    clock = "several clocks together" if root.domain == GROUPED else "each clock by itself"
    lines = [
        (
            f"evaluated every {duration_text(int(root.p[0]))} of event time, {clock}; "
            f"holds after {duration_text(root.ns)} of being true"
        )
    ]
    nodes = below(root)[:-1]
    number = {node.index: i + 1 for i, node in enumerate(nodes)}
    for node in nodes:
        operands = " ".join(f"#{number[c.index]}" for c in node.children)
        shared = " (shared)" if len(node.parents) > 1 else ""
        lines.append(f"#{number[node.index]} {_what(plan, node)} {operands}".rstrip() + shared)
    return "\n".join(lines)


def shared(plan: Plan, condition: int) -> list[tuple[str, tuple[int, ...]]]:
    """(what is computed once, for which other conditions too); of what is nested the outermost."""
    others: dict[int, tuple[int, ...]] = {}
    members = [{node.index for node in below(root)} for root in plan.roots]
    nodes = below(plan.roots[condition])[:-1]
    for node in nodes:
        others[node.index] = tuple(i for i, found in enumerate(members) if i != condition and node.index in found)
    found: list[tuple[str, tuple[int, ...]]] = []
    for node in nodes:
        above = [others.get(parent.index) for parent, _ in node.parents]
        if others[node.index] and others[node.index] not in above and node.op not in (ops.CONSTANT, ops.TIME):
            found.append((_in_words(plan, node), others[node.index]))
    return found


def _in_words(plan: Plan, node: Node) -> str:
    """The node and its operands, as one phrase."""
    if node.op == ops.RANGE:
        return node.text
    operands = [_in_words(plan, child) for child in node.children]
    return " ".join((_what(plan, node), " with ".join(operands))).strip()


def _what(plan: Plan, node: Node) -> str:
    match node.op:
        case ops.INSTANT:
            return f"newest sample of {node.text}, at most {duration_text(node.ns)} old"
        case ops.RANGE:
            store = plan.signals[node.signal].stores[node.store]
            text = f"{node.text} in {store.ring} panes of {store.width / 1e9:g} s"
            if RAW in store.statistics:
                text += f", and the newest {RAW_LIMIT} samples as they are"
            return text
        case ops.WITH_NUMBER:
            flags = " with the number on the left" if node.flags & ops.SWAPPED else ""
            return f"{_OPERATORS[node.fn]} {node.p[0]:g}{flags} of"
        case ops.WITH_VECTOR:
            return f"{_OPERATORS[node.fn]}{_labels(node.match, 'on', 'ignoring')} of"
        case ops.AGGREGATE:
            return f"{_AGGREGATIONS[node.fn]}{_labels(node.match, 'by', 'without')} of"
        case ops.TOP:
            return f"{_CHOICES[node.fn]}{_labels(node.match, 'by', 'without')} of"
        case ops.FEED:
            return f"at every multiple of {duration_text(node.ns)} a sample of"
        case ops.SUBRANGE:
            return f"{node.text} of the newest {RAW_LIMIT} of"
        case ops.RELABEL:
            return f"{node.text} of"
        case ops.MAP:
            return f"{_MAPS[node.fn]} of"
        case _:
            return _NAMES[node.op] + _labels(node.match, "on", "ignoring")


def _labels(match: LabelSet, keep: str, drop: str) -> str:
    if not match.keep and not match.names:
        return ""
    return f" {keep if match.keep else drop} ({', '.join(sorted(match.names))})"
