"""What the property tests do not reach: refusals with positions, limits, clocks, memory of what held."""

from __future__ import annotations

from typing import Any

import pytest

from fallow.batch import MetricBatch
from fallow.promql import Condition, Edge, Engine, PromqlError, check
from fallow.series import SeriesKey, SeriesTable
from fallow.units import SECOND

REFUSED = (
    ("rate(a[5m]", "is not valid PromQL|unclosed|unexpected end", 10),
    ("a b", "not valid PromQL", 2),
    ("a @ 5 > 0", "@ is not supported in a condition, which is evaluated as time passes", 2),
    ("max_over_time(a[5m:1m] @ start())", "@ is not supported in a condition", 23),
    ("holt(a) > 0", "holt", 0),
    ("a offset -5m > 0", "negative offset", 2),
    ("a > end()", "end is not supported in a condition", 4),
    ("a + step()", "step is not supported in a condition", 4),
    ('a{b=~"("} > 0', "RE2|regex|regular", None),
    ('a{b="c" or d="e"}', "'or' between matchers", 8),
    ("1 + 1", "has to be a vector", 0),
    ("a[5m]", "range", 1),
    ("a[5m:1m]", "subquery needs a function", 1),
    ("avg_over_time(a[1d:1m])", "subquery of more than 512 steps", 15),
    ('sum(count_values("v", a))', "count_values", 4),
    ("1 < limit_ratio(0.5, a)", "limit_ratio", 4),
    ("info(a)", r"info\(\) is not supported", 0),
    ("a + on(b) fill(0) c", "fill is not supported", 10),
    ('label_replace(a, "x", "", "y", "(")', "invalid regular expression", 0),
    ('label_join(a, "", "-")', "invalid destination label name", 0),
    ('limitk("x", a)', "wants a number", 0),
    ("double_exponential_smoothing(a[5m], 2, 0.5)", "invalid smoothing factor", 36),
    ("", "no expression|empty|not valid", 0),
)


class Feed:
    """An engine and the series that the test names."""

    def __init__(self, *conditions: Condition, **settings: Any) -> None:
        self.table = SeriesTable()
        self.engine = Engine(self.table, conditions, **settings)

    def send(self, host: str, second: float, value: float, name: str = "a", **labels: str) -> list[Edge]:
        key = SeriesKey(name=name, resource=(("host.name", host),), attributes=tuple(sorted(labels.items())))
        self.engine.append(MetricBatch.of([self.table.intern(key)], [int(second * SECOND)], [value]))
        return self.engine.advance()


@pytest.mark.parametrize(("expr", "said", "position"), REFUSED, ids=[case[0] for case in REFUSED])
def test_an_expression_that_is_not_supported_is_refused_at_its_place(
    expr: str, said: str, position: int | None
) -> None:
    with pytest.raises(PromqlError, match=said) as caught:
        check(expr)
    if position is not None:
        assert caught.value.position == position


def test_one_clock_far_ahead_does_not_carry_the_others_off() -> None:
    feed = Feed(Condition(expr="a > 0"), Condition(expr="sum(a) > 5"))
    for second in range(10):
        for host in ("h1", "h2", "h3", "h4"):
            feed.send(host, second, 1.0)
        feed.send("ahead", 86_400 + second, 1.0)
    assert feed.engine.late == 0


def test_a_dead_clock_holds_the_others_back_no_longer_than_idle_after() -> None:
    feed = Feed(Condition(expr="sum(a) > 1"), idle_after_ns=20 * SECOND)
    feed.send("dead", 0, 1.0)
    said: dict[int, list[Edge]] = {}
    for second in range(40):
        for host in ("h1", "h2"):
            said.setdefault(second, []).extend(feed.send(host, second, 1.0))
    first = next(second for second, edges in said.items() if edges)
    assert 19 <= first <= 22
    assert [edge.state for edge in said[first]] == ["began"]


def test_a_tick_lets_event_time_pass_without_samples() -> None:
    feed = Feed(Condition(expr="absent(a)"), lookback_ns=60 * SECOND, idle_after_ns=30 * SECOND)
    for second in range(100):
        feed.send("h1", second, 1.0)
    assert feed.engine.tick(120 * SECOND) == []
    (edge,) = feed.engine.tick(300 * SECOND)
    assert (edge.state, edge.labels) == ("began", {})
    assert 100 * SECOND < edge.time <= 170 * SECOND


