"""Whose a process is: container, Slurm job and pod as the paths of its cgroups tell them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from fallow.cgroup import labels
from fallow_receivers.ebpf._what import Attributes

V1: Final = 1 << 63  # probes/cgroup.h: the number is of the v1 memory hierarchy
V2_ROOT: Final = 1
MOST_FOLDERS: Final = 20_000


def paths_of(proc: Path, tgid: int) -> list[str] | None:
    """Paths of a process's cgroups, v2 first, then v1 memory, then the others; None where it has gone."""
    try:
        text = (proc / str(tgid) / "cgroup").read_text(errors="replace")
    except OSError:
        return None
    lines = [line.split(":", 2) for line in text.splitlines()]
    lines.sort(key=lambda line: 0 if line[0] == "0" else 1 if "memory" in line[1].split(",") else 2)
    return [line[2] for line in lines if len(line) == 3]


class CgroupTree:
    """Finds a cgroup by the number that the kernel has for it: the inode of its folder."""

    def __init__(self, mountinfo: Path = Path("/proc/self/mountinfo")) -> None:
        self._mountinfo = mountinfo
        self._known: dict[int, Attributes] = {V2_ROOT: ()}

    def labels(self, id: int) -> Attributes | None:
        """What the path of a cgroup says; None where it is not known."""
        return self._known.get(id)

    def look(self, wanted: Iterable[int]) -> None:
        """Go through the hierarchies for cgroups that are not known; those that have gone stay unknown."""
        missing = {id for id in wanted if id not in self._known}
        if not missing:
            return
        seen: dict[int, Attributes] = {V2_ROOT: ()}
        for root, mark in self._roots():
            for path, inode in _folders(root):
                seen[inode | mark] = labels([path.removeprefix(str(root))])
        # What was known and has gone is kept for the last readings of its processes: until the next look.
        gone = {id: found for id, found in self._known.items() if id not in seen}
        self._known = seen | (gone if len(gone) < MOST_FOLDERS else {})

    def _roots(self) -> Iterator[tuple[Path, int]]:
        try:
            lines = self._mountinfo.read_text(errors="surrogateescape").splitlines()
        except OSError:
            return
        for line in lines:
            before, _, after = line.partition(" - ")
            kind, _, options = after.split(" ", 2)
            if kind == "cgroup2":
                yield Path(before.split(" ")[4]), 0
            elif kind == "cgroup" and "memory" in options.split(","):
                yield Path(before.split(" ")[4]), V1


def _folders(root: Path) -> Iterator[tuple[str, int]]:
    """(path, inode) of the folders below, some twenty thousand at most."""
    stack, count = [str(root)], 0
    while stack and count < MOST_FOLDERS:
        try:
            with os.scandir(stack.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        count += 1
                        stack.append(entry.path)
                        yield entry.path, entry.inode()
        except OSError:  # it went while we looked
            continue
