"""PromQL conditions over signals: parsed, compiled to a graph, evaluated incrementally for all entities at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fallow.lazy import exports

if TYPE_CHECKING:
    from fallow.promql.compile import check
    from fallow.promql.engine import Condition, Edge, EdgeState, Engine, compile_kernels, describe
    from fallow.promql.errors import EvaluationError, PromqlError, UnsupportedError
    from fallow.promql.forms import WindowForm
    from fallow.promql.needs import can_hold, can_select, required, selections
    from fallow.promql.selectors import prom_name
    from fallow.promql.shards import Shards

# Imported on first use: rules that ask for no signals do not wait for the compiler of the kernels.
_HOME = {
    "Condition": "engine",
    "Edge": "engine",
    "EdgeState": "engine",
    "Engine": "engine",
    "EvaluationError": "errors",
    "PromqlError": "errors",
    "UnsupportedError": "errors",
    "Shards": "shards",
    "WindowForm": "forms",
    "can_hold": "needs",
    "can_select": "needs",
    "check": "compile",
    "compile_kernels": "engine",
    "describe": "engine",
    "prom_name": "selectors",
    "required": "needs",
    "selections": "needs",
}

__all__ = [
    "Condition",
    "Edge",
    "EdgeState",
    "Engine",
    "EvaluationError",
    "PromqlError",
    "Shards",
    "UnsupportedError",
    "WindowForm",
    "can_hold",
    "can_select",
    "check",
    "compile_kernels",
    "describe",
    "prom_name",
    "required",
    "selections",
]

__getattr__ = exports(__name__, _HOME)
