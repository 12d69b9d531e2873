"""One PromQL query at one time, exact: the streaming engine, with event time laid so that its windows end there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fallow.batch import MetricBatch
from fallow.promql.engine import Condition, Engine
from fallow.promql.errors import NumberError
from fallow.series import SeriesKey, SeriesTable
from fallow.units import SECOND

_DAY = 86_400 * SECOND


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a series; ``value`` None says that the series ended."""

    name: str
    labels: tuple[tuple[str, str], ...]
    time: int
    value: float | None


Vector = dict[tuple[tuple[str, str], ...], float]
"""Sorted labels, the metric's name as ``__name__`` where it is kept → value. A number has no labels."""


def instant_query(expr: str, samples: Sequence[Sample], at: int) -> Vector:
    """The value of an expression at a time (ns), from the samples up to it.

    Raises:
        PromqlError: the expression is not supported.
    """
    alignment = _engine(expr, 0, _DAY).alignment_ns
    seen = [s for s in samples if s.time <= at]
    span = at - min((s.time for s in seen), default=at)
    interval = -(-(span + _DAY) // alignment) * alignment
    now = 2 * interval
    engine = _engine(expr, at - now, interval)
    engine.append(_batch(engine.table, seen, now - at, now))
    engine.advance()
    engine.finish()
    return {_key(name, labels): value for name, labels, value in engine.vector()}


def _engine(expr: str, origin: int, interval: int) -> Engine:
    def made(text: str) -> Engine:
        return Engine(SeriesTable(), [Condition(expr=text, interval_ns=interval)], plain=True, origin_ns=origin)

    try:
        return made(expr)
    except NumberError:
        return made(f"vector({expr})")


def _batch(table: SeriesTable, samples: Sequence[Sample], shift: int, now: int) -> MetricBatch:
    """The samples, and one of a series that nobody asks for, which brings event time to the instant."""
    heartbeat = Sample("", (), now - shift, 1.0)
    every = sorted([*samples, heartbeat], key=lambda s: s.time)
    return MetricBatch(
        series=np.asarray([table.intern(SeriesKey(name=s.name, attributes=s.labels)) for s in every], dtype=np.int32),
        time=np.asarray([s.time + shift for s in every], dtype=np.int64),
        value=np.asarray([0.0 if s.value is None else s.value for s in every], dtype=np.float64),
        stale=np.asarray([s.value is None for s in every], dtype=np.bool_),
    )


def _key(name: str, labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({**labels, **({"__name__": name} if name else {})}.items()))
