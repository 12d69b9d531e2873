"""Engines that share out the clocks say what one engine says."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fallow.batch import MetricBatch
from fallow.promql import Condition, Edge, Engine, Shards
from fallow.series import SeriesKey, SeriesTable
from fallow.units import SECOND

CONDITIONS = (
    Condition(expr="avg_over_time(a[10s]) > 0.5"),
    Condition(expr="max_over_time(a[30s]) < 0.9 and b > 0.2", for_ns=5 * SECOND),
    Condition(expr="sum by (host_name) (b) > 0.7"),
    Condition(expr="avg by (job) (avg_over_time(a[5s])) > 0.5"),
    Condition(expr="absent(c)"),
)
HOSTS, TIMES = 6, st.integers(1, 60)
Sample = tuple[int, int, str, float]
SAMPLES = st.lists(
    st.tuples(TIMES, st.integers(0, HOSTS - 1), st.sampled_from(("a", "b", "c")), st.floats(0, 1)),
    min_size=1,
    max_size=150,
)


def run(engine: Engine | Shards, table: SeriesTable, samples: list[Sample], size: int) -> list[Edge]:
    edges: list[Edge] = []
    for start in range(0, len(samples), size):
        part = samples[start : start + size]
        series = [
            table.intern(SeriesKey(name=name, resource=(("host.name", f"h{h}"), ("job", f"j{h // 2}"))))
            for _, h, name, _ in part
        ]
        engine.append(MetricBatch.of(series, [t * SECOND for t, *_ in part], [v for *_, v in part]))
        edges += engine.advance()
    return edges + engine.finish()


@settings(max_examples=60, deadline=None)
@given(samples=SAMPLES, size=st.integers(1, 60), shards=st.integers(2, 3))
def test_shards_are_one_engine(samples: list[Sample], size: int, shards: int) -> None:
    samples = sorted(samples)
    table = SeriesTable()
    one, several = Engine(table, CONDITIONS), Shards(table, CONDITIONS, shards=shards)
    wanted, found = run(one, table, samples, size), run(several, table, samples, size)

    def order(edges: list[Edge]) -> list[tuple[object, ...]]:
        return sorted((e.time, e.condition, sorted(e.labels.items()), e.state, e.ref, e.count, e.value) for e in edges)

    assert order(found) == order(wanted)
    assert several.settled == one.settled
    for number in range(len(CONDITIONS)):
        for labels in ({"host.name": "h1"}, {"job": "j1"}, {"host.name": "nowhere"}, {}):
            asked = (number, labels, 5 * SECOND, 40 * SECOND)
            assert several.holds(*asked) == one.holds(*asked)
