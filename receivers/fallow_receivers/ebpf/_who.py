"""Whose a sum is: processes of containers, jobs and pods and those that use a GPU by themselves, all others together."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from fallow.cgroup import labels
from fallow_receivers.ebpf._cgroup import CgroupTree, paths_of
from fallow_receivers.ebpf._what import Attributes, Key


class Who(NamedTuple):
    """What a sum is reported under."""

    pid: int
    """0: several processes together, or one that is not known."""
    labels: Attributes


OTHERS: Final = Who(0, ())


class Owners:
    """Remembers whose each (cgroup, process) is until ``refresh``."""

    def __init__(self, proc: Path, tree: CgroupTree, most: int) -> None:
        self._proc, self._tree, self._most = proc, tree, most
        self._known: dict[tuple[int, int], Who] = {}
        self._labels: dict[int, Attributes | None] = {}
        self._reported: set[int] = set()
        self._gpu: set[int] = set()

    def refresh(self) -> None:
        """Read anew where processes belong: a scheduler may have moved them."""
        self._known.clear()
        self._labels.clear()

    def uses_gpu(self, pids: Iterable[int]) -> None:
        """These are reported by themselves wherever they belong."""
        new = set(pids) - self._gpu
        self._gpu |= new
        for known in [k for k in self._known if k[1] in new]:
            del self._known[known]

    def prepare(self, keys: Iterable[Key]) -> None:
        """Look once for the cgroups of all processes that have gone before they were seen."""
        unseen = {(key.cgroup, key.tgid) for key in keys} - self._known.keys()
        self._tree.look(cgroup for cgroup, tgid in unseen if cgroup and self._of_process(tgid) is None)

    def of(self, key: Key) -> Who:
        """Whose the sum of a key is."""
        place = key.cgroup, key.tgid
        who = self._known.get(place)
        if who is None:
            who = self._known[place] = self._find(*place)
        return who

    def worth_reporting(self, pid: int) -> bool:
        """Whether a process is reported by itself."""
        return self.of(Key(0, pid, 0, 0)).pid != 0

    def forget(self, pids: set[int]) -> None:
        """They have gone."""
        self._reported -= pids
        self._gpu -= pids
        for pid in pids:
            self._labels.pop(pid, None)
        for known in [k for k in self._known if k[1] in pids]:
            del self._known[known]

    def _find(self, cgroup: int, tgid: int) -> Who:
        found = self._of_process(tgid)
        if found is None:
            found = self._tree.labels(cgroup) or ()
        if not tgid:
            return Who(0, found)
        if not found and tgid not in self._gpu:
            return OTHERS
        if tgid not in self._reported and len(self._reported) >= self._most:
            return OTHERS
        self._reported.add(tgid)
        return Who(tgid, found)

    def _of_process(self, tgid: int) -> Attributes | None:
        if not tgid:
            return None
        if tgid not in self._labels:
            paths = paths_of(self._proc, tgid)
            self._labels[tgid] = None if paths is None else labels(paths)
        return self._labels[tgid]
