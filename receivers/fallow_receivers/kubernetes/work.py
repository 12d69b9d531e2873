"""From what is seen of pods and Jobs to what happened: each is submitted, started and ended once.

A job is a Job, or a pod that no Job controls. Objects may be seen in any order, again after a list, or for the first time
when they are over: the same events follow.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

from fallow import semconv
from fallow.clients.kubernetes import Job, Pod
from fallow.otlp_write import WARN
from fallow.units import SECOND
from fallow_receivers.kubernetes.said import (
    Event,
    Value,
    job_of,
    of_job,
    outcome,
    present,
    request,
    state_of,
    who,
)

UNKNOWN: Final = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRun:
    """A pod that is not over, as it was last seen."""

    pod: Pod
    started: bool = False
    restarts: dict[str, int]
    """Container → restarts that were told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRun:
    """A Job that is not over, as it was last seen."""

    job: Job
    phase: Literal["pending", "running"] = "pending"
    restarts: int = 0
    since: int = 0
    """Since when it has been waiting for this run, Unix s."""
    start: int = 0
    nodes: tuple[str, ...] = ()


class Work:
    """The pods and Jobs of which something was told; what is in it is what a restart goes on from.

    Args:
        limit: pods and Jobs that are kept in mind.
    """

    def __init__(self, limit: int) -> None:
        self.pods: dict[str, PodRun] = {}
        self.jobs: dict[str, JobRun] = {}
        self.over: dict[str, Literal["pod", "job"]] = {}
        """Whose end was told, and which are still there."""
        self.refused = 0
        self._limit = limit

    # -- pods ----------------------------------------------------------------------------------------------------------
    def pods_listed(self, pods: Iterable[Pod], now: int, *, first: bool) -> list[Event]:
        """All pods that there are now (Unix s). At the first list of all, what is over is not told."""
        events: list[Event] = []
        seen: set[str] = set()
        for pod in pods:
            seen.add(pod.uid)
            if first and pod.outcome is not None:
                self.over[pod.uid] = "pod"
            else:
                events += self.pod(pod, known=not first)
        events += [event for uid in self.pods.keys() - seen for event in self._lost(uid, now)]
        self._forget("pod", seen)
        return events

    def pod(self, pod: Pod, *, known: bool = True) -> list[Event]:
        """A pod that was seen; restarts of before ``known`` are not told."""
        if pod.uid in self.over:
            return []
        run, events = self.pods.get(pod.uid), list[Event]()
        if run is None:
            if self._full():
                return []
            if job_of(pod) == pod.uid:
                events.append(_submitted(pod))
            restarts = {} if known else {one.name: one.restarts for one in pod.containers}
            run = PodRun(pod=pod, restarts=restarts)
        run = replace(run, pod=pod)
        if not run.started and pod.start is not None:
            run = replace(run, started=True)
            events.append(_pod_started(pod))
            events += [_started(pod)] if job_of(pod) == pod.uid else self._job_started(pod)
        events += _restarts(pod, run.restarts)
        told = {one.name: max(one.restarts, run.restarts.get(one.name, 0)) for one in pod.containers}
        self.pods[pod.uid] = replace(run, restarts={**run.restarts, **told})
        if pod.outcome is not None:
            events += self._ended(self.pods[pod.uid], state_of(pod), pod.end or pod.deleted or pod.created)
        return events

    def pod_deleted(self, pod: Pod, now: int) -> list[Event]:
        """A pod that is gone, as it was last."""
        events = self.pod(pod)
        run = self.pods.get(pod.uid)
        if run is not None:
            at = pod.end or min(now, pod.deleted or now)
            events += self._ended(run, state_of(pod), at)
        self.over.pop(pod.uid, None)
        return events

    def _lost(self, uid: str, now: int) -> list[Event]:
        """A pod that went while nobody looked."""
        return self._ended(self.pods[uid], UNKNOWN, now)

    def _ended(self, run: PodRun, state: str, at: int) -> list[Event]:
        pod = run.pod
        del self.pods[pod.uid]
        self.over[pod.uid] = "pod"
        known = state != UNKNOWN
        used = max(0, at - pod.start) if run.started and pod.start is not None and known else None
        how = outcome(state, (pod.disruption or pod.reason) if known else "", pod.exit if known else None, used)
        said = {**who(pod), **request(pod), **how}
        names = ([semconv.POD_END] if run.started else []) + ([semconv.JOB_END] if job_of(pod) == pod.uid else [])
        return [
            Event(
                name=name,
                time=at * SECOND,
                subject=f"{pod.uid}/0",
                attributes=said,
                node=pod.node,
                text=f"{name.split('.')[1]} {pod.namespace}/{pod.name} ended: {state}",
            )
            for name in names
        ]

    # -- Jobs ----------------------------------------------------------------------------------------------------------
    def jobs_listed(self, jobs: Iterable[Job], now: int, *, first: bool) -> list[Event]:
        """All Jobs that there are now (Unix s)."""
        events: list[Event] = []
        seen: set[str] = set()
        for job in jobs:
            seen.add(job.uid)
            if first and job.outcome is not None:
                self.over[job.uid] = "job"
            else:
                events += self.job(job, now)
        for uid in self.jobs.keys() - seen:
            events.append(self._job_ended(self.jobs[uid], UNKNOWN, now))
        self._forget("job", seen)
        return events

    def job(self, job: Job, now: int) -> list[Event]:
        """A Job that was seen."""
        if job.uid in self.over:
            return []
        run, events = self.jobs.get(job.uid), list[Event]()
        if run is None:
            if self._full():
                return []
            run = JobRun(job=job, since=job.created)
            events.append(_job_submitted(job))
            self.jobs[job.uid] = run
            # Its pods may have been seen before it was.
            theirs = (r.pod for r in self.pods.values() if r.started and job_of(r.pod) == job.uid)
            for pod in sorted(theirs, key=lambda pod: pod.start or 0):
                events += self._job_started(pod)
            run = self.jobs[job.uid]
        run = self.jobs[job.uid] = replace(run, job=job)
        if job.outcome is not None:
            state = "COMPLETED" if job.outcome == "succeeded" else _FAILURES.get(job.reason, "FAILED")
            events.append(self._job_ended(run, state, job.end or now))
        elif job.suspended and run.phase == "running":
            events += self._job_suspended(run, job.suspended_at or now)
        return events

    def job_deleted(self, job: Job, now: int) -> list[Event]:
        """A Job that is gone, as it was last."""
        events = self.job(job, now)
        if (run := self.jobs.get(job.uid)) is not None:
            events.append(self._job_ended(run, "CANCELLED", now))
        self.over.pop(job.uid, None)
        return events

    def _job_started(self, pod: Pod) -> list[Event]:
        """The first pod of a run was taken by its node."""
        run = self.jobs.get(job_of(pod))
        if run is None or pod.start is None or pod.created < run.since:
            return []  # of a Job that is not watched, that is over, or of its run before
        nodes = run.nodes if pod.node in run.nodes else (*run.nodes, pod.node)
        first = run.phase == "pending"
        start = pod.start if first else run.start
        self.jobs[run.job.uid] = run = replace(run, phase="running", nodes=nodes, start=start)
        if not first:
            return []
        said: dict[str, Value] = {semconv.JOB_NODES: (pod.node,), semconv.JOB_RESTARTS: run.restarts}
        return [
            Event(
                name=semconv.JOB_START,
                time=pod.start * SECOND,
                subject=f"{run.job.uid}/{run.restarts}",
                attributes={
                    **of_job(run.job),
                    **request(run.job),
                    **said,
                    semconv.JOB_WAIT: max(0, pod.start - run.since),
                },
                node=pod.node,
                text=f"job {run.job.namespace}/{run.job.name} started",
            )
        ]

    def _job_suspended(self, run: JobRun, at: int) -> list[Event]:
        """Its pods were taken away, by a queue or a person: it waits again."""
        ended = self._job_end_event(run, "REQUEUED", at)
        self.jobs[run.job.uid] = again = JobRun(job=run.job, restarts=run.restarts + 1, since=at)
        return [
            ended,
            Event(
                name=semconv.JOB_REQUEUE,
                time=at * SECOND,
                subject=f"{run.job.uid}/{again.restarts}",
                attributes={**of_job(run.job), semconv.JOB_RESTARTS: again.restarts},
                node=run.nodes[0] if run.nodes else "",
                text=f"job {run.job.namespace}/{run.job.name} requeued",
            ),
        ]

    def _job_ended(self, run: JobRun, state: str, at: int) -> Event:
        del self.jobs[run.job.uid]
        self.over[run.job.uid] = "job"
        return self._job_end_event(run, state, at)

    def _job_end_event(self, run: JobRun, state: str, at: int) -> Event:
        used = max(0, at - run.start) if run.start and state != UNKNOWN else None
        how = outcome(state, run.job.reason, None, used)
        nodes = present({semconv.JOB_NODES: run.nodes})
        return Event(
            name=semconv.JOB_END,
            time=at * SECOND,
            subject=f"{run.job.uid}/{run.restarts}",
            attributes={
                **of_job(run.job),
                **request(run.job),
                **nodes,
                **how,
                semconv.JOB_RESTARTS: run.restarts,
            },
            node=run.nodes[0] if run.nodes else "",
            text=f"job {run.job.namespace}/{run.job.name} ended: {state}",
        )

    # -- both ----------------------------------------------------------------------------------------------------------
    def _forget(self, kind: Literal["pod", "job"], seen: set[str]) -> None:
        for uid in [uid for uid, what in self.over.items() if what == kind and uid not in seen]:
            del self.over[uid]

    def _full(self) -> bool:
        if len(self.pods) + len(self.jobs) + len(self.over) < self._limit:
            return False
        self.refused += 1
        return True


