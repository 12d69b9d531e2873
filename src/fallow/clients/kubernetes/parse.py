"""The API's objects as values; what is missing or unknown in one is absent, never an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from fallow.clients.kubernetes.model import Container, Ended, Gpus, Happening, Job, Node, Owner, Pod
from fallow.units import SECOND

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_Object = Mapping[str, Any]


def pod(object: _Object, gpus: Gpus) -> Pod | None:
    """A pod; None where it neither holds nor asks for a GPU."""
    spec, status, meta = _of(object, "spec"), _of(object, "status"), _of(object, "metadata")
    needs = _needs(spec, gpus)
    if not needs.gpus:
        return None
    phase = status.get("phase")
    containers = status.get("containerStatuses") or []
    over = phase in ("Succeeded", "Failed")
    ends = [ended for one in containers if (ended := _ended(_of(one, "state"))) is not None]
    # Of several containers the one that failed says why.
    exit = max(ends, key=lambda one: (one.code != 0, one.at), default=None)
    return Pod(
        uid=str(meta.get("uid", "")),
        name=str(meta.get("name", "")),
        namespace=str(meta.get("namespace", "")),
        created=_seconds(meta.get("creationTimestamp")) or 0,
        node=str(spec.get("nodeName") or ""),
        start=_seconds(status.get("startTime")) if spec.get("nodeName") else None,
        outcome=("succeeded" if phase == "Succeeded" else "failed") if over else None,
        end=max((one.at for one in ends), default=0) or None,
        deleted=_seconds(meta.get("deletionTimestamp")),
        reason=str(status.get("reason") or (exit.reason if exit and exit.code else "")),
        disruption=_condition(status, "DisruptionTarget").get("reason", ""),
        exit=exit,
        gpus=needs.gpus,
        cpus=needs.cpus,
        memory=needs.memory,
        queue=str(_of(meta, "labels").get(QUEUE_LABEL, "")),
        priority=str(spec.get("priorityClassName") or ""),
        owner=_owner(meta),
        containers=tuple(
            Container(
                name=str(one.get("name", "")),
                restarts=int(one.get("restartCount") or 0),
                last=_ended(_of(one, "lastState")),
            )
            for one in containers
        ),
    )


def job(object: _Object, gpus: Gpus) -> Job | None:
    """A Job; None where its pods ask for no GPU."""
    spec, status, meta = _of(object, "spec"), _of(object, "status"), _of(object, "metadata")
    needs = _needs(_of(_of(spec, "template"), "spec"), gpus)
    if not needs.gpus:
        return None
    pods = spec.get("parallelism")
    if spec.get("completions") is not None and pods is not None:
        pods = min(int(pods), int(spec["completions"]))
    at_once = 1 if pods is None else int(pods)
    complete, failed = _condition(status, "Complete"), _condition(status, "Failed")
    over = complete or failed
    return Job(
        uid=str(meta.get("uid", "")),
        name=str(meta.get("name", "")),
        namespace=str(meta.get("namespace", "")),
        created=_seconds(meta.get("creationTimestamp")) or 0,
        suspended=bool(spec.get("suspend")),
        suspended_at=_seconds(_condition(status, "Suspended").get("lastTransitionTime")),
        outcome=("succeeded" if complete else "failed") if over else None,
        end=_seconds(status.get("completionTime") or over.get("lastTransitionTime")) if over else None,
        reason=str(failed.get("reason", "")),
        gpus=at_once * needs.gpus,
        cpus=None if needs.cpus is None else at_once * needs.cpus,
        memory=None if needs.memory is None else at_once * needs.memory,
        time_limit=spec.get("activeDeadlineSeconds"),
        queue=str(_of(meta, "labels").get(QUEUE_LABEL, "")),
        priority=str(_of(_of(spec, "template"), "spec").get("priorityClassName") or ""),
        owner=_owner(meta),
    )


def node(object: _Object, gpus: Gpus) -> Node:
    """A node."""
    spec, status, meta = _of(object, "spec"), _of(object, "status"), _of(object, "metadata")
    conditions = {one.get("type"): one for one in status.get("conditions") or []}
    ready = conditions.get("Ready", {})
    is_ready, cordoned = ready.get("status") == "True", bool(spec.get("unschedulable"))
    amounts = _of(status, "allocatable")
    states = ["Ready" if is_ready else "NotReady", *(["SchedulingDisabled"] if cordoned else [])]
    return Node(
        uid=str(meta.get("uid", "")),
        name=str(meta.get("name", "")),
        ready=is_ready,
        ready_since=_seconds(ready.get("lastTransitionTime")),
        cordoned=cordoned,
        state=",".join(states),
        reason="" if is_ready else str(ready.get("reason", "")),
        gpus=gpus.count(amounts),
        cpus=_amount(amounts.get("cpu")),
        memory=_whole(_amount(amounts.get("memory"))),
    )


def happening(object: _Object) -> Happening:
    """An Event object, of the core's API."""
    meta, about = _of(object, "metadata"), _of(object, "involvedObject")
    series, source = _of(object, "series"), _of(object, "source")
    times = (series.get("lastObservedTime"), object.get("lastTimestamp"), object.get("eventTime"))
    at = next((time for time in times if time), meta.get("creationTimestamp"))
    return Happening(
        uid=str(meta.get("uid", "")),
        version=str(meta.get("resourceVersion", "")),
        name=str(meta.get("name", "")),
        namespace=str(about.get("namespace") or meta.get("namespace") or ""),
        type=str(object.get("type", "")),
        reason=str(object.get("reason", "")),
        message=str(object.get("message", "")),
        count=int(series.get("count") or object.get("count") or 1),
        at=_nanoseconds(at) or 0,
        source=str(object.get("reportingComponent") or source.get("component") or ""),
        host=str(source.get("host") or (about.get("name", "") if about.get("kind") == "Node" else "")),
        kind=str(about.get("kind", "")),
        object=str(about.get("name", "")),
        object_uid=str(about.get("uid", "")),
    )


