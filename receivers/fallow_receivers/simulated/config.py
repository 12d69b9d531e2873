"""The simulated cluster's configuration."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from fallow.component import ComponentConfig
from fallow.units import DurationNs, duration_ns
from fallow_receivers.simulated.profiles import BEHAVIOURS


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


def _behaviour(name: str) -> str:
    if name not in BEHAVIOURS:
        raise ValueError(f"{name!r} is no behaviour; there are {', '.join(sorted(BEHAVIOURS))}")
    return name


Start = Annotated[str, AfterValidator(_start)]
Behaviour = Annotated[str, AfterValidator(_behaviour)]


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
    behaviours: Sequence[Behaviour] = Field(
        default=(),
        description=(
            "What jobs do, each as often as it is named; left out: all that the built-in rules are about, and healthy "
            f"ones. There are: {', '.join(sorted(BEHAVIOURS))}."
        ),
    )
    truth: Path | None = Field(
        default=None,
        description=(
            "File, relative to this one, that is written anew with what is simulated, a JSON object a line: entity, "
            "behaviour, from, to, and the rule that is to find it."
        ),
    )
