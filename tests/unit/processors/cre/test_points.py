"""Metric points as events: terms on the source ``cre.metrics``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fallow.batch import Batch, MetricBatch
from fallow.errors import DocumentError
from fallow.model import Detection
from fallow.series import SeriesKey, SeriesTable
from fallow.testing.components import context
from fallow.units import SECOND
from fallow_processors.cre import CreConfig, CreProcessor, RuleSet
from fallow_processors.cre.document import parse_rules
from fallow_processors.cre.points import point_text
from fallow_processors.cre.rule import Rule, Term

HEAD = """
rules:
  - cre: {id: CRE-2026-9901, severity: 2, title: A title}
    rule:
"""
IDLE = """
set:
  window: 30m
  correlations: [k8s.pod.name]
  event: {source: cre.metrics.gpu}
  match:
    - {jq: 'select(.name == "hw.gpu.utilization" and .value < 0.05)', count: 3}
  negate:
    - {jq: 'select(.name == "hw.gpu.utilization" and .value >= 0.05)', window: 1m}
"""
LOW = """
set:
  event: {source: cre.metrics}
  match: [%s]
"""
SECONDS_A_MINUTE = 60


def rules_of(body: str) -> tuple[Rule, ...]:
    text = HEAD + "\n".join("      " + line for line in body.strip("\n").splitlines())
    return parse_rules(text, "rule.yaml").rules


class Feed:
    """A processor and the points that the test sends it."""

    def __init__(self, body: str, **options: Any) -> None:
        self.table = SeriesTable()
        config = CreConfig.model_validate(options)
        rules = RuleSet(rules_of(body))
        self.processor = CreProcessor(rules, config, context("cre", Path(), self.table))
        self.found: list[Detection] = []

    def points(
        self, rows: Sequence[tuple[float, float]], name: str = "hw.gpu.utilization", pod: str = "nb-1", gpu: str = "0"
    ) -> MetricBatch:
        key = SeriesKey(name, "1", resource=(("k8s.pod.name", pod),), attributes=(("gpu", gpu),))
        series = self.table.intern(key)
        return MetricBatch.of([series] * len(rows), [int(t * SECOND) for t, _ in rows], [v for _, v in rows])

    def send(self, rows: Sequence[tuple[float, float]], **labels: str) -> list[Detection]:
        return self.run(Batch(metrics=self.points(rows, **labels)))

    def run(self, batch: Batch) -> list[Detection]:
        found = list(self.processor.process(batch).detections)
        self.found += found
        return found

    def all(self) -> list[Detection]:
        """What was found from the beginning to the end of the stream."""
        return self.found + list(self.processor.finish().detections)


def minutes(*rows: tuple[float, float]) -> list[tuple[float, float]]:
    return [(at * SECONDS_A_MINUTE, value) for at, value in rows]


def test_three_low_points_of_a_pod_fire_once_the_contrary_can_no_longer_come() -> None:
    feed = Feed(IDLE)
    found = feed.send(minutes((0, 0.015), (10, 0.0), (20, 0.002)))
    assert found == [], "a high point within a minute of the last would veto"
    (hit,) = feed.send(minutes((30, 0.9)))
    assert (hit.state, hit.start, hit.end) == ("fired", 0, 1200 * SECOND)
    assert hit.entity == {"k8s.pod.name": "nb-1", "gpu": "0"}
    assert [(e.kind, e.name, e.value) for e in hit.evidence] == [
        ("signal", "hw.gpu.utilization", 0.015),
        ("signal", "hw.gpu.utilization", 0.0),
        ("signal", "hw.gpu.utilization", 0.002),
    ]
    assert hit.evidence[0].text == 'select(.name == "hw.gpu.utilization" and .value < 0.05)'


# -L--L--L----  three low points; H a high one
@pytest.mark.parametrize(
    ("rows", "hits"),
    [
        pytest.param(((0, 0.0), (10, 0.0), (20, 0.0), (25, 0.9)), 1, id="-L-L-L------H"),
        pytest.param(((0, 0.0), (10, 0.0), (20, 0.0), (20.5, 0.9), (25, 0.9)), 0, id="-L-L-LH-----H: within a minute"),
        pytest.param(((0, 0.0), (5, 0.9), (10, 0.0), (20, 0.0), (25, 0.9)), 0, id="-L-H-L-L--H: between"),
        pytest.param(((0, 0.9), (5, 0.0), (10, 0.0), (20, 0.0), (25, 0.9)), 1, id="-H-L-L-L--H: before the first"),
        pytest.param(((0, 0.0), (10, 0.0), (40, 0.0), (60, 0.9)), 0, id="-L-L-------L: outside the window"),
        pytest.param(((0, 0.0), (10, 0.0), (20, float("nan")), (25, 0.9)), 0, id="NaN is no low point"),
        pytest.param(((0, 0.0), (5, float("nan")), (10, 0.0), (20, 0.0), (25, 0.9)), 1, id="nor a high one"),
    ],
)
def test_negatives_over_points(rows: tuple[tuple[float, float], ...], hits: int) -> None:
    for size in (1, 2, len(rows)):
        feed = Feed(IDLE)
        for start in range(0, len(rows), size):
            feed.send(minutes(*rows[start : start + size]))
        assert len(feed.all()) == hits, f"in requests of {size}"


def test_what_has_no_recorded_value_is_no_event() -> None:
    feed = Feed(LOW % "{jq: '.value < 1'}")
    batch = feed.points([(1, 0.0), (2, 0.0)])
    feed.run(Batch(metrics=replace(batch, stale=np.asarray([False, True]))))
    assert [d.time for d in feed.all()] == [SECOND]


def test_correlations_keep_pods_apart_and_join_devices() -> None:
    feed = Feed(IDLE)
    for pod, gpu, minute in (("a", "0", 0), ("b", "0", 1), ("a", "1", 2), ("b", "1", 3), ("a", "0", 4)):
        feed.send(minutes((minute, 0.0)), pod=pod, gpu=gpu)
    (hit,) = feed.all()
    assert (hit.entity["k8s.pod.name"], hit.start, hit.end) == ("a", 0, 240 * SECOND)


def test_without_correlations_each_entity_is_by_itself() -> None:
    feed = Feed(IDLE.replace("  correlations: [k8s.pod.name]\n", ""))
    for minute in range(4):
        feed.send(minutes((minute, 0.0)), gpu=str(minute % 2))
    assert feed.found == []
    feed.send(minutes((4, 0.0)), gpu="0")
    (hit,) = feed.all()
    assert hit.entity["gpu"] == "0"


def test_hosts_are_put_in_order_before_they_are_compared() -> None:
    body = """
    sequence:
      window: 1m
      correlations: [gpu]
      event: {source: cre.metrics}
      order: [{jq: '.name == "first"'}, {jq: '.name == "second"'}]
    """
    feed = Feed(body)
    feed.send([(0, 1.0)], name="other", pod="h1")
    feed.send([(0, 1.0)], name="other", pod="h2")
    feed.send([(20, 1.0)], name="second", pod="h1")
    feed.send([(10, 1.0)], name="first", pod="h2")
    assert [d.start for d in feed.all()] == [10 * SECOND]


@pytest.mark.parametrize(
    ("term", "hits"),
    [
        pytest.param("{jq: '.value < 1'}", 3, id="columns"),
        pytest.param("{jq: 'select(.value < 1) | .name'}", 3, id="columns-then-jq"),
        pytest.param("{jq: '(.value | floor) == 0'}", 3, id="jq"),
        pytest.param("{jq: '.attributes.gpu == \"1\"'}", 0, id="another-series"),
        pytest.param("{jq: '.value < \"a\"'}", 5, id="a-number-is-less-than-text"),
        pytest.param("{jq: '.value == null'}", 0, id="a-number-is-not-null"),
        pytest.param("{value: '\"value\":0.5,'}", 1, id="substring-of-the-line"),
        pytest.param('{regex: \'"value":2,"resource":."k8s\'}', 1, id="pattern-over-the-line"),
        pytest.param("{field: gpu, value: '0'}", 5, id="label"),
        pytest.param("{field: gpu, value: '1'}", 0, id="another-label"),
        pytest.param("{field: none, value: 'utilization'}", 5, id="without-the-label-the-line"),
    ],
)
def test_terms_apply_to_the_line_of_a_point(term: str, hits: int) -> None:
    feed = Feed(LOW % term)
    feed.send([(1, 0.0), (2, 0.5), (3, 0.25), (4, 2.0), (5, 1e300)])
    assert len(feed.all()) == hits


def test_an_extract_takes_a_value_from_the_line() -> None:
    feed = Feed(
        IDLE.replace("[k8s.pod.name]", "[team]").replace(
            "count: 3", "count: 3, extract: [{name: team, regex: 'nb-(.)'}]"
        )
    )
    for minute, pod in enumerate(("nb-1", "nb-2", "nb-1x", "nb-1y")):
        feed.send(minutes((minute, 0.0)), pod=pod)
    (hit,) = feed.all()
    assert hit.entity["team"] == "1"


def test_a_source_is_what_the_configuration_says() -> None:
    feed = Feed(LOW % "{jq: '.value < 1'}", sources={"cre.metrics": {"gpu": ["1"]}})
    feed.send([(1, 0.0)], gpu="0")
    feed.send([(2, 0.0)], gpu="1")
    assert [d.entity["gpu"] for d in feed.all()] == ["1"]


def test_points_and_conditions_over_signals_together() -> None:
    body = """
    sequence:
      window: 1m
      correlations: [k8s.pod.name]
      order:
        - set: {event: {source: cre.metrics}, match: [{jq: '.name == "a" and .value > 1'}]}
        - promql: {expr: "b > 0", event: {source: cre.metrics, origin: true}}
    """
    feed = Feed(body)
    for second in range(30):
        feed.send([(second, 2.0 if second == 10 else 0.0)], name="a")
        feed.send([(second, 1.0 if second >= 20 else 0.0)], name="b")
    fired, still = feed.all()
    assert (fired.state, fired.start, fired.time, still.state) == ("fired", 10 * SECOND, 20 * SECOND, "open")
    assert [(e.kind, e.text) for e in fired.evidence] == [
        ("signal", '.name == "a" and .value > 1'),
        ("signal", "b > 0"),
    ]


FIELD = """
set:
  event: {source: cre.metrics}
  match:
    - {field: promql, value: "a > 1", window: 3s}
