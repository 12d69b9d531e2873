"""``fallow demo``: a simulated cluster sends real OTLP to a real service; what it finds is shown as it comes."""

from __future__ import annotations

import asyncio
import importlib
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from fallow import semconv
from fallow.batch import Batch, LogBatch
from fallow.cli.output import log_to_stderr, out
from fallow.cli.replay import by_rule
from fallow.config import parse_config
from fallow.entity import subject
from fallow.model import Detection, Recommendation
from fallow.registry import components
from fallow.replay import Accounting, Summary
from fallow.service import Service
from fallow.units import duration_ns, duration_text, moment_text

CONFIG = """\
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:0"}}}}}}
processors:
  decode:
  normalise:
  attribute:
  health:
  baselines:
  rhythm:
  cre:
  recommender:
exporters:
  recommendations: {{endpoint: "127.0.0.1:0"}}
  report:
    path: {report}
    title: Fallow demo
    note: This cluster is simulated; the service, the rules and the arithmetic are real.
service:
  ledger: {{url: "sqlite:///ledger.db"}}
  pipelines:
    telemetry:
      receivers: [otlp]
      processors: [decode, normalise, attribute, health, baselines, rhythm, cre, recommender]
      exporters: [recommendations, report]
"""
ROWS = 7
INFO = 4
"""Severity of what is only recorded; it stays out of the live table."""


@dataclass(slots=True)
class _Job:
    name: str
    user: str
    start: int
    end: int = 0


class _Screen:
    """What is on the screen; fed from the analysis thread, drawn from the main one."""

    def __init__(self, simulated_ns: int) -> None:
        self.accounting = Accounting()
        self.detections: dict[str, Detection] = {}
        self.recommendations: dict[str, Recommendation] = {}
        self.jobs: dict[str, _Job] = {}
        self._simulated_ns = simulated_ns
        self._started = time.monotonic()
        self._first = self._now = 0

    def observe(self, batch: Batch) -> None:
        self.accounting.observe(batch)
        if batch.metrics is not None and len(batch.metrics):
            self._now = max(self._now, int(batch.metrics.time.max()))
            self._first = self._first or self._now
        if batch.logs is not None:
            self._hear(batch.logs)
        for found in batch.detections:
            self.detections[found.id] = found
        for made in batch.recommendations:
            self.recommendations[made.id] = made

    def _hear(self, logs: LogBatch) -> None:
        for i, event in enumerate(logs.event_name):
            if event not in (semconv.JOB_START, semconv.JOB_END):
                continue
            labels = logs.attributes(i)
            id, at = labels.get(semconv.JOB_ID, ""), int(logs.time[i])
            job = _Job(labels.get(semconv.JOB_NAME, ""), labels.get(semconv.USER_NAME, ""), at)
            if event == semconv.JOB_START:
                self.jobs[id] = job
            else:
                self.jobs.setdefault(id, job).end = at

    def __rich__(self) -> Group:
        return Group(self._head(), self._running(), self._found(), self._suggested())

    def _head(self) -> Panel:
        summary = self.accounting.summary()
        elapsed = time.monotonic() - self._started
        share = min(1.0, (self._now - self._first) / self._simulated_ns) if self._simulated_ns else 0.0
        text = Text.assemble(
            ("Simulated cluster  ", "bold"),
            f"{moment_text(self._now)} UTC, " if self._now else "starting; the very first run compiles its kernels, ",
            f"{duration_text(self._now - self._first)} of telemetry in {elapsed:.0f} s ({share:.0%})\n",
            f"{summary.entities} GPUs, {summary.samples:,} samples, {summary.events:,} events   ",
            (f"{summary.gpu_seconds_observed / 3600:.0f} GPU-hours observed, ", ""),
            (f"{summary.gpu_seconds_reclaimable / 3600:.1f} reclaimable", "bold green"),
        )
        return Panel(text, border_style="green")

    def _running(self) -> Table:
        jobs = sorted(self.jobs.copy().items(), key=lambda item: item[1].start)
        running = [entry for entry in jobs if not entry[1].end]
        table = _table(f"Jobs: {len(running)} running, {len(jobs) - len(running)} ended; the newest")
        for name in ("job", "name", "user", "started (UTC)"):
            table.add_column(name, no_wrap=True)
        for id, job in running[-ROWS:]:
            table.add_row(id, job.name, job.user, moment_text(job.start))
        return table

    def _found(self) -> Table:
        found = [d for d in self.detections.copy().values() if d.severity < INFO]
        table = _table(f"Detections: {len(found)}; the newest")
        for name in ("decided (UTC)", "rule", "what", "where"):
            table.add_column(name, no_wrap=True, overflow="ellipsis")
        table.add_column("state", no_wrap=True, min_width=8)
        for d in sorted(found, key=lambda d: d.time)[-ROWS:]:
            style = {"fired": "yellow", "unknown": "dim"}.get(d.state, "")
            table.add_row(moment_text(d.time), d.rule, d.title, subject(d.entity), d.state, style=style)
        return table

    def _suggested(self) -> Table:
        made = self.recommendations.copy().values()
        table = _table(f"Recommendations: {len(made)}; the newest")
        for name in ("action", "tier", "rule", "target"):
            table.add_column(name, no_wrap=True, overflow="ellipsis")
        table.add_column("saves, GPU-hours", justify="right", no_wrap=True)
        table.add_column("cost", justify="right", no_wrap=True)
        for r in sorted(made, key=lambda r: r.created)[-ROWS:]:
            s = r.saving
            hours = f"{s.gpu_seconds / 3600:.1f}  ({s.low / 3600:.1f}–{s.high / 3600:.1f})" if s.gpu_seconds else "–"
            cost = f"{s.cost:.2f} {s.currency}" if s.gpu_seconds else "–"
            table.add_row(r.action.kind, r.tier, r.rule, subject(r.target), hours, cost)
        return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", expand=True, box=SIMPLE_HEAD)