def test_late_samples_are_counted_and_past_instants_stay_as_decided() -> None:
    feed = Feed(Condition(expr="a > 5"))
    for second in range(10):
        feed.send("h1", second, 1.0)
    assert feed.send("h1", 3, 100.0) == []
    assert feed.engine.late == 1
    assert feed.engine.finish() == []


def test_series_beyond_the_limit_are_refused_and_counted() -> None:
    feed = Feed(Condition(expr="a > 0"), max_rows=2)
    for host in ("h1", "h2", "h3", "h4"):
        feed.send(host, 1, 1.0)
    assert feed.engine.refused == 2


def test_a_condition_begins_after_it_has_held_and_says_what_it_saw() -> None:
    feed = Feed(Condition(expr="a > 0", for_ns=5 * SECOND))
    edges = [edge for second in range(12) for edge in feed.send("h1", second, float(2 <= second < 10))]
    began, ended = edges
    assert (began.state, began.time, began.start, began.end) == ("began", 7 * SECOND, 2 * SECOND, 7 * SECOND)
    assert began.labels == {"host.name": "h1"}
    assert (ended.state, ended.time, ended.end) == ("ended", 10 * SECOND, 9 * SECOND)
    assert ended.ref == began.ref


def test_what_still_holds_at_the_end_is_open() -> None:
    feed = Feed(Condition(expr="a > 0"))
    feed.send("h1", 1, 1.0)
    began, still = feed.engine.finish()
    assert (began.state, still.state) == ("began", "open")
    assert still.ref == began.ref


def test_whether_a_condition_held_is_true_false_or_unknown() -> None:
    feed = Feed(Condition(expr="a > 0"))
    for second in range(30):
        feed.send("h1", second, float(10 <= second < 20))
    holds = feed.engine.holds
    assert holds(0, {"host.name": "h1"}, 12 * SECOND, 15 * SECOND) is True
    assert holds(0, {"host.name": "h1"}, 0, 9 * SECOND) is False
    assert holds(0, {"host.name": "h1"}, 21 * SECOND, 25 * SECOND) is False
    assert holds(0, {"host.name": "never seen"}, 0, 25 * SECOND) is None


def test_a_window_without_enough_samples_is_unknown_and_says_so() -> None:
    feed = Feed(Condition(expr="avg_over_time(a[60s]) < 1", for_ns=10 * SECOND))
    assert [edge for second in range(200) for edge in feed.send("h1", second, 5.0)] == []
    # Most samples of each window are missing: neither true nor false.
    edges = [e for second in range(200, 400) if second % 60 < 5 for e in feed.send("h1", second, 0.0)]
    assert [edge.state for edge in edges] == ["unknown"]
    assert feed.engine.unknown == 1


def test_what_holds_goes_on_holding_while_it_is_unknown() -> None:
    feed = Feed(Condition(expr="avg_over_time(a[60s]) < 1"))
    edges = [e for second in range(200) for e in feed.send("h1", second, 0.0)]
    edges += [e for second in range(200, 400) if second % 60 < 5 for e in feed.send("h1", second, 0.0)]
    assert [edge.state for edge in edges] == ["began"]
    edges = [e for second in range(400, 500) for e in feed.send("h1", second, 5.0)]
    assert [edge.state for edge in edges] == ["ended"]


def test_a_maximum_that_was_seen_decides_even_where_samples_are_missing() -> None:
    feed = Feed(Condition(expr="max_over_time(a[60s]) > 5"))
    edges = [edge for second in range(3) for edge in feed.send("h1", second, 9.0)]
    assert [edge.state for edge in edges] == ["began"]


def test_explain_says_windows_panes_and_clocks() -> None:
    engine = Engine(SeriesTable(), [Condition(expr="max_over_time(a[30m]) < 0.1 and on (job) b > 1")])
    said = engine.explain(0)
    assert "30m" in said
    assert "30 panes of 60 s" in said
    assert "several clocks together" in said


