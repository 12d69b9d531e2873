"""What holds of every card, real ones too: all that is sent is documented, all that is documented is sent or said to be absent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pynvml
import pytest

from fallow import semconv
from fallow_receivers.nvml import profiling
from fallow_receivers.nvml.fields import FIELDS
from fallow_receivers.nvml.metrics import INSTRUMENTS
from fallow_receivers.nvml.readings import THROTTLES
from helpers import fake_nvml, otlp_text
from helpers.nvml_node import Node, breaches, documented, unaccounted

needs_compiler = pytest.mark.skipif(not fake_nvml.there_is_a_compiler(), reason="gcc compiles the library of the tests")


@needs_compiler
@pytest.mark.parametrize("card", fake_nvml.CARDS)
def test_a_card_keeps_the_contract(card: str, tmp_path: Path) -> None:
    node = Node(tmp_path, card, 2)
    requests = [request for second in (0, 1, 10, 20) for request in node.tick(second)]
    node.close()
    assert sorted(set(breaches(requests))) == []
    assert sorted(unaccounted(requests)) == []


@needs_compiler
def test_where_nothing_is_supported_nothing_is_sent(tmp_path: Path) -> None:
    """Of a card that answers to nothing but its name: no metric, no zero, only its state."""
    node = Node(tmp_path, "old", 1)
    node.state.drop("* ")
    node.state.set("* nvmlDeviceGetName NVIDIA Nothing")
    requests = [request for second in (0, 1, 10) for request in node.tick(second)]
    node.close()
    assert {m.name for m in otlp_text.metrics(requests)} == {semconv.HW_STATUS}
    assert sorted(unaccounted(requests)) == []


def test_the_gpus_of_this_machine_keep_the_contract() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "FAKE_NVML"} | {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-m", "helpers.nvml_real"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    if "none" in found:
        pytest.skip(f"no GPU to ask: {found['none']}")
    assert found["breaches"] == []
    assert found["unaccounted"] == []
    assert set(found["topology"]) == set(found["gpus"])


def test_every_metric_is_documented_as_it_is() -> None:
    assert {i.name: (i.unit, i.kind) for i in INSTRUMENTS} == {
        name: (metric.unit, metric.instrument) for name, (metric, _) in documented().items()
    }


def test_every_signal_of_a_gpu_is_supplied_in_its_unit() -> None:
    found = {i.name: i.unit for i in INSTRUMENTS if i.name in semconv.SIGNALS}
    wanted = {name: unit for name, unit in semconv.SIGNALS.items() if ".gpu." in name or name.startswith("hw.")}
    of_others = {  # as vendors' tools and schedulers say it, or (utilisation of en- and decoders) as a task of the GPU
        *("fallow.gpu.decoder.utilization", "fallow.gpu.encoder.utilization", "fallow.gpu.memory.free"),
        *("fallow.gpu.memory.pages.retired", "fallow.gpu.nvlink.throughput.total", "fallow.gpu.xid"),
        *("fallow.job.gpu.allocated", "fallow.job.gpu.first_activity", "hw.host.power"),
        *("fallow.gpu.memory.idle_baseline", "fallow.gpu.power.idle_baseline", "fallow.gpu.power.running_level"),
        *("fallow.gpu.idle.persistence", "fallow.gpu.idle.persistence.peak"),
    }
    assert found == {name: unit for name, unit in wanted.items() if name not in of_others}


def test_numbers_are_those_of_the_header() -> None:
    """pynvml is made from nvml.h."""
    names = {
        83: "TOTAL_ENERGY_CONSUMPTION",
        186: "POWER_INSTANT",
        82: "MEMORY_TEMP",
        197: "PCIE_COUNT_TX_BYTES",
        198: "PCIE_COUNT_RX_BYTES",
        138: "NVLINK_THROUGHPUT_DATA_TX",
        139: "NVLINK_THROUGHPUT_DATA_RX",
        74: "PERF_POLICY_POWER",
        75: "PERF_POLICY_THERMAL",
        76: "PERF_POLICY_SYNC_BOOST",
        77: "PERF_POLICY_BOARD_LIMIT",
        78: "PERF_POLICY_LOW_UTILIZATION",
        79: "PERF_POLICY_RELIABILITY",
        269: "CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN",
        270: "CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN",
        271: "CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN",
        94: "PCIE_REPLAY_COUNTER",
        38: "NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL",
        52: "NVLINK_REPLAY_ERROR_COUNT_TOTAL",
        59: "NVLINK_RECOVERY_ERROR_COUNT_TOTAL",
        230: "GET_GPU_RECOVERY_ACTION",
    }
    assert {field.id for field in FIELDS} == set(names)
    assert {id: vars(pynvml)[f"NVML_FI_DEV_{name}"] for id, name in names.items()} == {id: id for id in names}
    monitor = {
        1: "GRAPHICS_UTIL",
        2: "SM_UTIL",
        3: "SM_OCCUPANCY",
        4: "INTEGER_UTIL",
        5: "ANY_TENSOR_UTIL",
        10: "DRAM_BW_UTIL",
        11: "FP64_UTIL",
        12: "FP32_UTIL",
        13: "FP16_UTIL",
        20: "PCIE_TX_PER_SEC",
        21: "PCIE_RX_PER_SEC",
        60: "NVLINK_TOTAL_RX_PER_SEC",
        61: "NVLINK_TOTAL_TX_PER_SEC",
    }
    assert {*profiling.SHARES, *profiling.RATES} == set(monitor)
    assert {id: vars(pynvml)[f"NVML_GPM_METRIC_{name}"] for id, name in monitor.items()} == {id: id for id in monitor}


def test_idle_and_chosen_clocks_are_no_throttling() -> None:
    bits = {
        value
        for name, value in vars(pynvml).items()
        if name.startswith("nvmlClocksEventReason") and isinstance(value, int) and value.bit_count() == 1
    }
    assert bits - set(THROTTLES) == {
        pynvml.nvmlClocksEventReasonGpuIdle,
        pynvml.nvmlClocksEventReasonApplicationsClocksSetting,
    }
