"""Detections → recommendations, as the playbook allows."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from fallow.batch import Batch
from fallow.component import Context
from fallow.model import Action, Detection, Recommendation, Saving
from fallow.semconv import ATTRIBUTION_AMBIGUOUS, HW_MODEL, IDENTITY
from fallow.units import SECOND
from fallow_processors.recommender.playbook import Defaults, Entry, Playbook, by_model, exempted
from fallow_processors.recommender.saving import remaining_idle

logger = logging.getLogger(__name__)

ADVICE = "T1"
"""The highest tier that takes nothing from anybody."""
CONFIDENCE_METRIC = 0.9
"""A condition that held over enough trustworthy samples; the rest is for what telemetry cannot see."""
CONFIDENCE_OTHER = 0.7
"""Log lines and events alone: somebody may have reacted already."""


class RecommenderProcessor:
    """Makes one recommendation of each detection that fired and that the playbook has an entry for."""

    def __init__(self, playbook: Playbook, context: Context) -> None:
        self._playbook = playbook
        self._warned: set[str] = set()
        self._made = context.meter.create_counter(
            "fallow_processor_recommendations_made", unit="{recommendation}", description="Recommendations, by rule."
        )
        self._without = context.meter.create_counter(
            "fallow_processor_detections_without_recommendation",
            unit="{detection}",
            description="Detections that stay events (T0), by rule and reason.",
        )

    def process(self, batch: Batch) -> Batch:
        made = [r for d in batch.detections if d.state == "fired" and (r := self._recommendation(d)) is not None]
        return replace(batch, recommendations=(*batch.recommendations, *made)) if made else batch

    def tick(self, now: int) -> Batch:
        return Batch()

    def finish(self) -> Batch:
        return Batch()

    def _recommendation(self, detection: Detection) -> Recommendation | None:
        entry = self._playbook.entry(detection)
        reason = self._refusal(detection, entry)
        if entry is None or reason:
            self._without.add(1, {"fallow.rule": detection.rule, "reason": reason})
            return None
        self._made.add(1, {"fallow.rule": detection.rule})
        return recommendation(detection, entry, self._playbook.defaults)

    def _refusal(self, detection: Detection, entry: Entry | None) -> str:
        if self._playbook.defaults.mode == "observe":
            return "observe"
        if entry is None:
            self._warn_of_another_text(detection)
            return "no entry"
        if detection.entity.get(ATTRIBUTION_AMBIGUOUS) and entry.tier > ADVICE:
            return "ambiguous"  # guard G2: it is not certain whose the device is
        return "exempt" if exempted(entry.guards, detection.entity) else ""

    def _warn_of_another_text(self, detection: Detection) -> None:
        reviewed = [e.stable_hash for e in self._playbook.entries if e.rule == detection.rule and e.stable_hash]
        if reviewed and detection.rule not in self._warned:
            self._warned.add(detection.rule)
            logger.warning(
                "The playbook was written for another text of this rule; its detections stay events.",
                extra={"rule": detection.rule, "reviewed": reviewed[0], "found": detection.rule_stable_hash},
            )


def recommendation(detection: Detection, entry: Entry, defaults: Defaults) -> Recommendation:
    """The recommendation that an entry makes of a detection; the same detection gives the same one."""
    target = _target(detection)
    ladder = [{"after_s": s.after // SECOND, "action": s.action} for s in entry.ladder]
    parameters = dict(entry.parameters) | ({"ladder": json.dumps(ladder)} if ladder else {})
    key = f"{detection.rule}|{entry.action}|{json.dumps(target, sort_keys=True)}"
    return Recommendation(
        id=hashlib.sha256(f"{detection.id}|{entry.action}".encode()).hexdigest()[:24],
        detection=detection.id,
        rule=detection.rule,
        rule_hash=detection.rule_hash,
        title=detection.title,
        target=target,
        action=Action(kind=entry.action, parameters=parameters),
        tier=entry.tier,
        evidence=detection.evidence,
        saving=_saving(detection, entry, defaults),
        confidence=_confidence(detection),
        state="proposed",
        created=detection.time,
        updated=detection.time,
        expires=detection.time + entry.saving.horizon,
        dedupe_key=hashlib.sha256(key.encode()).hexdigest()[:24],
    )


def _target(detection: Detection) -> dict[str, str]:
    """What the action is for: the labels that the rule names, else those that identify the subject."""
    entity, wanted = detection.entity, detection.optimize.get("target")
    by = wanted.get("by") if isinstance(wanted, Mapping) else None
    for names in (by if isinstance(by, Sequence) else (), IDENTITY):
        found = {str(name): entity[name] for name in names if entity.get(name)}
        if found:
            return found
    return dict(entity)


def _saving(detection: Detection, entry: Entry, defaults: Defaults) -> Saving:
    model = detection.entity.get(HW_MODEL, "")
    price_row, price = by_model(defaults.price_per_gpu_hour, model)
    power_row, power_w = by_model(defaults.gpu_idle_power_w, model)
    expected = low = high = 0.0
    if entry.saving.basis == "allocated":
        idle_s = (detection.time - detection.start) / SECOND
        left = remaining_idle(idle_s, entry.saving.horizon / SECOND)
        expected, low, high = left.expected, left.low, left.high
    hours = expected / 3600
    return Saving(
        gpu_seconds=expected,
        low=low,
        high=high,
        basis=entry.saving.basis,
        cost=hours * price,
        currency=defaults.currency,
        price_source=defaults.price_source or f"playbook: price_per_gpu_hour[{price_row}]",
        gco2e=hours * power_w / 1000 * defaults.gco2e_per_kwh,
        intensity_source=defaults.intensity_source or f"playbook: gco2e_per_kwh × gpu_idle_power_w[{power_row}]",
    )


def _confidence(detection: Detection) -> float:
    stated = detection.optimize.get("confidence")
    if isinstance(stated, (int, float)):
        return min(1.0, max(0.0, float(stated)))
    return CONFIDENCE_METRIC if any(e.kind == "signal" for e in detection.evidence) else CONFIDENCE_OTHER