def begun(edges: list[Edge]) -> list[tuple[str, int, float]]:
    """(host, second, value) of what began to hold."""
    return [
        (edge.labels.get("host.name", ""), edge.time // SECOND, edge.value) for edge in edges if edge.state == "began"
    ]


def test_a_selector_without_a_name_takes_every_signal_that_matches() -> None:
    feed = Feed(Condition(expr='{__name__=~"a|b", host_name!="h3"} > 5'))
    edges = (
        feed.send("h1", 1, 6.0) + feed.send("h2", 1, 7.0, "b") + feed.send("h3", 1, 8.0) + feed.send("h1", 1, 9.0, "c")
    )
    assert begun(edges + feed.engine.finish()) == [("h1", 1, 6.0), ("h2", 1, 7.0)]


def test_the_k_largest_change_places() -> None:
    feed = Feed(Condition(expr="topk(1, a) > 0"))
    edges: list[Edge] = []
    for second, one, two in ((1, 1.0, 2.0), (2, 3.0, 2.0), (3, 3.0, 3.0)):
        edges += feed.send("h1", second, one) + feed.send("h2", second, two)
    edges += feed.engine.finish()
    # Of equal ones the first by labels stays.
    assert [(e.labels["host.name"], e.time // SECOND, e.state) for e in edges] == [
        ("h2", 1, "began"),
        ("h1", 2, "began"),
        ("h2", 2, "ended"),
        ("h1", 3, "open"),
    ]


def test_who_is_largest_is_unknown_while_one_that_may_be_is() -> None:
    # h2's window has too few samples. With one place, it might be the largest; with two, h1 has one whatever h2 is.
    feed = Feed(
        Condition(expr="topk(1, avg_over_time(a[10s])) > 0", for_ns=8 * SECOND),
        Condition(expr="topk(2, avg_over_time(a[10s])) > 0", for_ns=8 * SECOND),
        idle_after_ns=1000 * SECOND,
    )
    edges: list[Edge] = []
    for second in range(1, 34):
        edges += feed.send("h1", second, 5.0)
        edges += feed.send("h2", second, 1.0, "other")
        if second % 3 == 0 and (second <= 12 or second % 6 == 0):
            edges += feed.send("h2", second, 1.0)
    edges += feed.engine.finish()
    assert {(e.condition, e.labels["host.name"], e.state) for e in edges} >= {(1, "h1", "began"), (0, "h1", "unknown")}
    assert not any(e.condition == 0 and e.state == "began" for e in edges)


def test_a_subquery_is_a_series_of_results_at_its_steps() -> None:
    feed = Feed(Condition(expr="count_over_time((a > 5)[10s:2s]) >= 3"))
    edges: list[Edge] = []
    for second in range(1, 41):
        edges += feed.send("h1", second, 9.0 if 20 <= second < 28 else 1.0)
    edges += feed.engine.finish()
    # -1…1 9 9 9 9 1-  steps 20 22 24 26: three of them from 24 on, and until 22 leaves at 32.
    assert [(e.state, e.time // SECOND, e.value) for e in edges] == [("began", 24, 3.0), ("ended", 32, 3.0)]


def test_what_a_subquery_did_not_see_is_unknown_not_absent() -> None:
    feed = Feed(Condition(expr="count_over_time((a > 5)[20s:2s]) < 3"), idle_after_ns=1000 * SECOND)
    edges: list[Edge] = []
    for second in range(1, 150):
        edges += feed.send("h1", second, 1.0, "clock")
        if second < 60 or second > 110:
            edges += feed.send("h1", second, 9.0 if second in (111, 112) else 1.0)
    edges += feed.engine.finish()
    # Missing from 60 on (an instant selector looks back 15 s); at 112 one is seen, but the window is whole again
    # only when 110, the last step without data, has left it.
    assert [(e.state, e.time // SECOND) for e in edges] == [("unknown", 113), ("began", 130), ("ended", 132)]


def test_a_quantile_of_a_classic_histogram() -> None:
    feed = Feed(Condition(expr="histogram_quantile(0.5, a_bucket) > 1.3"))
    edges: list[Edge] = []
    for le, count in (("1", 2.0), ("2", 10.0), ("+Inf", 10.0)):
        edges += feed.send("h1", 1, count, "a_bucket", le=le)
    assert begun(edges + feed.engine.finish()) == [("h1", 1, 1.375)]


def test_relabelled_elements_match_and_join() -> None:
    feed = Feed(Condition(expr='sum by (rack) (label_replace(a, "rack", "$1", "host_name", "(r[0-9]+).*")) > 5'))
    edges = feed.send("r1-a", 1, 3.0) + feed.send("r1-b", 1, 4.0) + feed.send("r2-a", 1, 5.0) + feed.engine.finish()
    assert [(dict(e.labels), e.value) for e in edges if e.state == "began"] == [({"rack": "r1"}, 7.0)]


def test_a_number_that_changes_is_a_parameter() -> None:
    feed = Feed(Condition(expr="clamp_max(a, scalar(limit)) > 2"))
    edges = feed.send("h1", 1, 9.0) + feed.send("h2", 1, 3.0, "limit") + feed.engine.finish()
    assert begun(edges) == [("h1", 1, 3.0)]
