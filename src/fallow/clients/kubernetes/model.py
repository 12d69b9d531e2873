"""What Kubernetes says of pods, jobs, nodes and events, as far as Fallow uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from fallow.errors import TransientError

Outcome = Literal["succeeded", "failed"]
Change = Literal["ADDED", "MODIFIED", "DELETED"]


class KubernetesError(TransientError):
    """The API server or the kubelet did not answer, or not with what was asked for."""


class Expired(KubernetesError):
    """The server has forgotten what came after that resource version (410 Gone): list anew."""


class Forbidden(KubernetesError):
    """The server does not let this account do that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One kind of objects of the API, cluster-wide or of one namespace."""

    name: str
    """Plural, as in the API's paths and in RBAC."""
    group: str
    """API group; empty for the core."""
    version: str = "v1"
    namespace: str = ""
    fields: str = ""
    """Field selector."""

    @property
    def path(self) -> str:
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        place = f"/namespaces/{self.namespace}" if self.namespace else ""
        return f"{root}{place}/{self.name}"

    def __str__(self) -> str:
        return f"{self.name}.{self.group}" if self.group else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A part of a list."""

    items: list[dict[str, Any]]
    version: str
    """Resource version of the whole list."""
    rest: str
    """Where the next page begins; empty on the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a container's last run ended."""

    at: int
    """Unix s; 0 where it is not said."""
    code: int
    signal: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container of a pod."""

    name: str
    restarts: int = 0
    last: Ended | None = None
    """Its run before the one that goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """What controls a pod or a job."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod that holds or asks for GPUs; times in Unix s, None where there is none."""

    uid: str
    name: str
    namespace: str
    created: int
    node: str = ""
    start: int | None = None
    """When its node took it: from then on its GPUs are its own, though its images may still be on their way."""
    outcome: Outcome | None = None
    """None while it is not over."""
    end: int | None = None
    deleted: int | None = None
    """When it was asked to go."""
    reason: str = ""
    disruption: str = ""
    """Why something other than its owner ended it, where Kubernetes says so."""
    exit: Ended | None = None
    gpus: int = 0
    cpus: float | None = None
    memory: int | None = None
    queue: str = ""
    priority: str = ""
    owner: Owner | None = None
    containers: tuple[Container, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A Job (batch/v1) whose pods ask for GPUs."""

    uid: str
    name: str
    namespace: str
    created: int
    suspended: bool = False
    suspended_at: int | None = None
    outcome: Outcome | None = None
    end: int | None = None
    reason: str = ""
    gpus: int = 0
    """Of all pods that may run at a time."""
    cpus: float | None = None
    memory: int | None = None
    time_limit: int | None = None
    queue: str = ""
    priority: str = ""
    owner: Owner | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node."""

    uid: str
    name: str
    ready: bool
    """Whether its kubelet says so, and is heard."""
    ready_since: int | None
    cordoned: bool
    state: str
    reason: str = ""
    gpus: int = 0
    cpus: float | None = None
    memory: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """An Event object: a controller's note about another object."""

    uid: str
    version: str
    name: str
    namespace: str
    type: str
    reason: str
    message: str
    count: int
    at: int
    """Unix ns of the last time."""
    source: str
    host: str
    kind: str
    object: str
    object_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """Devices that a container holds, as the kubelet says."""

    namespace: str
    pod: str
    container: str
    resource: str
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """Which resources are GPUs, as name patterns with ``*``."""

    names: tuple[str, ...]

    def count(self, resources: Mapping[str, Any]) -> int:
        """How many of them there are in an amount of resources."""
        return sum(
            int(str(amount))
            for name, amount in resources.items()
            if any(fnmatchcase(name, pattern) for pattern in self.names)
        )