_FAILURES: Final = {"DeadlineExceeded": "TIMEOUT"}


def _submitted(pod: Pod) -> Event:
    return Event(
        name=semconv.JOB_SUBMIT,
        time=pod.created * SECOND,
        subject=f"{pod.uid}/0",
        attributes={**who(pod), **request(pod)},
        text=f"pod {pod.namespace}/{pod.name} submitted",
    )


def _pod_started(pod: Pod) -> Event:
    return Event(
        name=semconv.POD_START,
        time=(pod.start or 0) * SECOND,
        subject=f"{pod.uid}/0",
        attributes={**who(pod), **request(pod)},
        node=pod.node,
        text=f"pod {pod.namespace}/{pod.name} started",
    )


def _started(pod: Pod) -> Event:
    """Of a pod that is a job by itself."""
    start = pod.start or 0
    said: dict[str, Value] = {
        semconv.JOB_NODES: (pod.node,),
        semconv.JOB_RESTARTS: 0,
        semconv.JOB_WAIT: max(0, start - pod.created),
    }
    return Event(
        name=semconv.JOB_START,
        time=start * SECOND,
        subject=f"{pod.uid}/0",
        attributes={**who(pod), **request(pod), **said},
        node=pod.node,
        text=f"job {pod.namespace}/{pod.name} started",
    )


