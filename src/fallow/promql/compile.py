"""From a syntax tree to a plan's nodes. What is not supported is refused here, with its position, never evaluated wrongly."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from fallow import semconv
from fallow.promql import ops
from fallow.promql.builder import GROUPED, PER_CLOCK, Operand, bare, subquery
from fallow.promql.calls import Calls
from fallow.promql.errors import NumberError, PromqlError, UnsupportedError
from fallow.promql.numbers import binary
from fallow.promql.plan import ALL, LabelSet, Node, Plan
from fallow.promql.rewrite import sides_of
from fallow.promql.selectors import prom_name
from fallow.promql.syntax import find, parse
from fallow.units import SECOND

LOCAL: Final = frozenset(
    prom_name(label)
    for label in (semconv.HOST_NAME, "k8s.node.name", semconv.CONTAINER_ID, semconv.K8S_POD_NAME, semconv.HW_ID)
)
"""Labels that name something on one machine: what shares one of them shares a clock."""
_CLOCKS: Final = LOCAL | {prom_name(semconv.JOB_ID)}
_EVERYWHERE: Final = frozenset({"absent", "absent_over_time", "vector", "scalar", *ops.CALENDAR})
"""Functions of what is there at all, or of the instant alone."""


def grouped(tree: Any) -> bool:
    """Whether the expression reads series of several clocks together."""
    match type(tree).__name__:
        case "ParenExpr" | "UnaryExpr" | "SubqueryExpr":
            return grouped(tree.expr)
        case "Call":
            return _call_groups(tree) or any(grouped(a) for a in tree.args)
        case "AggregateExpr":
            return (
                not _stays_local(label_set(tree.modifier))
                or grouped(tree.expr)
                or (tree.param is not None and grouped(tree.param))
            )
        case "BinaryExpr":
            return not _stays_local(_matching(tree)) or grouped(tree.lhs) or grouped(tree.rhs)
        case _:
            return False


def _call_groups(tree: Any) -> bool:
    name = tree.func.name
    if name in ("label_replace", "label_join"):
        return prom_name(str(bare(tree.args[1]).val)) in _CLOCKS
    return name in _EVERYWHERE and not (name in ops.CALENDAR and tree.args)


def _stays_local(labels: LabelSet) -> bool:
    return bool(labels.names & LOCAL) if labels.keep else not labels.names & _CLOCKS


def label_set(modifier: Any) -> LabelSet:
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


class Compiler(Calls):
    """Compiles one expression into a plan that it may share with others."""

    def vector(self) -> Node:
        """The node of the whole expression, which has to be an instant vector.

        Raises:
            PromqlError: it is not, or not supported.
        """
        return self.vector_of(parse(self.expr))

    def vector_of(self, tree: Any) -> Node:
        """The node of a tree of this text, likewise."""
        self.domain = GROUPED if grouped(tree) else PER_CLOCK
        found = self.operand(tree)
        if not isinstance(found, Node) or found.scalar:
            raise NumberError("a condition has to be a vector of results, this is one number", 0)
        return found

    def number_of(self, tree: Any) -> Node:
        """The node of a tree that is a number, as a vector of it."""
        self.domain = GROUPED
        return self._vector_of(self.operand(tree))

    def root(self, vector: Node, hold: int, interval: int) -> Node:
        """The node that watches the vector for a condition; never shared."""
        key = ("root", len(self.plan.roots))
        root = self.node(key, ops.ROOT, (vector,), ns=hold, p=(float(interval), 0.0), keeps_name=True)
        self.plan.roots.append(root)
        return root

    def operand(self, tree: Any) -> Operand:
        kind = type(tree).__name__
        compiled: dict[str, Callable[[Any], Operand]] = {
            "ParenExpr": lambda t: self.operand(t.expr),
            "NumberLiteral": lambda t: float(t.val),
            "UnaryExpr": self._negated,
            "VectorSelector": self.instant,
            "Call": self.call,
            "AggregateExpr": self._aggregate,
            "BinaryExpr": self._binary,
        }
        if kind in compiled:
            return compiled[kind](tree)
        if kind == "SubqueryExpr":
            raise PromqlError("a subquery needs a function around it, such as max_over_time", subquery(self.expr))
        if kind == "MatrixSelector":
            raise PromqlError("a range needs a function around it, such as max_over_time", find(self.expr, "["))
        raise PromqlError("text has no place here", find(self.expr, str(getattr(tree, "val", ""))))

    def _negated(self, tree: Any) -> Operand:
        found = self.operand(tree.expr)
        if not isinstance(found, Node):
            return -found
        return self.node(("map", ops.NEGATE), ops.MAP, (found,), fn=ops.NEGATE, scalar=found.scalar)

    # -- aggregations and operators ------------------------------------------------------------------------------------
    def _aggregate(self, tree: Any) -> Node:
        name = str(tree.op)
        if name not in ops.AGGREGATIONS and name not in ops.CHOICES:
            raise self._refused_aggregation(name)
        number, changing = self._aggregation_parameter(tree, name)
        found = self.operand(tree.expr)
        if not isinstance(found, Node) or found.scalar:
            raise self.refuse(f"{name}() of a number", name)
        kept = label_set(tree.modifier)
        if name in ops.CHOICES:
            return self._chosen(name, number, changing, found, kept)
        return self.node(
            ("aggregate", name, kept, repr(number)),
            ops.AGGREGATE,
            (found, *changing),
            fn=ops.AGGREGATIONS[name],
            p=(number, 0.0),
            match=kept,
            keeps_name=True,
        )

    def _aggregation_parameter(self, tree: Any, name: str) -> tuple[float, tuple[Node, ...]]:
        if tree.param is None:
            return 0.0, ()
        if type(bare(tree.param)).__name__ == "StringLiteral":
            raise PromqlError(f"{name} wants a number, this is text", find(self.expr, name, called=True))
        return self.parameter(tree.param)

    def _refused_aggregation(self, name: str) -> UnsupportedError:
        if name == "count_values":
            return self.refuse("count_values, which makes labels of values, inside an expression or condition", name)
        if name == "limit_ratio":
            return self.refuse("limit_ratio, which chooses by Prometheus' own hash of the labels", name)
        return self.refuse(name, name)

    def _chosen(self, name: str, number: float, changing: tuple[Node, ...], found: Node, kept: LabelSet) -> Node:
        fn = ops.CHOICES[name]
        top = self.node(
            ("top", fn, kept, repr(number)), ops.TOP, (found, *changing), fn=fn, p=(number, 0.0), match=kept
        )
        return self.node(("member",), ops.MEMBER, (found, top), match=kept, keeps_name=True)

    def _binary(self, tree: Any) -> Operand:
        operator = str(tree.op)
        self._no_fill(tree)
        decided = self._on_a_side(tree, operator)
        if decided is not None:
            return decided
        left, right = self.operand(tree.lhs), self.operand(tree.rhs)
        if operator in ("and", "unless", "or"):
            return self._set(tree, operator, left, right)
        if operator not in ops.OPERATORS:
            raise UnsupportedError(f"{operator} is not supported", find(self.expr, operator))
        flags = ops.BOOL if tree.modifier is not None and tree.modifier.return_bool else 0
        if isinstance(left, Node):
            if isinstance(right, Node):
                return self._with_vector(tree, operator, left, right, flags)
            return self.with_number(operator, left, right, flags)
        if isinstance(right, Node):
            return self.with_number(operator, right, left, flags | ops.SWAPPED | ops.KEEP_A)
        return binary(operator, left, right)

    def _no_fill(self, tree: Any) -> None:
        values = tree.modifier.fill_values if tree.modifier is not None else None
        if values is not None and (values.lhs is not None or values.rhs is not None):
            token = next(t for t in ("fill", "fill_left", "fill_right") if t in self.expr.lower())
            raise UnsupportedError("fill is not supported", self.expr.lower().find(token))

    def _on_a_side(self, tree: Any, operator: str) -> Node | None:
        """A quantile of a long window against a number, which panes decide; None where it is anything else.

        A query answers with values, not with decisions.
        """
        found = sides_of(tree, operator) if self.query is None else None
        if found is None:
            return None
        number, q = self.operand(found.number), self.operand(found.quantile.args[0])
        if isinstance(number, Node) or isinstance(q, Node) or not math.isfinite(number) or not 0 <= q <= 1:
            return None
        sides = found.quantile.args[1], "quantile_over_time", (q, 0.0)
        vector = self.window(*sides, sides=(number, found.includes))
        flags = ops.BOOL if tree.modifier is not None and tree.modifier.return_bool else 0
        return self.with_number(operator, vector, number, flags | (ops.SWAPPED | ops.KEEP_A if found.swapped else 0))

    def _with_vector(self, tree: Any, operator: str, left: Node, right: Node, flags: int) -> Node:
        fn = ops.OPERATORS[operator]
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
        return self.node(
            ("vector", fn, match, flags, one_to_one, include),
            ops.WITH_VECTOR,
            children,
            fn=fn,
            flags=flags,
            match=match,
            one_to_one=one_to_one,
            include=include,
            scalar=left.scalar and right.scalar,
            keeps_name=fn >= ops.FIRST_COMPARISON and not flags & ops.BOOL,
        )

    def _set(self, tree: Any, operator: str, left: Operand, right: Operand) -> Node:
        if not isinstance(left, Node) or not isinstance(right, Node):
            raise PromqlError(f"{operator} needs a vector on both sides", find(self.expr, operator))
        match = _matching(tree)
        op = {"and": ops.AND, "unless": ops.UNLESS, "or": ops.OR}[operator]
        return self.node((operator, match), op, (left, right), match=match, keeps_name=True)


def check(expr: str) -> None:
    """Raise PromqlError, with the position, where the expression is wrong or not supported."""
    Compiler(expr, Plan(), 300 * SECOND).vector()
