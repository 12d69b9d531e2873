"""The library: the calls that Fallow makes."""

from __future__ import annotations

import _ctypes
from collections.abc import Iterator, Sequence
from typing import Any

import pynvml

from fallow.clients.nvml.errors import Failed, NvmlError, Unsupported, call
from fallow.clients.nvml.values import (
    NO_UINT,
    DeviceEvent,
    EventSet,
    Handle,
    Memory,
    Process,
    ProcessSample,
    field_value,
    key,
)


class Nvml:
    """The library, once it is open."""

    def __init__(self) -> None:
        self._opened = 0
        self._missing: set[str] = set()

    # -- the library ---------------------------------------------------------------------------------------------------
    def open(self) -> None:
        """Load the library if need be, and find the driver; raises DriverGone where there is none."""
        call("nvmlInit")
        self._opened += 1
        self._missing.clear()

    def close(self) -> None:
        """Let go of the driver; handles mean nothing from now on."""
        while self._opened:
            self._opened -= 1
            try:
                call("nvmlShutdown")
            except NvmlError:
                return

    def unload(self) -> None:
        """Forget the loaded library, so that the next ``open`` loads the one that is installed now.

        After an upgrade of the driver the library that is in memory speaks to the old one. No other thread may be in it.
        """
        self.close()
        # pynvml has no call for this: it loads once and remembers each function.
        names: dict[str, Any] = pynvml.__dict__
        library, names["nvmlLib"] = names["nvmlLib"], None
        names["_nvmlGetFunctionPointer_cache"].clear()
        if library is not None:
            _ctypes.dlclose(library._handle)

    def driver_version(self) -> str:
        return str(call("nvmlSystemGetDriverVersion"))

    # -- devices -------------------------------------------------------------------------------------------------------
    def count(self) -> int:
        return int(call("nvmlDeviceGetCount"))

    def device(self, index: int) -> Handle:
        return Handle(call("nvmlDeviceGetHandleByIndex", index))

    def uuid(self, device: Handle) -> str:
        return str(call("nvmlDeviceGetUUID", device))

    def name(self, device: Handle) -> str:
        return str(call("nvmlDeviceGetName", device))

    def serial(self, device: Handle) -> str:
        return str(call("nvmlDeviceGetSerial", device))

    def vbios(self, device: Handle) -> str:
        return str(call("nvmlDeviceGetVbiosVersion", device))

    def pci_address(self, device: Handle) -> str:
        """As the kernel writes it: ``0000:1b:00.0``."""
        return _address(call("nvmlDeviceGetPciInfo", device))

    def mig_enabled(self, device: Handle) -> bool:
        try:
            return bool(call("nvmlDeviceGetMigMode", device)[0])
        except Unsupported:
            return False

    def mig_instances(self, device: Handle) -> Iterator[tuple[Handle, int, int]]:
        """(instance, GPU instance id, compute instance id) of each MIG instance that there is."""
        for index in range(int(call("nvmlDeviceGetMaxMigDeviceCount", device))):
            try:
                instance = Handle(call("nvmlDeviceGetMigDeviceHandleByIndex", device, index))
            except NvmlError as error:
                if error.code == pynvml.NVML_ERROR_NOT_FOUND:
                    continue
                raise
            gpu = int(call("nvmlDeviceGetGpuInstanceId", instance))
            yield instance, gpu, int(call("nvmlDeviceGetComputeInstanceId", instance))

    # -- what is measured ----------------------------------------------------------------------------------------------
    def utilization(self, device: Handle) -> tuple[int, int]:
        """Percent of the time with a kernel resident, and with the memory controller busy."""
        found = call("nvmlDeviceGetUtilizationRates", device)
        return found.gpu, found.memory

    def encoder(self, device: Handle) -> int:
        return int(call("nvmlDeviceGetEncoderUtilization", device)[0])

    def decoder(self, device: Handle) -> int:
        return int(call("nvmlDeviceGetDecoderUtilization", device)[0])

    def memory(self, device: Handle) -> Memory:
        try:
            found = call("nvmlDeviceGetMemoryInfo", device, pynvml.nvmlMemory_v2)
            return Memory(found.total, found.used, found.reserved)
        except Unsupported:
            found = call("nvmlDeviceGetMemoryInfo", device)
            return Memory(found.total, found.used, None)

    def temperature(self, device: Handle) -> int:
        """°C of the GPU's core."""
        return int(self._first(("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature"), device, 0))

    def power_mw(self, device: Handle) -> int:
        return int(call("nvmlDeviceGetPowerUsage", device))

    def power_limit_mw(self, device: Handle) -> int:
        return int(call("nvmlDeviceGetEnforcedPowerLimit", device))

    def sm_clock_mhz(self, device: Handle) -> int:
        return int(call("nvmlDeviceGetClockInfo", device, pynvml.NVML_CLOCK_SM))

    def memory_clock_mhz(self, device: Handle) -> int:
        return int(call("nvmlDeviceGetClockInfo", device, pynvml.NVML_CLOCK_MEM))

    def sm_clock_limit_mhz(self, device: Handle) -> int:
        return int(call("nvmlDeviceGetMaxClockInfo", device, pynvml.NVML_CLOCK_SM))

    def clock_reasons(self, device: Handle) -> int:
        """Bits of nvmlClocksEventReasons that hold now."""
        names = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
        return int(self._first(names, device))

    def clock_reasons_supported(self, device: Handle) -> int:
        names = ("nvmlDeviceGetSupportedClocksEventReasons", "nvmlDeviceGetSupportedClocksThrottleReasons")
        return int(self._first(names, device))

    def ecc_errors(self, device: Handle, *, corrected: bool) -> int:
        """Since the driver was loaded."""
        kind = pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED if corrected else pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED
        return int(call("nvmlDeviceGetTotalEccErrors", device, kind, pynvml.NVML_VOLATILE_ECC))

    def remapped_rows(self, device: Handle) -> tuple[int, int, bool, bool]:
        """Rows remapped for corrected and for uncorrected errors, whether one waits for a reset, whether one failed."""
        corrected, uncorrected, pending, failed = call("nvmlDeviceGetRemappedRows", device)
        return corrected, uncorrected, bool(pending), bool(failed)

    def pcie_link(self, device: Handle) -> tuple[int, int]:
        """Generation and lanes, now."""
        generation = int(call("nvmlDeviceGetCurrPcieLinkGeneration", device))
        return generation, int(call("nvmlDeviceGetCurrPcieLinkWidth", device))

    def pcie_link_limit(self, device: Handle) -> tuple[int, int]:
        """Generation and lanes, at most, of this device in this slot."""
        generation = int(call("nvmlDeviceGetMaxPcieLinkGeneration", device))
        return generation, int(call("nvmlDeviceGetMaxPcieLinkWidth", device))

    def pcie_throughput(self, device: Handle, *, transmit: bool) -> int:
        """Bytes a second over the last 20 ms; takes as long."""
        counter = pynvml.NVML_PCIE_UTIL_TX_BYTES if transmit else pynvml.NVML_PCIE_UTIL_RX_BYTES
        return int(call("nvmlDeviceGetPcieThroughput", device, counter)) * 1000

    def fields(self, device: Handle, ids: Sequence[int | tuple[int, int]]) -> list[float | NvmlError]:
        """Field values (NVML_FI_*), each its value or why there is none; an id may have a scope."""
        return [field_value(found) for found in call("nvmlDeviceGetFieldValues", device, ids)]

    def processes(self, device: Handle) -> list[Process]:
        """Compute processes, those behind MPS too."""
        found: dict[int, Process] = {}
        for name in ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetMPSComputeRunningProcesses"):
            try:
                for process in call(name, device):
                    found[process.pid] = Process(process.pid, process.usedGpuMemory)
            except Unsupported:
                if name == "nvmlDeviceGetComputeRunningProcesses":
                    raise
        return list(found.values())

    def process_samples(self, device: Handle, since: int) -> list[ProcessSample]:
        """Samples taken after ``since``, µs of the driver's clock."""
        try:
            found = call("nvmlDeviceGetProcessUtilization", device, since)
        except NvmlError as error:
            # pynvml raises even success where there is no sample.
            if error.code in (pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_SUCCESS):
                return []
            raise
        samples = (ProcessSample(s.pid, s.timeStamp, s.smUtil, s.memUtil, s.encUtil, s.decUtil) for s in found)
        return [s for s in samples if s.time > since]

    # -- events --------------------------------------------------------------------------------------------------------
    def event_set(self) -> EventSet:
        return EventSet(call("nvmlEventSetCreate"))

    def watch(self, device: Handle, types: int, events: EventSet) -> int:
        """Have the driver tell of these types where it can; returns those."""
        types &= int(call("nvmlDeviceGetSupportedEventTypes", device))
        if types:
            call("nvmlDeviceRegisterEvents", device, types, events)
        return types

    def next_event(self, events: EventSet) -> DeviceEvent | None:
        """The oldest event not yet taken, None where there is none within a millisecond."""
        try:
            found = call("nvmlEventSetWait", events, 1)
        except NvmlError as error:
            if error.code == pynvml.NVML_ERROR_TIMEOUT:
                return None
            raise
        instance = None if found.gpuInstanceId == NO_UINT else int(found.gpuInstanceId)
        return DeviceEvent(key(found.device), found.eventType, found.eventData, instance)

    def free(self, events: EventSet) -> None:
        call("nvmlEventSetFree", events)

    # -- topology ------------------------------------------------------------------------------------------------------
    def common_ancestor(self, one: Handle, other: Handle) -> int:
        """NVML_TOPOLOGY_*: how far up the PCIe tree two devices meet."""
        return int(call("nvmlDeviceGetTopologyCommonAncestor", one, other))

    def cpu_affinity(self, device: Handle, words: int) -> int:
        """Bit n is set where CPU n is near the device."""
        found = call("nvmlDeviceGetCpuAffinity", device, words)
        return sum(int(word) << 64 * i for i, word in enumerate(found))

    def numa_nodes(self, device: Handle) -> int:
        """Bit n is set where NUMA node n is near the device."""
        found = call("nvmlDeviceGetMemoryAffinity", device, 1, pynvml.NVML_AFFINITY_SCOPE_NODE)
        return int(found[0])

    def nvlinks(self, device: Handle) -> list[bool]:
        """Whether each NVLink of the device is up; empty where it has none."""
        found: list[bool] = []
        for link in range(pynvml.NVML_NVLINK_MAX_LINKS):
            try:
                found.append(bool(call("nvmlDeviceGetNvLinkState", device, link)))
            except Unsupported:
                found.append(False)
            except Failed:  # invalid_argument: there is no such link
                break
        return found if any(found) else []

    def nvlink_peer(self, device: Handle, link: int) -> str:
        """``switch``, or the PCI address of the device at the other end."""
        try:
            kind = call("nvmlDeviceGetNvLinkRemoteDeviceType", device, link)
        except Unsupported:
            kind = pynvml.NVML_NVLINK_DEVICE_TYPE_UNKNOWN
        if kind == pynvml.NVML_NVLINK_DEVICE_TYPE_SWITCH:
            return "switch"
        return _address(call("nvmlDeviceGetNvLinkRemotePciInfo", device, link))

    # -- calls ---------------------------------------------------------------------------------------------------------
    def _first(self, names: Sequence[str], *args: Any) -> Any:
        """The first of several functions, newest first, that this driver has."""
        for name in names[:-1]:
            if name not in self._missing:
                try:
                    return call(name, *args)
                except Unsupported as error:
                    if error.code == pynvml.NVML_ERROR_NOT_SUPPORTED:
                        raise
                    self._missing.add(name)
        return call(names[-1], *args)


def _address(pci: Any) -> str:
    domain, _, rest = str(pci.busId).lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}"
