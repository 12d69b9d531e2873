"""From one look at the cluster to metrics: the queue, what nodes have given away, what each running job was given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from fallow import semconv
from fallow.clients.slurm import Job, Node
from fallow_receivers.slurm.encode import Point
from fallow_receivers.slurm.said import labels, present, request


def queue(jobs: Iterable[Job], now: int) -> Iterator[Point]:
    """Jobs and GPUs by partition and state, and the longest wait by partition; jobs that are over count no more."""
    counts: dict[tuple[str, str], int] = defaultdict(int)
    gpus: dict[tuple[str, str], int] = defaultdict(int)
    oldest: dict[str, int] = {}
    for job in jobs:
        if job.phase == "ended":
            continue
        group = (job.partition, job.state)
        counts[group] += 1
        gpus[group] += job.gpus or 0
        if job.phase == "pending" and job.eligible and job.eligible <= now:
            oldest[job.partition] = min(oldest.get(job.partition, now), job.eligible)
    for (partition, state), count in counts.items():
        place = present({semconv.JOB_PARTITION: partition, semconv.JOB_STATE: state})
        yield Point(name=semconv.QUEUE_JOBS, value=count, attributes=place)
        yield Point(name=semconv.QUEUE_GPUS, value=gpus[partition, state], attributes=place)
    for partition, eligible in oldest.items():
        yield Point(
            name=semconv.QUEUE_WAIT, value=now - eligible, attributes=present({semconv.JOB_PARTITION: partition})
        )


def running(jobs: Iterable[Job], now: int) -> Iterator[Point]:
    """What each running job asked for, and how long it has been running."""
    for job in jobs:
        if job.phase != "running" or job.start is None:
            continue
        who = _who(job)
        for name, value in request(job).items():
            yield Point(name=name, value=float(value) if isinstance(value, int) else 0.0, attributes=who)
        yield Point(name=semconv.JOB_TIME_USED, value=max(0, now - job.start), attributes=who)


def held(jobs: Iterable[Job]) -> Iterator[Point]:
    """A 1 for each GPU that a job holds: with it measurements of host and GPU index are a job's."""
    for job in jobs:
        if job.phase == "running":
            who = _who(job)
            for node, indices in job.gpu_indices.items():
                for index in indices:
                    attributes = {semconv.GPU_INDEX: str(index), **who}
                    yield Point(name=semconv.JOB_GPU_ALLOCATED, value=1, attributes=attributes, node=node)


def nodes(found: Sequence[Node]) -> Iterator[Point]:
    """What each node has, has given away, and whether it takes jobs."""
    for node in found:
        values = {
            semconv.NODE_GPUS: node.gpus,
            semconv.NODE_GPUS_ALLOCATED: node.gpus_allocated,
            semconv.NODE_CPUS: node.cpus,
            semconv.NODE_CPUS_ALLOCATED: node.cpus_allocated,
            semconv.NODE_MEMORY: node.memory,
            semconv.NODE_MEMORY_ALLOCATED: node.memory_allocated,
            semconv.NODE_AVAILABLE: int(not (node.down or node.drain)),
        }
        for name, value in values.items():
            if value is not None:
                yield Point(name=name, value=value, attributes={}, node=node.name)


def _who(job: Job) -> dict[str, str]:
    wanted = (semconv.JOB_ID, semconv.JOB_NAME, semconv.USER_NAME)
    return {name: str(value) for name, value in labels(job).items() if name in wanted}
