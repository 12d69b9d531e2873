"""What Slurm says, in one shape for all releases; times are Unix seconds, sizes bytes, None is "not said"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from fallow.errors import TransientError

Phase = Literal["pending", "running", "ended"]


class SlurmError(TransientError):
    """Slurm did not answer, or not with what was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a job's processes ended."""

    code: int
    signal: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What accounting says that a run used."""

    cpu_s: float | None
    memory: int | None
    """Largest sum over the tasks of a step of what each had at its peak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of a job: what was asked for, what it got, how it went."""

    id: str
    state: str
    """Slurm's word for the base state, such as RUNNING or OUT_OF_MEMORY."""
    phase: Phase | None
    """None while Slurm itself has not settled it (a job that is completing)."""
    submit: int
    """Together with the id it names the run: a requeue sets it anew."""
    start: int | None = None
    end: int | None = None
    eligible: int | None = None
    restarts: int | None = None
    name: str = ""
    user: str = ""
    account: str = ""
    partition: str = ""
    qos: str = ""
    reason: str = ""
    reservation: str = ""
    array_id: str = ""
    array_index: int | None = None
    nodes: tuple[str, ...] = ()
    gpu_indices: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Node → indices of the GPUs that the job holds there; only while it holds them."""
    gpus: int | None = None
    cpus: int | None = None
    memory: int | None = None
    time_limit: int | None = None
    """Seconds; None also for a job without a limit."""
    exit: Exit | None = None
    usage: Usage | None = None

    @property
    def ran(self) -> bool:
        """Whether it ever had nodes: what is cancelled in the queue has times, but no nodes."""
        return bool(self.nodes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node as the controller sees it."""

    name: str
    state: str
    flags: frozenset[str]
    reason: str = ""
    reason_time: int | None = None
    gpus: int = 0
    gpus_allocated: int = 0
    cpus: int | None = None
    cpus_allocated: int | None = None
    memory: int | None = None
    memory_allocated: int | None = None

    @property
    def down(self) -> bool:
        return self.state in ("DOWN", "ERROR")

    @property
    def drain(self) -> bool:
        """Whether it gets no new jobs, since somebody drained it or Slurm calls it failing."""
        return not self.flags.isdisjoint(("DRAIN", "FAIL"))

    @property
    def shown(self) -> str:
        """State and flags as one word, as Slurm's commands show them: ``IDLE+DRAIN``."""
        return "+".join([self.state, *sorted(self.flags)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Nodes set aside for a time."""

    name: str
    start: int
    end: int
    nodes: tuple[str, ...] = ()
    users: str = ""
    accounts: str = ""
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What of the cluster's configuration matters to a reader."""

    cluster: str
    version: str
    min_job_age_s: int | None
    """How long the controller remembers a job that ended; None where it does not say."""
    slurmdbd: bool
    jobcomp_file: str
    """The log of ended jobs; empty where the cluster writes none that can be read."""


class Client(Protocol):
    """A way to read Slurm; every call may raise SlurmError and may take as long as the client's timeout."""

    def settings(self) -> Settings: ...

    def jobs(self) -> Sequence[Job]:
        """All jobs that the controller remembers, those that ended included."""
        ...

    def nodes(self) -> Sequence[Node]: ...

    def reservations(self) -> Sequence[Reservation]: ...

    def ended(self, since: int) -> Sequence[Job]:
        """Runs that ended, of all that were there after ``since``, from slurmdbd; requeued runs too, in order of end."""
        ...

    def used(self, ids: Sequence[str], since: int) -> Sequence[Job]:
        """The runs of these jobs that ended after ``since``, with what they used, from slurmdbd."""
        ...

    def close(self) -> None:
        """Break off what is going on; the client cannot be used any more."""
        ...
