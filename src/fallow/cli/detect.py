"""``fallow detect``: rules over log files and standard input."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from pydantic import ValidationError
from rich.table import Table

from fallow.batch import Batch
from fallow.cli.output import err, fail, out
from fallow.component import Context
from fallow.errors import DocumentError, Problem, WrongStamp
from fallow.jsonlines import json_line
from fallow.logfile import (
    STDIN,
    Clock,
    Records,
    Reorder,
    Source,
    first_time,
    load_sources,
    log_batch,
    merged,
    open_log,
    pattern_format,
    reordered,
    unreadable,
)
from fallow.model import Detection
from fallow.registry import components
from fallow.summary import RuleSummary, Summary
from fallow.units import SECOND, duration_ns, moment_text

SHOWN = 50
"""Detections in the table; --json has all."""
FEW_BYTES = 1 << 20
"""Text that is looked through sooner than the engine's kernels are loaded."""
SLOW_S = 1.5
"""Loading kernels takes less; compiling them takes more."""
TEXT_SHOWN = 100
"""Characters of evidence in the table."""
SEVERITIES = {0: "critical", 1: "high", 2: "medium", 3: "low", 4: "info"}
STAMPS = "stamps"
"""What stands for reading stamps as published engines do."""
FOUND = 1
"""Exit code where rules fired, with --exit-code."""


