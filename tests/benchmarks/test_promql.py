"""Sixty conditions over ten signals a GPU at 1 s: cores, time from a batch's arrival to its decisions, state, births."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass

import numpy as np
import psutil
import pytest

from fallow.promql import Engine, Shards, compile_kernels
from helpers.metric_rules import CONDITIONS, SIGNALS, Telemetry, batches, cluster

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1200)]

BATCHES_A_SECOND = 50
ROUNDS = 3


@dataclass(frozen=True)
class Run:
    """CPU seconds per second of telemetry; ms from arrival to decision, as wall and as CPU time; births; state."""

    cores: float
    wall_ms: np.ndarray
    cpu_ms: np.ndarray
    births_s: float
    bytes_a_series: float
    edges: int


def run(gpus: int, warm: int, length: int, shards: int = 0) -> Run:
    """The conditions over so many GPUs, ``length`` seconds a round after ``warm`` seconds."""
    compile_kernels()
    table, ids = cluster(gpus)
    engine = Shards(table, CONDITIONS, shards=shards) if shards else Engine(table, CONDITIONS)
    telemetry = Telemetry(gpus)
    wall, cpu = [], []
    births = cores = 0.0
    edges = 0
    for second in range(warm + ROUNDS * length):
        requests = list(batches(ids, telemetry.step(), second, BATCHES_A_SECOND))
        for batch in requests:
            began, used = time.perf_counter(), time.process_time()
            engine.append(batch)
            edges += len(engine.advance())
            used = time.process_time() - used
            if second < 2:
                births += used
            elif second >= warm:
                wall.append(time.perf_counter() - began)
                cpu.append(used)
                cores += used
    return Run(
        cores / (ROUNDS * length),
        np.reshape(wall, (ROUNDS, -1)) * 1e3,
        np.reshape(cpu, (ROUNDS, -1)) * 1e3,
        births,
        engine.nbytes / (gpus * len(SIGNALS)),
        edges,
    )


def tell(name: str, found: Run) -> float:
    """Print a run; returns the median over its rounds of the 99th percentile of wall time."""
    p50, p99 = (np.percentile(found.wall_ms, q, axis=1) for q in (50, 99))
    print(
        f"\n{name}: {found.cores:.3f} cores; arrival to decision p50 {np.median(p50):.2f} ms, p99 {np.median(p99):.2f} ms "
        f"({min(p99):.2f}-{max(p99):.2f} over {ROUNDS} rounds; as CPU time {np.percentile(found.cpu_ms, 99):.2f} ms); "
        f"births {found.births_s:.1f} s CPU; state {found.bytes_a_series:.0f} B a series; {found.edges} edges"
    )
    return float(np.median(p99))


def test_10k_gpus() -> None:
    found = run(10_000, 10, 20)
    p99 = tell("10,000 GPUs x 10 x 1 s, 60 conditions", found)
    assert found.bytes_a_series <= 4096
    assert found.cores <= 0.2
    assert p99 <= 15


@pytest.mark.skipif(psutil.virtual_memory().available < 16e9, reason="needs 16 GB of memory")
def test_100k_gpus() -> None:
    gc.collect()
    found = run(100_000, 5, 10)
    p99 = tell("100,000 GPUs x 10 x 1 s, 60 conditions", found)
    assert found.bytes_a_series <= 4096
    assert found.cores <= 1.0
    assert p99 <= 60


def test_two_shards_on_two_threads() -> None:
    """Whole seconds at once: how much more two threads take in."""
    gpus, seconds = 10_000, 20
    table, ids = cluster(gpus)
    rates = []
    for engine in (Engine(table, CONDITIONS), Shards(table, CONDITIONS, shards=2)):
        telemetry, taken = Telemetry(gpus), []
        for second in range(5 + seconds):
            (batch,) = batches(ids, telemetry.step(), second, 1)
            began = time.perf_counter()
            engine.append(batch)
            engine.advance()
            if second >= 5:
                taken.append(time.perf_counter() - began)
        rates.append(ids.size / float(np.median(taken)))
    print(
        f"\none engine {rates[0] / 1e6:.2f} M samples/s, two shards {rates[1] / 1e6:.2f} M: x{rates[1] / rates[0]:.2f}"
    )
    assert rates[1] / rates[0] >= 1.7
