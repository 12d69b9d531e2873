"""Recommendations between the model and protobuf."""

from __future__ import annotations

from fallow.errors import PermanentError
from fallow.model import Evidence, Outcome, Recommendation, RecommendationState
from fallow.recommend.v1 import recommend_pb2 as pb

_RESULTS = ("success", "failure", "no_effect", "unknown")


def to_message(one: Recommendation, revision: int) -> pb.Recommendation:
    """The recommendation as the API shows it."""
    saving = one.saving
    return pb.Recommendation(
        id=one.id,
        detection_id=one.detection,
        rule_id=one.rule,
        rule_hash=one.rule_hash,
        title=one.title,
        target=dict(one.target),
        action=pb.Action(kind=one.action.kind, parameters=dict(one.action.parameters)),
        tier=one.tier,
        evidence=[_evidence(e) for e in one.evidence],
        saving=pb.Saving(
            gpu_seconds=saving.gpu_seconds,
            low=saving.low,
            high=saving.high,
            basis=saving.basis,
            cost=saving.cost,
            currency=saving.currency,
            price_source=saving.price_source,
            gco2e=saving.gco2e,
            intensity_source=saving.intensity_source,
        ),
        confidence=one.confidence,
        state=f"STATE_{one.state.upper()}",
        created_unix_nano=one.created,
        updated_unix_nano=one.updated,
        expires_unix_nano=one.expires,
        dedupe_key=one.dedupe_key,
        reason=one.reason,
        actor=one.actor,
        outcome=_outcome(one.outcome) if one.outcome else None,
        revision=revision,
    )


def state_name(number: int) -> RecommendationState:
    """The model's name of a state; raises PermanentError for one that is none."""
    if number == pb.STATE_UNSPECIFIED or number not in pb.State.values():
        raise PermanentError(f"{number} is no state of a recommendation")
    name: RecommendationState = pb.State.Name(number).removeprefix("STATE_").lower()  # type: ignore[assignment]  # the enum's names are the model's
    return name


def from_outcome(message: pb.Outcome, now: int) -> Outcome:
    """The outcome that a client reports; its time is ``now`` (Unix ns) where it says none.

    Raises:
        PermanentError: the result is not one there is.
    """
    if message.result not in _RESULTS:
        raise PermanentError(f"outcome.result: {message.result!r} found, allowed: {', '.join(_RESULTS)}")
    return Outcome(
        result=message.result,  # type: ignore[arg-type]  # checked above
        gpu_seconds_saved=message.gpu_seconds_saved if message.HasField("gpu_seconds_saved") else None,
        note=message.note,
        reporter=message.reporter,
        time=message.time_unix_nano or now,
    )


def _evidence(one: Evidence) -> pb.Evidence:
    message = pb.Evidence(
        kind=one.kind, name=one.name, start_unix_nano=one.start, end_unix_nano=one.end, count=one.count, text=one.text
    )
    if one.value is not None:
        message.value = one.value
    return message


def _outcome(one: Outcome) -> pb.Outcome:
    message = pb.Outcome(result=one.result, note=one.note, reporter=one.reporter, time_unix_nano=one.time)
    if one.gpu_seconds_saved is not None:
        message.gpu_seconds_saved = one.gpu_seconds_saved
    return message
