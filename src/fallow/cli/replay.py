"""``fallow replay``: what was recorded, on its own clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from fallow.batch import Batch
from fallow.cli.output import err, json_sink, out
from fallow.component import Context
from fallow.entity import subject
from fallow.errors import DocumentError, Problem
from fallow.model import Detection, Recommendation
from fallow.registry import factory
from fallow.replay import Summary, default_chain, json_line, read_recording
from fallow.replay import replay as run_replay
from fallow.testing.components import context
from fallow.units import moment_text

SHOWN = 20
"""Detections in the table; JSON and report have all."""

Rules = Annotated[
    list[Path] | None,
    typer.Option("--rules", help="Rule file or folder; may be given several times. Default: built in."),
]


def replay(
    source: Annotated[
        list[Path], typer.Argument(metavar="SOURCE", help="OTLP JSON lines (.jsonl, .gz), Parquet or CSV files.")
    ],
    mapping: Annotated[
        Path | None, typer.Option("--map", help="Mapping file (YAML): which column is which signal.")
    ] = None,
    rules: Rules = None,
    playbook: Annotated[Path | None, typer.Option(help="Playbook (YAML); default: notify only.")] = None,
    json_file: Annotated[str, typer.Option("--json", help="Write JSON lines here; - for standard output.")] = "",
    report: Annotated[Path | None, typer.Option(help="Write an HTML report here.")] = None,
) -> None:
    """Run recorded telemetry through the rules: the detections are those that live processing would have given."""
    _exist(source)
    found: dict[str, Detection] = {}
    made: dict[str, Recommendation] = {}
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory()))
        sink = stack.enter_context(json_sink(json_file)) if json_file else None
        base = context("replay", scratch)
        runner = stack.enter_context(asyncio.Runner())
        exporter = _report_exporter(report, base, runner) if report else None
        advance, total = stack.enter_context(_progress())

        def observe(batch: Batch) -> None:
            for detection in batch.detections:
                found[detection.id] = detection
                _write(sink, detection)
            for recommendation in batch.recommendations:
                made[recommendation.id] = recommendation
                _write(sink, recommendation)
            if exporter is not None:
                runner.run(exporter.export(batch))

        recording = read_recording(source, mapping, base.series)
        total(recording.samples)
        summary = run_replay(recording, default_chain(rules, playbook, base), on_batch=observe, progress=advance)
        _write(sink, summary)
        if exporter is not None:
            runner.run(exporter.shutdown())
    if json_file != "-":
        _print(found, made, summary)
        if report:
            out.print(f"Report: {report.resolve()}", markup=False, soft_wrap=True)


def _exist(paths: list[Path]) -> None:
    missing = [p for p in paths if not p.is_file()]
    if missing:
        raise DocumentError([Problem(file=str(p), message="no such file") for p in missing])


def _report_exporter(path: Path, base: Context, runner: asyncio.Runner) -> Any:
    made = factory("exporters", "report")
    exporter = made.build(made.config.model_validate({"path": str(path.resolve())}), replace(base, id="report"))
    runner.run(exporter.start())
    return exporter


def _write(sink: IO[str] | None, value: Detection | Recommendation | Summary) -> None:
    if sink is not None:
        print(json_line(value), file=sink)


@contextmanager
def _progress() -> Generator[tuple[Callable[[int], None], Callable[[int | None], None]]]:
    """A progress bar on the terminal, where there is one: (advance by n samples, set the total)."""
    columns = (TextColumn("Replaying"), BarColumn(), MofNCompleteColumn(), TextColumn("samples"), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=err, disable=not err.is_terminal, transient=True) as bar:
        task = bar.add_task("replay", total=None)
        yield (lambda n: bar.advance(task, n)), (lambda n: bar.update(task, total=n))


def _print(found: dict[str, Detection], made: dict[str, Recommendation], summary: Summary) -> None:
    if found:
        out.print(by_rule(summary, {d.rule: d.title for d in found.values()}))
    by_detection = {r.detection: r for r in made.values()}
    ranked = sorted(found.values(), key=lambda d: (-_seconds(by_detection.get(d.id)), d.severity, d.time))
    if ranked:
        out.print(_detections(ranked[:SHOWN], by_detection))
    if len(ranked) > SHOWN:
        out.print(f"… and {len(ranked) - SHOWN:,} more; --json or --report has them all.")
    out.print(
        f"{summary.detections:,} detections, {summary.recommendations:,} recommendations over {summary.entities:,} "
        f"entities, {summary.samples:,} samples, {summary.events:,} events; "
        f"{summary.gpu_seconds_observed / 3600:,.1f} GPU-hours observed, "
        f"{summary.gpu_seconds_reclaimable / 3600:,.1f} reclaimable (what several rules found is counted once)."
    )


def by_rule(summary: Summary, titles: Mapping[str, str]) -> Table:
    """What each rule came to."""
    table = Table("rule", "what", title="By rule", title_justify="left")
    table.add_column("detections", justify="right")
    table.add_column("reclaimable GPU-hours", justify="right")
    for rule, row in sorted(summary.by_rule.items(), key=lambda item: -item[1].gpu_seconds_reclaimable):
        table.add_row(rule, titles.get(rule, ""), f"{row.detections:,}", f"{row.gpu_seconds_reclaimable / 3600:,.1f}")
    return table


def _detections(shown: Sequence[Detection], by_detection: Mapping[str, Recommendation]) -> Table:
    title = "Detections, by what they would save"
    table = Table("decided (UTC)", "until", "rule", "where", "state", title=title, title_justify="left")
    table.add_column("GPU-hours (interval)", justify="right")
    for d in shown:
        r = by_detection.get(d.id)
        hours = (
            f"{r.saving.gpu_seconds / 3600:.1f} ({r.saving.low / 3600:.1f}–{r.saving.high / 3600:.1f})" if r else "–"
        )
        table.add_row(moment_text(d.time), moment_text(d.end), d.rule, subject(d.entity), d.state, hours)
    return table


def _seconds(recommendation: Recommendation | None) -> float:
    return recommendation.saving.gpu_seconds if recommendation else -1.0