def demo(
    seconds: Annotated[float, typer.Option(min=5, max=600, help="Wall-clock time that the demo may take.")] = 60,
    hours: Annotated[float, typer.Option(min=0.5, max=48, help="Simulated time.")] = 6,
    seed: Annotated[int, typer.Option(help="The same seed gives the same cluster.")] = 1,
    report: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("fallow-demo-report.html"),
) -> None:
    """Watch a simulated 64-GPU cluster (8 nodes) being analysed: real OTLP, real service, accelerated clock."""
    log_to_stderr("warning")
    screen, findings = asyncio.run(_run(seconds, hours, seed, report.resolve()))
    _summary(screen, findings, report)


async def _run(seconds: float, hours: float, seed: int, report: Path) -> tuple[_Screen, Summary]:
    began = time.monotonic()
    screen = _Screen(int(hours * duration_ns("1h")))
    simulated: Any = importlib.import_module(components("receivers")["simulated"])
    with (
        TemporaryDirectory(prefix="fallow-demo-") as scratch,
        Live(screen, console=out, refresh_per_second=4, transient=True),
    ):
        config = parse_config(CONFIG.format(report=report), Path(scratch) / "demo.yaml")
        service = Service(config, observe=screen.observe)
        screen.accounting.series = service.series
        await service.start()
        try:
            receiver: Any = service.receivers["otlp"]
            # The last tenth of the time is for what is still queued, and for writing the report.
            left = 0.9 * seconds - (time.monotonic() - began)
            await simulated.send(
                f"127.0.0.1:{receiver.grpc_port}",
                seed=seed,
                nodes=8,
                gpus_per_node=8,
                duration_s=hours * 3600,
                wall_s=max(0.2 * seconds, left),
            )
            await service.shutdown(finish=True)
        finally:
            await service.shutdown()
    return screen, screen.accounting.summary()


def _summary(screen: _Screen, summary: Summary, report: Path) -> None:
    out.print(by_rule(summary, {d.rule: d.title for d in screen.detections.values()}))
    observed, reclaimable = summary.gpu_seconds_observed / 3600, summary.gpu_seconds_reclaimable / 3600
    share = f" ({reclaimable / observed:.0%})" if observed else ""
    out.print(
        f"Simulated cluster of {summary.entities} GPUs: {observed:.0f} GPU-hours observed, "
        f"[bold]{reclaimable:.1f} reclaimable[/bold]{share}; what several rules found is counted once."
    )
    out.print(f"Report: {report.resolve()}", markup=False, soft_wrap=True)
