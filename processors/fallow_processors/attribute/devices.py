"""The devices that series are about, who is named on them, and which of them is which."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from fallow import semconv
from fallow.batch import Int64Array
from fallow_processors.attribute import _kernels as kernels
from fallow_processors.attribute.holding import NOBODYS, Holding, Named
from fallow_processors.attribute.runs import Place
from fallow_processors.attribute.subject import Owner, Subject

REFUSED: Final = -1


@dataclass(slots=True)
class Device:
    """A device, and whose it is."""

    places: set[Place]
    host: str
    labels: Mapping[str, str]
    whole: Place = ()
    """What it is an instance of."""
    is_split: bool = False
    proofs: list[int] = field(default_factory=list[int])
    holding: Holding = NOBODYS


@dataclass(slots=True)
class Proof:
    """Somebody named on a device by a label, or by a process that is found there."""

    device: int
    owner: Owner
    process: str = ""


class Devices:
    """Devices, proofs and hosts by their numbers; beside them the columns that the kernel reads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.known: list[Device] = []
        self.columns = np.zeros(64, dtype=kernels.DEVICE)
        self.proofs: list[Proof] = []
        self.proof_columns = np.zeros(64, dtype=kernels.PROOF)
        self.hosts: list[str] = []
        self.due: Int64Array = np.zeros(64, dtype=np.int64)
        """By host: when it is to be told of; NONE until its first sample."""
        self.on_host: list[list[int]] = []
        self._at: dict[Place, int] = {}
        self._host_ids: dict[str, int] = {}
        self._proof_ids: dict[tuple[int, str, str, str], int] = {}
        self._proofs_of: dict[tuple[str, str], list[int]] = defaultdict(list)
        """By host and process."""
        self._naming: dict[str, set[int]] = defaultdict(set)
        """By job: the devices on which it was ever named."""
        self._processes: dict[tuple[str, str], Owner] = {}
        self._pods: dict[str, str] = {}
        """Of a pod or container that is named otherwise: its namespace and name."""

    # -- devices -------------------------------------------------------------------------------------------------------
    def of(self, subject: Subject) -> int:
        """The number of the device that a series is about; REFUSED beyond the limit."""
        found = self._at.get(subject.place)
        beside = self._at.get(subject.index) if subject.index else None
        if found is None and beside is not None and self._may_be(beside, subject.place):
            found = beside
        if found is None:
            found = self._new(subject)
            if found == REFUSED:
                return REFUSED
        device = self.known[found]
        for place in (subject.place, subject.index):
            if place and self._at.get(place) != found:
                if place in self._at:  # another device was there: this one is newer
                    self.known[self._at[place]].places.discard(place)
                    self.renew(self._at[place])
                self._at[place] = found
                device.places.add(place)
                self.renew(found)
        if not dict(subject.device).items() <= device.labels.items():
            device.labels = dict(device.labels) | dict(subject.device)
        return found

    def _may_be(self, device: int, place: Place) -> bool:
        """Whether a device known by its index alone, or by this very name, can be the one of that name."""
        names = {p for p in self.known[device].places if p[0] == "id"}
        return not names or place in names

    def _new(self, subject: Subject) -> int:
        if len(self.known) >= self._most:
            return REFUSED
        new = len(self.known)
        device = Device({subject.place}, subject.host, dict(subject.device), subject.whole)
        self.known.append(device)
        self._at[subject.place] = new
        self.columns = room(self.columns, new)
        host = self._host(subject.host)
        self.on_host[host].append(new)
        self.columns[new] = (host, 0, True, kernels.NONE, kernels.NONE)
        if subject.whole:
            whole = self._at.get(subject.whole)
            if whole is None:
                labels = {k: v for k, v in subject.device if k in (semconv.HOST_NAME, semconv.HW_ID)}
                whole = self._new(replace(subject, place=subject.whole, whole=(), device=tuple(labels.items())))
            if whole != REFUSED:
                self.known[whole].is_split = True
                self.renew(whole)
        return new

    def _host(self, name: str) -> int:
        found = self._host_ids.get(name)
        if found is None:
            found = self._host_ids[name] = len(self.hosts)
            self.hosts.append(name)
            self.on_host.append([])
            self.due = room(self.due, found)
            self.due[found] = kernels.NONE
        return found

    def at(self, place: Place) -> Iterator[int]:
        """The device at a place, and its instances."""
        found = self._at.get(place)
        if found is not None:
            yield found
            if self.known[found].is_split:
                host = int(self.columns["host"][found])
                yield from (
                    d for d in self.on_host[host] if self.known[d].whole and self._at.get(self.known[d].whole) == found
                )

    def places_of(self, place: Place) -> set[Place]:
        """All places of the device at a place."""
        found = self._at.get(place)
        return {place} if found is None else self.known[found].places

    def renew(self, device: int) -> None:
        """Let it be looked up anew whose the device is."""
        self.columns["until"][device] = kernels.NONE

    # -- who is named --------------------------------------------------------------------------------------------------
    def proof(self, device: int, owner: Owner, process: str) -> int:
        """The number of the evidence that the owner, or the process, is on the device."""
        key = device, owner.job, owner.pod, process
        found = self._proof_ids.get(key)
        if found is None:
            found = self._proof_ids[key] = len(self.proofs)
            self.proofs.append(Proof(device, owner, process))
            self.proof_columns = room(self.proof_columns, found)
            self.proof_columns[found] = (device, False, kernels.NONE, 0)
            if owner.job:
                self._naming[owner.job].add(device)
            if process:
                self._proofs_of[self.known[device].host, process].append(found)
        return found

    def owns_process(self, host: str, process: str, owner: Owner) -> None:
        """Take note of whose a process is."""
        if self._processes.get((host, process)) == owner:
            return
        self._processes[host, process] = owner
        for proof in self._proofs_of.get((host, process), ()):
            device = self.proofs[proof].device
            if owner.job:
                self._naming[owner.job].add(device)
            self.renew(device)

    def naming(self, job: str) -> Iterable[int]:
        """The devices on which a job has been named."""
        return self._naming.get(job, ())

    def owner_of(self, host: str, process: str) -> Owner | None:
        """Whose a process is, as far as is known."""
        return self._processes.get((host, process))

    def is_called(self, other: str, pod: str) -> None:
        """Take note of another name of a pod."""
        if other and self._pods.get(other) != pod:
            self._pods[other] = pod

    def expire(self, device: int, now: int, holds: int) -> None:
        """Count those no longer of whom that they are on the device was not said for too long.

        That is ``holds`` ns, or, beside somebody of whom it is still said, one and a half times as long as it was from
        one time to the next.
        """
        columns = self.proof_columns
        members = [p for p in self.known[device].proofs if columns["member"][p]]
        newest = max((int(columns["seen"][p]) for p in members), default=0)
        for proof in members:
            seen = int(columns["seen"][proof])
            if now - seen > holds or newest - seen > _patience(int(columns["gap"][proof]), holds):
                columns["member"][proof] = False

    def named(self, device: int) -> list[Named]:
        """Who is named on it."""
        return [self._named(p) for p in self.known[device].proofs if self.proof_columns["member"][p]]

    def _named(self, number: int) -> Named:
        proof = self.proofs[number]
        owner = proof.owner
        if proof.process:
            owner = self._processes.get((self.known[proof.device].host, proof.process), owner)
        if owner.pod in self._pods:
            owner = replace(owner, pod=self._pods[owner.pod])
        return Named(owner, int(self.proof_columns["seen"][number]), bool(proof.process))

    def next_doubt(self, device: int, holds: int) -> int:
        """When somebody who is named now may no longer count."""
        columns = self.proof_columns
        members = [p for p in self.known[device].proofs if columns["member"][p]]
        if not members:
            return kernels.FAR
        several = len(members) > 1
        return 1 + min(
            int(columns["seen"][p]) + (_patience(int(columns["gap"][p]), holds) if several else holds) for p in members
        )

    def see(self, number: int, time: int, holds: int) -> None:
        """Somebody is named who was not, or not any more."""
        columns, proof = self.proof_columns, self.proofs[number]
        last = int(columns["seen"][number])
        known = last != kernels.NONE
        columns["gap"][number] = time - last if known and 0 < time - last <= holds else 0
        columns["seen"][number] = max(time, last)
        columns["member"][number] = True
        if number not in self.known[proof.device].proofs:
            self.known[proof.device].proofs.append(number)
        self.renew(proof.device)

    def forget(self, before: int) -> None:
        """Let go of those who were last named before that time, so that what is gone takes no room."""
        columns = self.proof_columns[: len(self.proofs)]
        old = (columns["seen"] != kernels.NONE) & (columns["seen"] < before)
        for number in np.flatnonzero(old).tolist():
            proof = self.proofs[number]
            self.known[proof.device].proofs.remove(number)
            self._processes.pop((self.known[proof.device].host, proof.process), None)
            columns["seen"][number], columns["member"][number] = kernels.NONE, False

    # -- across a restart ----------------------------------------------------------------------------------------------
    def document(self) -> dict[str, Any]:
        """Devices, who is named on them, and whose processes are, as JSON can say it."""
        columns = self.proof_columns[: len(self.proofs)]
        return {
            "devices": [
                [sorted(d.places), d.host, dict(d.labels), d.whole, d.is_split, d.proofs[:]] for d in self.known
            ],
            "proofs": [[p.device, _said(p.owner), p.process] for p in self.proofs],
            "seen": [columns[name].tolist() for name in ("member", "seen", "gap")],
            "processes": [[host, process, _said(owner)] for (host, process), owner in self._processes.items()],
            "due": self.due[: len(self.hosts)].tolist(),
            "hosts": self.hosts[:],
            "pods": list(self._pods.items()),
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Know them again, under the same numbers; whose they are is looked up anew."""
        for host, due in zip(document["hosts"], document["due"], strict=True):
            self.due[self._host(host)] = due
        for number, (places, host, labels, whole, is_split, proofs) in enumerate(document["devices"]):
            at = {tuple(place) for place in places}
            self.known.append(Device(at, host, labels, tuple(whole), is_split, list(proofs)))
            self._at |= dict.fromkeys(at, number)
            self.columns = room(self.columns, number)
            self.on_host[self._host(host)].append(number)
            self.columns[number] = (self._host(host), 0, True, kernels.NONE, kernels.NONE)
        for host, process, owner in document["processes"]:
            self._processes[host, process] = _owner(owner)
        self._pods = dict(document["pods"])
        members, seen, gaps = document["seen"]
        for i, (device, owner, process) in enumerate(document["proofs"]):
            self.proof(device, _owner(owner), process)
            self.proof_columns[i] = (device, members[i], seen[i], gaps[i])


def _said(owner: Owner) -> list[Any]:
    return [owner.job, owner.pod, owner.labels]


def _owner(said: Sequence[Any]) -> Owner:
    job, pod, labels = said
    return Owner(job=job, pod=pod, labels=tuple((name, value) for name, value in labels))


def _patience(gap: int, holds: int) -> int:
    return min(holds, gap + gap // 2) if gap else holds


def room(array: Any, index: int) -> Any:
    """The array, or a longer copy of it in which there is an ``index``."""
    if index < len(array):
        return array
    more = max(index + 1, 2 * len(array), 64) - len(array)
    return np.concatenate([array, np.zeros(more, dtype=array.dtype)])
