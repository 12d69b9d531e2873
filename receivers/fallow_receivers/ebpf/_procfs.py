"""What can be had without eBPF: the counts that /proc keeps, for the processes that are reported by themselves."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from fallow_receivers.ebpf._backends import Refusal
from fallow_receivers.ebpf._probes import Reading, Victim
from fallow_receivers.ebpf._what import NOTHING, Key, Sum, What

GROUPS: Final = ("sched", "block", "net", "memory", "perf")
_TICK_NS: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat behind the name, from 0.
_MAJOR_FAULTS, _USER, _SYSTEM, _STARTED = 9, 11, 12, 19


class ProcfsProbe:
    """One group's counts, since the probe began."""

    backend = "procfs"

    def __init__(self, group: str, proc: Path = Path("/proc")) -> None:
        self.group = group
        self.refusal: Refusal | None = None
        self.pids: tuple[int, ...] = ()
        """Processes to read."""
        self._proc = proc
        self._read = {
            "sched": self._sched,
            "block": self._block,
            "net": self._net,
            "memory": self._memory,
            "perf": self._perf,
        }[group]
        self._first: dict[tuple[Key, int], Sum] = {}
        self._last: dict[tuple[Key, int], Sum] = {}
        self._sums: dict[Key, Sum] = {}
        self._began = _uptime_ticks(proc)
        self._kills = self._oom_kills()

    def read(self) -> Reading:
        """The sums; a process that was there before counts from when it was first read."""
        for key, part, now in self._read():
            place = key, part
            before = self._last.get(place)
            if before is None:
                before = NOTHING if part or self._is_new(key.tgid) else now
            self._last[place] = now
            self._sums[key] = self._sums.get(key, NOTHING).plus(now.since(before))
        return Reading(sums=dict(self._sums), victims=tuple(self._victims()) if self.group == "memory" else ())

    def forget(self, keys: Iterable[Key]) -> Iterator[tuple[Key, Sum]]:
        for key in keys:
            if key in self._sums:
                yield key, self._sums.pop(key)
        alive = set(self._sums)
        self._last = {place: sum for place, sum in self._last.items() if place[0] in alive}

    def close(self) -> None:
        """Nothing is held."""

    def _sched(self) -> Iterator[tuple[Key, int, Sum]]:
        for pid in self.pids:
            key = Key(0, pid, What.RUN_QUEUE, 0)
            seen = any(place[0] == key for place in self._last)
            for thread in _names(self._proc / str(pid) / "task"):
                text = _text(self._proc / str(pid) / "task" / thread / "schedstat")
                if text:
                    now = Sum(0, 0, int(text.split()[1]))
                    if not seen and not self._is_new(pid):  # what its threads had waited before is not ours
                        self._last.setdefault((key, int(thread)), now)
                    yield key, int(thread), now

    def _block(self) -> Iterator[tuple[Key, int, Sum]]:
        self.refusal = None
        for pid in self.pids:
            try:
                text = (self._proc / str(pid) / "io").read_text()
            except PermissionError:
                self.refusal = Refusal(reason="no_cap", message="processes of other users need CAP_SYS_PTRACE")
                continue
            except OSError:  # it has gone
                continue
            fields = dict(line.split(": ") for line in text.splitlines())
            for detail, name in enumerate(("read_bytes", "write_bytes")):
                yield Key(0, pid, What.BLOCK_BYTES, detail), 0, Sum(0, int(fields[name]), 0)

    def _net(self) -> Iterator[tuple[Key, int, Sum]]:
        # Of the node's first process: our own may be in a network namespace of its own.
        lines = [line.split() for line in (_text(self._proc / "1" / "net" / "snmp") or "").splitlines()]
        tcp = [line for line in lines if line[0] == "Tcp:"]
        if len(tcp) == 2:
            fields = dict(zip(*tcp, strict=True))
            yield Key(0, 0, What.TCP_RETRANSMIT, 0), 0, Sum(int(fields["RetransSegs"]), 0, 0)

    def _memory(self) -> Iterator[tuple[Key, int, Sum]]:
        for pid in self.pids:
            if fields := self._stat(pid):
                yield Key(0, pid, What.MAJOR_FAULT, 0), 0, Sum(int(fields[_MAJOR_FAULTS]), 0, 0)

    def _perf(self) -> Iterator[tuple[Key, int, Sum]]:
        for pid in self.pids:
            if fields := self._stat(pid):
                ticks = int(fields[_USER]) + int(fields[_SYSTEM])
                yield Key(0, pid, What.CPU_TIME, 0), 0, Sum(0, ticks * _TICK_NS, 0)

    def _victims(self) -> Iterator[Victim]:
        """The kernel counts them and does not say who it was."""
        now = self._oom_kills()
        for _ in range(now - self._kills):
            yield Victim(time=time.time_ns(), pid=0, name="", cgroup=0)
        self._kills = now

    def _oom_kills(self) -> int:
        for line in (_text(self._proc / "vmstat") or "").splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
        return 0

    def _is_new(self, pid: int) -> bool:
        fields = self._stat(pid)
        return bool(pid and fields and int(fields[_STARTED]) >= self._began)

    def _stat(self, pid: int) -> list[str] | None:
        text = _text(self._proc / str(pid) / "stat")
        return text.rpartition(") ")[2].split() if text else None


def _uptime_ticks(proc: Path) -> int:
    return int(float((_text(proc / "uptime") or "0").split()[0]) * 1e9) // _TICK_NS


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")  # a process may call itself anything
    except OSError:
        return None
