"""Whose a process is, as the path of its cgroup tells it: container, Slurm job and pod."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from fallow import semconv

# The deepest wins: a container may run inside another. What watches a container (conmon) is none.
_CONTAINER: Final = re.compile(
    r"(?:^|/)(?:(?!crio-conmon-|libpod-conmon-)[a-z][a-z0-9.]*(?:-[a-z0-9.]+)*-)?([0-9a-f]{64})(?:\.scope)?(?=/|$)"
)
_POD: Final = re.compile(
    r"(?:^|[/-])pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?(?=/|$)"
)
# v1: /slurm/uid_1000/job_42/step_0; v2: /system.slice/slurmstepd.scope/job_42/step_0, or NODE_slurmstepd.scope.
_JOB: Final = re.compile(r"/(?:slurm[^/]*/(?:uid_\d+/)?|[^/]*slurmstepd\.scope/)job_(\d+)(?=/|$)")


def labels(paths: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """What the paths say, the first that says something of a kind.

    >>> labels(["/system.slice/slurmstepd.scope/job_42/step_0/user/task_0"])
    (('fallow.job.id', '42'),)
    """
    found: dict[str, str] = {}
    for path in paths:
        if pod := _POD.search(path):
            found.setdefault(semconv.K8S_POD_UID, pod[1].replace("_", "-"))
        if containers := _CONTAINER.findall(path):
            found.setdefault(semconv.CONTAINER_ID, containers[-1])
        if job := _JOB.search(path):
            found.setdefault(semconv.JOB_ID, job[1])
    return tuple(sorted(found.items()))
