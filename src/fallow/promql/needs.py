"""What an expression can still say where some of its signals do not exist."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import promql_parser as ast

from fallow.promql.plan import NAME
from fallow.promql.selectors import prom_name
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
    return _can_hold(parse(expr), available)


def required(expr: str, names: Collection[str]) -> frozenset[str]:
    """Those of the names without which the expression never has a value.

    >>> sorted(required("max_over_time(a[5m]) == 0 and (b or c) unless d", {"a", "b", "c", "d"}))
    ['a']
    """
    return frozenset(name for name in names if not can_hold(expr, (frozenset(names) - {name}).__contains__))


def _can_hold(node: Any, available: Callable[[str], bool]) -> bool:
    if isinstance(node, ast.VectorSelector):
        named = node.name or next((m.value for m in node.matchers.matchers if m.name == NAME and m.op == _EQUAL), "")
        return not named or available(prom_name(named))
    if isinstance(node, ast.MatrixSelector):
        return _can_hold(node.vector_selector, available)
    if isinstance(node, ast.BinaryExpr):
        left, right = _can_hold(node.lhs, available), _can_hold(node.rhs, available)
        word = str(node.op).lower()
        return left if word == "unless" else (left or right) if word == "or" else (left and right)
    if isinstance(node, ast.Call):
        return node.func.name in _OF_NOTHING or all(_can_hold(one, available) for one in node.args)
    below = getattr(node, "expr", None)  # parentheses, aggregation, subquery, a sign
    return below is None or _can_hold(below, available)
