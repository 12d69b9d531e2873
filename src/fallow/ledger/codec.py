"""Values of the model as JSON text and back; what the ledger's tables hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fallow.model import Action, Detection, Evidence, Outcome, Recommendation, Saving


def dump(value: Detection | Recommendation) -> str:
    """Compact JSON with sorted keys: the same value gives the same text."""
    return json.dumps(asdict(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=dict)


def detection(text: str) -> Detection:
    """The detection that ``dump`` wrote."""
    found: dict[str, Any] = json.loads(text)
    found["tags"] = tuple(found["tags"])
    found["evidence"] = _evidence(found["evidence"])
    return Detection(**found)


def recommendation(text: str) -> Recommendation:
    """The recommendation that ``dump`` wrote."""
    found: dict[str, Any] = json.loads(text)
    found["action"] = Action(**found["action"])
    found["evidence"] = _evidence(found["evidence"])
    found["saving"] = Saving(**found["saving"])
    found["outcome"] = Outcome(**found["outcome"]) if found["outcome"] else None
    return Recommendation(**found)


def _evidence(entries: list[Mapping[str, Any]]) -> tuple[Evidence, ...]:
    return tuple(Evidence(**entry) for entry in entries)
