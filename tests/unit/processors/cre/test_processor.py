"""The rule engine over signals, records and events together."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fallow.batch import Batch
from fallow.model import Detection
from fallow.units import SECOND
from fallow_processors.cre import RuleSet
from helpers.cre_feed import Feed, logs, ruleset

ONE = """
set:
  event: {source: cre.log.any}
  match: [out of memory]
"""
SEQUENCE = """
sequence:
  event: {source: cre.log.any}
  window: 10s
  order: [first, second]
  negate: [third]
"""
METRIC = """
set:
  match:
    - promql: {expr: "a > 5", for: 3s, event: {source: cre.metrics, origin: true}}
"""
ACROSS = """
sequence:
  window: 1m
  correlations: [host.name]
  order:
    - set: {event: {source: fallow.scheduler}, match: [{field: event.name, value: job.start}]}
    - promql: {expr: "a > 5", event: {source: cre.metrics, origin: true}}
  negate:
    - set: {event: {source: fallow.scheduler}, match: [{field: event.name, value: job.end}]}
"""
UNLESS = """
sequence:
  window: 10s
  correlations: [host.name]
  order:
    - set: {event: {source: cre.log.any, origin: true}, match: [started]}
    - set: {event: {source: cre.log.any}, match: [failed]}
  negate:
    - promql: {expr: "b > 0", event: {source: cre.metrics}}
"""
NESTED = """
sequence:
  window: 40s
  correlations: [host.name]
  order:
    - sequence:
        window: 30s
        order:
          - set: {event: {source: fallow.scheduler}, match: [{field: event.name, value: job.start}]}
          - promql: {expr: "a > 5", event: {source: cre.metrics, origin: true}}
        negate:
          - {window: 3s, set: {event: {source: cre.log.any}, match: [third]}}
    - set: {event: {source: cre.log.any}, match: [second]}
  negate:
    - set:
        event: {source: cre.log.any}
        match: [first]
        negate: [{value: out of memory, window: 4s}]
    - promql: {expr: "max_over_time(a[2s]) < 1", event: {source: cre.metrics}}
"""
TWICE = """
set:
  event: {source: cre.log.any}
  window: 1h
  correlations: [user, rank]
  match:
    - {value: failed, count: 2, extract: [{name: rank, regex: 'rank(\\d+)'}]}
