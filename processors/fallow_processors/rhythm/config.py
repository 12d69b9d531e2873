"""Configuration of ``rhythm``."""

from __future__ import annotations

from pydantic import Field

from fallow import semconv
from fallow.component import ComponentConfig
from fallow.units import SECOND, DurationNs

MINUTE = 60 * SECOND


class RhythmConfig(ComponentConfig):
    """What idle is, whose demand is one, and how fast what was learned fades."""

    horizon: DurationNs = Field(
        default=10 * MINUTE,
        gt=0,
        description="How much longer a GPU has to stay idle for acting on it to be worth the cold start.",
    )
    pool: tuple[str, ...] = Field(
        default=(semconv.K8S_NAMESPACE_NAME, semconv.SERVICE_NAME, semconv.JOB_ID),
        description="Attributes whose values together say which GPUs share one demand; GPUs with none of them are one pool.",
    )
    busy_above: float = Field(
        default=0.05, ge=0, le=1, description="Utilisation (0 to 1) from which a GPU counts as working."
    )
    settle: DurationNs = Field(
        default=2 * MINUTE, ge=0, description="Pauses shorter than this are part of work: nothing is learned or said."
    )
    demand_half_life: DurationNs = Field(
        default=5 * MINUTE, gt=0, description="How fast the present demand on a pool is forgotten."
    )
    memory_half_life: DurationNs = Field(
        default=24 * 60 * MINUTE,
        gt=0,
        description="How fast a pool's usual demand and a GPU's own share are forgotten.",
    )
    min_returns: int = Field(
        default=20,
        ge=1,
        description="So many returns to work must have been seen in a pool before anything is said of it.",
    )
    gap: DurationNs = Field(
        default=5 * MINUTE, gt=0, description="After so long without a sample, idleness is counted anew."
    )
    lateness: DurationNs = Field(
        default=15 * SECOND,
        ge=0,
        description="How far apart the clocks of a pool's hosts may be; what they saw counts after that.",
    )
    max_gpus: int = Field(default=500_000, gt=0, description="GPUs followed; of those beyond nothing is said.")
    max_pools: int = Field(default=50_000, gt=0, description="Pools followed; GPUs of those beyond are not.")
