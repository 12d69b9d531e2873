"""Rules over signals, log records and events: CRE documents, matched as telemetry passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fallow.component import Context, Factory
from fallow.lazy import exports
from fallow.rules import builtin_directory
from fallow_processors.cre.config import CreConfig
from fallow_processors.cre.processor import CreProcessor
from fallow_processors.cre.ruleset import RuleSet

if TYPE_CHECKING:
    from fallow_processors.cre.covering import coverage
    from fallow_processors.cre.explanation import explain
    from fallow_processors.cre.json_schema import json_schema_text
    from fallow_processors.cre.pack import build
    from fallow_processors.cre.taxonomy import Taxonomy, check_taxonomy, taxonomy_files
    from fallow_processors.cre.timeline import Timeline

# Tools for those who write rules, imported on first use: whoever runs rules does not wait for them.
_HOME = {
    "Taxonomy": "taxonomy",
    "Timeline": "timeline",
    "build": "pack",
    "check_taxonomy": "taxonomy",
    "coverage": "covering",
    "explain": "explanation",
    "json_schema_text": "json_schema",
    "taxonomy_files": "taxonomy",
}


def _build(config: CreConfig, context: Context) -> CreProcessor:
    paths = [context.directory / path for path in config.rules] or [builtin_directory()]
    return CreProcessor(RuleSet.load(paths, lenient=config.lenient), config, context)


FACTORY = Factory(type="cre", config=CreConfig, build=_build)

__all__ = [
    "FACTORY",
    "CreConfig",
    "CreProcessor",
    "RuleSet",
    "Taxonomy",
    "Timeline",
    "build",
    "check_taxonomy",
    "coverage",
    "explain",
    "json_schema_text",
    "taxonomy_files",
]

__getattr__ = exports(__name__, _HOME)