"""


def test_a_line_fires_with_its_text_and_whose_it_is() -> None:
    feed = Feed(ruleset(ONE))
    assert feed.log(1, "all is well") == []
    (found,) = feed.log(2, "CUDA out of memory")
    assert (found.rule, found.state, found.time, found.severity) == ("CRE-2026-9901", "fired", 2 * SECOND, 2)
    assert found.entity == {"host.name": "h1"}
    assert [(e.kind, e.text) for e in found.evidence] == [("log", "CUDA out of memory")]


def test_a_sequence_is_kept_apart_for_each_resource() -> None:
    feed = Feed(ruleset(SEQUENCE))
    feed.log(1, "first", host="h1")
    assert feed.log(2, "second", host="h2") == []
    assert feed.log(3, "second", host="h1") == [], "a later line may still be the negative"
    (found,) = feed.log(4, "anything", host="h1")
    assert (found.start, found.end, found.time) == (1 * SECOND, 3 * SECOND, 3 * SECOND)


def test_a_negative_vetoes() -> None:
    feed = Feed(ruleset(SEQUENCE))
    for second, text in ((1, "first"), (2, "third"), (3, "second"), (4, "anything")):
        assert feed.log(second, text) == []
    assert feed.finish() == []


def test_a_hit_that_waits_for_time_is_released_by_a_tick() -> None:
    feed = Feed(ruleset(SEQUENCE))
    feed.log(1, "first")
    feed.log(2, "second")
    assert feed.processor.tick(4 * SECOND) == Batch(), "records may be late by five seconds"
    (found,) = feed.processor.tick(8 * SECOND).detections
    assert found.time == 2 * SECOND


def test_a_condition_over_signals_fires_ends_and_is_open_under_one_id() -> None:
    feed = Feed(ruleset(METRIC))
    found = [d for second in range(20) for d in feed.metric(second, 9.0 if second % 10 >= 4 else 1.0)]
    found += feed.finish()
    assert [d.state for d in found] == ["fired", "resolved", "fired", "open"]
    assert found[0].id == found[1].id != found[2].id == found[3].id
    assert (found[0].time, found[0].start, found[1].end) == (7 * SECOND, 4 * SECOND, 9 * SECOND)
    assert found[0].entity == {"host.name": "h1"}
    assert found[0].evidence[0].text == "a > 5"
    assert found[0].evidence[0].value == 9.0


def across(feed: Feed, *, ended: bool, start: bool = True) -> list[Detection]:
    found: list[Detection] = []
    for second in range(40):
        if second == 5 and start:
            found += feed.log(second, "", event="job.start")
        if second == 15 and ended:
            found += feed.log(second, "", event="job.end")
        found += feed.metric(second, 9.0 if second >= 20 else 1.0)
    return found + feed.finish()


def test_a_sequence_from_an_event_to_a_signal() -> None:
    fired, still = across(Feed(ruleset(ACROSS)), ended=False)
    assert (fired.state, fired.start, fired.time) == ("fired", 5 * SECOND, 20 * SECOND)
    assert [e.kind for e in fired.evidence] == ["event", "signal"]
    assert (still.state, still.id, still.end) == ("open", fired.id, 39 * SECOND)
    assert across(Feed(ruleset(ACROSS)), ended=True) == []
    assert across(Feed(ruleset(ACROSS)), ended=False, start=False) == []


@pytest.mark.parametrize(("b", "states"), [(0.0, ["fired"]), (1.0, []), (None, ["unknown"])])
def test_a_negative_over_signals_vetoes_and_holds_back_where_it_is_unknown(b: float | None, states: list[str]) -> None:
    feed = Feed(ruleset(UNLESS))
    found: list[Detection] = []
    for second in range(60):
        if second in (30, 35):
            found += feed.log(second, "started" if second == 30 else "failed")
        found += feed.metric(second, 1.0)
        if b is not None:
            found += feed.metric(second, b, name="b")
    assert [d.state for d in found + feed.finish()] == states


def test_correlations_take_attributes_and_extracted_values() -> None:
    feed = Feed(ruleset(TWICE), lateness="0s")
    assert feed.log(1, "rank0 failed", user="u1") == []
    assert feed.log(2, "rank1 failed", user="u1", host="h2") == []
    assert feed.log(3, "rank0 failed", user="u2") == []
    found = feed.log(4, "rank0 failed", user="u1", host="h3") + feed.finish()
    assert [(d.entity["user"], d.entity["rank"], d.start) for d in found] == [("u1", "0", SECOND)]


def test_a_negative_holds_back_the_tuple_that_its_own_extract_says() -> None:
    veto = "    - {value: recovered, window: 5s, extract: [{name: rank, regex: 'rank(\\d+)'}]}\n"
    feed = Feed(ruleset(TWICE + "  negate:\n" + veto), lateness="0s")
    for rank in (0, 1):
        assert feed.log(1 + rank, f"rank{rank} failed", user="u1") == []
    assert feed.log(3, "rank0 recovered", user="u1") == []
    found = [d for rank in (0, 1) for d in feed.log(4 + rank, f"rank{rank} failed", user="u1")]
    found += feed.log(60, "all is well", user="u1") + feed.finish()
    assert [(d.entity["rank"], d.start) for d in found] == [("1", 2 * SECOND)]


def test_records_of_two_hosts_are_put_in_order_before_they_are_compared() -> None:
    feed = Feed(ruleset(SEQUENCE.replace("window", "correlations: [user]\n  window", 1)))
    found = feed.log(2, "second", user="u", host="h1") + feed.log(1, "first", user="u", host="h2")
    assert len(found + feed.finish()) == 1


def test_own_events_are_never_evaluated() -> None:
    feed = Feed(ruleset(ONE))
    assert feed.log(1, "out of memory", event="fallow.detection") == []
    assert len(feed.log(2, "out of memory", event="other")) == 1


def test_a_source_is_what_the_configuration_says() -> None:
    feed = Feed(ruleset(ONE), sources={"cre.log.any": {"host.name": ["h1"]}})
    assert len(feed.log(1, "out of memory", host="h1")) == 1
    assert feed.log(2, "out of memory", host="h2") == []


def test_a_record_may_say_its_source_itself() -> None:
    feed = Feed(ruleset(ONE))
    assert feed.log(1, "out of memory", cre_source="cre.log.other") == []
    assert len(feed.log(2, "out of memory", cre_source="cre.log.any")) == 1


def test_partial_matches_are_bounded() -> None:
    feed = Feed(ruleset(TWICE), max_partial=2, lateness="0s")
    for second, user in enumerate(("u1", "u2", "u3")):
        feed.log(second, "rank0 failed", user=user)
    last = feed.run(Batch(logs=logs([(5, "rank0 failed", "h1", "", {"user": "u1"})])))
    assert last == [], "the first was dropped"
    assert feed.processor.finish().dropped["partial match beyond max_partial or max_events"] >= 1


def story(seed: int) -> list[tuple[float, Any]]:
    """What two hosts say: a signal each second, events and lines now and then."""
    rng = random.Random(seed)
    lines: list[tuple[float, Any]] = []
    for host in ("h1", "h2"):
        for second in range(1, 60):
            at = second + rng.random() * 0.5
            lines.append((at, ("metric", host, rng.choice((1.0, 1.0, 9.0)))))
            if rng.random() < 0.2:
                event = rng.choice(("job.start", "job.end", "", "", ""))
                text = rng.choice(("first", "second", "third", "out of memory", "rank0 failed", "rank1 failed"))
                lines.append((at + 0.25, ("log", "" if event else text, host, event, {"user": rng.choice("xy")})))
    return sorted(lines, key=lambda line: line[0])


def told(rules: RuleSet, lines: Sequence[tuple[float, Any]], cuts: Sequence[int]) -> list[tuple[Any, ...]]:
    feed = Feed(rules)
    found: list[Detection] = []
    start = 0
    for cut in [*sorted(cuts), len(lines)]:
        part, start = lines[start:cut], max(start, cut)
        metrics = [(at, what[1], what[2]) for at, what in part if what[0] == "metric"]
        records = [(at, *what[1:]) for at, what in part if what[0] == "log"]
        found += feed.run(
            Batch(
                metrics=feed.samples(metrics) if metrics else None,
                logs=logs(records) if records else None,
            )
        )
    found += feed.finish()
    return sorted((d.rule, d.id, d.state, d.time, d.start, d.end, repr(sorted(d.entity.items()))) for d in found)


ALL = (ONE, SEQUENCE, METRIC.replace("for: 3s, ", ""), ACROSS, TWICE, NESTED)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), data=st.data())
def test_no_split_no_interleaving_and_no_other_rule_matters(seed: int, data: st.DataObject) -> None:
    lines = story(seed)
    whole = told(ruleset(*ALL), lines, [])
    cuts = data.draw(st.lists(st.integers(0, len(lines)), max_size=12))
    assert told(ruleset(*ALL), lines, cuts) == whole
    # One host up to three seconds behind the other; both are there from the first second.
    behind = data.draw(st.floats(0, 3))
    woven = sorted(
        lines,
        key=lambda line: (
            line[0] + (behind if line[1][1 if line[1][0] == "metric" else 2] == "h2" and line[0] > 2 else 0)
        ),
    )
    assert told(ruleset(*ALL), woven, cuts) == whole
    alone = told(ruleset(ONE, SEQUENCE), lines, cuts)
    assert alone == [row for row in whole if row[0] in ("CRE-2026-9901", "CRE-2026-9902")]
