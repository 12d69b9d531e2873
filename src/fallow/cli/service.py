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
from fallow.errors import DocumentError
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
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")] = False,
) -> None:
    """List the receivers, processors and exporters that are installed."""
    table = Table("kind", "type", "stability", "what it does")
    for kind in registry.KINDS:
        for name, module in registry.components(kind).items():
            text = (importlib.import_module(module).__doc__ or "").strip().split("\n")[0]
            stability = registry.factory(kind, name).stability
            if as_json:
                print(
                    json.dumps({"type": "component", "kind": kind, "name": name, "stability": stability, "text": text})
                )
            table.add_row(kind, name, stability, text)
    if not as_json:
        out.print(table)