def _job_submitted(job: Job) -> Event:
    return Event(
        name=semconv.JOB_SUBMIT,
        time=job.created * SECOND,
        subject=f"{job.uid}/0",
        attributes={**of_job(job), **request(job)},
        text=f"job {job.namespace}/{job.name} submitted",
    )


def _restarts(pod: Pod, told: dict[str, int]) -> list[Event]:
    """Containers that run anew since they were last told of."""
    events: list[Event] = []
    for one in pod.containers:
        if one.restarts <= told.get(one.name, 0):
            continue
        last = one.last
        said = {
            semconv.K8S_CONTAINER_NAME: one.name,
            semconv.K8S_RESTARTS: one.restarts,
            semconv.JOB_REASON: last.reason if last else "",
            semconv.JOB_EXIT_CODE: last.code if last else None,
            semconv.JOB_EXIT_SIGNAL: (last.signal or None) if last else None,
        }
        at = (last.at if last else 0) or pod.start or pod.created
        events.append(
            Event(
                name=semconv.CONTAINER_RESTART,
                time=at * SECOND,
                subject=f"{pod.uid}/{one.name}/{one.restarts}",
                attributes={**who(pod), **present(said)},
                node=pod.node,
                severity=WARN,
                text=f"container {one.name} of {pod.namespace}/{pod.name} runs anew",
            )
        )
    return events
