"""Which processes have CUDA or NCCL loaded, and from which files."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

_MAPPED: Final = re.compile(
    rb"^\S+ \S+ \S+ (\S+) \d+ +(/[^\n]*/(lib(?:cuda|nccl)\.so[.0-9]*)(?: \(deleted\))?)$", re.MULTILINE
)
NAMES: Final = {"libcuda.so": "cuda", "libnccl.so": "nccl"}
CAP_SYS_PTRACE: Final = 19
HOST_ROOTS: Final = ("", "/proc/1/root")  # as a container sees the node it runs on


class FileId(NamedTuple):
    """A file as its path shows it: each container's overlay shows the image's file as one of its own device."""

    device: int
    inode: int
    size: int
    changed: int

    def may_be(self, other: FileId) -> bool:
        """Whether both may be one file, or copies of it: on another device, and otherwise alike."""
        return self[1:] == other[1:]


@dataclass(slots=True)
class Library:
    """One file with functions to probe."""

    group: str
    path: str
    """By which it can be reached while one of the processes lives."""
    processes: set[int] = field(default_factory=set[int])


def file_id(path: str) -> FileId | None:
    """What a file is; None where there is none; raises PermissionError."""
    try:
        found = os.stat(path)
    except PermissionError:
        raise
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return FileId(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def has_capability(number: int) -> bool:
    """Whether this process has a capability (linux/capability.h)."""
    status = Path("/proc/self/status").read_text()
    return bool(int(status.partition("CapEff:")[2].split()[0], 16) >> number & 1)


class Scanner:
    """Goes through the processes; what maps no library at all (kernel threads) is looked at once."""

    def __init__(self, proc: Path = Path("/proc"), files: Sequence[str] = ()) -> None:
        self._proc = proc
        self._files = files
        self._kernel_threads: set[str] = set()
        self._may_look = True
        self.denied: dict[str, str] = {}
        """Group → what the newest look was not allowed to see of it."""

    def scan(self) -> dict[FileId, Library]:
        """The libraries that are there now."""
        found: dict[FileId, Library] = {}
        self.denied.clear()
        self._may_look = has_capability(CAP_SYS_PTRACE)
        for path in self._lasting():
            with contextlib.suppress(PermissionError):  # then the processes that load it will show it
                if (id := file_id(path)) is not None:
                    found.setdefault(id, Library(group="cuda", path=path))
        pids = [name for name in os.listdir(self._proc) if name.isdigit()]
        self._kernel_threads.intersection_update(pids)
        for pid in pids:
            if pid not in self._kernel_threads:
                self._scan(pid, found)
        return found

    def _lasting(self) -> Iterator[str]:
        for file in self._files:
            for root in HOST_ROOTS:
                yield root + file

    def _scan(self, pid: str, found: dict[FileId, Library]) -> None:
        folder = self._proc / pid
        try:
            maps = (folder / "maps").read_bytes()
        except PermissionError:
            # Some are closed to everybody; without the capability those of all other users are.
            if not self._may_look:
                self.denied.update(dict.fromkeys(NAMES.values(), "processes of other users need CAP_SYS_PTRACE"))
            return
        except OSError:  # it has gone
            return
        if not maps:
            self._kernel_threads.add(pid)
            return
        if b"/libcuda.so" not in maps and b"/libnccl.so" not in maps:
            return
        for _, path, name in set(_MAPPED.findall(maps)):
            group = next(g for prefix, g in NAMES.items() if name.decode().startswith(prefix))
            reached = f"{folder}/root{os.fsdecode(path)}"
            try:
                id = file_id(reached)
            except PermissionError:
                self.denied[group] = f"{reached} needs CAP_DAC_READ_SEARCH"
                continue
            if id is not None:
                found.setdefault(id, Library(group=group, path=reached)).processes.add(int(pid))
