"""The verbs, put together; each family has its module, which is loaded when one of its verbs is called."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

import fallow
from fallow.cli.output import fail, out
from fallow.errors import DocumentError, FallowError, NotFound

COMMANDS = {
    "run": ("service", "fallow run otel-config/fallow-gateway.yaml"),
    "validate": ("service", "fallow validate otel-config/fallow-gateway.yaml"),
    "components": ("service", "fallow components --json"),
    "demo": ("demo", "fallow demo --seconds 30"),
    "replay": ("replay", "fallow replay day.otlp.jsonl.gz --report day.html"),
    "frontier": ("frontier", "fallow frontier pods.parquet --map pods.yaml --html frontier.html"),
    "detect": ("detect", "fallow detect --rules rules/ broker.log"),
}
"""Verb → the module in which it is a function of its name, and the example at the end of its help."""
FAMILIES = ("recommendations", "rules")
"""Verbs with verbs of their own: ``app`` in the module of their name."""

_SHOWN: dict[str, Any] = {
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": "markdown",
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class _OnDemand(TyperGroup):
    """Verbs whose module is loaded when they are called: each pays for what it needs itself."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*COMMANDS, *FAMILIES]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in FAMILIES:
            family = get_group(importlib.import_module(f"fallow.cli.{cmd_name}").app)
            family.name = cmd_name
            return family
        if cmd_name not in COMMANDS:
            return None
        module, example = COMMANDS[cmd_name]
        function = getattr(importlib.import_module(f"fallow.cli.{module}"), cmd_name)
        made = typer.Typer(**_SHOWN)
        made.command(cmd_name, epilog=f"Example: {example}")(function)
        return get_command(made)


app = typer.Typer(
    cls=_OnDemand,
    name="fallow",
    help="Finds the GPUs that lie fallow, inside the OpenTelemetry pipeline that is already there.",
    epilog="Start with: fallow demo",
    no_args_is_help=True,
    **_SHOWN,
)


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Finds the GPUs that lie fallow, inside the OpenTelemetry pipeline that is already there."""
    if show:
        out.print(fallow.__version__)
        raise typer.Exit


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
