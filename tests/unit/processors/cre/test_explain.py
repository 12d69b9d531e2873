"""What is said about a rule in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fallow.units import duration_ns
from fallow_processors.cre.document import parse_rules
from fallow_processors.cre.explanation import explain, interval_text
from fallow_processors.cre.rule import NegateOptions

RULES = """
rules:
  - cre: {id: CRE-1, title: First}
    rule:
      sequence:
        window: 10m
        correlations: [pod]
        order:
          - set:
              event: {source: cre.log.app}
              match: [{regex: 'fail(ed)?', extract: [{name: pod, regex: 'pod=(.)'}]}]
          - promql: {expr: "avg_over_time(hw_gpu_utilization[30m]) < 0.1", for: 5m, event: {source: m, origin: true}}
        negate:
          - promql: {expr: "own_metric > 1", interval: 10s, event: {source: m}}
  - cre: {id: CRE-2, title: Second}
    rule:
      set:
        match:
          - promql: {expr: "avg_over_time(hw_gpu_utilization[30m]) < 0.1 or own_metric > 2", event: {source: m, origin: true}}
  - cre: {id: CRE-3, title: Third}
    rule:
      set:
        window: 1m
        event: {source: cre.metrics.x}
        match: [{jq: 'select(.name == "hw.power" and .value > 5)', count: 2}]
        negate: [{value: hw.energy, slide: -30s}]
"""


def said(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        for value in data.values():
            yield from said(value)
    elif isinstance(data, list):
        for value in data:
            yield from said(value)


def explained() -> list[dict[str, Any]]:
    return [one.data() for one in explain(parse_rules(RULES, "rules.yaml").rules)]


def options(window: str = "0", slide: str = "0", anchor: int = 0, absolute: bool = False) -> NegateOptions:
    return NegateOptions(window=duration_ns(window), slide=duration_ns(slide), anchor=anchor, absolute=absolute)


@pytest.mark.parametrize(
    ("negate", "events", "text"),
    [
        pytest.param(options(), 3, "from the first to the last event", id="bare"),
        pytest.param(options(), 1, "at the very time of the event", id="one-event"),
        pytest.param(options("10s"), 1, "from the event to 10s after the event", id="one-event-window"),
        pytest.param(options("1m"), 2, "from the first event to 1m after the last event", id="window"),
        pytest.param(options("30s", "-30s"), 2, "from 30s before the first to the last event", id="before"),
        pytest.param(options("0", "5s"), 2, "from 5s after the first event to 5s after the last event", id="slide"),
        pytest.param(options("1m", "-5s", 1, True), 3, "from 5s before event 2 to 55s after event 2", id="absolute"),
        pytest.param(options("1m", "0", 1), 3, "from event 2 for as long as all events took plus 1m", id="anchor"),
        pytest.param(options("0", "3s", 0, True), 2, "at 3s after the first event", id="a-moment"),
    ],
)
def test_the_interval_of_a_negative_is_spelled_out(negate: NegateOptions, events: int, text: str) -> None:
    assert interval_text(negate, events) == text


def test_nodes_and_terms_are_told_with_their_facts() -> None:
    first, _, third = explained()
    looks = first["looks_for"]
    assert looks["text"] == "a sequence of 2 conditions within 10m, one after the other; all of one pod"
    assert (looks["kind"], looks["window_ns"], looks["correlations"]) == ("machine", 600 * 10**9, ["pod"])
    record, metric, negative = looks["parts"]
    assert record["parts"][0]["parts"][0]["text"] == "takes pod from it by regex pod=(.)"
    assert metric["text"].endswith("begins to hold for 5m; it is the origin")
    assert negative["text"] == "not: own_metric > 1  must not hold from the first to the last event"
    low, contrary = third["looks_for"]["parts"]
    assert (low["count"], low["columns"], contrary["columns"]) == (2, True, False)
    assert contrary["interval"] == "from 30s before the first event to 30s before the last event"


def test_conditions_say_how_they_are_held_and_what_they_share() -> None:
    first, second, _ = explained()
    condition = first["conditions"][0]
    (window,) = [part for part in condition["parts"] if "form" in part]
    assert (window["form"], window["width_ns"] * window["panes"]) == ("panes", 1800 * 10**9)
    assert window["bytes"] > 0
    (shared,) = [part for part in condition["parts"] if "shared" in part]
    assert shared["with"] == ["CRE-2"]
    assert "avg_over_time(hw_gpu_utilization[30m])" in shared["shared"]
    assert {tuple(part["with"]) for part in second["conditions"][0]["parts"] if "with" in part} == {("CRE-1",)}


def test_it_says_what_is_needed_and_when_it_can_speak() -> None:
    first, second, third = explained()
    assert [need["signal"] for need in first["needs"] if "signal" in need] == ["hw.gpu.utilization", "own_metric"]
    assert any("reported as unknown" in need["text"] for need in first["needs"])
    assert not any("reported as unknown" in need["text"] for need in second["needs"])
    assert first["speaks"][0].startswith("not before 35m after its signals begin")
    assert [need["signal"] for need in third["needs"] if "signal" in need] == ["hw.power"]
    assert third["holds"] == ["events of the last 1m for each resource, at most 100,000 of these at a time"]
    assert all(text for text in said(first) if text != "")
