"""Signals passed on over OTLP, byte for byte, before they are acknowledged."""

from fallow.component import Factory
from fallow_exporters.otlp.config import OtlpExporterConfig
from fallow_exporters.otlp.exporter import OtlpExporter

__all__ = ["FACTORY", "OtlpExporter", "OtlpExporterConfig"]

FACTORY = Factory(type="otlp", config=OtlpExporterConfig, build=OtlpExporter)
