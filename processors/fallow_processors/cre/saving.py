"""Detections and rules as a snapshot has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from fallow.model import Detection, Evidence
from fallow_processors.cre.machine import Machine
from fallow_processors.cre.rule import Rule


def by_rule(machines: Iterable[Machine]) -> dict[str, Machine]:
    """Each machine by the hash of its rule; of equal rules the second and later ones by their number too."""
    found: dict[str, Machine] = {}
    seen: Counter[str] = Counter()
    for machine in machines:
        seen[machine.rule.hash] += 1
        found[f"{machine.rule.hash} {seen[machine.rule.hash]}"] = machine
    return found


def document(detection: Detection) -> dict[str, Any]:
    """A detection without what its rule says anyway."""
    found = asdict(detection)
    del found["optimize"]
    return found


def detection(saved: Mapping[str, Any], rule: Rule) -> Detection:
    """The detection that gave this document."""
    fields: dict[str, Any] = dict(saved)
    fields["tags"] = tuple(saved["tags"])
    fields["evidence"] = tuple(Evidence(**one) for one in saved["evidence"])
    return Detection(**fields, optimize=rule.optimize)
