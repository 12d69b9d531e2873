"""A snapshot at 10,000 GPUs × 10 signals: how long processing waits for it, how long it takes, how long to go on from it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from fallow.batch import MetricBatch
from fallow.promql import Condition, Engine
from fallow.series import SeriesKey, SeriesTable
from fallow.service.snapshots import Snapshot, Snapshots
from fallow.state import Past, State
from fallow.units import SECOND

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

GPUS = 10_000
SIGNALS = tuple(f"s{i}" for i in range(10))
WINDOWS = (5, 30)
"""Minutes; 20 conditions over windows and 10 over the value now."""
CONDITIONS = [
    Condition(expr=f"avg_over_time({signal}[{minutes}m]) > 0.9", for_ns=60 * SECOND)
    for signal in SIGNALS
    for minutes in WINDOWS
] + [Condition(expr=f"{signal} > 0.99", for_ns=10 * SECOND) for signal in SIGNALS]


def intern(table: SeriesTable) -> np.ndarray:
    """Ids of every series, hosts of 8 GPUs."""
    return np.asarray(
        [
            table.intern(
                SeriesKey(
                    name=signal,
                    resource=(("fallow.job.id", f"j{g // 64}"), ("host.name", f"n{g // 8}")),
                    attributes=(("hw.id", f"GPU-{g}"), ("hw.model", "H100")),
                )
            )
            for g in range(GPUS)
            for signal in SIGNALS
        ],
        dtype=np.int32,
    )


def test_pause_of_a_snapshot(tmp_path: Path) -> None:
    table, rng = SeriesTable(), np.random.default_rng(1)
    ids = intern(table)
    engine = Engine(table, CONDITIONS)

    def send(second: int) -> None:
        engine.append(
            MetricBatch(
                series=ids,
                time=np.full(len(ids), second * SECOND, dtype=np.int64),
                value=rng.random(len(ids)),
                stale=np.zeros(len(ids), dtype=np.bool_),
            )
        )
        engine.advance()

    for second in range(1, 8):
        send(second)
    pauses: list[float] = []
    saved, keys = engine.save(), table.save()
    for second in range(8, 13):
        send(second)
        began = time.perf_counter()
        saved, keys = engine.save(), table.save()
        pauses.append(time.perf_counter() - began)
    began = time.perf_counter()
    state = State(version=1, parts={"engine": saved(), "series": keys()})
    made = time.perf_counter() - began
    snapshots = Snapshots(tmp_path, 2)
    size = snapshots.write(Snapshot(taken=1, newest=1, graceful=True, state=state))
    written = time.perf_counter() - began - made
    began = time.perf_counter()
    found = snapshots.newest()
    assert found is not None
    read = time.perf_counter() - began
    again = SeriesTable()
    other = Engine(again, CONDITIONS)
    other.restore(found.state.parts["engine"], Past(series=again.restore(found.state.parts["series"])))
    restored = time.perf_counter() - began - read
    pause = float(np.median(pauses))
    print(f"\n{GPUS} GPUs x 10 signals, {len(CONDITIONS)} conditions, state in use {engine.nbytes / 1e6:.0f} MB")
    print(f"pause {pause * 1e3:.0f} ms ({min(pauses) * 1e3:.0f} to {max(pauses) * 1e3:.0f})")
    print(f"encoded in {made:.1f} s, {size / 1e6:.0f} MB written in {written:.1f} s")
    print(f"read and checked in {read:.1f} s, taken up in {restored:.1f} s")
    assert other.nbytes == engine.nbytes
    assert pause < 1.5
