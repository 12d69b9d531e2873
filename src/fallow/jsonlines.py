"""Detections, recommendations and the summary as JSON lines with stable names."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fallow.model import Detection, Evidence, Recommendation, Saving
from fallow.summary import Summary


def json_line(value: Detection | Recommendation | Summary) -> str:
    """One line of JSON, ``type`` first; a number that JSON cannot say (NaN, an infinity) is null."""
    match value:
        case Detection():
            fields = _detection(value)
        case Recommendation():
            fields = _recommendation(value)
        case Summary():
            fields = {"type": "summary"} | asdict(value)
    try:
        return _dumps(fields)
    except ValueError:
        return _dumps(_finite(fields))


def _dumps(fields: Any) -> str:
    return json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=dict)


def _detection(found: Detection) -> dict[str, Any]:
    return {
        "type": "detection",
        "id": found.id,
        "rule": found.rule,
        "hash": found.rule_hash,
        "entity": found.entity,
        "time": found.time,
        "start": found.start,
        "end": found.end,
        "state": found.state,
        "evidence": [_evidence(e) for e in found.evidence],
    }


def _evidence(evidence: Evidence) -> dict[str, Any]:
    return {
        "kind": evidence.kind,
        "name": evidence.name,
        "start": evidence.start,
        "end": evidence.end,
        "count": evidence.count,
        "value": evidence.value,
        "text": evidence.text,
    }


def _recommendation(made: Recommendation) -> dict[str, Any]:
    return {
        "type": "recommendation",
        "id": made.id,
        "detection": made.detection,
        "target": made.target,
        "action": made.action.kind,
        "parameters": made.action.parameters,
        "tier": made.tier,
        "saving": _saving(made.saving),
        "confidence": made.confidence,
        "state": made.state,
    }


def _saving(saving: Saving) -> dict[str, Any]:
    return {
        "gpu_seconds": saving.gpu_seconds,
        "low": saving.low,
        "high": saving.high,
        "basis": saving.basis,
        "cost": saving.cost,
        "currency": saving.currency,
        "gco2e": saving.gco2e,
    }


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value
