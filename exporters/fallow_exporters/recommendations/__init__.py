"""Serves recommendations over gRPC: list, watch, decide, report the outcome; with reflection and health."""

from fallow.component import Context, Factory
from fallow_exporters.recommendations.config import RecommendationsConfig
from fallow_exporters.recommendations.exporter import RecommendationsExporter


def _build(config: RecommendationsConfig, context: Context) -> RecommendationsExporter:
    return RecommendationsExporter(config, context)


FACTORY = Factory(type="recommendations", config=RecommendationsConfig, build=_build)

__all__ = ["FACTORY", "RecommendationsConfig", "RecommendationsExporter"]
