"""A configuration file in the Collector's shape → typed configuration; every error names ``file:line: key``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fallow.component import ComponentConfig, ComponentKind, Factory
from fallow.document import Document, parse, read_text, validated
from fallow.errors import DocumentError, NotFound, Problem
from fallow.registry import KINDS, factory
from fallow.units import DurationNs, duration_ns


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Pipeline(_Part):
    """Which components a pipeline is made of, by id."""

    receivers: tuple[str, ...] = Field(min_length=1, description="Where telemetry comes in.")
    processors: tuple[str, ...] = Field(default=(), description="In the order in which data meets them.")
    exporters: tuple[str, ...] = Field(min_length=1, description="Where it goes on to.")


class LedgerSettings(_Part):
    """Where recommendations are kept."""

    url: str = Field(default="sqlite://", description="SQLAlchemy URL; sqlite:// keeps them in memory only.")
    max_recommendations: int = Field(default=100_000, ge=1, description="The oldest closed ones go beyond this.")
    max_changes: int = Field(
        default=1_000_000, ge=1, description="Length of the change log that Watch can resume from."
    )


class HealthSettings(_Part):
    """HTTP health endpoint: 200 while serving, 503 while starting or draining."""

    endpoint: str = Field(default="127.0.0.1:13134", description="host:port to listen on.")


class MetricsSettings(_Part):
    """Fallow's own metrics over OTLP."""

    endpoint: str = Field(default="", description="host:port of an OTLP gRPC receiver; empty switches them off.")
    interval: DurationNs = Field(default=duration_ns("30s"), description="Time between exports.")


class TelemetrySettings(_Part):
    """What Fallow says about itself."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least severe log line.")
    health: HealthSettings | None = Field(default=None, description="Left out: no health endpoint.")
    metrics: MetricsSettings = Field(default=MetricsSettings(), description="Own metrics.")
    resource: Mapping[str, str] = Field(default={}, description="Resource attributes beside service.name.")


class SnapshotSettings(_Part):
    """State of the processors on disk, so that a restart goes on where the last process ended."""

    directory: Path = Field(description="Where snapshots go; relative to this file's folder.")
    interval: DurationNs = Field(default=duration_ns("60s"), gt=0, description="Time between snapshots.")
    keep: int = Field(default=2, ge=1, description="Snapshots that stay; the oldest go beyond this.")


class ServiceSettings(_Part):
    """How components are put together."""

    pipelines: Mapping[str, Pipeline] = Field(min_length=1, description="Pipelines by name.")
    telemetry: TelemetrySettings = Field(default=TelemetrySettings(), description="What Fallow says about itself.")
    ledger: LedgerSettings = Field(default=LedgerSettings(), description="Where recommendations are kept.")
    snapshot: SnapshotSettings | None = Field(
        default=None, description="Left out: a restart begins anew, and rules know nothing of what came before."
    )
    queue_size: int = Field(default=1000, ge=1, description="Requests that may wait for analysis.")
    max_series: int = Field(default=5_000_000, ge=1, description="Series beyond this are refused and counted.")
    drain_timeout: DurationNs = Field(default=duration_ns("10s"), description="How long a shutdown may take.")


class _File(_Part):
    receivers: Mapping[str, Any]
    processors: Mapping[str, Any] = {}
    exporters: Mapping[str, Any]
    service: ServiceSettings


@dataclass(frozen=True, slots=True)
class ComponentSettings:
    """A component as configured: its factory and its validated configuration."""

    factory: Factory
    config: ComponentConfig


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration, valid: ids in pipelines are those of components that are configured."""

    path: Path
    receivers: Mapping[str, ComponentSettings]
    processors: Mapping[str, ComponentSettings]
    exporters: Mapping[str, ComponentSettings]
    service: ServiceSettings


def load_config(path: str | Path) -> Config:
    """The configuration in a file.

    Raises:
        DocumentError: with every problem found, one line each: ``file:line: key: found, allowed``.
    """
    return parse_config(read_text(Path(path)), Path(path))


def parse_config(text: str, path: Path) -> Config:
    """The configuration in a text; ``path`` names it in errors and is where relative paths start."""
    document = parse(text, str(path))
    file = validated(_File, document)
    problems: list[Problem] = []
    parts = {kind: _components(kind, getattr(file, kind), document, problems) for kind in KINDS}
    for name, pipeline in file.service.pipelines.items():
        for kind in KINDS:
            for at, id in enumerate(getattr(pipeline, kind)):
                if id not in parts[kind]:
                    place = ("service", "pipelines", name, kind, at)
                    known = ", ".join(parts[kind]) or "none"
                    problems.append(document.problem(place, f"{id!r} found, expected one of the {kind} above: {known}"))
    if problems:
        raise DocumentError(sorted(problems, key=lambda p: p.line))
    return Config(path, parts["receivers"], parts["processors"], parts["exporters"], file.service)


def _components(
    kind: ComponentKind, entries: Mapping[str, Any], document: Document, problems: list[Problem]
) -> dict[str, ComponentSettings]:
    found: dict[str, ComponentSettings] = {}
    for id, options in entries.items():
        try:
            made = factory(kind, id.partition("/")[0])
        except NotFound as error:
            problems.append(document.problem((kind, id), str(error)))
            continue
        try:
            config = validated(made.config, document, {} if options is None else options, (kind, id))
        except DocumentError as error:
            problems.extend(error.problems)
            found[id] = ComponentSettings(made, made.config.model_construct())
            continue
        found[id] = ComponentSettings(made, config)
    return found


__all__ = [
    "ComponentSettings",
    "Config",
    "Pipeline",
    "ServiceSettings",
    "SnapshotSettings",
    "load_config",
    "parse_config",
]
