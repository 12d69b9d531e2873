"""PromQL conditions over signals: parsed, compiled to a graph, evaluated incrementally for all entities at once."""

from fallow.promql.engine import Condition, Edge, EdgeState, Engine, check, compile_kernels
from fallow.promql.errors import PromqlError
from fallow.promql.selectors import prom_name

__all__ = ["Condition", "Edge", "EdgeState", "Engine", "PromqlError", "check", "compile_kernels", "prom_name"]
