"""What components say of themselves (``metadata.yaml`` and their configuration), and the reference pages made from it.

``python -m fallow.reference FOLDER`` writes a page for each receiver.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from fallow.component import ComponentKind
from fallow.document import load
from fallow.registry import components, factory
from fallow.units import DurationNs, duration_text


class _Doc(BaseModel):
    model_config = ConfigDict(extra="forbid")


class MetricDoc(_Doc):
    """One own metric of a component."""

    unit: str
    description: str


class EmittedMetric(_Doc):
    """One metric that a receiver brings in."""

    instrument: Literal["gauge", "counter", "updowncounter", "histogram"] = "gauge"
    unit: str
    description: str
    attributes: Sequence[str] = Field(default=(), description="Beside those of the group.")
    condition: str = Field(default="", description="Where it is absent, or what it needs; empty: always there.")
    privilege: str = Field(default="", description="What the process has to be allowed; empty: nothing.")


class EmittedEvent(_Doc):
    """One event (a log record with an event name) that a receiver brings in."""

    severity: Literal["info", "warn", "error", "fatal"] = "info"
    description: str
    attributes: Sequence[str] = ()
    condition: str = ""
    privilege: str = ""


class Group(_Doc):
    """Metrics that have the same attributes, or come from the same place."""

    title: str
    description: str = ""
    attributes: Sequence[str] = Field(default=(), description="Of every metric of the group.")
    metrics: Mapping[str, EmittedMetric]


class Emits(_Doc):
    """What a receiver brings in."""

    resource: Sequence[str] = Field(default=(), description="Attributes of the resource.")
    groups: Sequence[Group] = ()
    events: Mapping[str, EmittedEvent] = {}
    attributes: Mapping[str, str] = Field(default={}, description="Every attribute named above → what it holds.")


class Metadata(_Doc):
    """A component's ``metadata.yaml``."""

    type: str
    kind: Literal["receiver", "processor", "exporter"]
    stability: str
    description: str
    needs: str = Field(default="", description="Libraries, devices and privileges, in Markdown.")
    notes: str = Field(default="", description="What one should know, in Markdown; stands at the end of the page.")
    metrics: Mapping[str, MetricDoc] = Field(default={}, description="Own metrics.")
    attributes: Mapping[str, str] = Field(default={}, description="Attributes of the own metrics and events.")
    events: Mapping[str, Any] = {}
    emits: Emits | None = None
    tests: Mapping[Literal["config"], Mapping[str, Any]] = Field(
        default={}, description="A smallest valid configuration."
    )


def metadata(kind: ComponentKind, type: str) -> Metadata:
    """What the component says of itself; raises DocumentError where it is wrong or missing."""
    module = importlib.import_module(components(kind)[type])
    return load(Path(str(module.__file__)).parent / "metadata.yaml", Metadata)


def page(kind: ComponentKind, type: str) -> str:
    """A component's reference page, in Markdown."""
    about = metadata(kind, type)
    parts = [
        f"<!-- Made by `make docs` from the metadata.yaml and the configuration of {kind}/{type}: change those. -->",
        f"# {kind[:-1].capitalize()} `{type}`",
        about.description.strip(),
        f"Stability: {about.stability}.",
    ]
    if about.needs:
        parts.append(f"## What it needs\n\n{about.needs.strip()}")
    parts.append(
        "## Configuration\n\n" + _table(("key", "default", "what it does"), _settings(factory(kind, type).config))
    )
    if about.emits is not None:
        parts += _emitted(about.emits)
    if about.metrics:
        rows = ((f"`{n}`", f"`{m.unit}`", m.description) for n, m in about.metrics.items())
        parts.append("## Metrics about itself\n\n" + _table(("metric", "unit", "what it counts"), rows))
    if about.attributes:
        parts.append(_table(("attribute", "what it holds"), ((f"`{n}`", t) for n, t in about.attributes.items())))
    if about.notes:
        parts.append(f"## Good to know\n\n{about.notes.strip()}")
    return "\n\n".join(parts) + "\n"


def write_pages(kind: ComponentKind, folder: Path, types: Iterable[str]) -> None:
    """Write the pages of components into a folder, TYPE.md each."""
    folder.mkdir(parents=True, exist_ok=True)
    for type in types:
        (folder / f"{type}.md").write_text(page(kind, type), encoding="utf-8")


def _emitted(emits: Emits) -> Iterator[str]:
    if emits.resource:
        yield f"## What it brings\n\nAttributes of the resource: {_names(emits.resource)}."
    for group in emits.groups:
        head = f"## {group.title}"
        if group.description:
            head += f"\n\n{group.description.strip()}"
        if group.attributes:
            head += f"\n\nAttributes of each point: {_names(group.attributes)}."
        rows = (
            (f"`{name}`", m.instrument, f"`{m.unit}`", _names(m.attributes), m.description, _where(m))
            for name, m in group.metrics.items()
        )
        columns = ("metric", "instrument", "unit", "attributes", "what it is", "condition")
        yield f"{head}\n\n" + _table(columns, rows)
    if emits.events:
        events = (
            (f"`{name}`", e.severity, _names(e.attributes), e.description, _where(e))
            for name, e in emits.events.items()
        )
        heads = ("event", "severity", "attributes", "what happened", "condition")
        yield "## Events\n\nLog records with this event name.\n\n" + _table(heads, events)
    if emits.attributes:
        texts = ((f"`{n}`", t) for n, t in emits.attributes.items())
        yield "## Attributes\n\n" + _table(("attribute", "what it holds"), texts)


def _where(item: EmittedMetric | EmittedEvent) -> str:
    privilege = f"Needs {item.privilege}." if item.privilege else ""
    return " ".join(part for part in (item.condition, privilege) if part)


def _settings(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        key = f"{above}{name}"
        yield f"`{key}`", _default(field), field.description or ""
        for nested in _models(field.annotation):
            yield from _settings(nested, f"{key}.")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined or value is None or isinstance(value, BaseModel) or value in ("", (), {}):
        return ""
    shown = _SPELLED.get(type(value), str)(value)
    if type(value) is int and any(m in field.metadata for m in get_args(DurationNs)[1:]):
        shown = _duration(value)
    return f"`{shown}`"


def _duration(ns: int) -> str:
    return duration_text(ns) if ns % 1_000_000_000 == 0 else f"{ns // 1_000_000}ms"


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        f"| {' | '.join(' '.join(str(c).split()).replace('|', chr(92) + '|') for c in r)} |" for r in lines
    )


_SPELLED: Mapping[type, Callable[[Any], str]] = {bool: lambda value: str(value).lower()}


if __name__ == "__main__":
    write_pages("receivers", Path(sys.argv[1]), components("receivers"))
