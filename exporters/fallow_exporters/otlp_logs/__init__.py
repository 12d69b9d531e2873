"""Sends optimisation events as OTLP log records to any backend, and keeps them until it has taken them."""

from fallow.component import Context, Factory
from fallow_exporters.otlp_logs.config import OtlpLogsConfig
from fallow_exporters.otlp_logs.exporter import OtlpLogsExporter


def _build(config: OtlpLogsConfig, context: Context) -> OtlpLogsExporter:
    return OtlpLogsExporter(config, context)


FACTORY = Factory(type="otlp_logs", config=OtlpLogsConfig, build=_build)

__all__ = ["FACTORY", "OtlpLogsConfig", "OtlpLogsExporter"]
