"""The verbs, put together; each family has its module."""

from __future__ import annotations

import asyncio
import importlib
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

import fallow
from fallow.cli import demo, recommendations, replay, rules
from fallow.cli.output import fail, log_to_stderr, out
from fallow.config import load_config
from fallow.errors import DocumentError, FallowError, NotFound
from fallow.registry import KINDS, components, factory
from fallow.service import Service

app = typer.Typer(
    name="fallow",
    help="Finds the GPUs that lie fallow, inside the OpenTelemetry pipeline that is already there.",
    epilog="Start with: fallow demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(recommendations.app, name="recommendations")
app.add_typer(rules.app, name="rules")
app.command(epilog="Example: fallow demo --seconds 30")(demo.demo)
app.command(epilog="Example: fallow replay day.otlp.jsonl.gz --report day.html")(replay.replay)

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="Configuration file (YAML).")]


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Finds the GPUs that lie fallow, inside the OpenTelemetry pipeline that is already there."""
    if show:
        out.print(fallow.__version__)
        raise typer.Exit


@app.command(epilog="Example: fallow run otel-config/fallow-gateway.yaml")
def run(config: ConfigFile) -> None:
    """Run the service until SIGTERM or Ctrl-C; it drains before it ends."""
    loaded = load_config(config)
    log_to_stderr(loaded.service.telemetry.level)
    asyncio.run(Service(loaded).run())


@app.command(epilog="Example: fallow validate otel-config/fallow-gateway.yaml")
def validate(
    config: Annotated[list[Path], typer.Argument(metavar="CONFIG...", help="Configuration files (YAML).")],
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


@app.command("components", epilog="Example: fallow components --json")
def list_components(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")] = False,
) -> None:
    """List the receivers, processors and exporters that are installed."""
    table = Table("kind", "type", "stability", "what it does")
    for kind in KINDS:
        for name, module in components(kind).items():
            text = (importlib.import_module(module).__doc__ or "").strip().split("\n")[0]
            stability = factory(kind, name).stability
            if as_json:
                print(
                    json.dumps({"type": "component", "kind": kind, "name": name, "stability": stability, "text": text})
                )
            table.add_row(kind, name, stability, text)
    if not as_json:
        out.print(table)


def main() -> None:
    """The entry point: turns every error that Fallow knows into one clear line and the right exit code."""
    try:
        app()
    except (DocumentError, NotFound) as error:
        fail(str(error), 2)
    except FallowError as error:
        fail(str(error), 1)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), 2 if error.filename else 1)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
