"""Configuration of the recommender."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from fallow.component import ComponentConfig


class RecommenderConfig(ComponentConfig):
    """Where the playbook is."""

    playbook: Path | None = Field(
        default=None,
        description="Playbook (YAML), relative to this file; left out: the built-in one, which only notifies.",
    )
