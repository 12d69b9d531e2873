"""Which job holds which GPUs when: a schedule that follows from the seed and the size of the cluster alone.

Jobs arrive in decks. Each deck has every kind of job in an order of its own, so that everything that can be wrong is
there soon, and again later. Seconds count from the beginning of the simulation.
"""

from __future__ import annotations

import heapq
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final

from fallow.semconv import GPU_INDEX, HOST_NAME, HW_ID, JOB_ID, JOB_NAME, USER_NAME
from fallow_receivers.simulated.profiles import (
    BEHAVIOURS,
    HEALTHY,
    HOUR,
    MINUTE,
    WRONG,
    Dice,
    Fact,
    Kind,
    Pattern,
    Plan,
    batch,
    serving,
    training,
)

USERS: Final = (
    "mkoch", "asato", "jdiaz", "lwang", "pnovak", "efischer", "rsingh", "tlarsen", "cmoreau", "yokafor", "bkim", "hsilva",
    "adupont", "gricci", "nhansen", "ojones", "szhang", "vpetrov", "iperez", "fmuller", "kyamada", "dcohen", "wbrown", "zali",
)  # fmt: skip
EPILOG: Final = 5.0  # s between a job's end and its GPUs being free
WARM_UP: Final = HOUR / 2  # an empty cluster is filled in this time
LOAD: Final = 0.85  # share of the GPUs that arrivals would keep busy
GPU_HOURS: Final = 6.0  # what a job takes on average
REPEATED: Final[Mapping[Pattern, int]] = {"P32": 3, "P36": 2}
"""Patterns that a failure alone is not: how many runs have to fail each time."""

_ARRIVAL, _DECK, _JOB, _GPU = range(4)  # what chance is for: each has numbers of its own
_MORE: Final[tuple[tuple[Kind, int], ...]] = ((serving, 1), (serving, 1), (batch, 1))
DECK: Final[tuple[tuple[Kind, int], ...]] = (
    *((kind, gpus) for kinds in (WRONG, HEALTHY) for kind, sizes in kinds.items() for gpus in sizes),
    *_MORE,
)
"""(kind, GPUs) of a deck, where no behaviours are chosen."""


