"""Fallow finds the GPUs that lie fallow, inside the telemetry pipeline that is already there.

The public API; everything else may change between versions.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fallow.batch import Batch, LogBatch, MetricBatch
    from fallow.component import Exporter, Factory, Forwarder, Processor, Receiver
    from fallow.config import Config, load_config
    from fallow.model import Action, Detection, Event, Outcome, Recommendation
    from fallow.service import Service

# Imported on first use, so that a node agent pays for what it uses and nothing else.
_HOME = {
    "Action": "fallow.model",
    "Batch": "fallow.batch",
    "Config": "fallow.config",
    "Detection": "fallow.model",
    "Event": "fallow.model",
    "Exporter": "fallow.component",
    "Factory": "fallow.component",
    "Forwarder": "fallow.component",
    "LogBatch": "fallow.batch",
    "MetricBatch": "fallow.batch",
    "Outcome": "fallow.model",
    "Processor": "fallow.component",
    "Receiver": "fallow.component",
    "Recommendation": "fallow.model",
    "Service": "fallow.service",
    "load_config": "fallow.config",
}

__all__ = [
    "Action",
    "Batch",
    "Config",
    "Detection",
    "Event",
    "Exporter",
    "Factory",
    "Forwarder",
    "LogBatch",
    "MetricBatch",
    "Outcome",
    "Processor",
    "Receiver",
    "Recommendation",
    "Service",
    "load_config",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fallow' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
