"""Configuration of ``health``."""

from __future__ import annotations

from pydantic import Field

from fallow.component import ComponentConfig
from fallow.units import SECOND, DurationNs


class HealthConfig(ComponentConfig):
    """When a signal is not to be believed."""

    interval: DurationNs = Field(
        default=15 * SECOND, description="How often, in event time, the signals of a host are judged."
    )
    repeat: DurationNs = Field(
        default=60 * SECOND, description="How often a state is said again while it stays what it is."
    )
    missed: float = Field(
        default=3, ge=1, description="A signal is stale after so many of its own intervals without a sample."
    )
    samples: int = Field(
        default=3,
        ge=1,
        description="So many samples in a row have to contradict, or be out of range, before it counts.",
    )
    busy_above: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Activity (0 to 1) above which a counter at zero beside it is contradicted.",
    )
    warm_up: DurationNs = Field(
        default=300 * SECOND,
        description="How long after a boot, or after the driver was loaded, utilisation is left out: scrubbing looks like work.",
    )
    forget_after: DurationNs = Field(
        default=3600 * SECOND, description="A signal that has been gone for so long is no longer spoken of."
    )
    max_signals: int = Field(
        default=1_000_000,
        gt=0,
        description="Signals judged; those beyond are passed on, checked for their range alone.",
    )
