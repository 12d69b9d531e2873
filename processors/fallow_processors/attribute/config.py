"""Configuration of ``attribute``."""

from __future__ import annotations

from pydantic import Field

from fallow.component import ComponentConfig
from fallow.units import SECOND, DurationNs


class AttributeConfig(ComponentConfig):
    """How long is waited for what schedulers say, and how long what was said holds."""

    lateness: DurationNs = Field(
        default=0,
        ge=0,
        description="How much later than the telemetry beside it an event of a job may come. Samples wait so long, so that "
        "each is joined by its own time; 0: none waits, and what a late event is about has gone by.",
    )
    max_waiting: int = Field(
        default=20_000_000,
        gt=0,
        description="Samples that may wait, 21 bytes each; beyond this the oldest go on with what is known by then.",
    )
    evidence: DurationNs = Field(
        default=120 * SECOND,
        gt=0,
        description="How long labels and processes that name whose a GPU is hold after they were last seen.",
    )
    active_above: float = Field(
        default=0.01, ge=0, le=1, description="Activity (0 to 1) above which a GPU has begun to work for its job."
    )
    interval: DurationNs = Field(
        default=15 * SECOND, gt=0, description="How often, in event time, age and restarts of a host's jobs are said."
    )
    forget_after: DurationNs = Field(
        default=3600 * SECOND, ge=0, description="How long after its end a job is remembered, for what comes late."
    )
    max_jobs: int = Field(
        default=200_000,
        gt=0,
        description="Jobs remembered; beyond this those that ended first are forgotten, then the newest refused.",
    )
    max_devices: int = Field(
        default=1_000_000, gt=0, description="Devices known; samples of those beyond go on as they came."
    )
