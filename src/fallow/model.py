"""The values that components share: frozen, plain, and named in the project's vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

DetectionState = Literal["fired", "unknown", "resolved", "open"]
RecommendationState = Literal[
    "proposed",
    "approved",
    "applying",
    "applied",
    "verified",
    "reverted",
    "failed",
    "refused",
    "dismissed",
    "expired",
    "superseded",
]
RECOMMENDATION_STATES: tuple[RecommendationState, ...] = get_args(RecommendationState)
Tier = Literal["T0", "T1", "T2", "T3", "T4"]
"""T0 record · T1 advise the owner · T2 reversible · T3 destroys work · T4 node repair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened at a time on an entity."""

    time: int
    kind: str
    entity: Mapping[str, str]
    """Attributes that identify the subject (``host.name``, ``hw.id``, ``container.id``, ``fallow.job.id`` …)."""
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One thing that a detection rests on: samples of a signal, summed up, or one log line or event."""

    kind: Literal["signal", "log", "event"]
    name: str
    """The signal, the log source or the event's kind."""
    start: int
    """Unix ns of the first sample or event."""
    end: int
    """Unix ns of the last."""
    count: int = 1
    value: float | None = None
    """Of a signal: the value of the condition's expression when it was decided."""
    text: str = ""
    """Of a signal: the condition; of a log or event: its text, cut at 1,000 characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """A rule that matched, with its evidence.

    ``id`` is a hash of (rule hash, correlation tuple, start). The same id is written again as ``resolved`` or
    ``open`` with its final ``end`` where the condition went on holding.
    """

    id: str
    rule: str
    rule_hash: str
    title: str
    severity: int
    tags: tuple[str, ...]
    entity: Mapping[str, str]
    time: int
    start: int
    end: int
    state: DetectionState
    evidence: tuple[Evidence, ...] = ()
    optimize: Mapping[str, object] = field(default_factory=dict)
    """What the rule suggests: data of its ``optimize`` block, never a permission."""
    rule_stable_hash: str = ""
    """Hash of the rule without its version and generation: what a playbook names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A typed action; what it does to the world is the actuator's to know."""

    kind: str
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """What a recommendation is expected to bring, with the basis it is counted on.

    ``low`` and ``high`` bound ``gpu_seconds``. ``cost`` is in ``currency``, ``gco2e`` in grams CO2 equivalent.
    """

    gpu_seconds: float
    low: float
    high: float
    basis: str
    cost: float
    currency: str
    price_source: str
    gco2e: float
    intensity_source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was measured after a recommendation was applied, dismissed or ignored."""

    result: Literal["success", "failure", "no_effect", "unknown"]
    gpu_seconds_saved: float | None = None
    note: str = ""
    reporter: str = ""
    time: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """A typed action on a target with evidence, expected saving and confidence."""

    id: str
    detection: str
    rule: str
    rule_hash: str
    title: str
    target: Mapping[str, str]
    action: Action
    tier: Tier
    evidence: tuple[Evidence, ...]
    saving: Saving
    confidence: float
    """0 to 1: how likely the evidence means what the rule says."""
    state: RecommendationState
    created: int
    """Unix ns of event time at which the detection was decided."""
    updated: int
    expires: int
    dedupe_key: str
    """Recommendations with one key are about the same thing; only one of them is open at a time."""
    reason: str = ""
    """Why it is in its state: the guard that refused, who dismissed it, what failed."""
    actor: str = ""
    outcome: Outcome | None = None
