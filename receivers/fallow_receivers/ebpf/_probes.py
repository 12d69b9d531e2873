"""A group of probes at work: attached, read, detached."""

from __future__ import annotations

import errno
import logging
import os
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from fallow.clients import bpf
from fallow.clients.bpf import Links, Loaded, Place
from fallow_receivers.ebpf._backends import BLOCK_ISSUE, Reason, Refusal
from fallow_receivers.ebpf._elf import ElfError, functions, is_probed
from fallow_receivers.ebpf._functions import CUDA, NCCL, Function
from fallow_receivers.ebpf._libraries import FileId, Library
from fallow_receivers.ebpf._what import Key, Sum, What

logger = logging.getLogger(__name__)

_KEY: Final = struct.Struct("<QIHH")
_SUM: Final = struct.Struct("<3Q")
_COUNT: Final = struct.Struct("<Q")
_VICTIM: Final = struct.Struct("<QQI16s4x")
_INDEX: Final = struct.Struct("<I")
MAX_CPUS: Final = 1024  # probes/perf.bpf.c

HARDWARE: Final = (bpf.HW_CYCLES, bpf.HW_INSTRUCTIONS, bpf.HW_CACHE_REFERENCES, bpf.HW_CACHE_MISSES)
TRACEPOINTS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "sched": (("on_sched_switch", "sched_switch"),),
    "block": ((BLOCK_ISSUE, "block_rq_issue"), ("on_block_rq_complete", "block_rq_complete")),
    "net": (
        ("on_sock_send_length", "sock_send_length"),
        ("on_sock_recv_length", "sock_recv_length"),
        ("on_tcp_retransmit_skb", "tcp_retransmit_skb"),
    ),
    "memory": (("on_mark_victim", "mark_victim"),),
    "perf": (("on_sched_switch", "sched_switch"),),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A process that the kernel killed for want of memory."""

    time: int
    """Unix ns."""
    pid: int
    name: str
    cgroup: int
    """0: not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The sums of a group since it was attached."""

    sums: Mapping[Key, Sum]
    lost: int | None = None
    """Updates for which the map had no room; None: there is no map."""
    victims: tuple[Victim, ...] = ()


class Probe(Protocol):
    """What all groups have in common."""

    group: str
    backend: str
    refusal: Refusal | None
    """Why it does not measure (all of) what it could."""

    def read(self) -> Reading: ...

    def forget(self, keys: Iterable[Key]) -> Iterator[tuple[Key, Sum]]:
        """Drop sums whose process has gone; gives their last values."""
        ...

    def close(self) -> None: ...


class KernelProbe:
    """Sums in a map of the kernel's."""

    def __init__(self, group: str, backend: str, loaded: Loaded) -> None:
        self.group, self.backend = group, backend
        self.refusal: Refusal | None = None
        self._loaded, self._links = loaded, Links()

    def read(self) -> Reading:
        keys, sums = bpf.read_all(self._loaded.maps["sums"], _KEY.size, _SUM.size)
        lost = bpf.get(self._loaded.maps["lost"], _INDEX.pack(0), _COUNT.size)
        return Reading(
            sums=dict(zip(map(Key._make, _KEY.iter_unpack(keys)), map(Sum._make, _SUM.iter_unpack(sums)), strict=True)),
            lost=_COUNT.unpack(lost)[0] if lost else 0,
        )

    def forget(self, keys: Iterable[Key]) -> Iterator[tuple[Key, Sum]]:
        for key in keys:
            last = bpf.take(self._loaded.maps["sums"], _KEY.pack(*key), _SUM.size)
            if last is not None:
                yield key, Sum._make(_SUM.unpack(last))

    @property
    def attached(self) -> bool:
        """Whether anything of it runs."""
        return bool(self._links.fds)

    def close(self) -> None:
        self._links.close()
        self._loaded.close()

    def _attach_tracepoints(self) -> None:
        """Attach where the kernel lets us; some absent are a refusal, the others go on measuring."""
        hooks = TRACEPOINTS[self.group]
        for program, name in hooks:
            try:
                self._links.raw_tracepoint(self._loaded.programs[program], name)
            except OSError as error:
                self.refusal = refusal(error)


