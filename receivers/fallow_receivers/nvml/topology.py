"""How the GPUs of a node hang together: PCIe, NVLink and NUMA, as an event of each GPU."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, TypeVar

from fallow import semconv
from fallow.clients.nvml import Handle, Nvml, NvmlError
from fallow.otlp_write import INFO, Event, Value
from fallow_receivers.nvml.device import Device

# NVML_TOPOLOGY_* of nvml.h: where two devices meet.
LEVELS: Final = {0: "board", 10: "switch", 20: "switches", 30: "host_bridge", 40: "numa_node", 50: "system"}
PREFIX: Final = "fallow.gpu.topology"
T = TypeVar("T")


def topology(nvml: Nvml, devices: Sequence[Device], time: int, touch: Callable[[Device], None]) -> Iterator[Event]:
    """An event of each GPU: where it is, and how it reaches each other. What cannot be had is left out.

    Args:
        touch: called before a GPU is asked.
    """
    addresses: dict[str, Device] = {}
    for device in devices:
        touch(device)
        if address := _or_none(nvml.pci_address, device.handle):
            addresses[address] = device
    by_device = {id(d): address for address, d in addresses.items()}
    for device in devices:
        touch(device)
        yield _event(nvml, device, devices, by_device.get(id(device), ""), addresses, time)


def _event(
    nvml: Nvml, device: Device, devices: Sequence[Device], address: str, addresses: dict[str, Device], time: int
) -> Event:
    found: dict[str, Value] = dict(device.attributes())
    if address:
        found[f"{PREFIX}.pci.address"] = address
    words = ((os.cpu_count() or 1) + 63) // 64
    cpus = _or_none(partial(nvml.cpu_affinity, words=words), device.handle)
    if cpus:
        found[f"{PREFIX}.cpus"] = ranges(cpus)
    nodes = _or_none(nvml.numa_nodes, device.handle)
    if nodes:
        found[f"{PREFIX}.numa.nodes"] = ranges(nodes)
    links = _links(nvml, device)
    switches = links.pop("switch", 0)
    if switches:
        found[f"{PREFIX}.nvswitch.links"] = switches
    others = [d for d in devices if d is not device]
    if others:
        found[f"{PREFIX}.peer.ids"] = tuple(d.identity.id for d in others)
        found[f"{PREFIX}.peer.paths"] = tuple(_path(nvml, device, d) for d in others)
        to = {d.identity.id: links.get(a, 0) for a, d in addresses.items()}
        found[f"{PREFIX}.peer.nvlinks"] = tuple(to.get(d.identity.id, 0) for d in others)
    return Event(name=semconv.GPU_TOPOLOGY, time=time, severity=INFO, attributes=found)


def _path(nvml: Nvml, one: Device, other: Device) -> str:
    try:
        level = nvml.common_ancestor(one.handle, other.handle)
    except NvmlError:
        return "unknown"
    return LEVELS.get(level, "unknown")


def _links(nvml: Nvml, device: Device) -> Counter[str]:
    """NVLinks that are up, by the address at their other end."""
    found: Counter[str] = Counter()
    for link, up in enumerate(device.state.links):
        if up and (peer := _or_none(partial(nvml.nvlink_peer, link=link), device.handle)):
            found[peer] += 1
    return found


def _or_none(call: Callable[[Handle], T], handle: Handle) -> T | None:
    try:
        return call(handle)
    except NvmlError:
        return None


def ranges(bits: int) -> str:
    """Set bits as the kernel writes lists of CPUs.

    >>> ranges(0b1011)
    '0-1,3'
    """
    shown: list[str] = []
    bit = 0
    while bits >> bit:
        if bits >> bit & 1:
            first = bit
            while bits >> bit + 1 & 1:
                bit += 1
            shown.append(str(first) if first == bit else f"{first}-{bit}")
        bit += 1
    return ",".join(shown)
