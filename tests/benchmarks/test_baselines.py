"""What learning costs: CPU time for each sample, and memory for each GPU, at 100,000 GPUs."""

from __future__ import annotations

from pathlib import Path
from time import process_time

import numpy as np
import pytest

from fallow import semconv
from fallow.batch import Batch, MetricBatch
from fallow.series import SeriesKey, SeriesTable
from fallow.series.table import pairs
from fallow.testing.components import context
from fallow.units import SECOND
from fallow_processors.baselines import BaselinesConfig
from fallow_processors.baselines.processor import BaselinesProcessor

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

GPUS, TURNS, WARM_UP = 100_000, 60, 12
IDLE = {semconv.GPU_POWER: 72.0, semconv.GPU_UTILIZATION: 0.0, semconv.GPU_MEMORY_USAGE: 5e8}
BUSY = {semconv.GPU_POWER: 540.0, semconv.GPU_UTILIZATION: 0.9, semconv.GPU_MEMORY_USAGE: 3e10}


def test_nanoseconds_of_a_sample_and_bytes_of_a_gpu() -> None:
    table = SeriesTable()
    baselines = BaselinesProcessor(BaselinesConfig(), context("baselines", Path(), table))
    gpus = [
        (pairs({"host.name": f"n{i // 8}"}), pairs({"hw.id": f"GPU-{i}", "hw.model": "H100", "hw.type": "gpu"}))
        for i in range(GPUS)
    ]
    series = np.asarray(
        [table.intern(SeriesKey(name, semconv.SIGNALS[name], "", *gpu)) for name in IDLE for gpu in gpus],
        dtype=np.int32,
    )
    noise = np.random.default_rng(1).normal(1, 0.02, len(series))
    each: list[float] = []
    for turn in range(TURNS):
        levels = list((BUSY if turn // 25 % 2 else IDLE).values())
        metrics = MetricBatch(
            series=series,
            time=np.full(len(series), (1_767_600_000 + turn) * SECOND, dtype=np.int64),
            value=np.repeat(levels, GPUS) * noise,
            stale=np.zeros(len(series), dtype=np.bool_),
        )
        begin = process_time()
        baselines.process(Batch(metrics=metrics))
        each.append((process_time() - begin) / len(series) * 1e9)
    arrays = baselines.save()().arrays
    held = sum(array.nbytes for array in arrays.values()) / GPUS
    print(f"{np.median(each[WARM_UP:]):.0f} ns a sample, {held:.0f} B a GPU")
    assert np.median(each[WARM_UP:]) < 400
    assert held < 1024
