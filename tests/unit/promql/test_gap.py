"""What an engine says after a restart that lost something, or under other conditions; the properties are in test_restart."""

from __future__ import annotations

from collections.abc import Sequence

from fallow.batch import MetricBatch
from fallow.promql import Condition, Edge, Engine
from fallow.series import SeriesKey, SeriesTable
from fallow.state import Gap, Past
from fallow.units import SECOND

LOST = Gap(until=110 * SECOND)


class Feed:
    """An engine that may be restarted; one sample a second of each signal named."""

    def __init__(self, *exprs: str, for_s: int = 0) -> None:
        self.conditions = [Condition(expr=expr, for_ns=for_s * SECOND) for expr in exprs]
        self.table = SeriesTable()
        self.engine = Engine(self.table, self.conditions)

    def run(self, seconds: range, **signals: float) -> list[Edge]:
        found: list[Edge] = []
        for second in seconds:
            ids = [self.table.intern(SeriesKey(name=name, resource=(("host.name", "h"),))) for name in signals]
            self.engine.append(MetricBatch.of(ids, [second * SECOND] * len(ids), list(signals.values())))
            found += self.engine.advance()
        return found

    def restart(self, gap: Gap | None, conditions: Sequence[Condition] | None = None) -> None:
        keys, saved = self.table.save()(), self.engine.save()()
        self.table = SeriesTable()
        self.engine = Engine(self.table, self.conditions if conditions is None else conditions)
        self.engine.restore(saved, Past(series=self.table.restore(keys), gap=gap))


def told(edges: Sequence[Edge]) -> list[tuple[str, int, bool]]:
    return [(edge.state, edge.time // SECOND, edge.seen) for edge in edges]


def test_a_window_over_a_gap_is_unknown_though_most_of_its_samples_are_there() -> None:
    feed = Feed("max_over_time(x[30s]) < 0.5")
    feed.run(range(1, 85), x=0.9)
    assert feed.run(range(85, 100), x=0.1) == []
    feed.restart(LOST)
    # In the lost while it may have been high: a window is free of it that begins with the first sample after. Nobody saw it begin.
    assert told(feed.run(range(111, 150), x=0.1)) == [("began", 141, False)]
    assert feed.engine.holds(0, {}, 120 * SECOND, 130 * SECOND) is None
    assert feed.engine.holds(0, {}, 141 * SECOND, 145 * SECOND) is True


def test_what_was_seen_decides_where_it_decides_by_itself() -> None:
    feed = Feed("max_over_time(x[30s]) > 0.5")
    feed.run(range(1, 100), x=0.1)
    feed.restart(LOST)
    assert told(feed.run(range(111, 113), x=0.9)) == [("began", 111, False)]


def test_what_held_goes_on_holding_until_it_is_known_not_to() -> None:
    feed = Feed("max_over_time(x[30s]) < 0.5")
    (began,) = feed.run(range(1, 100), x=0.1)
    feed.restart(LOST)
    (ended,) = feed.run(range(111, 160), x=0.9)
    assert (ended.state, ended.ref) == ("ended", began.ref)


def test_a_hold_does_not_count_the_gap() -> None:
    feed = Feed("x > 0.5", for_s=20)
    feed.run(range(1, 95), x=0.1)
    assert feed.run(range(95, 100), x=0.9) == []
    feed.restart(LOST)
    assert told(feed.run(range(111, 140), x=0.9)) == [("began", 131, False)]


def test_an_instant_is_known_again_with_its_first_sample() -> None:
    feed = Feed("x > 0.5")
    feed.run(range(1, 100), x=0.1)
    feed.restart(LOST)
    feed.run(range(111, 113), y=0.0)
    assert told(feed.run(range(113, 118), x=0.1)) == []
    assert told(feed.run(range(118, 120), x=0.9)) == [("began", 118, True)], "seen not to hold before"


def test_absence_is_unknown_until_nothing_could_have_been_there() -> None:
    feed = Feed("absent(x)")
    feed.run(range(1, 100), x=0.1, y=0.0)
    feed.restart(LOST)
    assert told(feed.run(range(111, 600), y=0.0)) == [("began", 410, False)]


def test_a_sum_waits_for_those_that_were_never_seen() -> None:
    feed = Feed("sum(x) < 0.5")
    feed.run(range(1, 100), x=0.9)
    feed.restart(LOST)
    assert told(feed.run(range(111, 600), x=0.1)) == [("began", 410, False)]


def test_a_new_condition_begins_with_the_restart_and_others_go_on() -> None:
    feed = Feed("avg_over_time(x[30s]) < 0.5")
    (began,) = feed.run(range(1, 101), x=0.1)
    feed.restart(None, [Condition(expr="avg_over_time(x[60s]) < 0.5"), *feed.conditions])
    assert feed.engine.holds(0, {}, 50 * SECOND, 60 * SECOND) is None
    assert feed.engine.holds(1, {}, 50 * SECOND, 60 * SECOND) is True
    edges = feed.run(range(101, 170), x=0.1)
    assert [(edge.condition, edge.state, edge.time // SECOND) for edge in edges] == [(0, "began", 160)]
    ended = [edge for edge in feed.run(range(170, 200), x=0.9) if edge.condition == 1]
    assert [(edge.state, edge.ref) for edge in ended] == [("ended", began.ref)]


def test_a_gap_is_remembered_over_a_graceful_restart() -> None:
    feed = Feed("max_over_time(x[30s]) < 0.5")
    feed.run(range(1, 85), x=0.9)
    feed.run(range(85, 100), x=0.1)
    feed.restart(LOST)
    assert feed.run(range(111, 120), x=0.1) == []
    feed.restart(None)
    assert told(feed.run(range(120, 150), x=0.1)) == [("began", 141, False)]


def test_many_series_go_on() -> None:
    feed = Feed("s0 > 0.5")
    feed.run(range(1, 3), **{f"s{i}": 0.9 for i in range(3000)})
    feed.restart(None)
    assert told(feed.run(range(3, 5), s0=0.1)) == [("ended", 3, True)]
