"""The receiver's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from fallow.component import ComponentConfig
from fallow.units import DurationNs, duration_ns, duration_text


def _at_least_100_ms(ns: int) -> int:
    if ns < duration_ns("100ms"):
        raise ValueError("it is below the minimum 100ms")
    return ns


Interval = Annotated[DurationNs, AfterValidator(_at_least_100_ms)]


class NvmlReceiverConfig(ComponentConfig):
    """How often GPUs are asked, and for what."""

    interval: Interval = Field(
        default=duration_ns("1s"), description="Time between two samples of what changes fast; at least 100ms."
    )
    slow_interval: Interval = Field(
        default=duration_ns("10s"),
        description="Time between two samples of what changes rarely (errors, limits, links), and between two looks for "
        "GPUs and MIG instances that have come or gone; at least interval.",
    )
    call_timeout: Interval = Field(
        default=duration_ns("10s"),
        description="A call that takes longer is given up: its GPU is left out until the call returns.",
    )
    profiling: bool = Field(
        default=True,
        description="Sample SM, tensor, pipe and DRAM activity by GPM. Off where a profiler needs the counters.",
    )
    processes: bool = Field(default=True, description="Sample memory and utilisation of each process on a GPU.")
    max_processes: int = Field(
        default=64, ge=1, description="Processes of a GPU beyond this, the smallest first, are left out and counted."
    )
    events: bool = Field(default=True, description="Have the driver tell of Xid errors and the like.")
    resource: Mapping[str, str] = Field(
        default={}, description="Resource attributes beside host.name, which is the system's unless it is given here."
    )
    queue_size: int = Field(
        default=300, ge=2, description="Requests that wait while the pipeline takes none; beyond it the oldest go."
    )

    @model_validator(mode="after")
    def _slow_is_slower(self) -> Self:
        if self.slow_interval < self.interval:
            raise ValueError(f"slow_interval is below {duration_text(self.interval)}, the interval")
        return self
