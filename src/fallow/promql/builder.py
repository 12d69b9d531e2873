"""What every part of the compiler makes nodes of: selectors, windows, subqueries and numbers, with the time they see."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

from fallow import semconv
from fallow.promql import ops
from fallow.promql.errors import PromqlError, UnsupportedError
from fallow.promql.plan import Node, Plan, Query
from fallow.promql.selectors import prom_name, selected
from fallow.promql.syntax import find, tokens_of
from fallow.series.layout import FAR, RAW, RAW_LIMIT
from fallow.units import SECOND

PER_CLOCK: Final = 0
GROUPED: Final = 1
EVENT_NAME: Final = prom_name(semconv.EVENT)
DEFAULT_STEP: Final = 60 * SECOND
"""Of a subquery that names none, as Prometheus' evaluation interval is by default."""

Operand = float | Node


@dataclass(frozen=True, slots=True)
class _Sight:
    """What time an expression sees: ``shift`` behind the instant, looked at every ``every``, from ``reach`` before."""

    shift: int = 0
    every: int = 0
    reach: int = 0


@dataclass(frozen=True, slots=True)
class _When:
    """How far a selector's samples are shifted, and from which instant on the value is held (FAR: it is not)."""

    offset: int
    held: int


class Builder(ABC):
    """Compiles one expression into a plan that it may share with others.

    Args:
        expr: the text.
        plan: where its nodes go.
        lookback: of instant selectors, ns.
        query: the instants asked for; None where the expression is a condition, evaluated as time passes.
    """

    def __init__(self, expr: str, plan: Plan, lookback: int, query: Query | None = None) -> None:
        self.expr = expr
        self.plan = plan
        self.lookback = lookback
        self.query = query
        self.domain = PER_CLOCK
        self._sight = _Sight(every=query.grid if query else 0)

    @abstractmethod
    def operand(self, tree: Any) -> Operand:
        """The node of an expression, or its number."""

    # -- nodes ---------------------------------------------------------------------------------------------------------
    def node(self, key: tuple[object, ...], op: int, children: tuple[Node, ...] = (), **more: Any) -> Node:
        """The node of this operation and key over these operands."""
        domain = self.domain
        identity = (domain, op, key, tuple(c.index for c in children))
        return self.plan.node(identity, lambda i: Node(index=i, op=op, children=children, domain=domain, **more))

    def refuse(self, what: str, token: str) -> UnsupportedError:
        """The error to raise, at the place of a function's name or other token."""
        return UnsupportedError(f"{what} is not supported", find(self.expr, token, called=True))

    def number(self, tree: Any, name: str) -> float:
        """A number that does not change, an argument of ``name``."""
        found = self.operand(tree)
        if isinstance(found, Node):
            raise self.refuse(f"a changing number in {name}()", name)
        return found

    def parameter(self, tree: Any) -> tuple[float, tuple[Node, ...]]:
        """(the number, no operand) or, where it changes, (0, the node that has it)."""
        found = self.operand(tree)
        return (0.0, (found,)) if isinstance(found, Node) else (found, ())

    # -- times ---------------------------------------------------------------------------------------------------------
    @property
    def shift(self) -> int:
        """How far behind the instant the expression's time is, ns."""
        return self._sight.shift

    def asked(self, name: str) -> Query:
        """The query, of which ``name`` speaks; a condition has none."""
        if self.query is None:
            raise UnsupportedError(
                f"{name} is not supported in a condition, which is evaluated as time passes", find(self.expr, name)
            )
        return self.query

    def _when(self, tree: Any) -> _When:
        """Of a selector or subquery with ``offset`` and ``@``."""
        offset = ns(tree.offset) if tree.offset is not None else 0
        if tree.at is None:
            if offset < 0 and self.query is None:
                raise UnsupportedError("a negative offset would read the future", find(self.expr, "offset"))
            return _When(self.shift + offset, FAR)
        query = self.asked("@")
        at = self.fixed_time(tree)
        # It is read once, when all that reads it lies ahead; from then on it stays.
        unit = math.lcm(self._sight.every, query.grid)
        held = (query.start - self._sight.reach) // unit * unit
        return _When(held - at + offset, held)

    def fixed_time(self, tree: Any) -> int:
        """The time that ``@`` names, ns."""
        query, kind = self.asked("@"), str(tree.at.type)
        if kind.endswith("Start"):
            return query.start
        if kind.endswith("End"):
            return query.end
        tokens = tokens_of(self.expr)
        for sign, after in pairwise(tokens):
            if sign.text == "@" and after.text == "-":  # the parser takes it for 1970
                raise UnsupportedError("a time before 1970 is not supported", after.position)
        return round(float(str(tree.at).removeprefix("@ ")) * 1000) * 1_000_000

    @contextmanager
    def _inside(self, when: _When, every: int, span: int) -> Generator[None]:
        """Compile what a subquery evaluates."""
        before = self._sight
        read = before.reach if when.held == FAR or self.query is None else self.query.start - when.held
        self._sight = _Sight(when.offset, every, read + span + every)
        try:
            yield
        finally:
            self._sight = before

    # -- leaves --------------------------------------------------------------------------------------------------------
    def instant(self, tree: Any, fn: int = 0) -> Node:
        """The newest sample of what a selector takes; ``fn`` TIMESTAMP: its time."""
        name, identity, accept = selected(self.expr, tree)
        when = self._when(tree)
        signal = self.plan.signal(name, when.offset, self.domain)
        return self.node(
            ("instant", signal, identity, fn, when.held),
            ops.INSTANT,
            fn=fn,
            flags=ops.EVENTS if name == EVENT_NAME else 0,
            signal=signal,
            accept=accept,
            ns=self.lookback,
            keeps_name=fn == 0,
            p=(when.offset / 1e9, 0.0),
            held=when.held,
            text=tree.prettify(),
        )

    def window(
        self,
        tree: Any,
        name: str,
        p: tuple[float, float] = (0.0, 0.0),
        changing: tuple[Node, ...] = (),
        sides: tuple[float, bool] | None = None,
    ) -> Node:
        """A function of the window that a range selector or subquery gives; ``changing`` takes the place of p[0].

        ``sides``: of a quantile only on which side of this number it lies, and whether the number is on the lower.
        """
        matrix = bare(tree)
        if type(matrix).__name__ == "SubqueryExpr":
            return self._subquery(matrix, name, p, changing)
        if type(matrix).__name__ != "MatrixSelector":
            raise PromqlError(f"{name}() needs a range, such as x[5m]", find(self.expr, name, called=True))
        fn, statistics = ops.RANGE_FUNCTIONS[name]
        selector, span = matrix.vector_selector, ns(matrix.range)
        series, identity, accept = selected(self.expr, selector)
        when = self._when(selector)
        p = self._seen_from(fn, p, when)
        signal = self.plan.signal(series, when.offset, self.domain)
        held = self.plan.signals[signal]
        if sides is not None:
            fn, statistics = ops.QUANTILE_SIDE, ops.statistics_of(ops.QUANTILE_SIDE)
            store = held.store(span, statistics, limit=sides[0], includes=sides[1])
        else:
            store = held.store(span, statistics, self._window_grid())
        return self.node(
            ("range", signal, identity, store, fn, p, when.held),
            ops.RANGE,
            changing,
            fn=fn,
            flags=ops.EVENTS if series == EVENT_NAME else 0,
            signal=signal,
            accept=accept,
            store=store,
            p=p,
            keeps_name=fn in (ops.LAST, ops.FIRST_OVER),
            held=when.held,
            text=f"{name}({matrix.prettify()})",
        )

    def _seen_from(self, fn: int, p: tuple[float, float], when: _When) -> tuple[float, float]:
        """A prediction counts from the instant, so it has to know how far before that the window ends; a time, the shift."""
        if ops.TS_OF_FIRST <= fn <= ops.TS_OF_MAX:
            return 0.0, when.offset / 1e9
        if fn != ops.PREDICT:
            return p
        return p[0], (when.offset - (self.shift if when.held == FAR else when.held)) / 1e9

    def _window_grid(self) -> int:
        """What windows of a query end at multiples of; those of a condition end at the newest pane's boundary."""
        return math.gcd(self.query.grid, self._sight.every) if self.query is not None else 0

    def _subquery(self, tree: Any, name: str, p: tuple[float, float], changing: tuple[Node, ...]) -> Node:
        fn, _ = ops.RANGE_FUNCTIONS[name]
        span = ns(tree.range)
        step = ns(tree.step) if tree.step is not None else DEFAULT_STEP
        if span // step > RAW_LIMIT:
            raise UnsupportedError(f"a subquery of more than {RAW_LIMIT} steps is not supported", subquery(self.expr))
        when = self._when(tree)
        p = self._seen_from(fn, p, when)
        fed = self._fed(tree, when, step, span)
        return self.node(
            ("subrange", span, fn, p, when.held),
            ops.SUBRANGE,
            (fed, *changing),
            fn=fn,
            ns=span,
            p=p,
            keeps_name=fn in (ops.LAST, ops.FIRST_OVER),
            held=when.held,
            text=f"{name}({tree.prettify()})",
        )

    def _fed(self, tree: Any, when: _When, step: int, span: int) -> Node:
        """What evaluates a subquery's expression at the multiples of its step, seen ``when.offset`` later."""
        phase = when.offset % step
        every = math.gcd(step, phase)
        with self._inside(when, every, span):
            inner = self.operand(tree.expr)
        if not isinstance(inner, Node):
            raise PromqlError("a subquery is of a vector", subquery(self.expr))
        made = self.node(
            ("feed", step, phase), ops.FEED, (inner,), ns=step, p=(float(phase), 0.0), interval=every, keeps_name=True
        )
        if made.signal < 0:
            name = f"[{bare(tree.expr).prettify()} {step} {phase} {every} {when.offset} {when.held}]"
            made.signal = self.plan.derived(name, self.domain)  # the same in every plan
            made.store = self.plan.signals[made.signal].store(step, frozenset({RAW}))
        return made


def bare(tree: Any) -> Any:
    """The expression without the parentheses around it."""
    while type(tree).__name__ == "ParenExpr":
        tree = tree.expr
    return tree


def ns(span: timedelta) -> int:
    """A duration in ns."""
    return (span.days * 86_400 + span.seconds) * 1_000_000_000 + span.microseconds * 1_000


def subquery(expr: str) -> int:
    """The ``[`` of the first ``[range:step]``."""
    for at, character in enumerate(expr):
        if character == "[" and ":" in expr[at : expr.find("]", at)]:
            return at
    return find(expr, "[")
