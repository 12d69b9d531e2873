"""What rules see of the receiver: every signal of a GPU under the labels of that GPU, whatever name it came under."""

from __future__ import annotations

from pathlib import Path

import pytest

from fallow import semconv
from fallow.batch import Batch
from fallow.series import SeriesTable
from fallow.testing import context
from fallow_processors.decode import DecodeConfig
from fallow_processors.decode.processor import DecodeProcessor
from fallow_processors.normalise import NormaliseConfig
from fallow_processors.normalise.processor import NormaliseProcessor
from helpers import fake_nvml
from helpers.nvml_node import Node

pytestmark = pytest.mark.skipif(not fake_nvml.there_is_a_compiler(), reason="gcc compiles the library of the tests")

OF_POINTS = {"network.io.direction", "error.type", "fallow.gpu.throttle.reason"}
"""Attributes that tell points of one GPU apart."""
NOT_HERE = {
    *(semconv.PROCESS_GPU_MEMORY, semconv.PROCESS_GPU_UTILIZATION),  # nobody is on these GPUs
    *(semconv.GPU_XID_ERRORS, semconv.GPU_NVLINK_ERRORS),  # nothing happens
    *(semconv.GPU_XID, semconv.GPU_MEMORY_FREE, semconv.GPU_PAGES_RETIRED),  # as other sources say it
    *("fallow.gpu.nvlink.throughput.total", "fallow.job.gpu.allocated", "fallow.job.gpu.first_activity"),
    *(semconv.GPU_POWER_IDLE, semconv.GPU_POWER_RUNNING, semconv.GPU_MEMORY_IDLE, semconv.HOST_POWER),  # learnt; nodes
    *(semconv.GPU_IDLE_PERSISTENCE, semconv.GPU_IDLE_PERSISTENCE_PEAK),
}


def test_every_signal_of_a_gpu_has_the_same_labels(tmp_path: Path) -> None:
    node = Node(tmp_path, "hopper", 2)
    node.state.set("0 nvmlDeviceGetUtilizationRates 98 40", "0 gpm/2 90")
    requests = [*node.tick(0), *node.tick(1)]
    node.close()
    series = SeriesTable()
    decode = DecodeProcessor(DecodeConfig(kernel="python"), context("decode", tmp_path, series))
    normalise = NormaliseProcessor(NormaliseConfig(), context("normalise", tmp_path, series))
    seen: dict[str, set[frozenset[tuple[str, str]]]] = {}
    values: dict[str, float] = {}
    for request in requests:
        found = normalise.process(decode.process(Batch(request=request, arrival=1))).metrics
        for id, value in zip(found.series, found.value, strict=True) if found is not None else ():
            key = series.key(int(id))
            if key.name in semconv.SIGNALS:
                labels = {k: v for k, v in (*key.resource, *key.attributes) if k not in OF_POINTS}
                seen.setdefault(key.name, set()).add(frozenset(labels.items()))
                if labels[semconv.GPU_INDEX] == "0":
                    values[key.name] = float(value)
    supplied = {name for name in semconv.SIGNALS if ".gpu." in name or name.startswith("hw.")}
    assert supplied - set(seen) == NOT_HERE
    gpus = seen[semconv.GPU_UTILIZATION]
    assert len(gpus) == 2
    assert {name: labels for name, labels in seen.items() if labels != gpus} == {}
    assert (values[semconv.GPU_UTILIZATION], values[semconv.GPU_SM]) == (0.98, 0.9)
