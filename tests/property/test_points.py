"""A metric point is an event and nothing else changes: rules say of points what they say of the same lines in a log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from fallow.batch import Batch, LogBatch, MetricBatch
from fallow.model import Detection
from fallow.series import SeriesKey, SeriesTable
from fallow.testing.components import context
from fallow.units import SECOND
from fallow_processors.cre import CreConfig, CreProcessor, RuleSet
from fallow_processors.cre.document import parse_rules
from fallow_processors.cre.points import point_text

LOW, HIGH = 'select(.name == "util" and .value < 0.05)', 'select(.name == "util" and .value >= 0.05)'
RULES = """
rules:
  - cre: {{id: CRE-1}}
    rule:
      set:
        window: 20s
        correlations: [pod]
        event: {{source: {source}}}
        match: [{{jq: '{low}', count: 3}}]
        negate: [{{jq: '{high}', window: 2s}}]
  - cre: {{id: CRE-2}}
    rule:
      sequence:
        window: 15s
        correlations: [pod]
        event: {{source: {source}}}
        order: [{{jq: '{low}'}}, {{jq: '.name == "memory" and .value > 0.5'}}]
        negate: [{{jq: '{high}'}}]
  - cre: {{id: CRE-3}}
    rule:
      set:
        window: 10s
        correlations: [pod]
        event: {{source: {source}}}
        match: [{{jq: '{low}'}}, {{jq: '.name == "memory"'}}]
        negate: [{{jq: '{high}', slide: -5s, window: 4s}}]
  - cre: {{id: CRE-4}}
    rule:
      sequence:
        window: 15s
        correlations: [pod]
        event: {{source: {source}}}
        order: [{{jq: '{high}'}}, {{jq: '{low}', count: 2}}]
"""
Row = tuple[int, str, str, float]
"""(second, pod, signal, value)"""

rows = st.lists(
    st.tuples(
        st.integers(1, 60),
        st.sampled_from(("a", "b")),
        st.sampled_from(("util", "util", "memory")),
        st.sampled_from((0.0, 0.01, 0.05, 0.9)),
    ),
    min_size=1,
    max_size=40,
    unique_by=lambda row: row[:3],
).map(lambda found: sorted(found, key=lambda row: row[0]))


class Subject:
    """The rules over points, or over the same lines in a log."""

    def __init__(self, source: str, low: str = LOW, high: str = HIGH) -> None:
        self.table = SeriesTable()
        text = RULES.format(source=source, low=low, high=high)
        config = CreConfig.model_validate({"lateness": "100s"})
        self.processor = CreProcessor(
            RuleSet(parse_rules(text, "rules.yaml").rules), config, context("cre", Path(), self.table)
        )

    def told(self, batches: Sequence[Batch]) -> list[tuple[str, str, str, int, int]]:
        found: list[Detection] = [d for batch in batches for d in self.processor.process(batch).detections]
        found += self.processor.finish().detections
        return sorted((d.rule, d.state, d.entity["pod"], d.start, d.end) for d in found)

    def points(self, part: Sequence[Row]) -> Batch:
        series = [self.table.intern(key_of(row)) for row in part]
        return Batch(metrics=MetricBatch.of(series, [row[0] * SECOND for row in part], [row[3] for row in part]))


def key_of(row: Row) -> SeriesKey:
    return SeriesKey(row[2], "1", resource=(("pod", row[1]),))


def lines(part: Sequence[Row]) -> Batch:
    pods = ("a", "b")
    times = np.asarray([row[0] * SECOND for row in part], dtype=np.int64)
    return Batch(
        logs=LogBatch(
            time=times,
            observed=times,
            severity=np.zeros(len(part), dtype=np.int8),
            source=np.asarray([pods.index(row[1]) for row in part], dtype=np.int32),
            resources=tuple({"pod": pod} for pod in pods),
            body=pa.array([point_text(key_of(row), row[0] * SECOND, row[3]) for row in part], pa.string()),
            event_name=("",) * len(part),
            attributes=lambda _: {},
        )
    )


def distinct_times(part: Sequence[Row]) -> list[Row]:
    """One point a pod and second: which of several counts first is each side's own."""
    return list({(second, pod): (second, pod, signal, value) for second, pod, signal, value in part}.values())


@settings(max_examples=40, deadline=None)
@given(part=rows)
def test_points_are_what_their_lines_are(part: list[Row]) -> None:
    part = distinct_times(part)
    points = Subject("cre.metrics.any")
    assert points.told([points.points(part)]) == Subject("cre.log.any").told([lines(part)])


@settings(max_examples=40, deadline=None)
@given(part=rows, data=st.data())
def test_no_split_matters_and_jq_says_the_same_as_columns(part: list[Row], data: st.DataObject) -> None:
    whole = Subject("cre.metrics.any")
    expected = whole.told([whole.points(part)])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(part)), max_size=6)))
    pieces = [part[a:b] for a, b in zip([0, *cuts], [*cuts, len(part)], strict=True) if b > a]
    split = Subject("cre.metrics.any")
    assert split.told([split.points(piece) for piece in pieces]) == expected
    by_jq = Subject("cre.metrics.any", low=f"{LOW} | .name", high=f"{HIGH} | .name")
    assert by_jq.told([by_jq.points(part)]) == expected
