"""The contract of a rule's folder: each sample fires exactly once, each near miss stays quiet."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fallow.batch import Batch
from fallow.errors import DocumentError, Problem
from fallow.logfile import read_log
from fallow.model import Detection
from fallow.registry import components
from fallow.replay import BEFORE_RULES, build, raised, read_recording
from fallow.series import SeriesTable
from fallow.service import Chain
from fallow.testing.components import context
from fallow.units import SECOND

RULE = "rule.yaml"
NOW = 1_767_225_600 * SECOND
"""2026-01-01: when a sample is read, so that stamps without a year have the same one always."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sample of a rule and what the rule made of it."""

    path: Path
    wanted: int
    detections: tuple[Detection, ...]
    """What the rule said of it: fired, unknown, resolved, open."""
    timeline: Any = None
    """Where the rule did not do as it should: what matched when."""

    @property
    def fired(self) -> int:
        """How often the rule fired."""
        return sum(d.state == "fired" for d in self.detections)

    @property
    def passed(self) -> bool:
        return self.fired == self.wanted


def check_rule_folder(folder: Path) -> Iterator[Sample]:
    """Run a rule over each of its samples.

    Raises:
        DocumentError: the folder has no rule, no sample that should fire, no near miss, or a broken one.
    """
    rule = folder / RULE
    samples = sorted(p for p in folder.glob("test*") if p.name.endswith((".log", ".otlp.jsonl")))
    quiet = [p for p in samples if p.name.startswith("test-fp")]
    problems = [
        Problem(file=str(folder), message=f"has no {what}")
        for what, there in (
            (RULE, rule.is_file()),
            ("sample that must fire (test.log or test.otlp.jsonl)", len(samples) > len(quiet)),
            ("near miss that must not fire (test-fp*.log or test-fp*.otlp.jsonl)", bool(quiet)),
        )
        if not there
    ]
    if problems:
        raise DocumentError(problems)
    for sample in samples:
        found = Sample(path=sample, wanted=0 if sample in quiet else 1, detections=tuple(detections_of([rule], sample)))
        yield found if found.passed else replace(found, timeline=timeline_of([rule], sample))


def detections_of(rules: list[Path], sample: Path) -> list[Detection]:
    """What rules say of a sample: a log file, or OTLP JSON lines."""
    return _run(rules, sample, None)


def timeline_of(rules: list[Path], sample: Path) -> Any:
    """What matched when in a sample, as far as the rules look at it."""
    timeline = importlib.import_module(components("processors")["cre"]).Timeline()
    _run(rules, sample, timeline)
    return timeline


def recorded(rules: list[Path], sample: Path, timeline: Any = None) -> Iterator[tuple[Batch, SeriesTable]]:
    """What comes out of the pipeline for a sample, batch by batch: normalised signals, records, detections."""
    base = context("rule-test", sample.parent)
    options = {"cre": {"rules": [str(rule.resolve()) for rule in rules]}}
    processors = build((*BEFORE_RULES, "cre"), options, base)
    if timeline is not None:
        engine: Any = processors["cre"]
        engine.watch(timeline)
    chain = Chain(processors, raised)
    chain.prepare()
    for batch in _batches(sample, base.series):
        yield chain.process(batch), base.series
    for batch in chain.finish():
        yield batch, base.series


def _run(rules: list[Path], sample: Path, timeline: Any) -> list[Detection]:
    return [detection for batch, _ in recorded(rules, sample, timeline) for detection in batch.detections]


def _batches(sample: Path, series: SeriesTable) -> Iterable[Batch]:
    if sample.name.endswith(".log"):
        return [Batch(logs=read_log(sample, NOW))]
    return read_recording([sample], None, series)
