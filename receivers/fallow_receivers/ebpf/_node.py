"""All groups of one node: started on the best backend that each can have, read together."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from fallow import semconv
from fallow.batch import OtlpRequest
from fallow_receivers.ebpf._backends import Backend, BccBackend, LibbpfBackend, Refusal
from fallow_receivers.ebpf._cgroup import CgroupTree
from fallow_receivers.ebpf._encode import Encoder
from fallow_receivers.ebpf._libraries import Scanner
from fallow_receivers.ebpf._probes import CallProbe, Probe, Reading, Victim, start_probe
from fallow_receivers.ebpf._procfs import GROUPS, ProcfsProbe
from fallow_receivers.ebpf._totals import Totals
from fallow_receivers.ebpf._what import Attributes, Key
from fallow_receivers.ebpf._who import Owners
from fallow_receivers.ebpf.config import EbpfReceiverConfig

logger = logging.getLogger(__name__)

BACKENDS: Final[Mapping[str, tuple[str, ...]]] = {
    "auto": ("libbpf", "bcc", "procfs"),
    "libbpf": ("libbpf",),
    "bcc": ("bcc",),
    "procfs": ("procfs",),
}
_MADE: Final[Mapping[str, Callable[[], Backend]]] = {"libbpf": LibbpfBackend, "bcc": BccBackend}


class Node:
    """What the receiver reads; every call may block and comes from one thread."""

    def __init__(self, config: EbpfReceiverConfig, proc: Path = Path("/proc")) -> None:
        self._config, self._proc = config, proc
        self._groups: list[str] = list(dict.fromkeys(config.groups))
        self._probes: dict[str, Probe] = {}
        self._refused: dict[str, Refusal] = {}
        self._scanner = Scanner(proc, config.libraries)
        self._owners = Owners(proc, CgroupTree(), config.max_processes)
        self._encoder = Encoder(socket.gethostname())
        self._totals = Totals(start=0)
        self._lost: dict[str, int] = {}
        self._scan_at = 0.0
        self._start = 0

    def start(self) -> None:
        """Load and attach; what cannot be has its reason in the readings."""
        self._start = self._totals.start = time.time_ns()
        left = self._groups
        for name in BACKENDS[self._config.backend]:
            if left:
                left = self._start_on(name, left)
        for group, refusal in self._refused.items():
            about = {"group": group, "reason": refusal.reason, "error": refusal.message}
            logger.warning("A group of probes cannot measure.", extra=about)
        logger.info("Probes run.", extra={"groups": {g: p.backend for g, p in self._probes.items()}})

    def read(self) -> list[OtlpRequest]:
        """Metrics, and events where there were any."""
        self._rescan()
        readings = self._read_probes()
        now = time.time_ns()
        seen = {key.tgid for reading in readings.values() for key in reading.sums if key.tgid}
        gone = {pid for pid in seen if not os.path.exists(f"{self._proc}/{pid}")}
        self._take_in(readings, gone)
        requests = [self._encoder.metrics(now, self._totals, self.states(), self._lost, self._start)]
        victims = [(v, self._labels(v)) for reading in readings.values() for v in reading.victims]
        if victims:
            requests.append(self._encoder.victims(victims, now))
        self._totals.forget(gone)
        self._owners.forget(gone)
        self._totals.start = now
        return requests

    def states(self) -> Iterator[tuple[Attributes, int]]:
        """Attributes and 1 or 0 for each group: whether it measures all that it could, and why not."""
        for group in self._groups:
            probe = self._probes.get(group)
            refusal = self._refused.get(group) if probe is None else probe.refusal
            attributes = [(semconv.PROBE_GROUP, group)]
            if probe is not None:
                attributes.append((semconv.PROBE_BACKEND, probe.backend))
            if refusal is not None:
                attributes.append((semconv.PROBE_REASON, refusal.reason))
            yield tuple(attributes), 0 if refusal else 1

    def close(self) -> None:
        """Detach everything."""
        for probe in self._probes.values():
            probe.close()
        self._probes.clear()

    def _start_on(self, name: str, groups: list[str]) -> list[str]:
        """Those that this backend cannot do."""
        if name == "procfs":
            for group in groups:
                if group in GROUPS:
                    self._probes[group] = ProcfsProbe(group, self._proc)
                    self._refused.pop(group, None)
                else:
                    self._refused.setdefault(group, Refusal(reason="no_hook", message="/proc does not count calls"))
            return [g for g in groups if g not in GROUPS]
        # What a capability is missing for, no other way of loading will do.
        wanted = [g for g in groups if g not in self._refused or self._refused[g].reason != "no_cap"]
        for group, result in (_MADE[name]().load(wanted) if wanted else {}).items():
            started = result if isinstance(result, Refusal) else start_probe(group, name, result)
            if isinstance(started, Refusal):
                self._refused[group] = started
            else:
                self._refused.pop(group, None)
                self._probes[group] = started
        return [g for g in groups if g not in self._probes]

    def look(self) -> None:
        """Look for new processes at the next reading, not when it is due."""
        self._scan_at = 0.0

    def _rescan(self) -> None:
        if time.monotonic() < self._scan_at:
            return
        self._scan_at = time.monotonic() + self._config.rescan / 1e9
        self._owners.refresh()
        libraries = self._scanner.scan()
        self._owners.uses_gpu(pid for library in libraries.values() for pid in library.processes)
        for probe in self._probes.values():
            if isinstance(probe, CallProbe):
                probe.follow(libraries, self._scanner.denied.get(probe.group))
        procfs = [p for p in self._probes.values() if isinstance(p, ProcfsProbe)]
        if procfs:
            pids = [int(name) for name in os.listdir(self._proc) if name.isdigit()]
            worth = tuple(pid for pid in pids if self._owners.worth_reporting(pid))
            for probe in procfs:
                probe.pids = worth

    def _read_probes(self) -> dict[str, Reading]:
        readings: dict[str, Reading] = {}
        for group, probe in list(self._probes.items()):
            try:
                readings[group] = probe.read()
            except OSError as error:
                logger.warning("A group of probes can no longer be read.", extra={"group": group, "error": str(error)})
                self._refused[group] = Refusal(reason="no_hook", message=str(error))
                self._probes.pop(group).close()
        return readings

    def _take_in(self, readings: Mapping[str, Reading], gone: set[int]) -> None:
        self._totals.begin()
        for group in ("cuda", "nccl"):  # who calls them uses a GPU, whether the last look saw it or not
            if group in readings:
                self._owners.uses_gpu(key.tgid for key in readings[group].sums)
        for group, reading in readings.items():
            self._owners.prepare(reading.sums)
            self._totals.add(reading.sums, self._owners.of)
            ended = [key for key in reading.sums if key.tgid in gone]
            if ended:
                self._totals.end(self._probes[group].forget(ended), self._owners.of)
            if reading.lost is not None:
                self._lost[group] = reading.lost

    def _labels(self, victim: Victim) -> Attributes:
        key = Key(victim.cgroup, victim.pid, 0, 0)
        self._owners.prepare([key])
        return self._owners.of(key).labels