def newer(version: str, than: str) -> bool:
    """Whether a resource version is a later one: they are whole numbers of any length, compared as such (KEP-5504)."""
    if version.isdigit() and than.isdigit():
        return int(version) > int(than)
    return version != than


class _Needs:
    """What a pod asks for: the sum of what runs at a time, or what a step before asks for, where that is more."""

    def __init__(self, containers: Sequence[_Object], before: Sequence[_Object], gpus: Gpus) -> None:
        together = [*containers, *(one for one in before if one.get("restartPolicy") == "Always")]
        steps = [one for one in before if one.get("restartPolicy") != "Always"]
        self.gpus = max(
            sum(gpus.count(_asked(one)) for one in together), *(gpus.count(_asked(one)) for one in steps), 0
        )
        self.cpus = _sum(together, "cpu")
        self.memory = _whole(_sum(together, "memory"))


def _needs(spec: _Object, gpus: Gpus) -> _Needs:
    return _Needs(spec.get("containers") or [], spec.get("initContainers") or [], gpus)


def _asked(container: _Object) -> _Object:
    resources = _of(container, "resources")
    return {**_of(resources, "limits"), **_of(resources, "requests")}


def _sum(containers: Iterable[_Object], name: str) -> float | None:
    amounts = [amount for one in containers if (amount := _amount(_asked(one).get(name))) is not None]
    return sum(amounts) if amounts else None


def _amount(text: Any) -> float | None:
    from kubernetes.utils.quantity import parse_quantity

    if text is None:
        return None
    try:
        found: Decimal = parse_quantity(text)
    except ValueError:
        return None
    return float(found)


def _whole(amount: float | None) -> int | None:
    return None if amount is None else round(amount)


def _owner(meta: _Object) -> Owner | None:
    for one in meta.get("ownerReferences") or []:
        if one.get("controller"):
            return Owner(kind=str(one.get("kind", "")), name=str(one.get("name", "")), uid=str(one.get("uid", "")))
    return None


def _condition(status: _Object, type: str) -> _Object:
    """The condition of that type, where it holds."""
    for one in status.get("conditions") or []:
        if one.get("type") == type and one.get("status") == "True":
            return dict(one)
    return {}


def _ended(state: _Object) -> Ended | None:
    found = state.get("terminated")
    if not found:
        return None
    return Ended(
        at=_seconds(found.get("finishedAt")) or 0,
        code=int(found.get("exitCode") or 0),
        signal=int(found.get("signal") or 0),
        reason=str(found.get("reason", "")),
    )


def _of(object: _Object, key: str) -> _Object:
    return object.get(key) or {}


def _seconds(text: Any) -> int | None:
    found = _nanoseconds(text)
    return None if found is None else found // SECOND


def _nanoseconds(text: Any) -> int | None:
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    if time.tzinfo is None or time.year < 1970:  # a time that was not set is of the year 1
        return None
    return int(time.timestamp()) * SECOND + time.microsecond * 1000
