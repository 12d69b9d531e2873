"""Values for tests, made with as little as matters."""

from __future__ import annotations

from typing import Any

from fallow.model import Action, Detection, Evidence, Recommendation, Saving

HOUR = 3_600_000_000_000


def a_detection(id: str = "d1", **changes: Any) -> Detection:
    """A detection of an idle GPU."""
    values: dict[str, Any] = {
        "rule": "CRE-2026-9003",
        "rule_hash": "hash",
        "title": "GPU memory held, nothing computed",
        "severity": 3,
        "tags": ("idle-gpu",),
        "entity": {"host.name": "n1", "hw.id": "GPU-1"},
        "time": HOUR,
        "start": 1,
        "end": HOUR - 1,
        "state": "fired",
        "evidence": (Evidence(kind="signal", name="hw_gpu_utilization", start=1, end=HOUR - 1, count=60, value=0.0),),
        "optimize": {"action": "notify"},
        "rule_stable_hash": "stable",
    }
    return Detection(id=id, **(values | changes))


def a_recommendation(id: str = "r1", detection: str = "d1", **changes: Any) -> Recommendation:
    """A recommendation to tell the owner of an idle GPU."""
    values: dict[str, Any] = {
        "rule": "CRE-2026-9003",
        "rule_hash": "hash",
        "title": "GPU memory held, nothing computed",
        "target": {"host.name": "n1", "hw.id": "GPU-1"},
        "action": Action(kind="notify"),
        "tier": "T1",
        "evidence": (Evidence(kind="signal", name="hw_gpu_utilization", start=1, end=HOUR - 1, count=60, value=0.0),),
        "saving": Saving(
            gpu_seconds=3600,
            low=600,
            high=7200,
            basis="allocated",
            cost=2.0,
            currency="USD",
            price_source="playbook",
            gco2e=40.0,
            intensity_source="playbook",
        ),
        "confidence": 0.9,
        "state": "proposed",
        "created": HOUR,
        "updated": HOUR,
        "expires": 5 * HOUR,
        "dedupe_key": f"key of {id}",
    }
    return Recommendation(id=id, detection=detection, **(values | changes))
