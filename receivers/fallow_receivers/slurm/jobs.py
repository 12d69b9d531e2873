"""From looks at the jobs to what happened to them: each run is submitted, started and ended once.

A run is (job, time of submission): a requeue submits the job anew. The controller forgets a run some minutes after its
end, the history may tell of it late, and the receiver may have been away: whatever is seen when, in whatever order, the
same events follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fallow import semconv
from fallow.clients.slurm import Job, Phase
from fallow_receivers.slurm.said import Event, Value, allocation, labels, outcome, present, request

REMEMBERED_S = 3600
"""An ended run is remembered for so long after the controller forgot it: the history repeats some minutes."""
PATIENCE_S = 600
"""The history may be so late. A run that is nowhere for longer has ended, nobody knows how."""
UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What has been told of a job's last run."""

    submit: int
    phase: Phase = "pending"
    restarts: int = 0
    start: int = 0
    end: int = 0
    gone: int = 0
    """Unix s since when nobody knows of it; 0: somebody does."""
    nodes: tuple[str, ...] = ()
    labels: dict[str, Value]
    requests: dict[str, Value]


class Jobs:
    """The runs of which something was told; ``runs`` is what a restart goes on from."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}

    def observe(self, jobs: Iterable[Job]) -> list[Event]:
        """What these looks at runs tell that was not known; in the order in which it happened."""
        return sorted((event for job in jobs for event in self._observe(job)), key=lambda event: event.time_s)

    def begin(self, jobs: Sequence[Job]) -> list[Event]:
        """The first look of all: what waits or runs is told, what is over already is not."""
        for job in jobs:
            if job.phase == "ended":
                self.runs[job.id] = replace(_run(job), phase="ended", end=job.end or 0)
        return self.observe(job for job in jobs if job.phase != "ended")

    def missing(self, jobs: Iterable[Job]) -> list[str]:
        """Jobs that are not over as far as is known, but that the controller does not know any more."""
        seen = {job.id for job in jobs}
        return [id for id, run in self.runs.items() if run.phase != "ended" and id not in seen]

    def jumped(self, jobs: Iterable[Job]) -> bool:
        """Whether some job had a whole run, start and end, since the last look: only the history has seen it."""
        return any(
            (known := self.runs.get(job.id)) is not None
            and job.restarts is not None
            and job.submit > known.submit
            and job.restarts > known.restarts + (known.phase != "pending")
            for job in jobs
        )

    def lost(self, missing: Sequence[str], now: int, patience_s: int) -> list[Event]:
        """The end of those that are missing and that no history has told of in time."""
        events: list[Event] = []
        for id in missing:
            run = self.runs[id]
            if run.phase == "ended":  # the history knew
                continue
            if not run.gone:
                self.runs[id] = run = replace(run, gone=now)
            if now - run.gone >= patience_s:
                events.append(self._unknown(id, run, run.gone))
        return events

    def forget(self, jobs: Iterable[Job], now: int) -> None:
        """Let go of ended runs that nothing will tell of again."""
        seen = {job.id for job in jobs}
        old = [
            id
            for id, run in self.runs.items()
            if run.phase == "ended" and id not in seen and now - run.end > REMEMBERED_S
        ]
        for id in old:
            del self.runs[id]

    def _observe(self, job: Job) -> Iterable[Event]:
        known = self.runs.get(job.id)
        if known is not None and job.submit < known.submit:
            return  # an earlier run, of which all was told when this one came
        if job.phase is None:
            if known is not None and known.gone:
                self.runs[job.id] = replace(known, gone=0)
            return
        if known is None:
            yield _submit(job)
            known = _run(job)
        elif job.submit > known.submit:
            yield from self._again(job, known)
            known = _run(job, after=known)
        ended = job.phase == "ended"
        if known.phase == "pending" and job.start is not None and (job.phase == "running" or (ended and job.ran)):
            known = replace(known, phase="running", start=job.start, nodes=job.nodes)
            known = replace(known, requests={**known.requests, **request(job)})
            yield _start(job, known)
        if ended and known.phase != "ended" and job.end is not None:
            yield _end(job, known)
            known = replace(known, phase="ended", end=job.end)
        self.runs[job.id] = replace(known, gone=0) if known.gone else known

    def _again(self, job: Job, known: Run) -> Iterable[Event]:
        """A later run of a known job: it was requeued, or the controller begins its numbers anew."""
        requeued = job.restarts is None or job.restarts > known.restarts
        if known.phase != "ended":
            state = "REQUEUED" if requeued and known.phase == "running" else "" if requeued else UNKNOWN
            if state:
                yield _cut_off(job.id, known, state, job.submit)
        if not requeued:
            yield _submit(job)
            return
        times = job.restarts if job.restarts is not None else known.restarts + 1
        yield Event(
            name=semconv.JOB_REQUEUE,
            time_s=job.submit,
            subject=f"{job.id}/{job.submit}",
            attributes={**labels(job), semconv.JOB_RESTARTS: times, **present({semconv.JOB_REASON: job.reason})},
            node=_first(known.nodes),
            text=f"job {job.id} requeued",
        )

    def _unknown(self, id: str, run: Run, time_s: int) -> Event:
        self.runs[id] = replace(run, phase="ended", end=time_s)
        return _cut_off(id, run, UNKNOWN, time_s)


def _run(job: Job, *, after: Run | None = None) -> Run:
    restarts = job.restarts if job.restarts is not None else after.restarts + 1 if after else 0
    return Run(submit=job.submit, restarts=restarts, labels=labels(job), requests=request(job))


def _submit(job: Job) -> Event:
    return Event(
        name=semconv.JOB_SUBMIT,
        time_s=job.submit,
        subject=f"{job.id}/{job.submit}",
        attributes={**labels(job), **request(job)},
        text=f"job {job.id} submitted",
    )


def _start(job: Job, known: Run) -> Event:
    wait = max(0, known.start - max(job.submit, job.eligible or 0))
    return Event(
        name=semconv.JOB_START,
        time_s=known.start,
        subject=f"{job.id}/{job.submit}",
        attributes={
            **labels(job),
            **known.requests,
            **allocation(job),
            semconv.JOB_RESTARTS: known.restarts,
            semconv.JOB_WAIT: wait,
        },
        node=_first(job.nodes),
        text=f"job {job.id} started",
    )


def _end(job: Job, known: Run) -> Event:
    # Histories say less than the controller did while the job was there.
    said = {**labels(job), **request(job), **present({semconv.JOB_NODES: job.nodes}), **outcome(job)}
    return Event(
        name=semconv.JOB_END,
        time_s=job.end or 0,
        subject=f"{job.id}/{job.submit}",
        attributes={**known.labels, **known.requests, **said, semconv.JOB_RESTARTS: known.restarts},
        node=_first(job.nodes),
        text=f"job {job.id} ended: {job.state}",
    )


def _cut_off(id: str, run: Run, state: str, time_s: int) -> Event:
    """An end of which only the time is known."""
    used = time_s - run.start if run.start and state != UNKNOWN else None
    return Event(
        name=semconv.JOB_END,
        time_s=time_s,
        subject=f"{id}/{run.submit}",
        attributes={
            **run.labels,
            **run.requests,
            **present({semconv.JOB_NODES: run.nodes, semconv.JOB_TIME_USED: used}),
            semconv.JOB_STATE: state,
            semconv.JOB_RESTARTS: run.restarts,
        },
        node=_first(run.nodes),
        text=f"job {id} ended: {state}",
    )


def _first(nodes: Sequence[str]) -> str:
    return nodes[0] if nodes else ""
