"""``fallow rules``: for those who write them."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from fallow.cli import explain as explanations
from fallow.cli.output import err, fail, out
from fallow.entity import subject
from fallow.errors import DocumentError, NotFound, Problem
from fallow.registry import components
from fallow.rules import builtin_directory
from fallow.testing.rules import RULE, Sample, check_rule_folder
from fallow.units import moment_text

app = typer.Typer(help="Check, test, explain and pack rules.", no_args_is_help=True)

Paths = Annotated[list[Path], typer.Argument(metavar="PATH", help="Rule files, or folders that hold them.")]
Lenient = Annotated[bool, typer.Option("--lenient", help="Warn about unknown keys instead of refusing them.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")]


def _cre() -> Any:
    """The module of the rule engine, found by name as every component is."""
    return importlib.import_module(components("processors")["cre"])


def _report(problems: Sequence[Problem], as_json: bool) -> None:
    """Say what is wrong, and end where something is."""
    for problem in problems if as_json else ():
        _print_problem("problem", problem)
    if problems and not as_json:
        fail("\n".join(map(_placed, problems)), 1)
    if problems:
        raise typer.Exit(1)


def _warn(warnings: Sequence[Problem], as_json: bool) -> None:
    for warning in warnings:
        if as_json:
            _print_problem("warning", warning)
        else:
            err.print(f"fallow: {_placed(warning)}", markup=False)


def _print_problem(type: str, problem: Problem) -> None:
    print(json.dumps({"type": type} | asdict(problem)))


def _placed(problem: Problem) -> str:
    """``file:line:column: key: message``."""
    place = ":".join(str(part) for part in (problem.file, problem.line, problem.column) if part)
    return ": ".join(part for part in (place, problem.key, problem.message) if part)


def _loaded(paths: list[Path], as_json: bool, lenient: bool = False) -> Any:
    """The rules of files and folders; ends with what is wrong with them."""
    _exist(paths)
    try:
        return _cre().RuleSet.load(paths, lenient=lenient)
    except DocumentError as error:
        _report(error.problems, as_json)
        raise typer.Exit(1) from error


@app.command(epilog="Example: fallow rules check rules/ --json")
def check(path: Paths, as_json: AsJson = False, lenient: Lenient = False) -> None:
    """Check rule documents: every problem with its file, line and column; tags and category against the taxonomy."""
    found = _loaded(path, as_json, lenient)
    try:
        _cre().check_taxonomy(path)
    except DocumentError as error:
        _report(error.problems, as_json)
    _warn(found.warnings, as_json)
    count = len(found.rules)
    if as_json:
        print(json.dumps({"type": "summary", "rules": count, "problems": 0}))
    else:
        out.print(f"{count} rule{'s' if count != 1 else ''}: ok")


@app.command("hash", epilog="Example: fallow rules hash rules/ --json")
def show_hashes(path: Paths, as_json: AsJson = False, lenient: Lenient = False) -> None:
    """Show the hashes of rules: what tells one text of a rule from another, and what a playbook names (stable hash)."""
    found = _loaded(path, as_json, lenient)
    rows = [("rule", "id", "hash", "stable hash")]
    stale: list[Problem] = []
    for rule in found.rules:
        rows.append((rule.cre, rule.id, rule.hash, rule.stable_hash))
        if rule.stated_hash and rule.stated_hash != rule.hash:
            message = f"{rule.cre}: metadata.hash is {rule.stated_hash}, but the hash of what is written is {rule.hash}"
            stale.append(Problem(file=rule.file, line=rule.line, column=rule.column, message=message, kind="StaleHash"))
        if as_json:
            values = {"rule": rule.cre, "id": rule.id, "hash": rule.hash, "stable_hash": rule.stable_hash}
            print(json.dumps({"type": "rule", "file": rule.file, **values, "stated_hash": rule.stated_hash}))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows if not as_json else ():
        print("  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip())
    _warn([*found.warnings, *stale], as_json)


@app.command(epilog="Example: fallow rules build rules/ -o pack.yaml")
def build(
    path: Paths,
    output: Annotated[str, typer.Option("-o", "--output", metavar="FILE", help="Where to write; - is stdout.")] = "-",
    taxonomy: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Which tags and categories there are. Default: YAML files in folders named tags."
        ),
    ] = None,
    as_json: AsJson = False,
    lenient: Lenient = False,
) -> None:
    """Pack rules into one document, with ids and hashes filled in; each means there what it meant before."""
    _exist([*path, *(taxonomy or ())])
    try:
        built = _cre().build(path, taxonomy=taxonomy, lenient=lenient)
    except DocumentError as error:
        _report(error.problems, as_json)
        raise typer.Exit(1) from error
    _warn(built.notes, as_json and output != "-")
    if output == "-":
        print(built.text, end="")
        return
    Path(output).write_text(built.text, encoding="utf-8")
    if as_json:
        for rule in built.rules:
            print(json.dumps({"type": "rule", "rule": rule.cre, "id": rule.id, "hash": rule.hash}))
        print(json.dumps({"type": "summary", "rules": len(built.rules), "output": output}))
    else:
        out.print(f"{output}: {len(built.rules)} rules", markup=False)


@app.command(epilog="Example: fallow rules explain CRE-2026-9001 --playbook playbook.yaml")
def explain(
    rule: Annotated[list[str], typer.Argument(metavar="RULE", help="Files, folders, or CRE ids of the built-in pack.")],
    playbook: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Say too what this playbook allows to be done.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Explain rules: what each looks for and needs, how it is evaluated, when it can speak, what it suggests."""
    try:
        rules, wanted = explanations.chosen(rule, _cre())
    except DocumentError as error:
        _report(error.problems, as_json)
        raise typer.Exit(1) from error
    for explanation in _cre().explain(rules):
        if explanation.rule.cre not in wanted:
            continue
        may = explanations.allowed(explanation.rule, playbook) if playbook is not None else None
        if as_json:
            print(json.dumps({"type": "explanation", **explanation.data()} | ({"allowed": may} if may else {})))
        else:
            explanations.show(explanation, may)


