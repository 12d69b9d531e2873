"""``fallow run``, ``validate`` and ``components``: the service and what it is made of."""

from __future__ import annotations

import asyncio
import importlib
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from fallow import registry
from fallow.cli.output import fail, log_to_stderr, out
from fallow.config import load_config
from fallow.errors import DocumentError, NotFound
from fallow.service import Service

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="Configuration file (YAML).")]


def run(config: ConfigFile) -> None:
    """Run the service until SIGTERM or Ctrl-C; it drains before it ends."""
    loaded = load_config(config)
    log_to_stderr(loaded.service.telemetry.level)
    asyncio.run(Service(loaded).run())


def validate(
    config: Annotated[list[Path], typer.Argument(metavar="CONFIG", help="Configuration files (YAML).")],
) -> None:
    """Check configuration files, and the rules and playbooks they name, without running anything."""
    problems: list[str] = []
    for path in config:
        try:
            asyncio.run(_built(path))
            out.print(f"{path}: ok", markup=False)
        except DocumentError as error:
            problems.append(str(error))
    if problems:
        fail("\n".join(problems), 2)


async def _built(path: Path) -> None:
    loaded = load_config(path)
    ledger = loaded.service.ledger.model_copy(update={"url": "sqlite://"})
    service = loaded.service.model_copy(update={"ledger": ledger})
    await Service(type(loaded)(path, loaded.receivers, loaded.processors, loaded.exporters, service)).shutdown()


def components(
    name: Annotated[
        str | None, typer.Argument(help="A component with a table of its own (normalise): print that instead.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")] = False,
) -> None:
    """List the receivers, processors and exporters that are installed."""
    if name is not None:
        _describe(name, as_json)
        return
    table = Table("kind", "type", "stability", "what it does")
    for kind in registry.KINDS:
        for type, module in registry.components(kind).items():
            text = (importlib.import_module(module).__doc__ or "").strip().split("\n")[0]
            stability = registry.factory(kind, type).stability
            if as_json:
                print(
                    json.dumps({"type": "component", "kind": kind, "name": type, "stability": stability, "text": text})
                )
            table.add_row(kind, type, stability, text)
    if not as_json:
        out.print(table)


def _describe(name: str, as_json: bool) -> None:
    """Print the table that a component is made of."""
    modules = {n: module for kind in registry.KINDS for n, module in registry.components(kind).items()}
    described = {n for n in modules if hasattr(importlib.import_module(modules[n]), "describe")}
    if name not in described:
        raise NotFound(f"{name}: no component with a table; there is one of {', '.join(sorted(described))}")
    rows: list[dict[str, object]] = list(importlib.import_module(modules[name]).describe())
    if as_json:
        for row in rows:
            print(json.dumps({"type": name} | row))
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    out.print(table)