"""
PROMQL = """
set:
  match:
    - promql: {expr: "a > 1", for: 3s, event: {source: cre.metrics, origin: true}}
"""


def test_both_spellings_of_promql_are_one_condition() -> None:
    found: list[list[Any]] = []
    for body in (FIELD, PROMQL):
        feed = Feed(body)
        for second in range(12):
            feed.send([(second, 2.0 if 4 <= second < 9 else 0.0)], name="a")
        found.append([(d.state, d.time, d.start, d.end, d.entity, d.evidence) for d in feed.all()])
    assert found[0] == found[1]
    assert [state for state, *_ in found[0]] == ["fired", "resolved"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        pytest.param(FIELD.replace("match:", "match:\n    - {jq: .value}"), "InvalidNodeType", id="with-terms"),
        pytest.param(FIELD.replace("a > 1", "a >"), "Promql", id="not-promql"),
    ],
)
def test_a_field_promql_that_cannot_be(body: str, kind: str) -> None:
    with pytest.raises(DocumentError) as caught:
        Feed(body)
    (problem,) = caught.value.problems
    assert (problem.kind, problem.line > 3) == (kind, True)


def test_a_field_promql_is_the_origin_where_nothing_else_is() -> None:
    condition = """
    set:
      window: 1m
      match:
        - {field: promql, value: "a > 1"}
        - set: {event: {source: cre.log.x%s}, match: [b]}
    """
    for said, metric, node in (("", True, False), (", origin: true", False, True)):
        (rule,) = rules_of(condition % said)
        assert [item.origin for item in rule.root.positives if not isinstance(item, Term)] == [metric, node]


def test_the_line_of_a_point() -> None:
    key = SeriesKey("hw.power", "W", resource=(("b", "ä"), ("c", "2")), attributes=(("a", "1"),))
    assert point_text(key, 1_500_000_001, 0.1) == (
        '{"timestamp":"1970-01-01T00:00:01.500000001Z","name":"hw.power","unit":"W","value":0.1,'
        '"resource":{"b":"ä","c":"2"},"attributes":{"a":"1"}}'
    )
    assert '"value":1.7976931348623157e+308' in point_text(key, 0, float("inf"))
