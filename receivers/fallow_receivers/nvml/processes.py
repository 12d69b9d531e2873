"""Readings of each process on a GPU."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Final

from fallow import semconv
from fallow.clients.nvml import Nvml, ProcessSample, Unsupported
from fallow.otlp_write import Attributes, labels
from fallow_receivers.nvml import metrics as m
from fallow_receivers.nvml.device import Device
from fallow_receivers.nvml.metrics import Tick, ratio

ENGINES: Final = {
    engine: labels({semconv.GPU_ENGINE_NAME: engine}) for engine in ("sm", "memory", "encoder", "decoder")
}


class ProcessReader:
    """Reads processes of devices.

    Args:
        most: processes of a device beyond this are left out, those with the least memory first.
        proc: where the kernel shows processes.
    """

    def __init__(self, most: int, proc: Path = Path("/proc")) -> None:
        self._most, self._proc = most, proc
        self.left_out = 0
        """How many samples of processes were left out so far."""

    def read(self, nvml: Nvml, device: Device, tick: Tick) -> None:
        """Put the memory of each process, and its share of the engines where it had samples since the last time."""
        found = sorted(nvml.processes(device.handle), key=lambda p: -(p.memory or 0))
        self.left_out += max(0, len(found) - self._most)
        known = device.state.processes
        device.state.processes = {
            p.pid: known.get(p.pid) or device.own + labels(self._named(p.pid)) for p in found[: self._most]
        }
        for process in found[: self._most]:
            if process.memory is not None:
                tick.put(m.PROCESS_MEMORY, device.state.processes[process.pid], process.memory)
        if found and device.instance is None and m.PROCESS_UTILIZATION.name not in device.absent:
            self._utilization(nvml, device, tick)

    def _utilization(self, nvml: Nvml, device: Device, tick: Tick) -> None:
        since = device.state.seen_samples or tick.time // 1000 - 1_000_000
        try:
            samples = nvml.process_samples(device.handle, since)
        except Unsupported as error:
            device.absent[m.PROCESS_UTILIZATION.name] = error.reason
            return
        by_process: defaultdict[int, list[ProcessSample]] = defaultdict(list)
        for sample in samples:
            device.state.seen_samples = max(device.state.seen_samples, sample.time)
            by_process[sample.pid].append(sample)
        for pid, taken in by_process.items():
            if (named := device.state.processes.get(pid)) is not None:
                for engine, suffix in ENGINES.items():
                    percent = sum(getattr(sample, engine) for sample in taken) / len(taken)
                    tick.put(m.PROCESS_UTILIZATION, named + suffix, ratio(percent))

    def _named(self, pid: int) -> Attributes:
        try:
            name = (self._proc / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip()
        except OSError:  # it has ended, or lives in a namespace that is not ours
            name = ""
        return {semconv.PROCESS_PID: pid} | ({semconv.PROCESS_NAME: name} if name else {})
