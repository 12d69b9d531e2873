"""What a series says of itself: which device it is about, whose it says that is, and which process it is of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fallow import cgroup, semconv
from fallow.semconv import SIGNALS
from fallow.series import SeriesKey
from fallow_processors.attribute.runs import POD, Place

ACTIVITY: Final = frozenset({semconv.GPU_UTILIZATION, semconv.GPU_ENGINE, semconv.GPU_SM})
OF_PROCESS: Final = frozenset({semconv.PROCESS_GPU_MEMORY, semconv.PROCESS_GPU_UTILIZATION})
_OF_GPU: Final = ("hw.gpu.", "fallow.gpu.", "fallow.process.gpu.")
NOBODY: Final = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who is named: a job by its number, a pod by whatever tells it; "" where none is."""

    job: str = NOBODY
    pod: str = NOBODY
    labels: tuple[tuple[str, str], ...] = ()
    """How it is named, for devices of which others do not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a series is about."""

    place: Place = ()
    """The device; () where it is about none."""
    index: Place = ()
    """The place of the device on its host, where both are told."""
    whole: Place = ()
    """The device that this is an instance of."""
    host: str = ""
    owner: Owner
    process: str = ""
    """Its number."""
    is_allocation: bool = False
    """It says that a job was given the device, and measures nothing of it."""
    device: tuple[tuple[str, str], ...] = ()
    """Labels that identify the device."""


def subject_of(key: SeriesKey) -> Subject:
    """What the labels of a series say."""
    labels = key.labels
    owner, host = owner_of(labels), labels.get(semconv.HOST_NAME, "")
    process = labels.get(semconv.PROCESS_PID, "")
    if not _is_of_gpu(key.name, labels):
        return Subject(owner=owner, host=host, process=process)
    id, index = labels.get(semconv.HW_ID, ""), labels.get(semconv.GPU_INDEX, "")
    instance, parent = labels.get(semconv.HW_INSTANCE, ""), labels.get(semconv.HW_PARENT, "")
    at: Place = ("index", host, index) if host and index else ()
    is_part = bool(instance or parent or id.startswith("MIG-"))
    place: Place = ("id", id, instance) if id else (*at, instance) if at and instance else at
    whole: Place = () if not is_part else ("id", parent or id, "") if parent or (id and instance) else at
    names = (semconv.HOST_NAME, semconv.GPU_INDEX, semconv.HW_ID, semconv.HW_INSTANCE, semconv.HW_PARENT)
    return Subject(
        place=place,
        index=() if is_part else at,
        whole=whole,
        host=host,
        owner=owner,
        process=process if key.name in OF_PROCESS else "",
        is_allocation=key.name == semconv.JOB_GPU_ALLOCATED,
        device=tuple((name, labels[name]) for name in names if labels.get(name)),
    )


def _is_of_gpu(name: str, labels: Mapping[str, str]) -> bool:
    if name not in SIGNALS or name == semconv.EVENT:
        return False
    return name.startswith(_OF_GPU) or name == semconv.JOB_GPU_ALLOCATED or labels.get(semconv.HW_TYPE) == "gpu"


def owner_of(labels: Mapping[str, str]) -> Owner:
    """Who labels say it is, with what the path of a cgroup tells."""
    if labels.get(semconv.PROCESS_CGROUP):
        labels = dict(cgroup.labels([labels[semconv.PROCESS_CGROUP]])) | dict(labels)
    names = (semconv.JOB_ID, semconv.JOB_NAME, semconv.USER_NAME, *POD, semconv.K8S_POD_UID)
    return Owner(
        job=labels.get(semconv.JOB_ID, NOBODY),
        pod=_pod(labels),
        labels=tuple((name, labels[name]) for name in names if labels.get(name)),
    )


def _pod(labels: Mapping[str, str]) -> str:
    if labels.get(semconv.K8S_POD_NAME):
        return f"{labels.get(semconv.K8S_NAMESPACE_NAME, '')}/{labels[semconv.K8S_POD_NAME]}"
    return labels.get(semconv.K8S_POD_UID, "") or labels.get(semconv.CONTAINER_ID, "")
