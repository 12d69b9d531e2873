"""Gathers what was found, and writes it when the service ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fallow.batch import Batch
from fallow.component import Context
from fallow.errors import PermanentError
from fallow.model import Detection, Recommendation
from fallow.replay import Accounting
from fallow_exporters.report.config import ReportConfig
from fallow_exporters.report.curves import Curves
from fallow_exporters.report.page import Found, page
from fallow_exporters.report.tables import tables, write_table


class ReportExporter:
    """Keeps the last of each detection and recommendation, and thinned curves of their signals."""

    def __init__(self, config: ReportConfig, context: Context) -> None:
        self._config = config
        self._directory = context.directory
        self._curves = Curves(context.series, config.max_series)
        self._accounting = Accounting(context.series)
        self._detections: dict[str, Detection] = {}
        self._recommendations: dict[str, Recommendation] = {}
        self._started = False

    async def start(self) -> None:
        self._started = True

    async def export(self, batch: Batch) -> None:
        """Take note of a processed batch."""
        self._accounting.observe(batch)
        if batch.metrics is not None:
            self._curves.add(batch.metrics)
        for detection in batch.detections:
            self._detections[detection.id] = detection
        for recommendation in batch.recommendations:
            self._recommendations[recommendation.id] = recommendation

    async def shutdown(self) -> None:
        """Write the page, and the tables where asked; without a start, or the second time, nothing."""
        if not self._started:
            return
        self._started = False
        detections, recommendations = [*self._detections.values()], [*self._recommendations.values()]
        found = Found(detections, recommendations, self._accounting.summary(), self._curves)
        text = page(found, self._config).encode()
        _written(self._directory / self._config.path, lambda beside: beside.write_bytes(text))
        if self._config.parquet is not None:
            for name, table in tables(detections, recommendations).items():
                _written(self._directory / self._config.parquet / f"{name}.parquet", partial(write_table, table))


def _written(path: Path, write: Callable[[Path], object]) -> None:
    """The whole file or none: beside it first, then in its place."""
    beside = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(beside)
        os.replace(beside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise PermanentError(f"the report cannot be written to {path}: {error.strerror or error}") from error
