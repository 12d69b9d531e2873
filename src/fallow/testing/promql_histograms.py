"""Native histograms in PromQL test scripts: which queries need none of their values, and what those see of them.

There are no native histograms here. Many functions leave them out: to those a series ends where its first histogram
stands. Others ask only whether there is a sample: to those it is one. A query that needs more is not run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, Literal

from fallow.promql import ops, prom_name
from fallow.promql.plan import NAME
from fallow.promql.selectors import selected
from fallow.promql.syntax import parse

View = Literal["left out", "present", "needed"]
Series = tuple[str, tuple[tuple[str, str], ...]]

_COMPARED: Final = frozenset({"<", ">", "<=", ">="})
_WINDOWS: Final = frozenset(
    {f"{name}_over_time" for name in ("min", "max", "stddev", "stdvar", "quantile", "mad", "ts_of_min", "ts_of_max")}
)
_LEAVE_OUT: Final = (
    _WINDOWS
    | ops.MAPS.keys()
    | {
        "clamp_min",
        "clamp_max",
        "deriv",
        "predict_linear",
        "double_exponential_smoothing",
        "sort",
        "sort_desc",
        "scalar",
        "min",
        "max",
        "stddev",
        "stdvar",
        "quantile",
        "topk",
        "bottomk",
    }
)
_COUNT_IN: Final = frozenset(
    {
        "absent",
        "absent_over_time",
        "present_over_time",
        "count_over_time",
        "ts_of_first_over_time",
        "ts_of_last_over_time",
        "timestamp",
        "count",
        "group",
    }
)
_HAND_ON: Final = frozenset(
    {"sum", "avg", "rate", "increase", "last_over_time", "first_over_time", "sum_over_time", "avg_over_time"}
)
"""What makes histograms of histograms alone."""


def view_of(expr: str, histograms: Collection[Series], mixed: Collection[Series]) -> View:
    """What a query sees of the series that have histograms; ``mixed``: of these the ones that have numbers too."""
    views: set[View] = set()
    for selector, path in _selectors(parse(expr), ()):
        found = _selects(expr, selector, histograms)
        if found:
            alone = not any(series in mixed for series in found)
            views.add(_view(path, alone=alone))
    if not views:
        return "left out"
    return views.pop() if len(views) == 1 else "needed"


def _selects(expr: str, selector: Any, series: Collection[Series]) -> list[Series]:
    wanted, _, accept = selected(expr, selector)

    def takes(name: str, labels: Mapping[str, str]) -> bool:
        named = wanted in ("", prom_name(name))
        return named and (accept is None or accept({**labels, NAME: prom_name(name)}))

    return [(name, labels) for name, labels in series if takes(name, dict(labels))]


def _view(path: tuple[str, ...], *, alone: bool) -> View:
    for consumer in reversed(path):
        if consumer in _LEAVE_OUT:
            return "left out"
        if consumer in _COUNT_IN:
            return "present"
        if consumer not in _HAND_ON or not alone:
            return "needed"
    return "needed"


def _selectors(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Every selector with the names of what it is an operand of, outermost first."""
    match type(tree).__name__:
        case "VectorSelector":
            yield tree, path
        case "MatrixSelector":
            yield tree.vector_selector, path
        case "ParenExpr" | "SubqueryExpr":
            yield from _selectors(tree.expr, path)
        case "UnaryExpr":
            yield from _selectors(tree.expr, (*path, "-"))
        case "AggregateExpr":
            yield from _selectors(tree.expr, (*path, str(tree.op)))
        case "Call":
            for argument in tree.args:
                yield from _selectors(argument, (*path, tree.func.name))
        case "BinaryExpr":
            step = _operator(tree)
            yield from _selectors(tree.lhs, (*path, step))
            yield from _selectors(tree.rhs, (*path, step))
        case _:
            pass


def _operator(tree: Any) -> str:
    """``min`` stands for an operator that leaves histograms out."""
    operator = str(tree.op)
    numbers = any(type(side).__name__ == "NumberLiteral" for side in (tree.lhs, tree.rhs))
    return "min" if operator in _COMPARED or (operator in ("==", "!=") and numbers) else operator
