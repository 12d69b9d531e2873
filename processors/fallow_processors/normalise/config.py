"""Configuration of ``normalise``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from fallow.component import ComponentConfig


class NormaliseConfig(ComponentConfig):
    """Which table maps vendor names to signals."""

    extra_table: Path | None = Field(
        default=None,
        description="A table in the form of signals.yaml whose rows come before the built-in ones; relative paths start "
        "at the configuration file's folder.",
    )
