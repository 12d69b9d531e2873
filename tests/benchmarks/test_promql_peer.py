"""Sixty rules over the same series in Prometheus and here: the same results, and what an evaluation costs.

Prometheus is timed by its own rule group. Here a full evaluation is one instant at which every window of every series has
moved and no sample comes with it. All-in counts what this side does for a minute of samples, appending included, against one
evaluation a minute of Prometheus, whose own appending is left out.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fallow.batch import MetricBatch
from fallow.promql import Condition, Edge, Engine, compile_kernels, prom_name
from fallow.series import SeriesKey, SeriesTable
from fallow.units import SECOND
from helpers.metric_rules import CONDITIONS, RULES, SIGNALS, Float64Array, Telemetry, cluster, labels_of
from helpers.prometheus import MISSING, Labels, prometheus

pytestmark = [
    pytest.mark.bench,
    pytest.mark.timeout(600),
    pytest.mark.skipif(MISSING is not None, reason=MISSING or ""),
]

WINDOW_S, AHEAD_S = 1800, 240
OFF_GRID_MS = 600
"""Samples lie this long after the full second, so that no window's edge falls on one: 2.42 counts both edges in."""
IDLE_AFTER = 600 * SECOND


@dataclass(frozen=True)
class Case:
    """``until``: the full minute (s) up to which both sides are compared; later samples are there already."""

    step_s: int
    gpus: int
    times_ms: NDArray[np.int64]
    values: Float64Array
    """(times, gpus, signals)"""
    until: int


def case(step_s: int, gpus: int) -> Case:
    until = int(time.time()) // 60 * 60 + 60
    start = until - WINDOW_S - 2 * step_s
    start -= start % step_s
    times = np.arange(start, until + AHEAD_S, step_s, dtype=np.int64) * 1000 + OFF_GRID_MS
    telemetry = Telemetry(gpus, step_s)
    return Case(step_s, gpus, times, np.stack([telemetry.step() for _ in times]), until)


def told(
    conditions: tuple[Condition, ...], of: Case, ids: NDArray[np.int32], engine: Engine
) -> tuple[list[set[Labels]], list[float]]:
    """What holds at ``until``, rule by rule; and how long each full evaluation took, CPU seconds."""
    held: list[set[Labels]] = [set() for _ in conditions]
    taken: list[float] = []

    def note(edges: Sequence[Edge]) -> None:
        for edge in edges:
            labels = tuple(sorted((prom_name(k), v) for k, v in edge.labels.items()))
            (held[edge.condition].add if edge.state == "began" else held[edge.condition].discard)(labels)

    for at, values in zip(of.times_ms.tolist(), of.values, strict=True):
        for minute in (of.until - 120, of.until - 60, of.until):
            if at - of.step_s * 1000 < minute * 1000 < at:
                # The hosts fall silent; another clock says how far time has come: to before the minute, then past it.
                engine.append(_beat(engine.table, minute * SECOND))
                note(engine.tick(minute * SECOND + IDLE_AFTER))
                engine.append(_beat(engine.table, minute * SECOND + 2))
                begin = time.thread_time()
                edges = engine.tick(minute * SECOND + IDLE_AFTER + 1)
                taken.append(time.thread_time() - begin)
                note(edges)
        if at > of.until * 1000:
            break
        engine.append(_batch(ids, at, values))
        note(engine.advance())
    return held, taken


def all_in(of: Case, ids: NDArray[np.int32], table: SeriesTable) -> float:
    """CPU seconds for one minute of samples, evaluated once a minute."""
    engine = Engine(table, [replace(c, interval_ns=60 * SECOND) for c in CONDITIONS])
    spent: list[float] = []
    for at, values in zip(of.times_ms.tolist(), of.values, strict=True):
        begin = time.thread_time()
        engine.append(_batch(ids, at, values))
        engine.advance()
        spent.append(time.thread_time() - begin)
    minute = 60 // of.step_s
    last = spent[-3 * minute :]
    return float(np.median([sum(last[k : k + minute]) for k in range(0, len(last), minute)]))


def _beat(table: SeriesTable, time_ns: int) -> MetricBatch:
    """A sample that nobody asks for."""
    return MetricBatch.of([table.intern(SeriesKey(name="beat", resource=(("host.name", "beat"),)))], [time_ns], [1.0])


def _batch(ids: NDArray[np.int32], at_ms: int, values: Float64Array) -> MetricBatch:
    n = ids.size
    return MetricBatch(
        series=ids.ravel(),
        time=np.full(n, at_ms * 1_000_000, dtype=np.int64),
        value=values.ravel(),
        stale=np.zeros(n, dtype=np.bool_),
    )


@pytest.mark.parametrize(("step_s", "gpus", "times"), [(15, 1000, 200), (1, 250, 500)], ids=["15s", "1s"])
def test_against_prometheus(step_s: int, gpus: int, times: int, tmp_path: Path) -> None:
    compile_kernels()
    of = case(step_s, gpus)
    with prometheus(tmp_path, RULES, 5) as server:
        for gpu in range(gpus):
            resource, attributes = labels_of(gpu)
            labels = {prom_name(k): v for k, v in (*resource, *attributes)}
            series = [{"__name__": prom_name(signal), **labels} for signal in SIGNALS]
            server.write(series, of.times_ms, np.ascontiguousarray(of.values[:, gpu, :].T))
        theirs, theirs_cpu = server.last_evaluation_s(240)
        found = [set(server.query(expr, of.until)) for expr, _ in RULES]
        version = server.version
    table, ids = cluster(gpus)
    conditions = tuple(replace(c, for_ns=0) for c in CONDITIONS)
    held, taken = told(conditions, of, ids, Engine(table, conditions, idle_after_ns=IDLE_AFTER))
    ours, ours_all_in = float(np.median(taken)), all_in(of, ids, table)
    differing = [
        (expr, len(theirs_), len(theirs_ - mine), len(mine - theirs_))
        for (expr, _), theirs_, mine in zip(RULES, found, held, strict=True)
        if theirs_ != mine
    ]
    results = sum(len(some) for some in found)
    print(
        f"\n{gpus} GPUs x 10 x {step_s} s, Prometheus {version}: {results} results of "
        f"{sum(bool(some) for some in found)} rules, {sum(d[2] + d[3] for d in differing)} differ {differing}\n"
        f"one evaluation: Prometheus {theirs:.3f} s ({theirs_cpu:.2f} s CPU), here {ours * 1e3:.2f} ms CPU "
        f"({min(taken) * 1e3:.2f}-{max(taken) * 1e3:.2f}): 1/{theirs_cpu / ours:.0f}\n"
        f"all-in, each minute: Prometheus {theirs_cpu:.2f} s CPU, here {ours_all_in:.4f} s: 1/{theirs_cpu / ours_all_in:.0f}"
    )
    assert results > 0
    assert not differing
    assert theirs_cpu / ours >= times
    assert theirs_cpu / ours_all_in >= 15