class HookProbe(KernelProbe):
    """Groups that hang on tracepoints alone: sched, block, net."""

    def start(self) -> None:
        self._attach_tracepoints()


class MemoryProbe(KernelProbe):
    """Major faults by a software event of each CPU; OOM kills from a queue."""

    def start(self) -> None:
        self._attach_tracepoints()
        try:
            for cpu in bpf.online_cpus():
                event = bpf.perf_event(bpf.PERF_SOFTWARE, bpf.SW_MAJOR_FAULTS, cpu=cpu, period=1)
                self._links.perf_event(self._loaded.programs["on_major_fault"], event)
        except OSError as error:
            self.refusal = refusal(error)

    def read(self) -> Reading:
        reading = super().read()
        return Reading(sums=reading.sums, lost=reading.lost, victims=tuple(self._victims()))

    def _victims(self) -> Iterator[Victim]:
        epoch = time.time_ns() - time.monotonic_ns()
        while (raw := bpf.take(self._loaded.maps["victims"], b"", _VICTIM.size)) is not None:
            when, cgroup, pid, name = _VICTIM.unpack(raw)
            text = name.partition(b"\0")[0].decode(errors="replace")
            yield Victim(time=epoch + when, pid=pid, name=text, cgroup=cgroup)


class PerfProbe(KernelProbe):
    """Hardware counters; where there are none, the clock, which is kept in the first slot."""

    _software = False

    def start(self) -> None:
        try:
            opened = self._open(bpf.PERF_HARDWARE, HARDWARE)
        except OSError as error:
            if refusal(error).reason == "no_cap":
                self.refusal = refusal(error)
                return
            opened = False
        if not opened:
            self.refusal = Refusal(
                reason="no_pmu", message="no hardware counters: CPU time by the kernel's clock alone"
            )
            self._software = True
            try:
                self._open(bpf.PERF_SOFTWARE, (bpf.SW_CPU_CLOCK,))
            except OSError as error:
                self.refusal = refusal(error)
                return
        self._attach_tracepoints()

    def read(self) -> Reading:
        reading = super().read()
        if not self._software:
            return reading
        return Reading(
            sums={key._replace(what=What.CPU_TIME): sum for key, sum in reading.sums.items()}, lost=reading.lost
        )

    def forget(self, keys: Iterable[Key]) -> Iterator[tuple[Key, Sum]]:
        if not self._software:
            return super().forget(keys)
        taken = super().forget(key._replace(what=What.COUNTER) for key in keys)
        return ((key._replace(what=What.CPU_TIME), sum) for key, sum in taken)

    def _open(self, kind: int, events: tuple[int, ...]) -> bool:
        """Give every CPU its counters, the map holds them; False: there is not even the first."""
        for slot, event in enumerate(events):
            for cpu in bpf.online_cpus():
                try:
                    fd = bpf.perf_event(kind, event, cpu=cpu)
                except OSError as error:
                    if error.errno not in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV, errno.EINVAL):
                        raise
                    if not slot:
                        return False
                    break
                try:
                    bpf.put(self._loaded.maps["counters"], _INDEX.pack(slot * MAX_CPUS + cpu), _INDEX.pack(fd))
                finally:
                    os.close(fd)
        return True


class _Attached(NamedTuple):
    """A file that is probed."""

    links: Links
    offset: int
    """One place that is."""


