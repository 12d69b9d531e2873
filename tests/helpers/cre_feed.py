"""A rule engine and what a test sends it; seconds are event time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fallow.batch import Batch, LogBatch, MetricBatch
from fallow.model import Detection
from fallow.series import SeriesKey, SeriesTable
from fallow.testing.components import context
from fallow.units import SECOND
from fallow_processors.cre import CreConfig, CreProcessor, RuleSet
from fallow_processors.cre.document import parse_rules
from fallow_processors.cre.rule import Rule

HEAD = """
rules:
  - metadata: {id: AAAAbbbbCCCC%(number)d}
    cre: {id: CRE-2026-990%(number)d, severity: 2, title: A title, tags: [gpu]}
    rule:
"""

Line = tuple[float, str, str, str, dict[str, str]]
"""(second, text, host, event name, attributes with _ for .)"""


def ruleset(*bodies: str) -> RuleSet:
    """Rules CRE-2026-9901, CRE-2026-9902, …"""
    rules: list[Rule] = []
    for number, body in enumerate(bodies, start=1):
        text = HEAD % {"number": number} + "\n".join("      " + line for line in body.strip("\n").splitlines())
        rules += parse_rules(text, f"rule{number}.yaml").rules
    return RuleSet(tuple(rules))


class Feed:
    """A processor and what the test sends it."""

    def __init__(self, rules: RuleSet, **options: Any) -> None:
        self.table = SeriesTable()
        self.dropped: dict[str, int] = {}
        config = CreConfig.model_validate(options)
        self.processor = CreProcessor(rules, config, context("cre", Path(), self.table))
        self.processor.prepare()

    def metric(self, second: float, value: float, host: str = "h1", name: str = "a", **labels: str) -> list[Detection]:
        return self.run(Batch(metrics=self.samples([(second, host, value)], name, **labels)))

    def samples(self, rows: Sequence[tuple[float, str, float]], name: str = "a", **labels: str) -> MetricBatch:
        keys = [
            SeriesKey(name=name, resource=(("host.name", host),), attributes=tuple(sorted(labels.items())))
            for _, host, _ in rows
        ]
        return MetricBatch.of(
            [self.table.intern(k) for k in keys], [int(s * SECOND) for s, _, _ in rows], [v for _, _, v in rows]
        )

    def log(self, second: float, body: str, host: str = "h1", event: str = "", **attributes: str) -> list[Detection]:
        return self.run(Batch(logs=logs([(second, body, host, event, attributes)])))

    def lines(self, lines: Sequence[Line]) -> list[Detection]:
        return self.run(Batch(logs=logs(lines)))

    def run(self, batch: Batch) -> list[Detection]:
        return self._out(self.processor.process(batch))

    def tick(self, second: float) -> list[Detection]:
        return self._out(self.processor.tick(int(second * SECOND)))

    def finish(self) -> list[Detection]:
        return self._out(self.processor.finish())

    def _out(self, batch: Batch) -> list[Detection]:
        for reason, count in batch.dropped.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + count
        return list(batch.detections)


def logs(lines: Sequence[Line]) -> LogBatch:
    """Records as a batch, a resource for each host."""
    hosts = sorted({host for _, _, host, _, _ in lines})
    times = np.asarray([int(second * SECOND) for second, *_ in lines], dtype=np.int64)
    return LogBatch(
        time=times,
        observed=times,
        severity=np.zeros(len(lines), dtype=np.int8),
        source=np.asarray([hosts.index(host) for _, _, host, _, _ in lines], dtype=np.int32),
        resources=tuple({"host.name": host} for host in hosts),
        body=pa.array([body for _, body, *_ in lines], pa.string()),
        event_name=tuple(event for *_, event, _ in lines),
        attributes=lambda i: {k.replace("_", "."): v for k, v in lines[i][4].items()},
    )
