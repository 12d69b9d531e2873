"""Function calls, compiled to nodes."""

from __future__ import annotations

import math
from typing import Any, Final

from fallow.promql import ops
from fallow.promql.builder import Builder, Operand, bare
from fallow.promql.errors import PromqlError
from fallow.promql.numbers import binary
from fallow.promql.plan import ALL, LabelSet, Node
from fallow.promql.relabel import joined, replaced
from fallow.promql.selectors import equalities
from fallow.promql.syntax import find

SORTS: Final = frozenset({"sort", "sort_desc", "sort_by_label", "sort_by_label_desc"})
"""They say in which order a query's results are shown, and change nothing else."""
_BUCKETS: Final = LabelSet(frozenset({"le"}), keep=False)


class Calls(Builder):
    """The part of the compiler that knows functions."""

    def call(self, tree: Any) -> Operand:
        name, args = tree.func.name, tree.args
        if name in ops.RANGE_FUNCTIONS:
            return self._over_time(name, args)
        if name in ops.CALENDAR and not args:
            return self._map(name, self._vector_of(self._time()), [])
        if name in ops.MAPS or name in ("clamp_min", "clamp_max"):
            return self._map(name, self._vector(args[0], name), args[1:])
        if name in SORTS:
            return self.operand(args[0])
        match name:
            case "time":
                return self._time()
            case "pi":
                return math.pi
            case "start" | "end" | "step" | "range":
                return self._of_query(name)
            case "min_of" | "max_of":
                return self.arithmetic(name, self.operand(args[0]), self.operand(args[1]))
            case "vector":
                return self._vector_of(self.operand(args[0]))
            case "scalar":
                return self.node(("scalar",), ops.SCALAR, (self._vector(args[0], name),), scalar=True)
            case "absent":
                return self._absent(self._vector(args[0], name), args[0])
            case "absent_over_time":
                return self._absent(self.window(args[0], "present_over_time"), args[0])
            case "timestamp":
                return self._timestamp(args[0])
            case "label_replace" | "label_join":
                return self._relabelled(name, args)
            case "histogram_quantile" | "histogram_fraction":
                return self._histogram(name, args)
            case _:
                raise self.refuse(f"{name}()", name)

    def arithmetic(self, operator: str, left: Operand, right: Operand) -> Operand:
        """An operator between two numbers that may change."""
        fn = ops.OPERATORS[operator]
        if isinstance(left, Node):
            if isinstance(right, Node):
                return self.node(("vector", fn, ALL, 0, True, ()), ops.WITH_VECTOR, (left, right), fn=fn, scalar=True)
            return self.with_number(operator, left, right, 0)
        if isinstance(right, Node):
            return self.with_number(operator, right, left, ops.SWAPPED | ops.KEEP_A)
        return binary(operator, left, right)

    def with_number(self, operator: str, vector: Node, number: float, flags: int) -> Node:
        """A vector (or changing number) and a number; ``flags`` SWAPPED: the number is on the left."""
        fn = ops.OPERATORS[operator]
        if fn >= ops.FIRST_COMPARISON and vector.op == ops.RANGE:
            flags |= ops.AT_LEAST if vector.fn in ops.NEVER_BELOW else 0
            flags |= ops.AT_MOST if vector.fn in ops.NEVER_ABOVE else 0
        return self.node(
            ("number", fn, repr(number), flags),
            ops.WITH_NUMBER,
            (vector,),
            fn=fn,
            p=(number, 0.0),
            flags=flags,
            scalar=vector.scalar,
            keeps_name=fn >= ops.FIRST_COMPARISON and not flags & ops.BOOL,
        )

    # -- one function each ---------------------------------------------------------------------------------------------
    def _vector(self, tree: Any, name: str) -> Node:
        found = self.operand(tree)
        if not isinstance(found, Node):
            raise self.refuse(f"{name}() of a number", name)
        return found

    def _time(self) -> Node:
        return self.node(("time", self.shift), ops.TIME, ns=self.shift, scalar=True)

    def _of_query(self, name: str) -> float:
        query = self.asked(name)
        return {"start": query.start, "end": query.end, "step": query.step, "range": query.end - query.start}[
            name
        ] / 1e9

    def _over_time(self, name: str, args: Any) -> Operand:
        if name == "quantile_over_time":
            number, changing = self.parameter(args[0])
            return self.window(args[1], name, (number, 0.0), changing)
        if name == "predict_linear":
            return self._predicted(args)
        if name == "double_exponential_smoothing":
            factors = self.number(args[1], name), self.number(args[2], name)
            for factor, what, tree in zip(factors, ("smoothing", "trend"), args[1:], strict=True):
                if not 0 < factor < 1:
                    raise PromqlError(
                        f"invalid {what} factor. Expected: 0 < factor < 1, got: {factor:g}",
                        find(self.expr, tree.prettify()),
                    )
            return self.window(args[0], name, factors)
        return self.window(args[0], name)

    def _predicted(self, args: Any) -> Node:
        """The line's value at the instant and so much later; under ``@`` the line stays and the instant moves."""
        number, changing = self.parameter(args[1])
        line = self.window(args[0], "predict_linear", (number, 0.0), changing)
        at = bare(args[0])
        if getattr(at, "vector_selector", at).at is None:
            return line
        slope = self.window(args[0], "deriv")
        times, plus = ops.OPERATORS["*"], ops.OPERATORS["+"]
        risen = self.node(("vector", times, ALL, 0, True, ()), ops.WITH_VECTOR, (slope, self._time()), fn=times)
        return self.node(("vector", plus, ALL, 0, True, ()), ops.WITH_VECTOR, (line, risen), fn=plus)

    def _map(self, name: str, found: Node, numbers: Any) -> Node:
        fn = ops.CLAMP if name.startswith("clamp") else ops.MAPS[name]
        if name == "clamp_min":
            bounds = [self.parameter(numbers[0]), (math.inf, ())]
        elif name == "clamp_max":
            bounds = [(-math.inf, ()), self.parameter(numbers[0])]
        else:
            bounds = [self.parameter(n) for n in numbers] or [(1.0 if fn == ops.ROUND else 0.0, ())]
        low, high = [*bounds, (0.0, ())][:2]
        # A number that changes is an operand; the flags say of which bound.
        flags = (ops.CHANGING_0 if low[1] else 0) | (ops.CHANGING_1 if high[1] else 0)
        pair = (low[0], high[0])
        return self.node(
            ("map", fn, repr(pair), flags),
            ops.MAP,
            (found, *low[1], *high[1]),
            fn=fn,
            p=pair,
            flags=flags,
            scalar=found.scalar,
        )

    def _vector_of(self, found: Operand) -> Node:
        if not isinstance(found, Node):
            return self.node(("constant", repr(found)), ops.CONSTANT, p=(found, 0.0))
        return self.node(("vector",), ops.COPY, (found,))

    def _absent(self, found: Node, tree: Any) -> Node:
        inner = bare(tree)
        selector = getattr(inner, "vector_selector", inner)
        labels = equalities(selector) if type(selector).__name__ == "VectorSelector" else ()
        return self.node(("absent", labels), ops.ABSENT, (found,), labels=labels)

    def _timestamp(self, tree: Any) -> Node:
        inner = bare(tree)
        if type(inner).__name__ == "VectorSelector":
            return self.instant(inner, fn=ops.TIMESTAMP)
        return self.node(("stamp", self.shift), ops.STAMP, (self._vector(tree, "timestamp"),), ns=self.shift)

    def _relabelled(self, name: str, args: Any) -> Node:
        texts = [str(bare(a).val) for a in args[1:]]
        try:
            if "\\x" in self.expr and not texts[0].isascii():
                raise ValueError(f"invalid destination label name in {name}(): bytes that are no text")
            change = replaced(*texts) if name == "label_replace" else joined(*texts)
        except ValueError as error:
            raise PromqlError(str(error), find(self.expr, name, called=True)) from error
        return self.node(
            (name, *texts), ops.RELABEL, (self._vector(args[0], name),), relabel=change, keeps_name=True, text=name
        )

    def _histogram(self, name: str, args: Any) -> Node:
        if name == "histogram_quantile":
            number, changing = self.parameter(args[0])
            fn, p = 0, (number, 0.0)
        else:
            changing, fn, p = (), 1, (self.number(args[0], name), self.number(args[1], name))
        buckets = self.node(("bucket",), ops.BUCKET, (self._vector(args[-1], name),), keeps_name=True)
        return self.node(("histogram", fn, repr(p)), ops.HISTOGRAM, (buckets, *changing), fn=fn, p=p, match=_BUCKETS)
