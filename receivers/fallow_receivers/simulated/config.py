"""The simulated cluster's configuration."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from fallow.component import ComponentConfig
from fallow.units import DurationNs, duration_ns


def unix_ns(text: str) -> int:
    """Unix ns of an RFC 3339 time; raises ValueError where it is none or has no zone."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = datetime.min
    if time.tzinfo is None:
        raise ValueError(f"{text!r} is not an RFC 3339 time; write it like 2026-01-05T08:00:00Z, or now")
    return round(time.timestamp() * 1e6) * 1000


def _start(text: str) -> str:
    if text != "now":
        unix_ns(text)
    return text


def _at_least_a_second(ns: int) -> int:
    if ns < duration_ns("1s"):
        raise ValueError("it is below the minimum 1s")
    return ns


Start = Annotated[str, AfterValidator(_start)]


class SimulatedReceiverConfig(ComponentConfig):
    """How large the cluster is, and how fast its time goes by."""

    nodes: int = Field(default=8, ge=1, le=1024, description="Nodes of the cluster.")
    gpus_per_node: int = Field(default=8, ge=1, le=16, description="GPUs of each node.")
    seed: int = Field(default=1, ge=0, description="What happens follows from this number and the cluster's size.")
    interval: Annotated[DurationNs, AfterValidator(_at_least_a_second)] = Field(
        default=duration_ns("15s"), description="Simulated time between two samples of a GPU; at least 1s."
    )
    speed: float = Field(default=1.0, gt=0, le=100_000, description="Simulated seconds that go by in one real second.")
    start: Start = Field(default="now", description="Time of the first sample, RFC 3339, or now.")
    duration: Annotated[DurationNs, AfterValidator(_at_least_a_second)] | None = Field(
        default=None, description="Simulated time after which nothing more is sent; left out, it goes on for ever."
    )
