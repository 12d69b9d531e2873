"""Vendor names become signals: names, units, labels, precedence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from fallow.batch import Batch, MetricBatch
from fallow.errors import DocumentError
from fallow.semconv import SIGNALS
from fallow.series import SeriesKey, SeriesTable
from fallow.series.table import pairs
from fallow.testing.components import context
from fallow_processors.normalise import NormaliseConfig, describe
from fallow_processors.normalise.processor import NormaliseProcessor

UUID = "GPU-5c0f2f2e-7a4e-4e0e-9f3b-6f6f0b6a2c11"
SCRAPER = {
    "service.name": "dcgm-exporter",
    "service.instance.id": "10.0.0.7:9400",
    "server.address": "10.0.0.7",
    "url.scheme": "http",
    "host.name": "collector-0",
    "k8s.pod.name": "dcgm-exporter-x7k2p",
    "k8s.daemonset.name": "dcgm-exporter",
}
DCGM_LABELS = {
    "gpu": "0",
    "UUID": UUID,
    "device": "nvidia0",
    "modelName": "NVIDIA H100 80GB HBM3",
    "Hostname": "n1",
    "pci_bus_id": "00000000:1B:00.0",
    "DCGM_FI_DRIVER_VERSION": "550.54.15",
}


class Normaliser:
    """A ``normalise`` processor with its series table."""

    def __init__(self, config: NormaliseConfig | None = None, directory: Path | None = None) -> None:
        self.series = SeriesTable()
        made = context("normalise", directory or Path(), self.series)
        self.processor = NormaliseProcessor(config or NormaliseConfig(), made)

    def intern(
        self, name: str, attributes: Mapping[str, str], unit: str = "", resource: Mapping[str, str] | None = None
    ) -> int:
        return self.series.intern(SeriesKey(name, unit, "some scope", pairs(resource or {}), pairs(attributes)))

    def batch(self, series: list[int], time: list[int], value: list[float]) -> Batch:
        return self.processor.process(Batch(metrics=MetricBatch.of(series, time, value)))

    def one(
        self,
        name: str,
        value: float = 1.0,
        attributes: Mapping[str, str] | None = None,
        unit: str = "",
        resource: Mapping[str, str] | None = None,
    ) -> tuple[SeriesKey, float]:
        """What a single sample becomes."""
        found = self.batch([self.intern(name, attributes or {}, unit, resource)], [1], [value]).metrics
        assert found is not None
        assert len(found) == 1
        return self.series.key(int(found.series[0])), float(found.value[0])


@pytest.mark.parametrize(
    ("name", "value", "signal", "expected"),
    [
        ("DCGM_FI_DEV_GPU_UTIL", 57, "hw.gpu.utilization", 0.57),
        ("DCGM_FI_DEV_FB_USED", 2, "hw.gpu.memory.usage", 2 * 1024**2),
        ("DCGM_FI_DEV_POWER_USAGE", 300.5, "hw.power", 300.5),
        ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", 1500, "hw.energy", 1.5),
        ("DCGM_FI_DEV_GPU_TEMP", 41, "hw.temperature", 41),
        ("DCGM_FI_DEV_SM_CLOCK", 1980, "fallow.gpu.sm.clock", 1.98e9),
        ("DCGM_FI_DEV_MEM_COPY_UTIL", 29, "fallow.gpu.memory_controller.utilization", 0.29),
        ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 0.5, "fallow.gpu.engine.utilization", 0.5),
        ("DCGM_FI_PROF_SM_ACTIVE", 0.5, "fallow.gpu.sm.utilization", 0.5),
        ("DCGM_FI_PROF_SM_OCCUPANCY", 0.5, "fallow.gpu.sm.occupancy", 0.5),
        ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", 0.5, "fallow.gpu.tensor.utilization", 0.5),
        ("DCGM_FI_PROF_DRAM_ACTIVE", 0.5, "fallow.gpu.dram.utilization", 0.5),
        ("DCGM_FI_PROF_PCIE_TX_BYTES", 7, "fallow.gpu.pcie.throughput", 7),
        ("DCGM_FI_PROF_NVLINK_RX_BYTES", 7, "fallow.gpu.nvlink.throughput", 7),
        ("DCGM_FI_DEV_GPU_UTIL_RATIO", 0.57, "hw.gpu.utilization", 0.57),
        ("DCGM_FI_DEV_FB_USED_BYTES", 2, "hw.gpu.memory.usage", 2),
        ("DCGM_FI_DEV_BOARD_POWER_WATTS", 300.5, "hw.power", 300.5),
        ("DCGM_FI_DEV_GPU_ENERGY_JOULES_TOTAL", 15, "hw.energy", 15),
        ("DCGM_FI_DEV_SM_CLOCK_HERTZ", 1.98e9, "fallow.gpu.sm.clock", 1.98e9),
        ("DCGM_FI_DEV_POWER_VIOLATION", 2.5e9, "fallow.gpu.throttle.time", 2.5),
        ("DCGM_FI_DEV_GPU_POWER_THROTTLE_SECONDS_TOTAL", 2.5, "fallow.gpu.throttle.time", 2.5),
        ("nvmlDeviceGetPowerUsage", 300_500, "hw.power", 300.5),
        ("nvmlDeviceGetPcieThroughput.tx", 3, "fallow.gpu.pcie.throughput", 3000),
        ("NVML_GPM_METRIC_SM_UTIL", 57, "fallow.gpu.sm.utilization", 0.57),
        ("nvidia_gpu_duty_cycle", 57, "hw.gpu.utilization", 0.57),
        ("gpu_device_utilization", 57, "hw.gpu.utilization", 0.57),
        ("vllm:gpu_cache_usage_perc", 0.9, "fallow.serving.kv_cache.utilization", 0.9),
        ("vllm:request_success_total", 7, "fallow.serving.requests", 7),
        ("vllm:request_success", 7, "fallow.serving.requests", 7),
    ],
)
def test_vendor_names_become_signals_in_their_units(name: str, value: float, signal: str, expected: float) -> None:
    key, found = Normaliser().one(name, value, DCGM_LABELS)
    assert (key.name, key.unit, key.scope, found) == (signal, SIGNALS[signal], "", expected)


@pytest.mark.parametrize("signal", list(SIGNALS))
def test_every_signal_is_known_under_its_own_name(signal: str) -> None:
    key, value = Normaliser().one(signal, 0.5, {"hw.type": "gpu", "hw.id": UUID}, SIGNALS[signal], {"host.name": "n1"})
    assert (key.name, key.unit, value) == (signal, SIGNALS[signal], 0.5)


def test_one_gpu_has_the_same_labels_under_two_vocabularies() -> None:
    normalise = Normaliser()
    dcgm, _ = normalise.one("DCGM_FI_DEV_GPU_UTIL", 3, DCGM_LABELS, resource=SCRAPER)
    attributes = {"hw.id": UUID, "hw.type": "gpu", "hw.model": "NVIDIA H100 80GB HBM3", "hw.vendor": "NVIDIA"}
    attributes["fallow.gpu.index"] = "0"
    hw, _ = normalise.one("hw.gpu.utilization", 0.03, attributes, "1", {"host.name": "n1", "service.name": "agent"})
    assert dcgm == hw
    assert dcgm.labels == {
        "host.name": "n1",
        "hw.id": UUID,
        "hw.type": "gpu",
        "hw.model": "NVIDIA H100 80GB HBM3",
        "fallow.gpu.index": "0",
    }


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param({"pod": "p", "namespace": "ns", "container": "c"}, ("p", "ns", "c"), id="honor-labels"),
        pytest.param(
            {"pod": "dcgm-exporter-1", "namespace": "mon", "exported_pod": "p", "exported_namespace": "ns"},
            ("p", "ns", None),
            id="exported-goes-first",
        ),
        pytest.param(
            {"pod": "dcgm-exporter-1", "namespace": "mon"}, (None, None, None), id="the-exporter-is-no-workload"
        ),
        pytest.param({"pod": "", "namespace": ""}, (None, None, None), id="empty-is-absent"),
    ],
)
def test_workload_labels(labels: dict[str, str], expected: tuple[str | None, ...]) -> None:
    key, _ = Normaliser().one("DCGM_FI_DEV_GPU_UTIL", 1, DCGM_LABELS | labels, resource=SCRAPER)
    names = ("k8s.pod.name", "k8s.namespace.name", "k8s.container.name")
    assert tuple(key.labels.get(name) for name in names) == expected


def test_slurm_job_of_dcgm_becomes_the_job_id() -> None:
    key, _ = Normaliser().one("DCGM_FI_DEV_GPU_UTIL", 1, DCGM_LABELS | {"hpc_job": "4711"})
    assert key.labels["fallow.job.id"] == "4711"


def test_directions_and_mig_instances_stay_apart() -> None:
    normalise = Normaliser()
    keys = {
        normalise.one(name, 1, DCGM_LABELS | {"GPU_I_ID": instance})[0]
        for name in ("DCGM_FI_PROF_PCIE_TX_BYTES", "DCGM_FI_PROF_PCIE_RX_BYTES")
        for instance in ("1", "2")
    }
    assert len(keys) == 4


def test_without_host_or_device_the_reporters_address_stays() -> None:
    normalise = Normaliser()
    keys = {
        normalise.one("DCGM_FI_DEV_GPU_UTIL", 1, {"gpu": "0"}, resource={"service.instance.id": address})[0]
        for address in ("10.0.0.7:9400", "10.0.0.8:9400")
    }
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("name", "unit", "attributes"),
    [
        pytest.param("hw.power", "W", {"hw.type": "cpu", "hw.id": "cpu0"}, id="power-of-a-cpu"),
        pytest.param("hw.temperature", "Cel", {"hw.id": "sensor-3"}, id="temperature-of-something"),
        pytest.param("hw.gpu.utilization", "1", {"hw.id": UUID, "hw.gpu.task": "jpeg"}, id="only-a-task"),
        pytest.param("hw.gpu.memory.usage", "MiBy", {"hw.id": UUID}, id="a-unit-that-no-row-knows"),
    ],
)
def test_what_only_bears_the_name_of_a_signal_is_kept_out(name: str, unit: str, attributes: Mapping[str, str]) -> None:
    normalise = Normaliser()
    batch = normalise.batch([normalise.intern(name, attributes, unit)], [1], [1.0])
    assert batch.metrics is not None
    assert len(batch.metrics) == 0
    assert batch.dropped == {"not_the_signal": 1}


def test_a_gpu_without_hw_type_is_known_by_its_uuid() -> None:
    key, _ = Normaliser().one("hw.power", 300, {"hw.id": UUID}, "W")
    assert key.labels["hw.type"] == "gpu"


@pytest.mark.parametrize("name", ["node_load1", "hw.gpu.memory.utilization", "DCGM_FI_DEV_FAN_SPEED"])
def test_unknown_names_pass_unchanged(name: str) -> None:
    key, value = Normaliser().one(name, 0.25, {"cpu": "0"}, "1", {"service.name": "x"})
    assert key == SeriesKey(name, "1", "some scope", (("service.name", "x"),), (("cpu", "0"),))
    assert value == 0.25


@pytest.mark.parametrize(
    ("scope", "name", "attributes", "unit", "expected"),
    [
        pytest.param(
            "dynolog",
            "hw.gpu.utilization",
            {"hw.gpu.task": "general"},
            "1",
            "fallow.gpu.engine.utilization",
            id="dynolog",
        ),
        pytest.param(
            "dynolog", "hw.gpu.utilization", {"hw.gpu.task": "device"}, "1", "hw.gpu.utilization", id="device"
        ),
        pytest.param(
            "any", "hw.gpu.utilization", {"hw.gpu.task": "general"}, "1", "hw.gpu.utilization", id="convention"
        ),
        pytest.param("dynolog", "hw.gpu.io", {}, "By/s", "fallow.gpu.pcie.throughput", id="a-rate"),
        pytest.param("any", "hw.gpu.io", {}, "By", "hw.gpu.io", id="a-count"),
        pytest.param(
            "otelcol.gpu.collector",
            "hw.gpu.memory.utilization",
            {},
            "1",
            "fallow.gpu.memory_controller.utilization",
            id="the-memory-controller",
        ),
        pytest.param("any", "hw.gpu.memory.utilization", {}, "1", "hw.gpu.memory.utilization", id="nobody-knows"),
        pytest.param(
            "any", "hw.errors", {"hw.type": "gpu", "error.type": "xid"}, "{error}", "hw.errors", id="an-error"
        ),
    ],
)
def test_one_name_means_what_its_sender_means(
    scope: str, name: str, attributes: Mapping[str, str], unit: str, expected: str
) -> None:
    normalise = Normaliser()
    series = normalise.series.intern(SeriesKey(name, unit, scope, pairs({"host.name": "n1"}), pairs(attributes)))
    found = normalise.batch([series], [1], [0.5]).metrics
    assert found is not None
    assert [normalise.series.key(s).name for s in found.series.tolist()] == [expected]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            ("node_cpu_seconds_total", {"cpu": "3", "mode": "irq"}),
            ("system.cpu.time", {"cpu": "cpu3", "state": "interrupt"}),
        ),
        (
            ("node_disk_written_bytes_total", {"device": "nvme0n1"}),
            ("system.disk.io", {"device": "nvme0n1", "direction": "write"}),
        ),
        (
            ("container_cpu_usage_seconds_total", {"pod": "p", "namespace": "n", "container": "c", "cpu": "total"}),
            ("container.cpu.time", {"k8s.pod.name": "p", "k8s.namespace.name": "n", "k8s.container.name": "c"}),
        ),
    ],
)
def test_hosts_and_containers_are_the_same_under_two_vocabularies(
    ours: tuple[str, dict[str, str]], theirs: tuple[str, dict[str, str]]
) -> None:
    host = {"host.name": "n1"}
    normalise = Normaliser()
    assert (
        normalise.one(*((ours[0], 1.0, ours[1], "", host)))[0] == normalise.one(theirs[0], 1.0, theirs[1], "s", host)[0]
    )


@pytest.mark.parametrize("container", ["", "POD"])
def test_a_pods_sum_and_its_pause_container_are_no_container(container: str) -> None:
    key, _ = Normaliser().one("container_cpu_usage_seconds_total", 1, {"pod": "p", "container": container})
    assert key.name == "container_cpu_usage_seconds_total"


def test_every_renamed_field_of_dcgm_that_the_table_has_is_there_under_both_names() -> None:
    file = Path(__file__).parents[4] / "shared" / "dcgm46_aliases.txt"
    if not file.exists():
        pytest.skip("the list of renamed fields is not beside this checkout")
    known = {str(row["name"]): row["signal"] for row in describe()}
    pairs_of_names = [line.split(" (")[0].split(" -> ") for line in file.read_text().splitlines()]
    # GPU_UTIL and its ratio are two fields with two units since 4.7; they are one signal all the same.
    both = [(known.get(old), known.get(new)) for old, new in pairs_of_names if old in known or new in known]
    assert len(both) > 25
    assert all(old == new for old, new in both)


def test_percent_under_the_conventional_name_is_scaled() -> None:
    assert Normaliser().one("hw.gpu.utilization", 57, {"hw.id": UUID}, "%")[1] == 0.57


def test_two_servers_without_kubernetes_stay_two() -> None:
    normalise = Normaliser()
    keys = {
        normalise.one("vllm:request_success", 1, {"model_name": "m"}, resource={"service.instance.id": address})[0]
        for address in ("a:8000", "b:8000")
    }
    assert len(keys) == 2


def test_of_two_samples_at_one_time_the_first_source_counts_then_the_larger() -> None:
    # time:  1 both sources · 2 only dcgm, twice · 3 a NaN and a number · 4 dcgm alone
    normalise = Normaliser()
    dcgm = normalise.intern("DCGM_FI_DEV_GPU_UTIL", DCGM_LABELS)
    again = normalise.intern("DCGM_FI_DEV_GPU_UTIL", DCGM_LABELS | {"device": "nvidia1"})
    attributes = {"hw.id": UUID, "hw.model": DCGM_LABELS["modelName"], "fallow.gpu.index": "0", "host.name": "n1"}
    hw = normalise.intern("hw.gpu.utilization", attributes, "1")
    series = [dcgm, hw, dcgm, again, dcgm, again, dcgm]
    batch = normalise.batch(series, [1, 1, 2, 2, 3, 3, 4], [90, 0.1, 20, 30, math.nan, 40, 50])
    assert batch.metrics is not None
    assert len(set(batch.metrics.series.tolist())) == 1
    assert batch.metrics.time.tolist() == [1, 2, 3, 4]
    assert batch.metrics.value.tolist() == [0.1, 0.3, 0.4, 0.5]
    assert batch.dropped == {"duplicate": 3}


def test_a_value_goes_before_a_stale_mark_of_the_same_time() -> None:
    normalise = Normaliser()
    series = normalise.intern("DCGM_FI_DEV_GPU_UTIL", DCGM_LABELS)
    metrics = MetricBatch(
        series=np.array([series, series], dtype=np.int32),
        time=np.array([1, 1], dtype=np.int64),
        value=np.array([math.nan, 5.0]),
        stale=np.array([True, False]),
    )
    found = normalise.processor.process(Batch(metrics=metrics)).metrics
    assert found is not None
    assert (found.value.tolist(), found.stale.tolist()) == ([0.05], [False])


def test_duplicates_equal_a_plain_loop() -> None:
    rng = np.random.default_rng(7)
    normalise = Normaliser()
    ids = [
        normalise.intern(name, {"hw.id": f"GPU-{gpu}", **extra}, unit)
        for gpu in range(5)
        for name, unit, extra in (
            ("hw.gpu.utilization", "1", {}),
            ("DCGM_FI_DEV_GPU_UTIL", "", {}),
            ("DCGM_FI_DEV_GPU_UTIL", "", {"device": "nvidia0"}),
        )
    ]
    picks = rng.integers(0, len(ids), 400)
    times, values = rng.integers(1, 12, 400), rng.integers(0, 100, 400).astype(float)
    best: dict[tuple[int, int], tuple[int, float]] = {}
    for pick, time, value in zip(picks.tolist(), times.tolist(), values.tolist(), strict=True):
        rank, found = (1, value) if pick % 3 == 0 else (0, value / 100)
        at = (pick // 3, time)
        best[at] = max(best.get(at, (-1, 0.0)), (rank, found))
    batch = normalise.batch([ids[p] for p in picks], times.tolist(), values.tolist())
    metrics = batch.metrics
    assert metrics is not None
    got = {
        (int(normalise.series.key(s).labels["hw.id"][4:]), t): v
        for s, t, v in zip(metrics.series.tolist(), metrics.time.tolist(), metrics.value.tolist(), strict=True)
    }
    assert got == {at: value for at, (_, value) in best.items()}
    assert len(metrics) == len(best)
    assert batch.dropped == {"duplicate": 400 - len(best)}


def test_the_received_batch_stays_as_it_was() -> None:
    normalise = Normaliser()
    metrics = MetricBatch.of([normalise.intern("DCGM_FI_DEV_GPU_UTIL", DCGM_LABELS)], [1], [50])
    for column in (metrics.series, metrics.time, metrics.value, metrics.stale):
        column.setflags(write=False)
    normalise.processor.process(Batch(metrics=metrics))
    assert metrics.value.tolist() == [50]


def test_batches_without_samples_pass_untouched() -> None:
    empty = Batch(metrics=MetricBatch.of([], [], []))
    normalise = Normaliser()
    assert normalise.processor.process(Batch()) == Batch()
    assert normalise.processor.process(empty) is empty


def test_an_extra_table_adds_and_overrides(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        """
sources:
  - source: site
    rename: {card: hw.id}
    rows: [{name: site_gpu_busy, signal: hw.gpu.utilization, scale: 0.001, offset: 0.5}]
  - source: dcgm
    rename: {UUID: hw.id}
    rows: [{name: DCGM_FI_DEV_FB_USED, signal: hw.gpu.memory.usage}]
