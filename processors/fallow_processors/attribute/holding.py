"""Whose a device is at a time: the decision, as a function of what is known and nothing else.

Guard G2: a detection may be acted on only where it is certain whose the device is. Where several may hold it, it is
ambiguous: its samples say so and bear no job, so that no rule takes the work, or the idleness, of one for another's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fallow import semconv
from fallow_processors.attribute.runs import POD, Span
from fallow_processors.attribute.subject import Owner

Labels = tuple[tuple[str, str], ...]


class Named(NamedTuple):
    """Somebody of whom labels or a process say that the device is theirs."""

    owner: Owner
    seen: int
    """When that was last said, Unix ns."""
    is_process: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Whose a device is."""

    job: str = ""
    pod: str = ""
    ambiguous: bool = False
    labels: Labels = ()
    """What is put on its samples."""
    span: Span | None = None
    """The run that it is of."""


NOBODYS = Holding()
AMBIGUOUS = Holding(ambiguous=True)


def decide(
    spans: Sequence[Span],
    named: Sequence[Named],
    is_over: Callable[[str], bool],
    *,
    is_part: bool = False,
    is_split: bool = False,
) -> Holding:
    """Whose the device is.

    Args:
        spans: runs that hold it now, as schedulers say; of the whole device where it is a part of one.
        named: who is named by labels and processes, now.
        is_over: whether a job is known to have ended: its labels may outlive it.
        is_part: an instance of a split device. A scheduler's index does not tell instances apart.
        is_split: the whole of which there are instances: what it does is several's.
    """
    if is_split:
        return AMBIGUOUS
    labelled = [one for one in named if not one.is_process]
    processes = [one.owner for one in named if one.is_process]
    jobs = {one.owner.job: one.seen for one in labelled if one.owner.job and not is_over(one.owner.job)}
    pods = {one.owner.pod: one.seen for one in labelled if one.owner.pod}
    held = {span.holder[2]: span for span in spans if span.holder[0] == "job"}
    in_pods = {_pod_of(span): span for span in spans if span.holder[0] != "job"}
    job, unsure_job = _one_of(jobs, held, [owner.job for owner in processes], is_part)
    pod, unsure_pod = _one_of(pods, in_pods, [owner.pod for owner in processes], is_part)
    if unsure_job or unsure_pod:
        return AMBIGUOUS
    if not job and not pod:
        return NOBODYS
    owners = [one.owner for one in named]
    span = held.get(job) or in_pods.get(pod)
    labels = _labels(job, pod, owners, held.get(job), in_pods.get(pod))
    return Holding(job=job, pod=pod, labels=labels, span=span)


def _one_of(
    named: Mapping[str, int], held: Mapping[str, Span], processes: Sequence[str], is_part: bool
) -> tuple[str, bool]:
    """(who it is, "" where nobody is known; whether it may be several)."""
    candidates = set(named) if is_part and named else _candidates(named, held)
    if len(candidates) == 1 and (named or not is_part):
        return next(iter(candidates)), False
    running = set(processes)
    if len(running) == 1 and (one := next(iter(running))) and (one in candidates or not candidates):
        return one, False
    return "", bool(candidates) or bool(running - {""})


def _candidates(named: Mapping[str, int], held: Mapping[str, Span]) -> set[str]:
    """Labels are nearest to the device; but what began after they were last seen is newer."""
    if not named or not held:
        return set(named) | set(held)
    if named.keys() & held.keys():
        return set(named)
    newest = max(named.values())
    return set(held) if all(span.start > newest for span in held.values()) else set(named) | set(held)


def _pod_of(span: Span) -> str:
    return f"{span.holder[1]}/{span.holder[2]}" if span.holder[0] == "pod" else span.holder[1]


def _labels(job: str, pod: str, owners: Iterable[Owner], of_job: Span | None, of_pod: Span | None) -> Labels:
    found: dict[str, str] = {}
    for owner in owners:
        for name, value in owner.labels:
            if (owner.job == job != "" and name not in POD) or (owner.pod == pod != "" and name in POD):
                found.setdefault(name, value)
    for span in (of_job, of_pod):
        if span is not None:
            found |= span.labels
            if span.restarts not in ("", "0"):
                found[semconv.JOB_RESTARTS] = span.restarts
    found.pop(semconv.K8S_POD_UID, None)
    return tuple(sorted(found.items()))
