"""What an expression can still say where some of its signals do not exist."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import promql_parser as ast

from fallow.promql.plan import ANY_NAME, NAME
from fallow.promql.selectors import prom_name, selected
from fallow.promql.syntax import parse

_EQUAL = ast.MatchOp.Equal
_OF_NOTHING = frozenset({"absent", "absent_over_time", "vector", "time", "pi"})
"""Functions that have a value where their operand has none."""


def can_hold(expr: str, available: Callable[[str], bool]) -> bool:
    """Whether the expression can ever have a value where only the available metrics exist.

    Args:
        available: whether a metric, by its PromQL name, exists.

    >>> can_hold("a > 1 unless b > 1", {"a"}.__contains__)
    True
    >>> can_hold("a > 1 and b > 1", {"a"}.__contains__)
    False
    >>> can_hold("a == 0 or on () absent(b)", {"c"}.__contains__)
    True
    """
    return _can_hold(parse(expr), lambda selector: _names_what_is(selector, available))


def can_select(expr: str, exists: Callable[[str, Callable[[Mapping[str, str]], bool] | None], bool]) -> bool:
    """Whether the expression can ever have a value where only some series exist.

    Args:
        exists: whether there is a series of a metric, by its PromQL name, whose labels pass the test; None: any do.

    >>> can_select('a{job!=""} > 1', lambda name, accept: accept is None or accept({"job": ""}))
    False
    """
    return _can_hold(parse(expr), lambda selector: _selects_what_is(expr, selector, exists))


def required(expr: str, names: Collection[str]) -> frozenset[str]:
    """Those of the names without which the expression never has a value.

    >>> sorted(required("max_over_time(a[5m]) == 0 and (b or c) unless d", {"a", "b", "c", "d"}))
    ['a']
    """
    return frozenset(name for name in names if not can_hold(expr, (frozenset(names) - {name}).__contains__))


def selections(expr: str) -> Iterator[tuple[str, str, Callable[[Mapping[str, str]], bool] | None]]:
    """(PromQL name, as it is written, test of the labels or None) of every selector of an expression.

    >>> [(name, text) for name, text, _ in selections('max_over_time(a[5m]) > 1 unless b{c!=""} > 1')]
    [('a', 'a'), ('b', 'b{c!=""}')]
    """
    for node in _every(parse(expr)):
        name, _, accept = selected(expr, node)
        if name != ANY_NAME:
            yield name, str(node.prettify()).partition(" offset ")[0], accept


def _every(node: Any) -> Iterator[Any]:
    if isinstance(node, ast.VectorSelector):
        yield node
    elif isinstance(node, ast.MatrixSelector):
        yield node.vector_selector
    elif isinstance(node, ast.BinaryExpr):
        yield from _every(node.lhs)
        yield from _every(node.rhs)
    elif isinstance(node, ast.Call):
        for one in node.args:
            yield from _every(one)
    else:
        for below in (getattr(node, "param", None), getattr(node, "expr", None)):
            if below is not None:
                yield from _every(below)


def _names_what_is(selector: Any, available: Callable[[str], bool]) -> bool:
    matchers = selector.matchers.matchers
    named = selector.name or next((m.value for m in matchers if m.name == NAME and m.op == _EQUAL), "")
    return not named or available(prom_name(named))


def _selects_what_is(
    expr: str, selector: Any, exists: Callable[[str, Callable[[Mapping[str, str]], bool] | None], bool]
) -> bool:
    name, _, accept = selected(expr, selector)
    return name == ANY_NAME or exists(name, accept)


def _can_hold(node: Any, there: Callable[[Any], bool]) -> bool:
    if isinstance(node, ast.VectorSelector):
        return there(node)
    if isinstance(node, ast.MatrixSelector):
        return there(node.vector_selector)
    if isinstance(node, ast.BinaryExpr):
        left, right = _can_hold(node.lhs, there), _can_hold(node.rhs, there)
        word = str(node.op).lower()
        return left if word == "unless" else (left or right) if word == "or" else (left and right)
    if isinstance(node, ast.Call):
        return node.func.name in _OF_NOTHING or all(_can_hold(one, there) for one in node.args)
    below = getattr(node, "expr", None)  # parentheses, aggregation, subquery, a sign
    return below is None or _can_hold(below, there)
