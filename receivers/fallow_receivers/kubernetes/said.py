"""What the receiver says: an event, and the words that describe pods and jobs in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from fallow import semconv
from fallow.clients.kubernetes import Ended, Job, Owner, Pod
from fallow.otlp_write import INFO

Value = str | int | float | Sequence[str]
Attributes = Mapping[str, Value]

UNREMARKABLE: Final = ("COMPLETED", "CANCELLED", "PREEMPTED", "REQUEUED")
"""Ends that are no failure of the job."""
_DISRUPTIONS: Final = {  # https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
    "PreemptionByScheduler": "PREEMPTED",
    "EvictionByEvictionAPI": "PREEMPTED",
    "DeletionByTaintManager": "NODE_FAIL",
    "DeletionByPodGC": "NODE_FAIL",
    "TerminationByKubelet": "NODE_FAIL",
}
_REASONS: Final = {
    "DeadlineExceeded": "TIMEOUT",
    "Preempting": "PREEMPTED",
    "Evicted": "NODE_FAIL",
    "NodeLost": "NODE_FAIL",
    "NodeShutdown": "NODE_FAIL",
    "Terminated": "NODE_FAIL",
    "OOMKilled": "OUT_OF_MEMORY",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, once."""

    name: str
    time: int
    """Unix ns, as Kubernetes has it; of most things it has whole seconds."""
    subject: str
    """What tells it from other events of its name: by this a record that came twice is recognised."""
    attributes: Attributes
    node: str = ""
    """The node it is about; empty where it is about none."""
    severity: int = INFO
    text: str

    def uid(self) -> str:
        """The same for the same event, whoever tells it however often."""
        return blake2b(f"{self.name}\0{self.subject}".encode(), digest_size=16).hexdigest()


def job_of(pod: Pod) -> str:
    """The id of the job that a pod runs for: that of the Job that controls it, else its own."""
    return pod.owner.uid if pod.owner is not None and pod.owner.kind == "Job" else pod.uid


def who(pod: Pod) -> dict[str, Value]:
    """Which pod it is, and for which job it runs."""
    return present(
        {
            semconv.JOB_ID: job_of(pod),
            semconv.JOB_NAME: pod.owner.name if pod.owner else pod.name,
            semconv.K8S_NAMESPACE_NAME: pod.namespace,
            semconv.K8S_POD_NAME: pod.name,
            semconv.K8S_POD_UID: pod.uid,
            **_owner(pod.owner),
            semconv.JOB_PARTITION: pod.queue,
            semconv.JOB_QOS: pod.priority,
        }
    )


def of_job(job: Job) -> dict[str, Value]:
    """Which job it is."""
    return present(
        {
            semconv.JOB_ID: job.uid,
            semconv.JOB_NAME: job.name,
            semconv.K8S_NAMESPACE_NAME: job.namespace,
            semconv.K8S_OWNERS["Job"]: job.name,
            **_owner(job.owner),
            semconv.JOB_PARTITION: job.queue,
            semconv.JOB_QOS: job.priority,
        }
    )


def request(one: Pod | Job) -> dict[str, Value]:
    """What it asked for; of a Job, for all pods that may run at a time."""
    limit = one.time_limit if isinstance(one, Job) else None
    return present(
        {
            semconv.JOB_GPUS: one.gpus,
            semconv.JOB_CPUS: one.cpus,
            semconv.JOB_MEMORY_LIMIT: one.memory,
            semconv.JOB_TIME_LIMIT: limit,
        }
    )


def state_of(pod: Pod) -> str:
    """How a pod that is over, or gone, ended: in the words that Slurm has for it."""
    if pod.outcome == "succeeded":
        return "COMPLETED"
    found = _DISRUPTIONS.get(pod.disruption) or _REASONS.get(pod.reason)
    if found is None and pod.exit is not None:
        found = _REASONS.get(pod.exit.reason)
    if found is not None:
        return found
    return "FAILED" if pod.outcome == "failed" and pod.deleted is None else "CANCELLED"


def outcome(state: str, reason: str, exit: Ended | None, used: int | None) -> dict[str, Value]:
    """How it ended; ``error.type`` where it failed."""
    return present(
        {
            semconv.JOB_STATE: state,
            semconv.JOB_REASON: reason,
            semconv.JOB_EXIT_CODE: exit.code if exit else None,
            semconv.JOB_EXIT_SIGNAL: (exit.signal or None) if exit else None,
            semconv.JOB_TIME_USED: used,
            semconv.ERROR_TYPE: "" if state in UNREMARKABLE else state,
        }
    )


def present(given: Mapping[str, Any]) -> dict[str, Value]:
    """What of it is said: neither None nor empty."""
    return {name: value for name, value in given.items() if value is not None and value not in ("", (), [])}


def _owner(owner: Owner | None) -> dict[str, str]:
    key = semconv.K8S_OWNERS.get(owner.kind) if owner else None
    return {key: owner.name} if owner and key else {}
