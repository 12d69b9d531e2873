"""Detections and recommendations as Parquet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fallow.model import Detection, Recommendation

_TIME: pa.DataType = pa.timestamp("ns", tz="UTC")
_DETECTION_FIELDS: list[tuple[str, pa.DataType]] = [
    ("id", pa.string()),
    ("rule", pa.string()),
    ("hash", pa.string()),
    ("title", pa.string()),
    ("severity", pa.int32()),
    ("entity", pa.string()),
    ("time", _TIME),
    ("start", _TIME),
    ("end", _TIME),
    ("state", pa.string()),
]
_RECOMMENDATION_FIELDS: list[tuple[str, pa.DataType]] = [
    ("id", pa.string()),
    ("detection", pa.string()),
    ("rule", pa.string()),
    ("action", pa.string()),
    ("tier", pa.string()),
    ("target", pa.string()),
    ("state", pa.string()),
    ("created", _TIME),
    ("confidence", pa.float64()),
    ("gpu_seconds", pa.float64()),
    ("low", pa.float64()),
    ("high", pa.float64()),
    ("basis", pa.string()),
    ("cost", pa.float64()),
    ("currency", pa.string()),
    ("gco2e", pa.float64()),
]


def tables(detections: Sequence[Detection], recommendations: Sequence[Recommendation]) -> dict[str, pa.Table]:
    """``detections`` and ``recommendations``; entities and targets are JSON objects."""
    return {
        "detections": pa.Table.from_pylist([_detection(d) for d in detections], schema=pa.schema(_DETECTION_FIELDS)),
        "recommendations": pa.Table.from_pylist(
            [_recommendation(r) for r in recommendations], schema=pa.schema(_RECOMMENDATION_FIELDS)
        ),
    }


def write_table(table: pa.Table, path: Path) -> None:
    """The table as a Parquet file; raises OSError where it cannot be written."""
    pq.write_table(table, path)


def _detection(d: Detection) -> dict[str, object]:
    return {
        "id": d.id,
        "rule": d.rule,
        "hash": d.rule_hash,
        "title": d.title,
        "severity": d.severity,
        "entity": json.dumps(dict(d.entity), sort_keys=True),
        "time": d.time,
        "start": d.start,
        "end": d.end,
        "state": d.state,
    }


def _recommendation(r: Recommendation) -> dict[str, object]:
    return {
        "id": r.id,
        "detection": r.detection,
        "rule": r.rule,
        "action": r.action.kind,
        "tier": r.tier,
        "target": json.dumps(dict(r.target), sort_keys=True),
        "state": r.state,
        "created": r.created,
        "confidence": r.confidence,
        "gpu_seconds": r.saving.gpu_seconds,
        "low": r.saving.low,
        "high": r.saving.high,
        "basis": r.saving.basis,
        "cost": r.saving.cost,
        "currency": r.saving.currency,
        "gco2e": r.saving.gco2e,
    }
