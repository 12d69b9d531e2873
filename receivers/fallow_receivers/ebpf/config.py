"""What is probed, how often, and by what means."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from fallow.component import ComponentConfig
from fallow.units import DurationNs, duration_ns

Group = Literal["cuda", "nccl", "sched", "block", "net", "memory", "perf"]
BackendName = Literal["auto", "libbpf", "bcc", "procfs"]

LIBCUDA = (
    "/usr/lib/x86_64-linux-gnu/libcuda.so.1",
    "/usr/lib/aarch64-linux-gnu/libcuda.so.1",
    "/usr/lib64/libcuda.so.1",
    "/run/nvidia/driver/usr/lib/x86_64-linux-gnu/libcuda.so.1",
)


def _at_least(text: str) -> AfterValidator:
    def checked(ns: int) -> int:
        if ns < duration_ns(text):
            raise ValueError(f"it is below the minimum {text}")
        return ns

    return AfterValidator(checked)


class EbpfReceiverConfig(ComponentConfig):
    """Which groups of probes run on which backend."""

    backend: BackendName = Field(
        default="auto",
        description="auto takes for each group the first that works of libbpf, bcc, procfs; the others take that alone.",
    )
    groups: tuple[Group, ...] = Field(
        default=("cuda", "nccl", "sched", "block", "net", "memory", "perf"),
        min_length=1,
        description="Groups of probes to run.",
    )
    interval: Annotated[DurationNs, _at_least("100ms")] = Field(
        default=duration_ns("1s"), description="Time between two readings; at least 100ms."
    )
    rescan: Annotated[DurationNs, _at_least("1s")] = Field(
        default=duration_ns("30s"),
        description="Time between two looks at which processes use CUDA and NCCL, and where they belong; at least 1s.",
    )
    libraries: tuple[str, ...] = Field(
        default=LIBCUDA,
        description="Files of libcuda that are probed before a process has loaded them, where they exist.",
    )
    max_processes: int = Field(
        default=4096,
        ge=1,
        description="Processes reported by themselves; what further ones do is in the sum of the node's other processes.",
    )
