"""The receiver's configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fallow.component import ComponentConfig
from fallow.units import DurationNs, duration_ns

Kind = Literal["nodes", "jobs", "pods", "events"]


def _at_least_a_second(ns: int) -> int:
    if ns < duration_ns("1s"):
        raise ValueError("it is below the minimum 1s")
    return ns


Interval = Annotated[DurationNs, AfterValidator(_at_least_a_second)]


class PodResourcesSettings(ComponentConfig):
    """The kubelet's socket on this node."""

    socket: Path = Field(
        default=Path("/var/lib/kubelet/pod-resources/kubelet.sock"), description="Where the kubelet listens."
    )
    interval: Interval = Field(default=duration_ns("10s"), description="Time between two looks; at least 1s.")
    host: str = Field(default="", description="host.name of this node; left out: as the kernel has it.")


class KubernetesReceiverConfig(ComponentConfig):
    """What is watched at the API server, what is asked of this node's kubelet, and where it notes how far it is."""

    watch: Sequence[Kind] = Field(
        default=("nodes", "jobs", "pods", "events"),
        description="Kinds of objects that are watched: nodes, jobs, pods, events. [] on a node, for pod_resources alone.",
    )
    pod_resources: PodResourcesSettings | None = Field(
        default=None, description="Whether the kubelet is asked which devices containers hold; {} for its usual socket."
    )
    kubeconfig: Path | None = Field(
        default=None,
        description="Who asks; left out: the account of the pod that this runs in, else where kubectl looks.",
    )
    context: str = Field(default="", description="Context of the kubeconfig; left out: its current one.")
    namespace: str = Field(default="", description="The only namespace to watch; left out: all. Nodes have none.")
    cluster: str = Field(default="", description="Name of the cluster; the API server knows none.")
    domain: str = Field(
        default="", description="What is put behind node names to make host.name, such as .cluster.example.org."
    )
    gpu_resources: Sequence[str] = Field(
        default=("nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-*", "amd.com/gpu", "gpu.intel.com/*"),
        min_length=1,
        description="Resources that are GPUs; * stands for anything. Other pods and jobs are not told of.",
    )
    event_types: Sequence[Literal["Normal", "Warning"]] = Field(
        default=("Warning",), min_length=1, description="Types of Event objects that are told: Normal, Warning."
    )
    interval: Interval = Field(default=duration_ns("30s"), description="Time between two metrics; at least 1s.")
    timeout: Interval = Field(default=duration_ns("30s"), description="How long an answer may take.")
    cursor: Path = Field(
        default=Path("kubernetes-cursor.json"),
        description="File, relative to this one, that says what was told already; one for each receiver.",
    )
    max_objects: int = Field(
        default=100_000, ge=1, description="Pods, jobs and nodes that are kept in mind; more are not told of."
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.watch and self.pod_resources is None:
            raise ValueError("it watches nothing; name kinds in watch, or give pod_resources")
        return self
