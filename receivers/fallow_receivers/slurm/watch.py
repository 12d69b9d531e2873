"""Looks at the cluster, and what follows from them; in a thread of its own, since Slurm may take its time to answer."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fallow import semconv
from fallow.clients.slurm import Client, Job, Node, Settings, SlurmError
from fallow.units import SECOND
from fallow_receivers.slurm import measure
from fallow_receivers.slurm.config import SlurmReceiverConfig
from fallow_receivers.slurm.cursor import Cursor, Waiting
from fallow_receivers.slurm.encode import Point
from fallow_receivers.slurm.history import History, history_of
from fallow_receivers.slurm.jobs import PATIENCE_S, Jobs
from fallow_receivers.slurm.places import Nodes, Reservations
from fallow_receivers.slurm.said import Event, labels, present, request

logger = logging.getLogger(__name__)

USAGE_EVERY_S = 60
"""Accounting is asked what ended jobs used no more often: one query for all of them."""
USAGE_AT_ONCE = 500
LAG_S = 60
"""The controller tells slurmdbd some time later: so long it is asked again after a gap."""
DEFAULT_MIN_JOB_AGE_S = 300  # Slurm's own, where a server does not say
_NO_PLACES = "Nodes and reservations cannot be read."
_NO_HISTORY = "The history of jobs cannot be read."


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look gave: what happened, what there is, and the cursor to keep once the events are told."""

    events: Sequence[Event]
    points: Sequence[Point]
    cursor: Cursor


