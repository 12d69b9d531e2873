"""What the receiver says: an event, and the words that describe jobs, nodes and reservations in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from fallow import semconv
from fallow.clients.slurm import Job, Reservation

Value = str | int | float | Sequence[str]
Attributes = Mapping[str, Value]


UNREMARKABLE = ("COMPLETED", "CANCELLED", "PREEMPTED", "REQUEUED", "REVOKED")
"""Ends that are no failure of the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, once."""

    name: str
    time_s: int
    """Unix s, as Slurm has it."""
    subject: str
    """What tells it from other events of its name: by this a record that came twice is recognised."""
    attributes: Attributes
    node: str = ""
    """The node it is about; empty where it is about none."""
    text: str

    def uid(self, cluster: str) -> str:
        """The same for the same event, whoever tells it however often."""
        return blake2b(f"{cluster}\0{self.name}\0{self.subject}".encode(), digest_size=16).hexdigest()


def labels(job: Job) -> dict[str, Value]:
    """Who a job is: what is said of it in every event."""
    return present(
        {
            semconv.JOB_ID: job.id,
            semconv.JOB_NAME: job.name,
            semconv.USER_NAME: job.user,
            semconv.JOB_ACCOUNT: job.account,
            semconv.JOB_PARTITION: job.partition,
            semconv.JOB_QOS: job.qos,
            semconv.JOB_ARRAY_ID: job.array_id,
            semconv.JOB_ARRAY_INDEX: job.array_index,
            semconv.JOB_RESERVATION: job.reservation,
        }
    )


def request(job: Job) -> dict[str, Value]:
    """What a job asked for, or got."""
    return present(
        {
            semconv.JOB_GPUS: job.gpus,
            semconv.JOB_CPUS: job.cpus,
            semconv.JOB_MEMORY_LIMIT: job.memory,
            semconv.JOB_TIME_LIMIT: job.time_limit,
        }
    )


def allocation(job: Job) -> dict[str, Value]:
    """Where a job is."""
    held = [f"{node}:{index}" for node, indices in job.gpu_indices.items() for index in indices]
    return present({semconv.JOB_NODES: job.nodes, semconv.JOB_GPU_INDICES: held})


def outcome(job: Job) -> dict[str, Value]:
    """How a run ended; ``error.type`` where it failed."""
    used = job.end - job.start if job.ran and job.end is not None and job.start is not None else None
    return present(
        {
            semconv.JOB_STATE: job.state,
            semconv.JOB_REASON: job.reason,
            semconv.JOB_EXIT_CODE: job.exit.code if job.exit else None,
            semconv.JOB_EXIT_SIGNAL: (job.exit.signal or None) if job.exit else None,
            semconv.JOB_TIME_USED: used,
            semconv.ERROR_TYPE: "" if job.state in UNREMARKABLE else job.state,
        }
    )


def of_reservation(one: Reservation) -> dict[str, Value]:
    """What a reservation holds for whom."""
    return present(
        {
            semconv.RESERVATION_NAME: one.name,
            semconv.RESERVATION_START: one.start,
            semconv.RESERVATION_END: one.end,
            semconv.RESERVATION_NODES: one.nodes,
            semconv.RESERVATION_USERS: one.users,
            semconv.RESERVATION_ACCOUNTS: one.accounts,
            semconv.RESERVATION_FLAGS: one.flags,
        }
    )


def present(given: Mapping[str, Any]) -> dict[str, Value]:
    """What of it is said: neither None nor empty."""
    return {name: value for name, value in given.items() if value is not None and value != "" and value not in ((), [])}
