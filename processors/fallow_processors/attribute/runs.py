"""What schedulers said of jobs: from starts, ends and requeues in any order to who holds what from when to when.

Spans are a function of the set of events alone: it does not matter in which order, or how often, they are told. A run
ends at the first end that is told of it, or where the next run of its job begins.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fallow import semconv

FAR: Final = (1 << 63) - 1
"""The end of what has not ended."""
NAMES: Final = (semconv.JOB_START, semconv.JOB_END, semconv.JOB_REQUEUE)
POD: Final = (semconv.K8S_NAMESPACE_NAME, semconv.K8S_POD_NAME)
SHOWN: Final = (semconv.JOB_ID, semconv.JOB_NAME, semconv.USER_NAME, *POD, semconv.K8S_POD_UID)
"""What of an event becomes a label of the device that is held."""

Place = tuple[str, ...]
"""Something that can be held: ("index", host, index), ("id", hw.id, "") or ("node", host)."""
Holder = tuple[str, ...]
"""Who holds: ("job", cluster, id), ("pod", namespace, name) or ("uid", pod uid)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A run of a holder: from ``start`` until before ``end``, Unix ns."""

    holder: Holder
    start: int
    end: int
    labels: Mapping[str, str]
    places: tuple[Place, ...]
    restarts: str = ""


@dataclass(slots=True)
class _Start:
    labels: Mapping[str, str]
    places: tuple[Place, ...]


@dataclass(slots=True)
class _Job:
    starts: dict[str, dict[int, _Start]] = field(default_factory=lambda: defaultdict(dict))
    """By the number of restarts ("": it was not told), by time."""
    ends: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    spans: tuple[Span, ...] = ()

    def newest(self) -> int:
        """When the last of what is known of it happened."""
        return max([*(t for of in self.starts.values() for t in of), *(t for of in self.ends.values() for t in of)])

    def is_over(self) -> bool:
        return all(span.end < FAR for span in self.spans)


class Runs:
    """The runs of jobs, by what they hold; ``most`` jobs at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: dict[Holder, _Job] = {}
        self._at: dict[Place, list[Span]] = defaultdict(list)
        self._by_id: dict[str, set[Holder]] = defaultdict(set)
        self.refused = 0
        """Jobs that were not taken because there are too many."""

    def __len__(self) -> int:
        return len(self._jobs)

    def run(self, holder: Holder, start: int) -> Span | None:
        """The run of a holder that began at that time."""
        job = self._jobs.get(holder)
        return None if job is None else next((span for span in job.spans if span.start == start), None)

    def at(self, place: Place) -> list[Span]:
        """Everything that is known to hold a place at any time."""
        return self._at.get(place, [])

    def of(self, job: str) -> Iterator[Span]:
        """The runs of jobs of that number, of whichever cluster."""
        for holder in self._by_id.get(job, ()):
            yield from self._jobs[holder].spans

    def tell(self, name: str, time: int, said: Mapping[str, str]) -> set[Place]:
        """Take an event; returns the places about which something changed."""
        holder = holder_of(said)
        if holder is None or time <= 0:
            return set()
        job = self._jobs.get(holder)
        if job is None:
            if len(self._jobs) >= self._most and not self._drop_one():
                self.refused += 1
                return set()
            job = self._jobs[holder] = _Job()
            if holder[0] == "job":
                self._by_id[holder[2]].add(holder)
        restarts = said.get(semconv.JOB_RESTARTS, "")
        if name == semconv.JOB_START:
            shown = {label: said[label] for label in SHOWN if said.get(label)}
            job.starts[restarts][time] = _Start(shown, tuple(_places(said)))
        else:
            job.ends[_before(restarts) if name == semconv.JOB_REQUEUE else restarts].add(time)
        return self._renew(holder, job)

    def forget(self, before: int) -> None:
        """Let go of jobs that were over before that time."""
        for holder in [h for h, job in self._jobs.items() if job.is_over() and job.newest() < before]:
            self._remove(holder)

    def _drop_one(self) -> bool:
        over = [(job.newest(), holder) for holder, job in self._jobs.items() if job.is_over()]
        # A tenth at a time: to look for the oldest costs as much as there are jobs.
        for _, holder in sorted(over)[: max(1, len(over) // 10)]:
            self._remove(holder)
        return bool(over)

    def _remove(self, holder: Holder) -> None:
        self._unlink(self._jobs.pop(holder))
        if holder[0] == "job":
            self._by_id[holder[2]].discard(holder)
            if not self._by_id[holder[2]]:
                del self._by_id[holder[2]]

    def _unlink(self, job: _Job) -> set[Place]:
        places = {place for span in job.spans for place in span.places}
        for place in places:
            left = [span for span in self._at[place] if span not in job.spans]
            if left:
                self._at[place] = left
            else:
                del self._at[place]
        return places

    def _renew(self, holder: Holder, job: _Job) -> set[Place]:
        spans = tuple(_spans(holder, job))
        if spans == job.spans:
            return set()
        changed = self._unlink(job)
        job.spans = spans
        for span in spans:
            for place in span.places:
                self._at[place].append(span)
                changed.add(place)
        return changed

    # -- across a restart ----------------------------------------------------------------------------------------------
    def document(self) -> list[Any]:
        """What was told of each job, as JSON can say it."""
        return [
            [
                holder,
                [[r, t, dict(s.labels), s.places] for r, of in job.starts.items() for t, s in of.items()],
                [[r, sorted(of)] for r, of in job.ends.items()],
            ]
            for holder, job in self._jobs.items()
        ]

    def restore(self, document: Iterable[Any]) -> None:
        """Know it again."""
        for holder, starts, ends in document:
            job = self._jobs[tuple(holder)] = _Job()
            for restarts, time, labels, places in starts:
                job.starts[restarts][time] = _Start(labels, tuple(tuple(place) for place in places))
            for restarts, times in ends:
                job.ends[restarts] = set(times)
            if holder[0] == "job":
                self._by_id[holder[2]].add(tuple(holder))
            self._renew(tuple(holder), job)


def holder_of(said: Mapping[str, str]) -> Holder | None:
    """Who it is that is spoken of; None where nobody is."""
    if said.get(semconv.JOB_ID):
        return ("job", said.get(semconv.CLUSTER_NAME, ""), said[semconv.JOB_ID])
    if said.get(semconv.K8S_POD_NAME):
        return ("pod", said.get(semconv.K8S_NAMESPACE_NAME, ""), said[semconv.K8S_POD_NAME])
    return ("uid", said[semconv.K8S_POD_UID]) if said.get(semconv.K8S_POD_UID) else None


def _before(restarts: str) -> str:
    """The run that a requeue cuts off."""
    return str(int(restarts) - 1) if restarts.isdigit() and restarts != "0" else restarts


def _spans(holder: Holder, job: _Job) -> Iterator[Span]:
    begins = sorted(time for of in job.starts.values() for time in of)
    for restarts, starts in job.starts.items():
        # An end of which it was not told which run it ends may end any; so may any where runs are not told apart.
        known = {restarts, ""} if restarts else set(job.ends)
        ends = sorted({time for r in known for time in job.ends.get(r, ())})
        last = 0
        for start in sorted(starts):
            # A second is the finest that schedulers say: one run may begin when the one before has ended.
            end = next((e for e in ends if e > start or (e == start and e != last)), FAR)
            end = min(end, next((b for b in begins if b > start), FAR))
            last = end
            said = starts[start]
            if end > start:
                yield Span(
                    holder=holder, start=start, end=end, labels=said.labels, places=said.places, restarts=restarts
                )


def _places(said: Mapping[str, str]) -> Iterator[Place]:
    host = said.get(semconv.HOST_NAME, "")
    nodes = _listed(said.get(semconv.JOB_NODES, ""))
    # The resource of an event is its first node under the name that telemetry has for it.
    domain = host.removeprefix(nodes[0]) if nodes and host.startswith(nodes[0]) else ""
    held = [one.rpartition(":") for one in _listed(said.get(semconv.JOB_GPU_INDICES, ""))]
    for node, _, index in held:
        yield ("index", node + domain, index)
    if not held and said.get(semconv.HW_ID):
        yield ("id", said[semconv.HW_ID], "")
    elif not held and host and said.get(semconv.GPU_INDEX):
        yield ("index", host, said[semconv.GPU_INDEX])
    names = [node + domain for node in nodes or [node for node, _, _ in held]]
    if host:
        names.append(host)
    for name in dict.fromkeys(names):
        yield ("node", name)


def _listed(text: str) -> list[str]:
    """The texts of a JSON array, or those between commas."""
    if text.startswith("["):
        try:
            found = json.loads(text)
        except ValueError:
            return []
        return [str(one) for one in found]
    return [part.strip() for part in text.split(",") if part.strip()]
