"""Configuration of ``decode``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fallow.component import ComponentConfig


class DecodeConfig(ComponentConfig):
    """How requests become columns."""

    kernel: Literal["auto", "numba", "python"] = Field(
        default="auto",
        description="auto: the compiled scanner where numba can be imported, else the plain walk; numba, python: that one.",
    )
    max_identities: int = Field(
        default=1_000_000,
        ge=1,
        description="Distinct (resource, point attributes) known at a time; points of further ones are dropped and counted.",
    )
    max_metrics: int = Field(
        default=100_000,
        ge=1,
        description="Distinct (scope, metric header) known at a time; points of further ones are dropped and counted.",
    )
    max_buckets: int = Field(
        default=512,
        ge=1,
        description="Buckets or quantiles taken from one histogram or summary point; beyond it only count and sum are.",
    )
