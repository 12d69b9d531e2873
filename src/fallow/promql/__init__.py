"""PromQL conditions over signals: parsed, compiled to a graph, evaluated incrementally for all entities at once."""

from fallow.promql.engine import Condition, Edge, EdgeState, Engine, check, compile_kernels, describe
from fallow.promql.errors import EvaluationError, PromqlError, UnsupportedError
from fallow.promql.forms import WindowForm
from fallow.promql.selectors import prom_name

__all__ = [
    "Condition",
    "Edge",
    "EdgeState",
    "Engine",
    "EvaluationError",
    "PromqlError",
    "UnsupportedError",
    "WindowForm",
    "check",
    "compile_kernels",
    "describe",
    "prom_name",
]