class CallProbe(KernelProbe):
    """Functions of libraries, which come and go with the processes that have them loaded."""

    def __init__(self, group: str, backend: str, loaded: Loaded) -> None:
        super().__init__(group, backend, loaded)
        self._table: Mapping[str, Function] = CUDA if group == "cuda" else NCCL
        self._attached: dict[FileId, _Attached] = {}
        self._hopeless: dict[FileId, Refusal] = {}
        self._idle: set[FileId] = set()

    def start(self) -> None:
        self.refusal = Refusal(reason="waiting", message=f"no process has loaded lib{self.group} yet")

    def follow(self, libraries: Mapping[FileId, Library], denied: str | None = None) -> None:
        """Probe the files that are new; leave those alone that no process has had for two looks.

        Args:
            denied: what we were not allowed to see, if anything.
        """
        ours = {id: library for id, library in libraries.items() if library.group == self.group}
        used = set(ours)
        for id, library in ours.items():
            if id in self._attached or id in self._hopeless:
                continue
            if twins := [twin for twin in self._attached if self._is_twin(twin, id, library)]:
                used.update(twins)
            else:
                self._attach(id, library)
        idle = self._attached.keys() - used
        for id in idle & self._idle:
            self._attached.pop(id).links.close()
        self._idle = idle
        self._hopeless = {id: why for id, why in self._hopeless.items() if id in ours}
        if self._attached:
            self.refusal = None
        elif self._hopeless:
            self.refusal = next(iter(self._hopeless.values()))
        elif denied:
            self.refusal = Refusal(reason="no_cap", message=denied)
        else:
            self.start()

    def close(self) -> None:
        for attached in self._attached.values():
            attached.links.close()
        self._attached.clear()
        super().close()

    def _is_twin(self, twin: FileId, id: FileId, library: Library) -> bool:
        """Whether the file is one that is probed already, seen through another overlay; a copy of it is not."""
        try:
            return id.may_be(twin) and is_probed(Path(library.path), self._attached[twin].offset)
        except (OSError, ValueError):  # it has gone, or was cut off
            return False

    def _attach(self, id: FileId, library: Library) -> None:
        links = Links()
        try:
            offsets = functions(Path(library.path), self._table)
            if not offsets:
                raise ElfError(f"{library.path} exports no function that is probed")
            for program, on_return, timed in (
                ("leave_call", True, True),
                ("enter_call", False, True),
                ("count_call", False, False),
            ):
                places = list(_places(self._table, offsets, timed))
                if places:
                    links.functions(
                        self._loaded.programs[program],
                        library.path,
                        places,
                        on_return=on_return,
                        multi=self._loaded.uprobe_multi,
                    )
        except ElfError as error:
            links.close()
            self._hopeless[id] = Refusal(reason="no_hook", message=str(error))
        except OSError as error:
            links.close()
            self._hopeless[id] = refusal(error)
        else:
            self._attached[id] = _Attached(links, min(offsets.values()))
            logger.info("Probing a library.", extra={"path": library.path, "functions": len(offsets)})


def _places(table: Mapping[str, Function], offsets: Mapping[str, int], timed: bool) -> Iterator[Place]:
    """Each place once: two names of one function are one function."""
    seen: set[int] = set()
    for name, function in table.items():
        offset = offsets.get(name)
        if offset is not None and offset not in seen and function.timed == timed:
            seen.add(offset)
            yield Place(offset=offset, cookie=function.cookie)


_PROBES: Final[Mapping[str, type[HookProbe | MemoryProbe | PerfProbe | CallProbe]]] = {
    "cuda": CallProbe,
    "nccl": CallProbe,
    "memory": MemoryProbe,
    "perf": PerfProbe,
}


def start_probe(group: str, backend: str, loaded: Loaded) -> KernelProbe | Refusal:
    """The group, attached; a refusal where nothing of it could be."""
    probe = _PROBES.get(group, HookProbe)(group, backend, loaded)
    probe.start()
    if probe.refusal is not None and not probe.attached and not isinstance(probe, CallProbe):
        probe.close()
        return probe.refusal
    return probe


def refusal(error: OSError) -> Refusal:
    """In our words why the kernel did not attach."""
    reason: Reason = "no_cap" if error.errno in (errno.EPERM, errno.EACCES) else "no_hook"
    return Refusal(reason=reason, message=error.strerror or str(error))
