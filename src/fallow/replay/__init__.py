"""Recorded telemetry through the processors, on its own clock.

``read_recording`` turns OTLP JSON lines, Parquet and CSV into batches in order of time, ``replay`` runs them through a
chain of processors, ``Accounting`` adds up what was seen and found, ``json_line`` writes it for machines.
"""

from fallow.jsonlines import json_line
from fallow.replay.accounting import Accounting
from fallow.replay.mapping import TableMapping, load_mapping
from fallow.replay.recording import Recording, read_recording
from fallow.replay.run import BEFORE_RULES, build, default_chain, raised, replay
from fallow.summary import RuleSummary, Summary

__all__ = [
    "BEFORE_RULES",
    "Accounting",
    "Recording",
    "RuleSummary",
    "Summary",
    "TableMapping",
    "build",
    "default_chain",
    "json_line",
    "load_mapping",
    "raised",
    "read_recording",
    "replay",
]
