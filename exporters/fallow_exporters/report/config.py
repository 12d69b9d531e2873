"""Configuration of the report."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from fallow.component import ComponentConfig


class ReportConfig(ComponentConfig):
    """Where the report goes and how much is in it."""

    path: Path = Field(description="The HTML file, relative to this file; written when the service ends.")
    title: str = Field(default="What lay fallow", description="Heading of the page.")
    note: str = Field(default="", description="A sentence under the heading.")
    parquet: Path | None = Field(
        default=None, description="Folder for detections.parquet and recommendations.parquet; left out: none."
    )
    max_entities: int = Field(default=60, gt=0, description="Timelines drawn: of those with the most to save.")
    max_rows: int = Field(default=2000, gt=0, description="Rows of the table: those with the most to save.")
    max_series: int = Field(default=10_000, gt=0, description="Series kept for drawing; those beyond are not drawn.")
