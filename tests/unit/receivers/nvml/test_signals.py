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


def test_every_signal_of_a_gpu_has_the_same_labels(tmp_path: Path) -> None:
    node = Node(tmp_path, "hopper", 2)
    node.state.set("0 nvmlDeviceGetUtilizationRates 98 40", "0 gpm/2 90")
    node.tick(0)
    (request,) = node.tick(1)
    node.close()
    series = SeriesTable()
    decode = DecodeProcessor(DecodeConfig(kernel="python"), context("decode", tmp_path, series))
    normalise = NormaliseProcessor(NormaliseConfig(), context("normalise", tmp_path, series))
    found = normalise.process(decode.process(Batch(request=request, arrival=1))).metrics
    assert found is not None
    seen: dict[str, set[frozenset[tuple[str, str]]]] = {}
    values: dict[str, float] = {}
    for id, value in zip(found.series, found.value, strict=True):
        key = series.key(int(id))
        if key.name in semconv.SIGNALS:
            labels = {**dict(key.resource), **dict(key.attributes)}
            labels.pop("network.io.direction", None)
            seen.setdefault(key.name, set()).add(frozenset(labels.items()))
            if labels[semconv.GPU_INDEX] == "0":
                values[key.name] = float(value)
    supplied = {name for name in semconv.SIGNALS if ".gpu." in name or name.startswith("hw.")}
    assert set(seen) == supplied
    gpus = seen[semconv.GPU_UTILIZATION]
    assert len(gpus) == 2
    assert {name: labels for name, labels in seen.items() if labels != gpus} == {}
    assert (values[semconv.GPU_UTILIZATION], values[semconv.GPU_SM]) == (0.98, 0.9)