@app.command(
    epilog="Example: fallow rules coverage day.otlp.jsonl.gz · fallow rules coverage pods.parquet --map map.yaml --json · "
    "fallow rules coverage --service 127.0.0.1:13134"
)
def coverage(
    source: Annotated[
        list[Path] | None, typer.Argument(metavar="SOURCE", help="A recording: what fallow replay reads.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option("--map", help="Mapping file (YAML): which column is which signal.")
    ] = None,
    service: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Ask a running service instead, at its health endpoint.")
    ] = "",
    rules: Annotated[
        list[Path] | None, typer.Option("--rules", help="Rule file or folder; several times. Default: built in.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say which rules can fire on what is delivered, which cannot and why, and what to switch on."""
    if bool(source) == bool(service):
        raise typer.BadParameter("give either a recording or --service")
    delivered_by = importlib.import_module("fallow.cli.coverage")
    delivered = delivered_by.of_service(service) if service else delivered_by.of_recording(source or [], mapping)
    loaded = _loaded(rules or [builtin_directory()], as_json)
    found = _cre().coverage(loaded.rules, delivered)
    if not as_json:
        delivered_by.show(found, delivered)
        return
    for one in found:
        print(json.dumps({"type": "coverage"} | delivered_by.data(one)))
    counts = {state: sum(one.state == state for one in found) for state in ("can fire", "in part", "cannot fire")}
    print(json.dumps({"type": "summary", "rules": len(found), **counts, "delivered": delivered}))


@app.command(epilog="Example: fallow rules schema > cre.schema.json")
def schema() -> None:
    """Print the JSON Schema of rule documents, for editors."""
    print(_cre().json_schema_text(), end="")


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
        failed = [sample for sample in samples if not sample.passed]
        problems += [_failed(sample) for sample in failed]
        passed = len(samples) - len(failed)
        if as_json:
            print(json.dumps({"type": "rule", "folder": str(folder), "samples": len(samples), "passed": passed}))
        else:
            out.print(f"{folder}: {passed} of {len(samples)} samples as they should be", markup=False)
        for sample in failed:
            _show_timeline(sample, as_json)
    _report(problems, as_json)


def _show_timeline(sample: Sample, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"type": "timeline", "sample": str(sample.path), "conditions": sample.timeline.data()}))
        return
    print(sample.path)
    for line in sample.timeline.lines():
        print(line)


def _failed(sample: Sample) -> Problem:
    wanted = "exactly once" if sample.wanted else "not at all"
    said = [f"{d.state} at {moment_text(d.time)} UTC on {subject(d.entity)}" for d in sample.detections]
    message = f"should fire {wanted}, fired {sample.fired} times{': ' if said else ''}{'; '.join(said)}"
    return Problem(file=str(sample.path), message=message)


def _exist(paths: list[Path]) -> None:
    missing = [p for p in paths if not p.exists()]
    if missing:
        raise DocumentError([Problem(file=str(p), message="no such file or folder") for p in missing])