"""
    )
    normalise = Normaliser(NormaliseConfig(extra_table=Path("own.yaml")), tmp_path)
    key, value = normalise.one("site_gpu_busy", 250, {"card": UUID})
    assert (key.name, dict(key.attributes), value) == ("hw.gpu.utilization", {"hw.id": UUID}, 0.75)
    assert normalise.one("DCGM_FI_DEV_FB_USED", 1024, {"UUID": UUID})[1] == 1024


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param("{name: x, signal: hw.nothing}", "'hw.nothing' is not a signal", id="unknown-signal"),
        pytest.param("{name: x, signal: hw.power, scale: 0}", "scale 0", id="zero-scale"),
        pytest.param("{name: x, signal: hw.power, scael: 2}", "unknown key", id="unknown-key"),
        pytest.param("{name: x}", "is required", id="no-signal"),
    ],
)
def test_a_wrong_table_names_its_place(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(f"sources:\n  - source: site\n    rows:\n      - {row}\n")
    with pytest.raises(DocumentError, match=message) as caught:
        Normaliser(NormaliseConfig(extra_table=path))
    assert str(caught.value).startswith(f"{path}:4: sources[0].rows[0]")


def test_series_beyond_the_limit_are_counted() -> None:
    normalise = Normaliser()
    first = normalise.intern("DCGM_FI_DEV_GPU_UTIL", DCGM_LABELS)
    normalise.series.limit = len(normalise.series)
    assert normalise.batch([first], [1], [1.0]).dropped == {"series_limit": 1}
