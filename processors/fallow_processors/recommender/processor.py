"""Detections → recommendations, as the playbook allows."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from fallow.batch import Batch
from fallow.component import Context
from fallow.model import Action, Detection, Recommendation, Saving
from fallow.semconv import ATTRIBUTION_AMBIGUOUS, HW_MODEL, IDENTITY
from fallow.state import Past, Saved, State
from fallow.units import SECOND
from fallow_processors.recommender.checkpoint import Advice, Stalls, advice
from fallow_processors.recommender.playbook import Defaults, Entry, Playbook, by_model, exempted
from fallow_processors.recommender.saving import remaining_idle

logger = logging.getLogger(__name__)

ADVICE = "T1"
"""The highest tier that takes nothing from anybody."""
VERSION = 1
MAX_TARGETS = 10_000
"""Jobs whose stalls are remembered; beyond it the one that was longest without a stall is forgotten."""
CONFIDENCE_METRIC = 0.9
"""A condition that held over enough trustworthy samples; the rest is for what telemetry cannot see."""
CONFIDENCE_OTHER = 0.7
"""Log lines and events alone: somebody may have reacted already."""


class RecommenderProcessor:
    """Makes one recommendation of each detection that fired and that the playbook has an entry for."""

    def __init__(self, playbook: Playbook, context: Context) -> None:
        self._playbook = playbook
        self._warned: set[str] = set()
        self._stalls: dict[str, Stalls] = {}
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
        made = recommendation(detection, entry, self._playbook.defaults)
        if entry.saving.basis == "stalled":
            found = self._spaced(made, detection, entry)
            if found is None:
                self._without.add(1, {"fallow.rule": detection.rule, "reason": "no better interval known"})
                return None
            made = found
        self._made.add(1, {"fallow.rule": detection.rule})
        return made

    def _spaced(self, made: Recommendation, detection: Detection, entry: Entry) -> Recommendation | None:
        """With the interval between checkpoints that what was seen of this target calls for."""
        seen = self._stalls.pop(made.dedupe_key, None)
        seen = seen.then(detection.start, detection.end) if seen else Stalls(end=detection.end)
        self._stalls[made.dedupe_key] = seen
        if len(self._stalls) > MAX_TARGETS:
            del self._stalls[next(iter(self._stalls))]
        risk = entry.saving.between_failures
        found = advice(seen, None if risk is None else risk / SECOND)
        return None if found is None else spaced(made, found, detection, entry, self._playbook.defaults)

    # -- across a restart ----------------------------------------------------------------------------------------------
    def save(self) -> Saved:
        """The stalls that were seen, the target that was longest without one first."""
        stalls = {key: asdict(seen) for key, seen in self._stalls.items()}
        return lambda: State(version=VERSION, document={"stalls": stalls})

    def restore(self, state: State, past: Past) -> Mapping[str, int]:
        """Go on from there."""
        found: Mapping[str, Mapping[str, Any]] = state.of(VERSION).document["stalls"]
        self._stalls = {key: Stalls(**seen) for key, seen in found.items()}
        return {"stalling targets": len(self._stalls)}

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


def spaced(
    made: Recommendation, found: Advice, detection: Detection, entry: Entry, defaults: Defaults
) -> Recommendation:
    """The recommendation with an interval between checkpoints and what it would bring, on each GPU, over the horizon."""
    horizon_s = entry.saving.horizon / SECOND
    seconds, low, high = (share * horizon_s for share in (found.saved, found.low, found.high))
    _, price = by_model(defaults.price_per_gpu_hour, detection.entity.get(HW_MODEL, ""))
    _, power_w = by_model(defaults.gpu_idle_power_w, detection.entity.get(HW_MODEL, ""))
    saving = replace(
        made.saving,
        gpu_seconds=seconds,
        low=low,
        high=high,
        cost=seconds / 3600 * price,
        gco2e=seconds / 3600 * power_w / 1000 * defaults.gco2e_per_kwh,
    )
    action = replace(made.action, parameters=dict(made.action.parameters) | dict(found.parameters()))
    return replace(made, action=action, saving=saving)


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
