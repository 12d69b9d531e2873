"""Writes what was found as one HTML page with plots, and as Parquet where asked."""

from importlib.util import find_spec

from fallow.component import Context, Factory
from fallow.errors import PermanentError
from fallow_exporters.report.config import ReportConfig
from fallow_exporters.report.exporter import ReportExporter


def _build(config: ReportConfig, context: Context) -> ReportExporter:
    if find_spec("plotly") is None:
        raise PermanentError("the report needs plotly: pip install 'fallow[report]'")
    return ReportExporter(config, context)


FACTORY = Factory(type="report", config=ReportConfig, build=_build)

__all__ = ["FACTORY", "ReportConfig", "ReportExporter"]
