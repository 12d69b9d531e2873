"""What a replay, a run or a look through log files came to, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSummary:
    """One rule's part; GPU-time that several rules found stands in each of them."""

    detections: int
    gpu_seconds_reclaimable: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The last JSON line; its names are stable."""

    detections: int
    """Detections that fired, each id once."""
    recommendations: int
    entities: int
    """GPUs (MIG instances count as such) of which there were samples."""
    samples: int
    events: int
    """Log records with an event name; of log files every event."""
    span_s: float
    """From the first sample or record to the last."""
    gpu_seconds_observed: float
    gpu_seconds_reclaimable: float
    """The union over all rules, never their sum."""
    late: int
    """Samples and records that came too late to count."""
    unknown: int
    """Detections held back for want of trustworthy samples."""
    by_rule: Mapping[str, RuleSummary] = field(default_factory=dict)
