"""Values of the model as JSON text and back; what the ledger's tables hold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from fallow.model import Action, Detection, Evidence, Outcome, Recommendation, Saving


def dump(value: Detection | Recommendation) -> str:
    """Compact ASCII JSON with sorted keys: the same value gives the same text, and any database takes it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)


def detection(text: str) -> Detection:
    """The detection that ``dump`` wrote."""
    found: dict[str, Any] = json.loads(text)
    found["tags"] = tuple(found["tags"])
    found["evidence"] = _evidence(found["evidence"])
    return Detection(**_known(Detection, found))


def recommendation(text: str) -> Recommendation:
    """The recommendation that ``dump`` wrote."""
    found: dict[str, Any] = json.loads(text)
    found["action"] = Action(**_known(Action, found["action"]))
    found["evidence"] = _evidence(found["evidence"])
    found["saving"] = Saving(**_known(Saving, found["saving"]))
    found["outcome"] = Outcome(**_known(Outcome, found["outcome"])) if found["outcome"] else None
    return Recommendation(**_known(Recommendation, found))


def _evidence(entries: Sequence[Mapping[str, Any]]) -> tuple[Evidence, ...]:
    return tuple(Evidence(**_known(Evidence, entry)) for entry in entries)


def _known(kind: type[Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """What this version has a field for: a ledger that a newer version wrote stays readable."""
    return {field.name: found[field.name] for field in fields(kind) if field.name in found}


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    # What a rule's YAML may hold beside JSON's types: dates and sets.
    return sorted(value, key=str) if isinstance(value, (set, frozenset)) else str(value)
