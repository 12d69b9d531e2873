"""Entities in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fallow.semconv import (
    CONTAINER_ID,
    GPU_INDEX,
    HOST_NAME,
    HW_ID,
    HW_PARENT,
    JOB_ID,
    JOB_NAME,
    K8S_NAMESPACE_NAME,
    K8S_POD_NAME,
    SERVICE_NAME,
    USER_NAME,
)

_ORDER = (HOST_NAME, K8S_NAMESPACE_NAME, K8S_POD_NAME, USER_NAME, JOB_NAME, JOB_ID, CONTAINER_ID, GPU_INDEX, HW_ID)

INSTANCE: Final = "GPU_I_ID"
"""Which MIG instance of a device it is."""
_DEVICE = (HW_ID, INSTANCE, HW_PARENT)
_WORKLOAD = (CONTAINER_ID, K8S_NAMESPACE_NAME, K8S_POD_NAME, SERVICE_NAME)


def device_of(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """What tells one device, or one workload that has none, from another.

    >>> device_of({"host.name": "n1", "fallow.gpu.index": "0", "fallow.job.id": "7"})
    (('host.name', 'n1'), ('fallow.gpu.index', '0'))
    """
    if labels.get(HW_ID):
        names: tuple[str, ...] = _DEVICE
    elif labels.get(GPU_INDEX):
        names = (HOST_NAME, GPU_INDEX, INSTANCE)
    else:
        names = (HOST_NAME, *_WORKLOAD)
    return tuple((name, labels[name]) for name in names if labels.get(name))


def subject(entity: Mapping[str, str]) -> str:
    """An entity for people: the values that identify it, the most specific last.

    >>> subject({"hw.id": "GPU-5f", "fallow.gpu.index": "3", "host.name": "n1"})
    'n1 / GPU 3'
    """
    shown = {name: entity[name] for name in _ORDER if entity.get(name)}
    if JOB_ID in shown:
        shown.pop(USER_NAME, None)
    if GPU_INDEX in shown and len(shown) > 1:
        # On a host, a job's GPU, the index says more than the UUID.
        shown[GPU_INDEX] = f"GPU {shown[GPU_INDEX]}"
        shown.pop(HW_ID, None)
    rest = ", ".join(f"{name}={value}" for name, value in sorted(entity.items()))
    return " / ".join(dict.fromkeys(shown.values())) or rest or "everything"