class Watch:
    """Goes on from a cursor."""

    def __init__(self, config: SlurmReceiverConfig, client: Client, cursor: Cursor, directory: Path) -> None:
        self._config, self._client, self._directory = config, client, directory
        self._cursor = cursor
        self._settings: Settings | None = None
        self._history: History | None = None
        self._jobs, self._nodes, self._reservations = Jobs(), Nodes(), Reservations()
        self._take(cursor)
        self._resumed = cursor.seen > 0
        self._asked_usage = 0
        self._mute: set[str] = set()

    @property
    def cluster(self) -> str:
        """The cluster's name; empty before the first look."""
        return self._config.cluster or (self._settings.cluster if self._settings else "")

    def look(self, now: int) -> Look:
        """Look at ``now`` (Unix s); raises SlurmError, and then nothing has changed."""
        try:
            return self._look(now)
        except SlurmError:
            self._take(self._cursor)
            self._history = None  # the controller may come back with another configuration
            raise

    def told(self, look: Look) -> None:
        """The events of this look are safe: the next goes on from there."""
        self._cursor = look.cursor

    def _look(self, now: int) -> Look:
        history = self._prepared(now)
        cursor = self._cursor.model_copy()
        first = cursor.seen == 0
        events: list[Event] = []
        if not first and history.cheap:
            events += self._from(history, cursor, now)
        jobs = self._client.jobs()
        if first:
            history.begin(cursor, now)
            events += self._jobs.begin(jobs)
        else:
            missing = self._jobs.missing(jobs)
            if not history.cheap:
                if self._is_blind(now) or self._jobs.jumped(jobs):
                    cursor.owed = now + LAG_S
                if missing or now <= cursor.owed:
                    events += self._from(history, cursor, now)
            events += self._jobs.observe(jobs)
            # Without a history: once more, in case the controller is only just beginning.
            patience_s = PATIENCE_S if history.name != "none" else self._config.interval // SECOND
            events += self._jobs.lost(missing, now, patience_s)
        self._jobs.forget(jobs, now)
        cursor.waiting = dict(cursor.waiting)
        if history.usage:
            events += self._usage(cursor, events, now)
        nodes: Sequence[Node] = ()
        if (now - cursor.nodes_seen) * SECOND >= self._config.node_interval:
            nodes, of_places = self._places(cursor, now)
            events += of_places
        cursor.seen, cursor.cluster = now, self.cluster
        cursor.runs, cursor.nodes = dict(self._jobs.runs), dict(self._nodes.troubles)
        cursor.reservations = dict(self._reservations.known)
        points = list(self._points(jobs, nodes, now))
        self._resumed = False
        return Look(events=sorted(events, key=lambda event: event.time_s), points=points, cursor=cursor)

    def _from(self, history: History, cursor: Cursor, now: int) -> list[Event]:
        """What the history tells; where it does not answer, the controller's own word still goes on."""
        try:
            found = history.ended(cursor, now)
        except SlurmError as error:
            cursor.owed = now + LAG_S
            self._warn(_NO_HISTORY, error)
            return []
        self._mute.discard(_NO_HISTORY)
        return self._jobs.observe(found)

    def _places(self, cursor: Cursor, now: int) -> tuple[Sequence[Node], list[Event]]:
        """Nodes and what happened to them and to reservations; where they cannot be read, jobs still go on."""
        try:
            nodes, reservations = self._client.nodes(), self._client.reservations()
        except SlurmError as error:
            self._warn(_NO_PLACES, error)
            return (), []
        self._mute.discard(_NO_PLACES)
        since, cursor.nodes_seen = cursor.nodes_seen, now
        events = self._nodes.observe(nodes, since, now)
        return nodes, events + self._reservations.observe(reservations, now)

    def _warn(self, what: str, error: SlurmError) -> None:
        """Once, until it is over."""
        if what not in self._mute:
            self._mute.add(what)
            logger.warning(what, extra={"cluster": self.cluster, "error": str(error)})

    def _take(self, cursor: Cursor) -> None:
        self._jobs.runs = dict(cursor.runs)
        self._nodes.troubles = dict(cursor.nodes)
        self._reservations.known = dict(cursor.reservations)

    def _prepared(self, now: int) -> History:
        if self._history is not None:
            return self._history
        settings = self._settings = self._client.settings()
        if self._cursor.cluster and self._cursor.cluster != self.cluster:
            logger.warning(
                "The cursor is of another cluster; beginning anew.",
                extra={"cursor": self._cursor.cluster, "cluster": self.cluster},
            )
            self._cursor = Cursor()
            self._take(self._cursor)
        history = self._history = history_of(self._config, settings, self._client, self._directory)
        said = {"cluster": self.cluster, "slurm": settings.version, "history": history.name}
        logger.info("Slurm answers.", extra=said)
        if history.name == "none":
            age = settings.min_job_age_s
            logger.warning(
                "There is neither slurmdbd nor a jobcomp log: jobs that end while this receiver or the controller is "
                "away, or within less than a look where MinJobAge is short, can be missed.",
                extra={"min_job_age_s": age if age is not None else "unknown", **said},
            )
        return history

    def _is_blind(self, now: int) -> bool:
        """Whether the controller may have forgotten runs since the last look."""
        age = self._settings.min_job_age_s if self._settings else None
        age = DEFAULT_MIN_JOB_AGE_S if age is None else age
        usual = 2 * self._config.interval // SECOND
        return self._resumed or now - self._cursor.seen > age // 2 or age <= usual

    def _usage(self, cursor: Cursor, events: Sequence[Event], now: int) -> list[Event]:
        """What accounting says that ended runs used; it knows some seconds after the end."""
        for event in events:
            if event.name == semconv.JOB_END and semconv.JOB_NODES in event.attributes:
                id, _, submit = event.subject.partition("/")
                cursor.waiting[id] = Waiting(submit=int(submit), end=event.time_s, since=now)
        late = [id for id, one in cursor.waiting.items() if now - one.since > PATIENCE_S]
        for id in late:
            del cursor.waiting[id]
        if not cursor.waiting or now - self._asked_usage < min(USAGE_EVERY_S, 4 * self._config.interval // SECOND):
            return []
        self._asked_usage = now
        found: list[Event] = []
        try:
            asked = dict(list(cursor.waiting.items())[:USAGE_AT_ONCE])
            answers = self._client.used(list(asked), min(one.end for one in asked.values()) - 1)
        except SlurmError:  # asked again
            return []
        for job in answers:
            one = cursor.waiting.get(job.id)
            if one is not None and one.submit == job.submit and job.usage is not None:
                del cursor.waiting[job.id]
                found.append(_used(job))
        return found

    def _points(self, jobs: Sequence[Job], nodes: Sequence[Node], now: int) -> Iterator[Point]:
        yield from measure.queue(jobs, now)
        yield from measure.held(jobs)
        if self._config.job_metrics:
            yield from measure.running(jobs, now)
        yield from measure.nodes(nodes)


def _used(job: Job) -> Event:
    usage = job.usage
    used = job.end - job.start if job.end is not None and job.start is not None else None
    said = {
        semconv.JOB_TIME_USED: used,
        semconv.JOB_CPU_TIME: usage.cpu_s if usage else None,
        semconv.JOB_MEMORY_PEAK: usage.memory if usage else None,
    }
    return Event(
        name=semconv.JOB_USAGE,
        time_s=job.end or 0,
        subject=f"{job.id}/{job.submit}",
        attributes={**labels(job), **request(job), semconv.JOB_STATE: job.state, **present(said)},
        node=job.nodes[0] if job.nodes else "",
        text=f"job {job.id} used",
    )