def deck_of(behaviours: Sequence[str]) -> tuple[tuple[Kind, int], ...]:
    """The deck of the behaviours that were chosen; all that the built-in rules are about, and healthy ones, for none."""
    if not behaviours:
        return DECK
    return tuple((kind, gpus) for name in behaviours for kind, sizes in (BEHAVIOURS[name],) for gpus in sizes)


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """One GPU's place."""

    node: int
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What somebody wants to run."""

    number: int
    name: str
    user: str
    plan: Plan
    spans: bool
    """Whether its GPUs may be on several nodes."""
    behaviour: str
    run: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run: it holds its slots from ``start`` until just before ``end``."""

    id: str
    name: str
    user: str
    plan: Plan
    run: int
    start: float
    slots: tuple[Slot, ...]
    """In the order in which the plan counts its GPUs."""
    behaviour: str

    @property
    def end(self) -> float:
        return self.start + self.plan.duration

    @property
    def labels(self) -> dict[str, str]:
        return {JOB_ID: self.id, JOB_NAME: self.name, USER_NAME: self.user}

    def facts(self) -> Iterator[Fact]:
        """What is truly there, in seconds of the job."""
        return (fact for fact in self.plan.facts if self.run % REPEATED.get(fact.pattern, 1) == 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A pattern that was truly there, from ``start`` to ``end`` (Unix ns), on the job or GPU that the labels name."""

    pattern: Pattern
    start: int
    end: int
    labels: Mapping[str, str]


Truth = list[Span]


class Cluster:
    """A cluster of ``nodes`` × ``gpus_per_node`` GPUs, simulated no further than asked for.

    Args:
        behaviours: names of what jobs do; empty for the usual deck.
    """

    def __init__(self, seed: int, nodes: int, gpus_per_node: int, behaviours: Sequence[str] = ()) -> None:
        self.seed, self.nodes, self.gpus_per_node = seed, nodes, gpus_per_node
        self._deck = deck_of(behaviours)
        self._free = [list(range(gpus_per_node)) for _ in range(nodes)]
        self._jobs: list[list[Job]] = [[] for _ in range(nodes)]
        self._queue: list[Submission] = []
        self._sequence = 0
        # (second, order, what arrives or whose GPUs become free; None: the next of the deck)
        self._events: list[tuple[float, int, Submission | Job | None]] = []
        self._arrived = 0
        self._next_id = 40_000 + int(Dice.of(seed, _ARRIVAL).rng.integers(10_000))
        self._push(0.0, None)

    def host(self, node: int) -> str:
        return f"sim-node-{node:03}"

    def uuid(self, slot: Slot) -> str:
        """The GPU's id, the same in every run of the same seed."""
        digest = blake2b(f"{self.seed}/{slot.node}/{slot.index}".encode(), digest_size=16).digest()
        return f"GPU-{uuid.UUID(bytes=digest, version=4)}"

    def jobs(self, node: int, after: float, until: float) -> list[Job]:
        """Jobs that hold GPUs of a node at any second in (after, until] or end in it, in the order of their start."""
        self._advance(until)
        return [job for job in self._jobs[node] if job.start <= until and job.end > after]

    def started(self, until: float) -> list[Job]:
        """All jobs that are not forgotten and started by then, in that order."""
        self._advance(until)
        once = {job.id: job for jobs in self._jobs for job in jobs if job.start <= until}
        return sorted(once.values(), key=lambda job: (job.start, job.id))

    def forget(self, before: float) -> None:
        """Let go of what ended before that second."""
        self._jobs = [[job for job in jobs if job.end >= before] for jobs in self._jobs]

    def truth(self, until: float, origin: int = 0) -> Truth:
        """What is truly there from the beginning (``origin``, Unix ns) until a second."""
        spans: Truth = []
        for job in self.started(until):
            for fact in job.facts():
                start, end = (min(job.start + s, until) for s in (fact.start, fact.end))
                if start >= end:
                    continue
                for labels in self.whom(job, fact):
                    span = Span(pattern=fact.pattern, start=origin + ns(start), end=origin + ns(end), labels=labels)
                    spans.append(span)
        return spans

    def whom(self, job: Job, fact: Fact) -> Iterator[dict[str, str]]:
        """Labels of whom a fact is about: the job, or each of the GPUs that it names."""
        if not fact.gpus:
            yield job.labels
        for gpu in fact.gpus:
            slot = job.slots[gpu]
            device = {HOST_NAME: self.host(slot.node), HW_ID: self.uuid(slot), GPU_INDEX: str(slot.index)}
            yield job.labels | device

    # -- the schedule --------------------------------------------------------------------------------------------------
    def _push(self, second: float, event: Submission | Job | None) -> None:
        self._sequence += 1
        heapq.heappush(self._events, (round(second, 3), self._sequence, event))

    def _advance(self, until: float) -> None:
        while self._events[0][0] <= until:
            second, _, event = heapq.heappop(self._events)
            if event is None:
                self._queue.append(self._arrival())
                self._push(second + self._pause(second), None)
            elif isinstance(event, Submission):
                self._queue.append(event)
            else:
                for slot in event.slots:
                    self._free[slot.node].append(slot.index)
                    self._free[slot.node].sort()
            # First come, first served, where it fits: what is too large for now is overtaken.
            self._queue = [waiting for waiting in self._queue if not self._place(waiting, second)]

    def _arrival(self) -> Submission:
        number, self._arrived = self._arrived, self._arrived + 1
        deck, at = divmod(number, len(self._deck))
        kind, gpus = self._deck[Dice.of(self.seed, _DECK, deck).rng.permutation(len(self._deck))[at]]
        # What is wrong with a job shows on the GPUs of one node; only training takes several nodes.
        spans = kind is training
        gpus = min(gpus, self.nodes * self.gpus_per_node if spans else self.gpus_per_node)
        plan = kind(Dice.of(self.seed, _JOB, number), gpus)
        # Nobody has two series of failures under one name: what repeats itself is certain.
        again, user = divmod(deck, len(USERS))
        shift = next(i for i, (k, _) in enumerate(self._deck) if k is kind)
        name = plan.name if not again else f"{plan.name}-{again + 1}"
        return Submission(
            number=number,
            name=name,
            user=USERS[(user + 5 * shift) % len(USERS)],
            plan=plan,
            spans=spans,
            behaviour=kind.__name__,
        )

    def _pause(self, second: float) -> float:
        """Until the next arrival."""
        gpus = self.nodes * self.gpus_per_node
        usual = GPU_HOURS * HOUR / (LOAD * gpus)
        mean = min(usual, WARM_UP / max(1.2 * len(self._deck), 0.27 * gpus)) if second < WARM_UP else usual
        # At most twice the mean: the first deck is dealt within the warm-up.
        return mean * Dice.of(self.seed, _ARRIVAL, self._arrived).between(0.2, 1.8)

    def _place(self, wanted: Submission, second: float) -> bool:
        slots = self._slots(wanted)
        if slots is None:
            return False
        for slot in slots:
            self._free[slot.node].remove(slot.index)
        job = Job(
            id=str(self._next_id),
            name=wanted.name,
            user=wanted.user,
            plan=wanted.plan,
            run=wanted.run,
            start=second,
            slots=slots,
            behaviour=wanted.behaviour,
        )
        self._next_id += 1
        for node in sorted({slot.node for slot in slots}):
            self._jobs[node].append(job)
        self._push(job.end + EPILOG, job)
        if wanted.run <= wanted.plan.retries:
            chance = Dice.of(self.seed, _JOB, wanted.number, wanted.run)
            again = replace(wanted, run=wanted.run + 1)
            self._push(job.end + chance.between(1, 5) * MINUTE, again)
        return True

    def _slots(self, wanted: Submission) -> tuple[Slot, ...] | None:
        """The fullest node on which it fits; several where it may, the emptiest first; None: it has to wait."""
        gpus = wanted.plan.gpus
        fitting = [(len(free), node) for node, free in enumerate(self._free) if len(free) >= gpus]
        if fitting:
            node = min(fitting)[1]
            return tuple(Slot(node, index) for index in self._free[node][:gpus])
        if not wanted.spans or sum(map(len, self._free)) < gpus:
            return None
        emptiest = sorted(range(self.nodes), key=lambda node: (-len(self._free[node]), node))
        return tuple([Slot(node, index) for node in emptiest for index in self._free[node]][:gpus])


def ns(second: float) -> int:
    """Nanoseconds of a second of the simulation, to the microsecond."""
    return round(second * 1e6) * 1000