def _duration(text: str) -> int:
    try:
        return duration_ns(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Logs = Annotated[
    list[Path] | None, typer.Argument(metavar="LOG", help="Log files, .gz too; - or none: standard input.")
]
Rules = Annotated[list[Path], typer.Option("--rules", help="Rule file or folder; may be given several times.")]
SourcesFile = Annotated[
    Path | None, typer.Option("--sources", help="Sources document: which files are of which event.source.")
]


def detect(
    rules: Rules,
    log: Logs = None,
    sources: SourcesFile = None,
    source: Annotated[
        str, typer.Option(metavar="TYPE", help="What the logs are: only rules about this event.source see them.")
    ] = "",
    window: Annotated[
        int,
        typer.Option(
            parser=_duration, metavar="DURATION", help="How far lines may come out of order and are put in order."
        ),
    ] = cast(int, "0"),
    stamp_regex: Annotated[str, typer.Option(metavar="RE2", help="Where the stamp stands: its one group.")] = "",
    stamp_format: Annotated[
        str, typer.Option(metavar="LAYOUT", help="How it is written: rfc3339, epochany, 2006-01-02 15:04:05 …")
    ] = "rfc3339nano",
    published: Annotated[
        str,
        typer.Option(
            metavar="LIST", help="For comparison, err as published engines do: D1 to D4, stamps; see docs/detect.md."
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines on a terminal too.")] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 where a rule fired.")] = False,
    lenient: Annotated[bool, typer.Option(help="Warn about unknown keys in rules instead of refusing them.")] = False,
) -> None:
    """Find in logs what rules describe: a JSON line for each detection, a table on a terminal.

    Files are read in the order of their first stamps, as if they were one; with --sources each source is read so,
    and rules see their own only. What waits for time to pass is decided at the end.

    Exit code: 0 done, whatever was found (1 where a rule fired and --exit-code is given), 2 what was given is wrong.
    """
    now = time.time_ns()
    read = _sources(log or [], sources, source, window, stamp_regex, stamp_format, now)
    errors = frozenset(filter(None, published.split(",")))
    engine = _engine(rules, lenient, sorted(errors - {STAMPS}))
    look = _Look(engine, to_table=out.is_terminal and not as_json, published=STAMPS in errors)
    try:
        with _progress() as told:
            look.through(read, now, told)
        look.end()
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if exit_code and look.fired:
        raise typer.Exit(FOUND)


# -- what is read ------------------------------------------------------------------------------------------------------
def _sources(
    log: Sequence[Path], document: Path | None, type: str, window: int, regex: str, layout: str, now: int
) -> list[Source]:
    if document is None:
        format = None
        if regex:
            try:
                format = pattern_format(regex, layout, now)
            except WrongStamp as error:
                fail(f"--stamp-regex: {error}", 2)
        files = tuple(dict.fromkeys(log)) or (STDIN,)
        if STDIN in files and len(files) > 1:
            fail("standard input (-) found beside files, expected one or the other", 2)
        made = Source(type=type, files=files, window=window, format=format)
        return [replace(made, files=_in_order(made, now, strict=True))]
    if log or type or regex or window:
        fail("--sources names files, windows and stamps itself: leave out LOG, --source, --window and --stamp-regex", 2)
    found = load_sources(document, now)
    for problem in found.left_out:
        err.print(f"fallow: {problem}", markup=False)
    read = [replace(one, files=_in_order(one, now, strict=False)) for one in found.found]
    if not any(one.files for one in read):
        fail(f"{document}: no source has a file that can be read", 2)
    return read


def _in_order(source: Source, now: int, *, strict: bool) -> tuple[Path, ...]:
    """The files of a source by their first stamps; those that cannot be read are refused, or left out with a word."""
    if source.files == (STDIN,):
        return source.files
    first: dict[Path, int] = {}
    problems: list[Problem] = []
    for path in source.files:
        try:
            first[path] = first_time(path, now, format=source.format)
        except DocumentError as error:
            problems += error.problems
    if problems and strict:
        raise DocumentError(problems)
    for problem in problems:
        err.print(f"fallow: {problem}: left out", markup=False)
    return tuple(sorted(first, key=lambda path: first[path]))


# -- the engine --------------------------------------------------------------------------------------------------------
def _engine(rules: list[Path], lenient: bool, defects: Sequence[str]) -> Any:
    """The rule engine, found by name as every component is, with the rules that logs can answer."""
    cre: Any = importlib.import_module(components("processors")["cre"])
    loaded = cre.RuleSet.load(rules, lenient=lenient)
    for warning in loaded.warnings:
        err.print(f"fallow: {warning}", markup=False)
    asking = [rule for rule in loaded.rules if rule.asks_signals]
    if asking:
        names = ", ".join(rule.cre for rule in asking[:5]) + (" …" if len(asking) > 5 else "")
        said = (
            f"{len(asking)} rule{'s' if len(asking) > 1 else ''} with promql left out: logs have no signals ({names})"
        )
        err.print(f"fallow: {said}", markup=False)
    left = tuple(rule for rule in loaded.rules if not rule.asks_signals)
    if not left:
        fail("no rule is left that logs could answer", 2)
    try:
        config = cre.CreConfig(published_defects=defects)
    except ValidationError:
        fail(f"--published: {','.join(defects)} found, expected some of D1,D2,D3,D4,{STAMPS}", 2)
    return cre.CreProcessor(replace(loaded, rules=left), config, _context())


class _Untold:
    """A meter that nobody reads."""

    def create_counter(self, *_: Any, **__: Any) -> _Untold:
        return self

    def add(self, *_: Any) -> None:
        return


def _context() -> Context:
    from fallow.series import SeriesTable  # after the rules: what is wrong with them is said at once

    # The rule engine keeps no ledger; to make one would take longer than most files.
    return Context(
        id="cre",
        series=SeriesTable(),
        ledger=cast(Any, None),
        meter=cast(Any, _Untold()),
        directory=Path(),
        telemetry_resource={},
    )


# -- the look through the files ----------------------------------------------------------------------------------------
@dataclass(slots=True)
class _Seen:
    """What was read, in numbers."""

    events: int = 0
    text: int = 0
    """Bytes."""
    dropped: int = 0
    first: int = 2**63 - 1
    last: int = -(2**63)

    def see(self, records: Records) -> None:
        self.events += len(records)
        self.text += records.text.nbytes
        if len(records):
            self.first = min(self.first, int(records.time.min()))
            self.last = max(self.last, int(records.time.max()))


@dataclass(slots=True)
class _Look:
    """Runs events through the engine and tells what it finds."""

    engine: Any
    to_table: bool
    published: bool = False
    fired: int = 0
    _unknown: int = 0
    _by_rule: Counter[str] = field(default_factory=Counter[str])
    _kept: list[Detection] = field(default_factory=list[Detection])
    _seen: _Seen = field(default_factory=_Seen)
    _late: int = 0
    _loaded: bool = False

    def through(self, sources: Sequence[Source], now: int, told: Callable[[Path, int], None]) -> None:
        """Read everything, in bounded memory."""
        resources = [{"cre.source": source.type} if source.type else {} for source in sources]
        clocks = [Clock() for _ in sources]
        buffers: list[Reorder[bytes]] = [Reorder(source.window) for source in sources]
        streams = [
            reordered(self._events(source, now, told), buffer) if source.window else self._events(source, now, told)
            for source, buffer in zip(sources, buffers, strict=True)
        ]
        for number, records in merged(streams):
            for part in clocks[number].split(records):
                self._tell(self.engine.process(Batch(logs=log_batch(part, resources[number]))))
        self._late = sum(clock.late for clock in clocks) + sum(buffer.late for buffer in buffers)

    def _events(self, source: Source, now: int, told: Callable[[Path, int], None]) -> Iterator[Records]:
        for path in source.files:
            with open_log(path, now, format=source.format, published=self.published) as reader:
                for records in reader:
                    self._seen.see(records)
                    if self._seen.text > FEW_BYTES and not self._loaded:
                        self._load_kernels()
                    told(path, len(records))
                    yield records
                self._seen.dropped += reader.dropped
                if reader.too_long:
                    problem = unreadable(path, "an event of more than 4 MiB: the rest is not read", reader.lines)
                    err.print(f"fallow: {problem}", markup=False)

    def _load_kernels(self) -> None:
        said = "fallow: compiling the scanner of log lines; the next start finds it compiled"
        late = threading.Timer(SLOW_S, lambda: err.print(said))
        late.daemon = True
        late.start()
        try:
            self.engine.prepare()
        finally:
            late.cancel()
        self._loaded = True

    def end(self) -> None:
        """What waited for time to pass, then the sum of it all."""
        self._tell(self.engine.finish())
        if self._late:
            lines = "1 line was" if self._late == 1 else f"{self._late:,} lines were"
            said = f"{lines} older than what came before: only rules of one term see that"
            err.print(f"fallow: {said}; --window 10s puts lines in order", markup=False)
        if self._seen.dropped:
            err.print(f"fallow: lines without a stamp that belong to no event: {self._seen.dropped:,}", markup=False)
        if self.to_table:
            self._print()
        else:
            print(json_line(self._summary()), flush=True)

    def _tell(self, batch: Batch) -> None:
        for found in batch.detections:
            self.fired += found.state == "fired"
            self._unknown += found.state == "unknown"
            self._by_rule[found.rule] += found.state == "fired"
            if self.to_table:
                self._kept += [found] if len(self._kept) < SHOWN else []
            else:
                print(json_line(found))
        if batch.detections and not self.to_table:
            sys.stdout.flush()

    def _summary(self) -> Summary:
        seen = self._seen
        return Summary(
            detections=self.fired,
            recommendations=0,
            entities=0,
            samples=0,
            events=seen.events,
            span_s=max(seen.last - seen.first, 0) / SECOND,
            gpu_seconds_observed=0.0,
            gpu_seconds_reclaimable=0.0,
            late=self._late,
            unknown=self._unknown,
            by_rule={
                rule: RuleSummary(detections=n, gpu_seconds_reclaimable=0.0)
                for rule, n in sorted(self._by_rule.items())
            },
        )

    def _print(self) -> None:
        table = Table("when (UTC)", "rule", "severity", "what", "evidence")
        for found in self._kept:
            first = found.evidence[0].text if found.evidence else ""
            shown = first if len(first) <= TEXT_SHOWN else first[:TEXT_SHOWN] + "…"
            more = f" (+{len(found.evidence) - 1})" if len(found.evidence) > 1 else ""
            severity = SEVERITIES.get(found.severity, str(found.severity))
            table.add_row(moment_text(found.time), found.rule, severity, found.title, shown + more)
        if self._kept:
            out.print(table, markup=False)
        if self.fired + self._unknown > len(self._kept):
            out.print(f"… and {self.fired + self._unknown - len(self._kept):,} more; --json has them all.")
        rules = sum(n > 0 for n in self._by_rule.values())
        out.print(f"{self.fired:,} detections of {rules:,} rules in {self._seen.events:,} events.")


@contextmanager
def _progress() -> Generator[Callable[[Path, int], None]]:
    """Events read, on the terminal where there is one."""
    if not err.is_terminal:
        yield lambda _path, _n: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} events"), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=err, transient=True) as bar:
        task = bar.add_task("")
        yield lambda path, n: bar.update(task, advance=n, description=str(path))
