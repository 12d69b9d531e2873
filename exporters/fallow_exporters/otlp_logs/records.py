"""Entries of the change log as OTLP log records: a fixed event name, flat attributes, the subject as resource."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from fallow.ledger import Change
from fallow.model import Detection, Recommendation
from fallow.semconv import DETECTION_EVENT, RECOMMENDATION_EVENT

_SCOPE = InstrumentationScope("fallow")
_SEVERITY = {0: SeverityNumber.ERROR, 1: SeverityNumber.ERROR, 2: SeverityNumber.WARN, 3: SeverityNumber.WARN}
Attributes = dict[str, str | int | float | list[str]]


def record(change: Change, service: Mapping[str, str]) -> ReadableLogRecord:
    """One change as a log record.

    Args:
        service: resource attributes of Fallow itself; the subject's are added to them, so that a backend finds the
            event beside the telemetry it is about, and Fallow recognises what it said itself.
    """
    if change.detection is not None:
        name, subject = DETECTION_EVENT, change.detection.entity
        severity, body = _SEVERITY.get(change.detection.severity, SeverityNumber.INFO), change.detection.title
        attributes = _detection(change.detection)
    elif change.recommendation is not None:
        name, subject = RECOMMENDATION_EVENT, change.recommendation.target
        severity, body = SeverityNumber.INFO, change.recommendation.title
        attributes = _recommendation(change.recommendation)
    else:
        raise ValueError(f"revision {change.revision} is neither detection nor recommendation")
    log = LogRecord(
        timestamp=change.time,
        observed_timestamp=change.time,
        severity_number=severity,
        severity_text=severity.name,
        body=body,
        attributes=attributes | {"fallow.revision": change.revision},
        event_name=name,
    )
    return ReadableLogRecord(log, Resource({**subject, **service}), _SCOPE)


def _detection(one: Detection) -> Attributes:
    return {
        "fallow.detection.id": one.id,
        "fallow.detection.state": one.state,
        "fallow.detection.time": one.time,
        "fallow.detection.start": one.start,
        "fallow.detection.end": one.end,
        "fallow.detection.tags": list(one.tags),
        "fallow.rule.id": one.rule,
        "fallow.rule.hash": one.rule_hash,
        **{f"fallow.subject.{key}": value for key, value in one.entity.items()},
    }


def _recommendation(one: Recommendation) -> Attributes:
    return {
        "fallow.recommendation.id": one.id,
        "fallow.recommendation.state": one.state,
        "fallow.recommendation.action": one.action.kind,
        "fallow.recommendation.tier": one.tier,
        "fallow.recommendation.confidence": one.confidence,
        "fallow.recommendation.expires": one.expires,
        "fallow.recommendation.reason": one.reason,
        "fallow.recommendation.actor": one.actor,
        "fallow.saving.gpu_seconds": one.saving.gpu_seconds,
        "fallow.saving.low": one.saving.low,
        "fallow.saving.high": one.saving.high,
        "fallow.saving.basis": one.saving.basis,
        "fallow.saving.cost": one.saving.cost,
        "fallow.saving.currency": one.saving.currency,
        "fallow.saving.gco2e": one.saving.gco2e,
        "fallow.detection.id": one.detection,
        "fallow.rule.id": one.rule,
        "fallow.rule.hash": one.rule_hash,
        **{f"fallow.subject.{key}": value for key, value in one.target.items()},
    }
