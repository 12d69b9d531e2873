"""Configuration of ``baselines``."""

from __future__ import annotations

from pydantic import Field

from fallow.component import ComponentConfig
from fallow.units import SECOND, DurationNs

DAY = 86_400 * SECOND


class BaselinesConfig(ComponentConfig):
    """How the usual is learnt, and how often it is said."""

    span: DurationNs = Field(
        default=20 * SECOND,
        description="How long a level has to last, and be even, to be taken for one; at least 3 samples.",
    )
    contrast: float = Field(
        default=2.0,
        gt=1,
        description="A device's lowest level is its idle level once it has drawn so many times as much.",
    )
    busy_above: float = Field(
        default=0.05, ge=0, le=1, description="Utilisation (0 to 1) above which a span is not one of an idle device."
    )
    memory_reserved_max: float = Field(
        default=2 * 2.0**30,
        gt=0,
        description="By; a lowest level of memory above this is a program's, not the driver's.",
    )
    half_life: DurationNs = Field(
        default=1800 * SECOND, description="In so much time the running level of power is forgotten by half."
    )
    forget_after: DurationNs = Field(
        default=30 * DAY, description="An idle level that was not met again for so long is learnt anew."
    )
    max_gap: DurationNs = Field(
        default=300 * SECOND,
        description="After so long without a sample nothing is taken together with what was before.",
    )
    repeat: DurationNs = Field(
        default=60 * SECOND, description="How often an idle level, period or expectation is said."
    )
    repeat_running: DurationNs = Field(default=10 * SECOND, description="How often the running level is said.")
    max_series: int = Field(
        default=1_000_000, gt=0, description="Levels and endpoints that are learnt; the newest beyond it are not."
    )
