"""From a syntax tree to a plan's nodes. What is not supported is refused here, with its position, never evaluated wrongly."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from fallow import semconv
from fallow.promql import ops
from fallow.promql.errors import NumberError, PromqlError
from fallow.promql.numbers import binary
from fallow.promql.plan import ALL, LabelSet, Node, Plan
from fallow.promql.selectors import equalities, prom_name, selected
from fallow.promql.syntax import find, parse

LOCAL: Final = frozenset(
    prom_name(label)
    for label in (semconv.HOST_NAME, "k8s.node.name", semconv.CONTAINER_ID, semconv.K8S_POD_NAME, semconv.HW_ID)
)
"""Labels that name something on one machine: what shares one of them shares a clock."""
EVENT_NAME: Final = prom_name(semconv.EVENT)

PER_CLOCK: Final = 0
GROUPED: Final = 1

Operand = float | Node


def grouped(tree: Any) -> bool:
    """Whether the expression reads series of several clocks together."""
    match type(tree).__name__:
        case "ParenExpr" | "UnaryExpr":
            return grouped(tree.expr)
        case "Call":
            name = tree.func.name
            return name in ("absent", "absent_over_time", "vector", "scalar") or any(grouped(a) for a in tree.args)
        case "AggregateExpr":
            return not _stays_local(_label_set(tree.modifier)) or grouped(tree.expr)
        case "BinaryExpr":
            return not _stays_local(_matching(tree)) or grouped(tree.lhs) or grouped(tree.rhs)
        case _:
            return False


def _stays_local(labels: LabelSet) -> bool:
    return bool(labels.names & LOCAL) if labels.keep else not labels.names & (LOCAL | {prom_name(semconv.JOB_ID)})


def _label_set(modifier: Any) -> LabelSet:
    """Of an aggregation: without a modifier nothing is kept."""
    if modifier is None:
        return LabelSet(frozenset(), keep=True)
    keep = str(modifier.type).endswith("By")
    return LabelSet(frozenset(prom_name(label) for label in modifier.labels), keep=keep)


def _matching(tree: Any) -> LabelSet:
    matching = tree.modifier.matching if tree.modifier is not None else None
    if matching is None:
        return ALL
    keep = str(matching.type).endswith("Include")
    return LabelSet(frozenset(prom_name(label) for label in matching.labels), keep=keep)


class Compiler:
    """Compiles one expression into a plan that it may share with others."""

    def __init__(self, expr: str, plan: Plan, lookback: int) -> None:
        self.expr = expr
        self.plan = plan
        self.lookback = lookback
        self.domain = PER_CLOCK

    def vector(self) -> Node:
        """The node of the whole expression, which has to be an instant vector.

        Raises:
            PromqlError: it is not, or not supported.
        """
        tree = parse(self.expr)
        self.domain = GROUPED if grouped(tree) else PER_CLOCK
        found = self._any(tree)
        if not isinstance(found, Node) or found.scalar:
            raise NumberError("a condition has to be a vector of results, this is one number", 0)
        return found

    def root(self, vector: Node, hold: int, interval: int) -> Node:
        """The node that watches the vector for a condition; never shared."""
        return self._node(("root", len(self.plan.roots)), ops.ROOT, (vector,), ns=hold, p=(float(interval), 0.0))

    # -- the tree ------------------------------------------------------------------------------------------------------
    def _any(self, tree: Any) -> Operand:
        kind = type(tree).__name__
        compiled: dict[str, Callable[[Any], Operand]] = {
            "ParenExpr": lambda t: self._any(t.expr),
            "NumberLiteral": lambda t: float(t.val),
            "UnaryExpr": self._negated,
            "VectorSelector": self._instant,
            "Call": self._call,
            "AggregateExpr": self._aggregate,
            "BinaryExpr": self._binary,
        }
        if kind in compiled:
            return compiled[kind](tree)
        if kind == "SubqueryExpr":
            raise PromqlError("subqueries are not supported", _subquery(self.expr))
        if kind == "MatrixSelector":
            raise PromqlError("a range needs a function around it, such as max_over_time", find(self.expr, "["))
        raise PromqlError("text is not supported here", find(self.expr, str(getattr(tree, "val", ""))))

    def _refuse(self, what: str, token: str) -> PromqlError:
        return PromqlError(f"{what} is not supported", find(self.expr, token, called=True))

    def _node(self, key: tuple[object, ...], op: int, children: tuple[Node, ...] = (), **more: Any) -> Node:
        domain = self.domain
        identity = (domain, op, key, tuple(c.index for c in children))
        return self.plan.node(identity, lambda i: Node(index=i, op=op, children=children, domain=domain, **more))

    def _signal(self, selector: Any) -> tuple[int, tuple[object, ...], Any, int]:
        name, identity, accept = selected(self.expr, selector)
        offset = _ns(selector.offset) if selector.offset is not None else 0
        if offset < 0:
            raise PromqlError("a negative offset would read the future", find(self.expr, "offset"))
        return self.plan.signal(name, offset), identity, accept, ops.EVENTS if name == EVENT_NAME else 0

    def _instant(self, tree: Any, fn: int = 0) -> Node:
        signal, identity, accept, flags = self._signal(tree)
        return self._node(
            ("instant", signal, identity, fn),
            ops.INSTANT,
            fn=fn,
            flags=flags,
            signal=signal,
            accept=accept,
            ns=self.lookback,
            keeps_name=fn == 0,
            p=(self.plan.signals[signal].offset / 1e9, 0.0),
            text=tree.prettify(),
        )

    def _range(self, tree: Any, name: str, parameter: float = 0.0) -> Node:
        matrix = tree
        while type(matrix).__name__ == "ParenExpr":
            matrix = matrix.expr
        if type(matrix).__name__ != "MatrixSelector":
            raise PromqlError("subqueries are not supported", _subquery(self.expr))
        fn, statistics = ops.RANGE_FUNCTIONS[name]
        signal, identity, accept, flags = self._signal(matrix.vector_selector)
        window = _ns(matrix.range)
        store = self.plan.signals[signal].store(window, statistics)
        return self._node(
            ("range", signal, identity, window, fn, parameter),
            ops.RANGE,
            fn=fn,
            flags=flags,
            signal=signal,
            accept=accept,
            store=store,
            ns=window,
            p=(parameter, 0.0),
            keeps_name=fn == ops.LAST,
            text=f"{name}({matrix.prettify()})",
        )

    def _negated(self, tree: Any) -> Operand:
        found = self._any(tree.expr)
        if not isinstance(found, Node):
            return -found
        return self._node(("map", ops.NEGATE), ops.MAP, (found,), fn=ops.NEGATE, scalar=found.scalar)

    # -- calls ---------------------------------------------------------------------------------------------------------
    def _call(self, tree: Any) -> Operand:
        name, args = tree.func.name, tree.args
        if name == "quantile_over_time":
            return self._range(args[1], name, self._number(args[0], name))
        if name == "predict_linear":
            return self._range(args[0], name, self._number(args[1], name))
        if name in ops.RANGE_FUNCTIONS:
            return self._range(args[0], name)
        if name in ops.MAPS:
            return self._map(name, args)
        match name:
            case "time":
                return self._node(("time",), ops.TIME, scalar=True)
            case "vector":
                return self._vector_of(self._any(args[0]))
            case "scalar":
                found = self._any(args[0])
                if not isinstance(found, Node):
                    raise self._refuse("scalar() of a number", name)
                return self._node(("scalar",), ops.SCALAR, (found,), scalar=True)
            case "absent":
                return self._absent(self._any(args[0]), args[0])
            case "absent_over_time":
                return self._absent(self._range(args[0], "present_over_time"), args[0])
            case "timestamp":
                inner = _bare(args[0])
                if type(inner).__name__ != "VectorSelector":
                    raise self._refuse("timestamp() of anything but a selector", name)
                return self._instant(inner, fn=ops.TIMESTAMP)
            case _:
                raise self._refuse(f"{name}()", name)

    def _number(self, tree: Any, name: str) -> float:
        found = self._any(tree)
        if isinstance(found, Node):
            raise self._refuse(f"a changing number in {name}()", name)
        return found

    def _map(self, name: str, args: Any) -> Operand:
        found = self._any(args[0])
        numbers = [self._number(a, name) for a in args[1:]]
        if not isinstance(found, Node):
            raise self._refuse(f"{name}() of a number", name)
        if name == "clamp_min":
            numbers = [numbers[0], math.inf]
        elif name == "clamp_max":
            numbers = [-math.inf, numbers[0]]
        elif name == "round":
            numbers = numbers or [1.0]
        pair = (*numbers, 0.0, 0.0)[:2]
        fn = ops.MAPS["clamp" if name.startswith("clamp_") else name]
        return self._node(("map", fn, pair), ops.MAP, (found,), fn=fn, p=(pair[0], pair[1]))

    def _vector_of(self, found: Operand) -> Node:
        if not isinstance(found, Node):
            return self._node(("constant", repr(found)), ops.CONSTANT, p=(found, 0.0))
        return self._node(("vector",), ops.COPY, (found,))

    def _absent(self, found: Operand, tree: Any) -> Node:
        if not isinstance(found, Node):
            raise self._refuse("absent() of a number", "absent")
        inner = _bare(tree)
        selector = getattr(inner, "vector_selector", inner)
        labels = equalities(selector) if type(selector).__name__ == "VectorSelector" else ()
        return self._node(("absent", labels), ops.ABSENT, (found,), labels=labels)

    # -- aggregations and operators ------------------------------------------------------------------------------------
    def _aggregate(self, tree: Any) -> Node:
        name = str(tree.op)
        if name not in ops.AGGREGATIONS:
            raise self._refuse(name, name)
        parameter = self._number(tree.param, name) if tree.param is not None else 0.0
        found = self._any(tree.expr)
        if not isinstance(found, Node) or found.scalar:
            raise self._refuse(f"{name}() of a number", name)
        kept = _label_set(tree.modifier)
        return self._node(
            ("aggregate", name, kept, repr(parameter)),
            ops.AGGREGATE,
            (found,),
            fn=ops.AGGREGATIONS[name],
            p=(parameter, 0.0),
            match=kept,
        )

    def _binary(self, tree: Any) -> Operand:
        operator = str(tree.op)
        left, right = self._any(tree.lhs), self._any(tree.rhs)
        if operator in ("and", "unless", "or"):
            return self._set(tree, operator, left, right)
        if operator not in ops.OPERATORS:
            raise PromqlError(f"{operator} is not supported", find(self.expr, operator))
        flags = ops.BOOL if tree.modifier is not None and tree.modifier.return_bool else 0
        if isinstance(left, Node):
            if isinstance(right, Node):
                return self._with_vector(tree, operator, left, right, flags)
            return self._with_number(operator, left, right, flags)
        if isinstance(right, Node):
            return self._with_number(operator, right, left, flags | ops.SWAPPED | ops.KEEP_A)
        return binary(operator, left, right)

    def _with_number(self, operator: str, vector: Node, number: float, flags: int) -> Node:
        fn = ops.OPERATORS[operator]
        if fn >= ops.FIRST_COMPARISON and vector.op == ops.RANGE:
            flags |= ops.AT_LEAST if vector.fn in ops.NEVER_BELOW else 0
            flags |= ops.AT_MOST if vector.fn in ops.NEVER_ABOVE else 0
        return self._node(
            ("number", fn, repr(number), flags),
            ops.WITH_NUMBER,
            (vector,),
            fn=fn,
            p=(number, 0.0),
            flags=flags,
            scalar=vector.scalar,
            keeps_name=fn >= ops.FIRST_COMPARISON and not flags & ops.BOOL and vector.keeps_name,
        )

    def _with_vector(self, tree: Any, operator: str, left: Node, right: Node, flags: int) -> Node:
        fn = ops.OPERATORS[operator]
        filters = fn >= ops.FIRST_COMPARISON and not flags & ops.BOOL
        include: tuple[str, ...] = ()
        one_to_one = True
        match = _matching(tree)
        children = (left, right)
        if left.scalar != right.scalar:
            if left.scalar:
                children, flags = (right, left), flags | ops.SWAPPED | ops.KEEP_A
        elif tree.modifier is not None and not str(tree.modifier.card).endswith("OneToOne"):
            one_to_one = False
            include = tuple(prom_name(label) for label in tree.modifier.group_labels or ())
            if str(tree.modifier.card).endswith("OneToMany"):
                children, flags = (right, left), flags | ops.SWAPPED
        return self._node(
            ("vector", fn, match, flags, one_to_one, include),
            ops.WITH_VECTOR,
            children,
            fn=fn,
            flags=flags,
            match=match,
            one_to_one=one_to_one,
            include=include,
            scalar=left.scalar and right.scalar,
            keeps_name=filters and children[0].keeps_name and not (match.keep and one_to_one),
        )

    def _set(self, tree: Any, operator: str, left: Operand, right: Operand) -> Node:
        if not isinstance(left, Node) or not isinstance(right, Node):
            raise PromqlError(f"{operator} needs a vector on both sides", find(self.expr, operator))
        match = _matching(tree)
        op = {"and": ops.AND, "unless": ops.UNLESS, "or": ops.OR}[operator]
        return self._node((operator, match), op, (left, right), match=match, keeps_name=left.keeps_name)


def _bare(tree: Any) -> Any:
    while type(tree).__name__ == "ParenExpr":
        tree = tree.expr
    return tree


def _ns(span: timedelta) -> int:
    return (span.days * 86_400 + span.seconds) * 1_000_000_000 + span.microseconds * 1_000


def _subquery(expr: str) -> int:
    """The ``[`` of the first ``[range:step]``."""
    for at, character in enumerate(expr):
        if character == "[" and ":" in expr[at : expr.find("]", at)]:
            return at
    return find(expr, "[")
