"""``fallow rules``: for those who write them."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fallow.cli.output import err, fail, out
from fallow.entity import subject
from fallow.errors import DocumentError, NotFound, Problem
from fallow.registry import components
from fallow.testing.rules import RULE, Sample, check_rule_folder
from fallow.units import moment_text

app = typer.Typer(help="Check and test rules.", no_args_is_help=True)

Paths = Annotated[list[Path], typer.Argument(metavar="PATH...", help="Rule files, or folders that hold them.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")]


def _cre() -> Any:
    """The module of the rule engine, found by name as every component is."""
    return importlib.import_module(components("processors")["cre"])


def _report(problems: list[Problem], as_json: bool) -> None:
    for p in problems:
        if as_json:
            found = {
                "file": p.file,
                "line": p.line,
                "column": p.column,
                "key": p.key,
                "kind": p.kind,
                "message": p.message,
            }
            print(json.dumps({"type": "problem", **found}))
    if problems and not as_json:
        fail("\n".join(map(str, problems)), 1)
    if problems:
        raise typer.Exit(1)


@app.command(epilog="Example: fallow rules check rules/ --json")
def check(
    path: Paths,
    as_json: AsJson = False,
    lenient: Annotated[bool, typer.Option(help="Warn about unknown keys instead of refusing them.")] = False,
) -> None:
    """Check rule documents: every problem with its file, line and column."""
    _exist(path)
    problems: list[Problem] = []
    count = 0
    try:
        found = _cre().RuleSet.load(path, lenient=lenient)
        count = len(found.rules)
        for warning in found.warnings:
            err.print(f"fallow: {warning}", markup=False)
    except DocumentError as error:
        problems.extend(error.problems)
    _report(problems, as_json)
    if as_json:
        print(json.dumps({"type": "summary", "rules": count, "problems": 0}))
    else:
        out.print(f"{count} rule{'s' if count != 1 else ''}: ok")


@app.command("test", epilog="Example: fallow rules test rules/cre-2026-9003")
def run_samples(path: Paths, as_json: AsJson = False) -> None:
    """Run rules over the samples beside them: each must fire once on test.* and stay quiet on every test-fp*.*"""
    _exist(path)
    folders = sorted({f.parent for p in path for f in ([p] if p.is_file() else p.rglob(RULE))})
    if not folders:
        raise NotFound(f"no {RULE} under {', '.join(map(str, path))}")
    problems: list[Problem] = []
    for folder in folders:
        try:
            samples = list(check_rule_folder(folder))
        except DocumentError as error:
            problems.extend(error.problems)
            continue
        problems += [_failed(sample) for sample in samples if not sample.passed]
        passed = sum(sample.passed for sample in samples)
        if as_json:
            print(json.dumps({"type": "rule", "folder": str(folder), "samples": len(samples), "passed": passed}))
        else:
            out.print(f"{folder}: {passed} of {len(samples)} samples as they should be", markup=False)
    _report(problems, as_json)


def _failed(sample: Sample) -> Problem:
    wanted = "exactly once" if sample.wanted else "not at all"
    said = [f"{d.state} at {moment_text(d.time)} UTC on {subject(d.entity)}" for d in sample.detections]
    message = f"should fire {wanted}, fired {sample.fired} times{': ' if said else ''}{'; '.join(said)}"
    return Problem(file=str(sample.path), message=message)


def _exist(paths: list[Path]) -> None:
    missing = [p for p in paths if not p.exists()]
    if missing:
        raise DocumentError([Problem(file=str(p), message="no such file or folder") for p in missing])
