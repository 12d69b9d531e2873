"""Rules over signals, log records and events: CRE documents, matched as telemetry passes."""

from fallow.component import Context, Factory
from fallow.rules import builtin_directory
from fallow_processors.cre.build import build
from fallow_processors.cre.config import CreConfig
from fallow_processors.cre.explain import explain
from fallow_processors.cre.json_schema import json_schema_text
from fallow_processors.cre.processor import CreProcessor
from fallow_processors.cre.ruleset import RuleSet
from fallow_processors.cre.timeline import Timeline


def _build(config: CreConfig, context: Context) -> CreProcessor:
    paths = [context.directory / path for path in config.rules] or [builtin_directory()]
    return CreProcessor(RuleSet.load(paths, lenient=config.lenient), config, context)


FACTORY = Factory(type="cre", config=CreConfig, build=_build)

__all__ = ["FACTORY", "CreConfig", "CreProcessor", "RuleSet", "Timeline", "build", "explain", "json_schema_text"]
