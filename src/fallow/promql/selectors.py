"""Which series a selector takes: its PromQL name and a test of the labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import promql_parser
import re2

from fallow.promql.errors import PromqlError, UnsupportedError
from fallow.promql.plan import ANY_NAME, NAME
from fallow.promql.syntax import find
from fallow.regex import compiled

_OTHER = re2.compile(r"[^A-Za-z0-9_:]")


@lru_cache(maxsize=65536)
def prom_name(name: str) -> str:
    """A signal's or attribute's name as PromQL spells it.

    >>> prom_name("hw.gpu.utilization")
    'hw_gpu_utilization'
    """
    return str(_OTHER.sub("_", name))


Test = Callable[[str], bool]


def selected(expr: str, selector: Any) -> tuple[str, tuple[object, ...], Callable[[Mapping[str, str]], bool] | None]:
    """(name or ANY_NAME, identity of the matchers, test of a series' labels or None where every series is taken).

    The test sees the metric name as the label ``__name__``.

    Raises:
        PromqlError: a pattern is not RE2, or the matchers are not supported.
    """
    if selector.matchers.or_matchers:
        raise UnsupportedError("'or' between matchers is not supported; use one regular expression", find(expr, "or"))
    name = prom_name(selector.name or ANY_NAME)
    tests: list[tuple[str, Test]] = []
    identity: list[tuple[str, str, str]] = []
    for matcher in selector.matchers.matchers:
        label, value = prom_name(matcher.name), matcher.value
        if label == NAME and matcher.op == promql_parser.MatchOp.Equal:
            value = prom_name(value)
            if name in (ANY_NAME, value):
                name = value
                continue
        tests.append((label, _test(expr, matcher.op, value)))
        identity.append((label, str(matcher.op), value))

    def accept(labels: Mapping[str, str]) -> bool:
        return all(test(labels.get(label, "")) for label, test in tests)

    return name, tuple(sorted(identity)), accept if tests else None


def _test(expr: str, op: Any, value: str) -> Test:
    if op == promql_parser.MatchOp.Equal:
        return lambda found: found == value
    if op == promql_parser.MatchOp.NotEqual:
        return lambda found: found != value
    try:
        pattern = compiled(f"(?s:{value})")
    except ValueError as error:
        raise PromqlError(f"{value!r} is not an RE2 pattern: {error}", max(expr.find(value), 0)) from error
    if op == promql_parser.MatchOp.Re:
        return lambda found: pattern.fullmatch(found) is not None
    return lambda found: pattern.fullmatch(found) is None


def equalities(selector: Any) -> tuple[tuple[str, str], ...]:
    """The labels that a selector's equalities fix: those of ``absent``'s element."""
    found: dict[str, list[str]] = {}
    fixed: dict[str, str] = {}
    for matcher in selector.matchers.matchers:
        found.setdefault(matcher.name, []).append(matcher.value)
        if matcher.op == promql_parser.MatchOp.Equal and matcher.name != NAME and matcher.value:
            fixed[prom_name(matcher.name)] = matcher.value
    return tuple(sorted((k, v) for k, v in fixed.items() if len(found.get(k, [v])) == 1))
