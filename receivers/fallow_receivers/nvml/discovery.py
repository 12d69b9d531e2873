"""Which GPUs and MIG instances there are."""

from __future__ import annotations

from collections.abc import Callable

from fallow.clients.nvml import Handle, Nvml, NvmlError
from fallow_receivers.nvml.device import Device, Identity


def look(nvml: Nvml, index: int, driver: str, known: Device | None) -> Device:
    """The GPU of an index, with its MIG instances: ``known`` where that is it still, else made anew.

    Raises:
        NvmlError: it does not answer.
    """
    handle = nvml.device(index)
    id, divided = nvml.uuid(handle), nvml.mig_enabled(handle)
    if known is not None and (known.identity.id, known.mig) == (id, divided):
        if not divided or _instance_ids(nvml, known.handle) == [d.identity.id for d in known.instances]:
            return known
        for instance in known.instances:
            instance.close(nvml)
        known.instances = list(_instances(nvml, known))
        return known
    if known is not None:
        known.close(nvml)
    identity = Identity(
        id=id,
        index=index,
        model=nvml.name(handle),
        serial=_text(nvml.serial, handle),
        driver=driver,
        firmware=_text(nvml.vbios, handle),
    )
    device = Device(handle=handle, gpu=handle, identity=identity, mig=divided)
    if divided:
        device.instances = list(_instances(nvml, device))
    return device


def _instance_ids(nvml: Nvml, gpu: Handle) -> list[str]:
    return [nvml.uuid(instance) for instance, _, _ in nvml.mig_instances(gpu)]


def _instances(nvml: Nvml, gpu: Device) -> list[Device]:
    found = list(nvml.mig_instances(gpu.handle))
    of_gpu = gpu.identity
    instances = [gpu_instance for _, gpu_instance, _ in found]
    return [
        Device(
            handle=handle,
            gpu=gpu.handle,
            identity=Identity(
                id=nvml.uuid(handle),
                index=of_gpu.index,
                model=nvml.name(handle),
                part=f"GI {gpu_instance} CI {compute_instance}",
                parent=of_gpu.id,
                driver=of_gpu.driver,
            ),
            instance=gpu_instance,
            shares_instance=instances.count(gpu_instance) > 1,
        )
        for handle, gpu_instance, compute_instance in found
    ]


def _text(call: Callable[[Handle], str], handle: Handle) -> str:
    """Empty where the device does not say."""
    try:
        return call(handle)
    except NvmlError:
        return ""
