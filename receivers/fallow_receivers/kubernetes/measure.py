"""From what is known to metrics: the queue, what nodes have given away, what each running job asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from fallow import semconv
from fallow_receivers.kubernetes.places import Places
from fallow_receivers.kubernetes.said import Attributes, job_of, of_job, present, request, who
from fallow_receivers.kubernetes.work import Work

_WHO = (semconv.JOB_ID, semconv.JOB_NAME, semconv.K8S_NAMESPACE_NAME, semconv.K8S_POD_NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One value of one metric now."""

    name: str
    value: float
    attributes: Attributes
    node: str = ""


def nodes(places: Places, work: Work, *, pods: bool) -> Iterator[Point]:
    """What each node has, and whether it takes pods; with ``pods`` known, what it has given away."""
    given: dict[str, int] = defaultdict(int)
    for run in work.pods.values():
        given[run.pod.node] += run.pod.gpus
    for name, place in places.known.items():
        node = place.node
        values = {
            semconv.NODE_GPUS: node.gpus,
            semconv.NODE_GPUS_ALLOCATED: given[name] if pods else None,
            semconv.NODE_CPUS: node.cpus,
            semconv.NODE_MEMORY: node.memory,
            semconv.NODE_AVAILABLE: int(not place.troubles),
        }
        for metric, value in values.items():
            if value is not None:
                yield Point(name=metric, value=value, attributes={}, node=name)


def jobs(work: Work, now: int) -> Iterator[Point]:
    """Jobs and GPUs by namespace and state, the longest wait, and the request of each that runs."""
    counts: dict[tuple[str, str], int] = defaultdict(int)
    gpus: dict[tuple[str, str], int] = defaultdict(int)
    oldest: dict[str, int] = {}
    for job in _jobs(work):
        group = (job.namespace, "RUNNING" if job.start else "PENDING")
        counts[group] += 1
        gpus[group] += job.gpus
        if not job.start and job.waits:
            oldest[job.namespace] = min(oldest.get(job.namespace, now), job.since)
        if job.start:
            for name, value in job.asked.items():
                yield Point(
                    name=name, value=float(value) if isinstance(value, int | float) else 0.0, attributes=job.who
                )
            yield Point(name=semconv.JOB_TIME_USED, value=max(0, now - job.start), attributes=job.who)
    for (namespace, state), count in counts.items():
        place = present({semconv.K8S_NAMESPACE_NAME: namespace, semconv.JOB_STATE: state})
        yield Point(name=semconv.QUEUE_JOBS, value=count, attributes=place)
        yield Point(name=semconv.QUEUE_GPUS, value=gpus[namespace, state], attributes=place)
    for namespace, since in oldest.items():
        yield Point(
            name=semconv.QUEUE_WAIT,
            value=max(0, now - since),
            attributes=present({semconv.K8S_NAMESPACE_NAME: namespace}),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    namespace: str
    gpus: int
    start: int
    since: int
    waits: bool
    who: Attributes
    asked: Attributes


def _jobs(work: Work) -> Iterator[_Job]:
    for run in work.jobs.values():
        job = run.job
        yield _Job(
            namespace=job.namespace,
            gpus=job.gpus,
            start=run.start if run.phase == "running" else 0,
            since=run.since,
            waits=not job.suspended or bool(job.queue),
            who=_name(of_job(job)),
            asked=request(job),
        )
    for one in work.pods.values():
        if job_of(one.pod) == one.pod.uid:
            yield _Job(
                namespace=one.pod.namespace,
                gpus=one.pod.gpus,
                start=(one.pod.start or 0) if one.started else 0,
                since=one.pod.created,
                waits=True,
                who=_name(who(one.pod)),
                asked=request(one.pod),
            )


def _name(attributes: Attributes) -> Attributes:
    return {name: value for name, value in attributes.items() if name in _WHO}
