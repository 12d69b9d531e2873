"""What the kubelet says of devices, as metrics: a 1 for each GPU that a container holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from fallow import semconv
from fallow.clients.kubernetes import Allocation, Gpus
from fallow_receivers.kubernetes.measure import Point

_REPLICA: Final = "::"
"""Between a GPU's id and the number of a share of it, where the device plugin gives one GPU to several."""


def held(allocations: Iterable[Allocation], gpus: Gpus, node: str) -> Iterator[Point]:
    """A 1 for each GPU and container; of a shared one it is a share of it."""
    told: set[tuple[str, str, str, str]] = set()
    for one in allocations:
        if not gpus.count({one.resource: 1}):
            continue
        for device in one.devices:
            id = device.partition(_REPLICA)[0]
            if (key := (one.namespace, one.pod, one.container, id)) in told:
                continue
            told.add(key)
            # NVIDIA's plugin names a GPU by its UUID, or by its index where it is told to.
            which = semconv.GPU_INDEX if id.isdigit() else semconv.HW_ID
            yield Point(
                name=semconv.JOB_GPU_ALLOCATED,
                value=1,
                attributes={
                    which: id,
                    semconv.K8S_NAMESPACE_NAME: one.namespace,
                    semconv.K8S_POD_NAME: one.pod,
                    semconv.K8S_CONTAINER_NAME: one.container,
                    semconv.K8S_RESOURCE_NAME: one.resource,
                },
                node=node,
            )
