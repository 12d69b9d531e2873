"""Fallow finds the GPUs that lie fallow, inside the telemetry pipeline that is already there.

The public API; everything else may change between versions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fallow.lazy import exports

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fallow.batch import Batch, LogBatch, MetricBatch
    from fallow.component import Exporter, Factory, Forwarder, Processor, Receiver
    from fallow.config import Config, load_config
    from fallow.model import Action, Detection, Event, Outcome, Recommendation
    from fallow.service import Service

# Imported on first use, so that a node agent pays for what it uses and nothing else.
_HOME = {
    "Action": "model",
    "Batch": "batch",
    "Config": "config",
    "Detection": "model",
    "Event": "model",
    "Exporter": "component",
    "Factory": "component",
    "Forwarder": "component",
    "LogBatch": "batch",
    "MetricBatch": "batch",
    "Outcome": "model",
    "Processor": "component",
    "Receiver": "component",
    "Recommendation": "model",
    "Service": "service",
    "load_config": "config",
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

__getattr__ = exports(__name__, _HOME)
