"""What the health of signals costs: CPU time for each sample, in large batches and in those of one node."""

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
from fallow_processors.health import HealthConfig
from fallow_processors.health.processor import HealthProcessor

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]

READINGS = {
    semconv.GPU_UTILIZATION: 0.9,
    semconv.GPU_ENGINE: 0.9,
    semconv.GPU_SM: 0.6,
    semconv.GPU_TENSOR: 0.3,
    semconv.GPU_DRAM: 0.4,
    semconv.GPU_POWER: 400.0,
    semconv.GPU_MEMORY_USAGE: 4e10,
    semconv.GPU_MEMORY_LIMIT: 8e10,
    semconv.GPU_TEMPERATURE: 60.0,
    semconv.GPU_PCIE_REPLAYS: 0.0,
}
GPUS_OF_NODE, WARM_UP, ROUNDS = 8, 3, 12


@pytest.mark.parametrize(
    ("nodes", "nodes_of_batch", "step", "most_us"),
    [
        pytest.param(1250, 10, 1, 0.4, id="10000-gpus-at-1s"),
        pytest.param(1250, 10, 60, 1.5, id="10000-gpus-at-60s"),
        pytest.param(125, 1, 15, 2.0, id="1000-gpus-at-15s-a-node-a-batch"),
    ],
)
def test_microseconds_of_a_sample(nodes: int, nodes_of_batch: int, step: int, most_us: float) -> None:
    table = SeriesTable()
    health = HealthProcessor(HealthConfig(), context("health", Path(), table))
    per_node = [
        [
            table.intern(SeriesKey(name, semconv.SIGNALS[name], "", pairs({"host.name": f"n{n}"}), pairs(gpu)))
            for gpu in ({"hw.id": f"GPU-{n}-{g}", "hw.type": "gpu"} for g in range(GPUS_OF_NODE))
            for name in READINGS
        ]
        for n in range(nodes)
    ]
    batches = [
        np.ravel(np.asarray(per_node[i : i + nodes_of_batch], dtype=np.int32)) for i in range(0, nodes, nodes_of_batch)
    ]
    taken, samples = 0.0, 0
    for turn in range(WARM_UP + ROUNDS):
        for series in batches:
            metrics = MetricBatch(
                series=series,
                time=np.full(len(series), (1_767_600_000 + turn * step) * SECOND, dtype=np.int64),
                value=np.tile(list(READINGS.values()), len(series) // len(READINGS)),
                stale=np.zeros(len(series), dtype=np.bool_),
            )
            begin = process_time()
            out = health.process(Batch(metrics=metrics))
            if turn >= WARM_UP:
                taken, samples = taken + process_time() - begin, samples + len(series)
            assert not out.dropped
    each = taken / samples * 1e6
    print(f"{each:.3f} us a sample")
    assert each < most_us
