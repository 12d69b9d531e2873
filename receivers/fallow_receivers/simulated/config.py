"""Configuration of the simulated cluster."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from fallow.component import ComponentConfig
from fallow.logfile import rfc3339_ns
from fallow.units import SECOND, DurationNs


def _moment(value: object) -> object:
    if not isinstance(value, str) or value == "now":
        return None if value == "now" else value
    found = rfc3339_ns(value)
    if found is None:
        raise ValueError(f"{value!r} is neither 'now' nor a time like 2026-01-05T08:00:00Z")
    return found


class SimulatedConfig(ComponentConfig):
    """A cluster that does not exist, on a clock that may run faster than the wall's."""

    nodes: int = Field(default=8, gt=0, description="Nodes of the cluster.")
    gpus_per_node: int = Field(default=8, gt=0, description="GPUs of each node.")
    seed: int = Field(default=1, ge=0, description="The same seed gives the same cluster.")
    interval: DurationNs = Field(default=15 * SECOND, gt=0, description="Simulated time from sample to sample.")
    speed: float = Field(default=1.0, gt=0, description="Simulated seconds in a second.")
    start: Annotated[int | None, BeforeValidator(_moment)] = Field(
        default=None, description="Where the simulated clock begins: 'now' or an RFC 3339 time."
    )
    duration: DurationNs | None = Field(
        default=None, gt=0, description="Simulated time after which it falls silent; left out: never."
    )
