"""PromQL queries over samples that are all there: the streaming engine, taken through the query's instants."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fallow.batch import MetricBatch
from fallow.promql import ops
from fallow.promql.builder import DEFAULT_STEP, bare, ns
from fallow.promql.calls import SORTS
from fallow.promql.compile import Compiler, label_set
from fallow.promql.engine import Condition, Engine
from fallow.promql.errors import NumberError, PromqlError
from fallow.promql.order import as_sorted
from fallow.promql.plan import NAME, Plan, Query
from fallow.promql.selectors import prom_name, selected
from fallow.promql.syntax import find, parse
from fallow.series import SeriesKey, SeriesTable
from fallow.units import SECOND

Key = tuple[tuple[str, str], ...]
"""Sorted labels, the metric's name as ``__name__`` where it is kept."""
Vector = dict[Key, float]
"""In the order in which it is shown. A number has no labels."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a series; ``value`` None says that the series ended."""

    name: str
    labels: tuple[tuple[str, str], ...]
    time: int
    value: float | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A vector (or number) for each instant, or text, or series of samples."""

    vectors: list[Vector] = field(default_factory=list[Vector])
    text: str | None = None
    series: Mapping[Key, list[tuple[int, float]]] | None = None


def answer(expr: str, samples: Sequence[Sample], query: Query) -> Answer:
    """What a query says.

    Raises:
        PromqlError: the expression is wrong; UnsupportedError: not supported.
        EvaluationError: PromQL has no answer on these samples.
    """
    tree = bare(parse(expr))
    kind = type(tree).__name__
    if kind in ("MatrixSelector", "SubqueryExpr"):
        if query.step:
            raise PromqlError("a range query has to be of a vector or a number", 0)
        found = _range(expr, tree, samples, query) if kind[0] == "M" else _subquery(expr, tree, samples, query)
        return Answer(series=found)
    if kind == "StringLiteral":
        return Answer(text=str(tree.val))
    if kind == "AggregateExpr" and str(tree.op) == "count_values":
        return Answer([_counted(tree, expr, v) for v in _vectors(tree.expr.prettify(), samples, query)])
    return Answer([_shown(tree, vector) for vector in _vectors(expr, samples, query)])


# -- through the engine ------------------------------------------------------------------------------------------------


def _vectors(expr: str, samples: Sequence[Sample], query: Query) -> Iterator[Vector]:
    engine = _engine(expr, query)
    engine.append(_batch(engine.table, samples, _begin(parse(expr), samples, query)))
    for at in query.instants:
        engine.evaluate(at)
        engine.check_answer()
        yield {_key(name, labels): value for name, labels, value in engine.vector()}


def _engine(expr: str, query: Query) -> Engine:
    def made(text: str) -> Engine:
        return Engine(SeriesTable(), [Condition(expr=text, interval_ns=query.grid)], query=query)

    try:
        return made(expr)
    except NumberError:
        return made(f"vector({expr})")


def _begin(tree: Any, samples: Sequence[Sample], query: Query) -> int:
    """A time before which nothing that the query looks at has a value."""
    return min(query.start, min((s.time for s in samples), default=query.start)) - 2 * _spans(tree)


def _spans(tree: Any) -> int:
    """The ranges of all subqueries together."""
    match type(tree).__name__:
        case "SubqueryExpr":
            return ns(tree.range) + (ns(tree.step) if tree.step is not None else DEFAULT_STEP) + _spans(tree.expr)
        case "ParenExpr" | "UnaryExpr" | "AggregateExpr":
            return _spans(tree.expr)
        case "Call":
            return sum(_spans(argument) for argument in tree.args)
        case "BinaryExpr":
            return _spans(tree.lhs) + _spans(tree.rhs)
        case _:
            return 0


def _batch(table: SeriesTable, samples: Sequence[Sample], begin: int) -> MetricBatch:
    """The samples, and one of a series that nobody asks for, which begins event time."""
    every = [Sample("", (), begin, 1.0), *sorted(samples, key=lambda s: s.time)]
    return MetricBatch(
        series=np.asarray([table.intern(SeriesKey(name=s.name, attributes=s.labels)) for s in every], dtype=np.int32),
        time=np.asarray([s.time for s in every], dtype=np.int64),
        value=np.asarray([0.0 if s.value is None else s.value for s in every], dtype=np.float64),
        stale=np.asarray([s.value is None for s in every], dtype=np.bool_),
    )


def _key(name: str, labels: Mapping[str, str]) -> Key:
    return tuple(sorted({**labels, **({NAME: name} if name else {})}.items()))


# -- what only a whole result has --------------------------------------------------------------------------------------


def _shown(tree: Any, vector: Vector) -> Vector:
    """The vector in the order that its outermost operation gives it."""
    kind = type(tree).__name__
    if kind == "Call" and tree.func.name in SORTS:
        return as_sorted(vector, tree.func.name, [prom_name(str(bare(a).val)) for a in tree.args[1:]])
    if kind == "AggregateExpr" and str(tree.op) in ops.CHOICES:
        name = {"topk": "sort_desc", "bottomk": "sort"}.get(str(tree.op), "sort_by_label")
        return as_sorted(vector, name, [])
    return vector


def _counted(tree: Any, expr: str, vector: Vector) -> Vector:
    """``count_values``: how many elements of each group have each value."""
    text = bare(tree.param)
    if type(text).__name__ != "StringLiteral" or not text.val:
        raise PromqlError("count_values wants the name of a label", find(expr, "count_values", called=True))
    kept, label = label_set(tree.modifier), prom_name(str(text.val))
    counts: Vector = {}
    for key, value in vector.items():
        labels = dict(kept.of(tuple(pair for pair in key if pair[0] != NAME), dict(key).get(NAME, "")))
        group = tuple(sorted((labels | {label: _written(value)}).items()))
        counts[group] = counts.get(group, 0.0) + 1
    return counts


def _written(value: float) -> str:
    """A number as Prometheus writes it: no exponent, no digit too many."""
    if math.isnan(value) or math.isinf(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return np.format_float_positional(value, trim="-")


# -- ranges as results -------------------------------------------------------------------------------------------------


class _Times(Compiler):
    """Reads the times of a tree."""

    def end_of(self, tree: Any, at: int) -> int:
        """Where the range of a selector or subquery ends."""
        if tree.at is not None:
            at = self.fixed_time(tree)
        return at - (ns(tree.offset) if tree.offset is not None else 0)


def _range(expr: str, tree: Any, samples: Iterable[Sample], query: Query) -> Mapping[Key, list[tuple[int, float]]]:
    """The samples that a range selector takes."""
    selector = tree.vector_selector
    name, _, accept = selected(expr, selector)
    end = _times(expr, query).end_of(selector, query.start)
    found: dict[Key, list[tuple[int, float]]] = {}
    for sample in samples:
        series = prom_name(sample.name)
        labels = {prom_name(k): v for k, v in sample.labels}
        if name not in ("", series) or (accept is not None and not accept({**labels, NAME: series})):
            continue
        if end - ns(tree.range) < sample.time <= end and sample.value is not None:
            found.setdefault(_key(series, labels), []).append((sample.time, sample.value))
    return found


def _subquery(expr: str, tree: Any, samples: Sequence[Sample], query: Query) -> Mapping[Key, list[tuple[int, float]]]:
    """A subquery's results."""
    step = ns(tree.step) if tree.step is not None else DEFAULT_STEP
    end = _times(expr, query).end_of(tree, query.start) // step * step
    start = (_times(expr, query).end_of(tree, query.start) - ns(tree.range)) // step * step + step
    found: dict[Key, list[tuple[int, float]]] = {}
    if start > end:
        return found
    inner = Query(start, end, step)
    for at, vector in zip(inner.instants, _vectors(tree.expr.prettify(), samples, inner), strict=True):
        for key, value in vector.items():
            found.setdefault(key, []).append((at, value))
    return found


def _times(expr: str, query: Query) -> _Times:
    return _Times(expr, Plan(), 300 * SECOND, query)
