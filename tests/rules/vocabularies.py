"""One hour of four GPUs of a job, told in the words of every source that Fallow knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fallow.testing.samples import Gauge, Recording

HOST, JOB, MODEL, MIB = "gpu-node-07", "51877", "NVIDIA H100 80GB HBM3", 2.0**20
UUIDS = tuple(f"GPU-5a1e6c52-0f0d-4f1b-9c55-3d1f9a7e0c0{i}" for i in range(4))
STEP_S = 30


@dataclass(frozen=True)
class Reading:
    """What one GPU does at one moment. Values that every unit can say: whole percents, mebibytes, watts, megahertz."""

    index: int
    percent: int
    memory_mib: int
    sm_percent: int
    watts: int
    clock_mhz: int
    energy_j: int


Points = list[Gauge]


def readings(second: int) -> Iterator[Reading]:
    """One GPU holds memory for nothing, one falls idle after work, one is full of small kernels, one works."""
    late = second >= 900
    steps = second // STEP_S
    yield Reading(0, 0, 41_000, 0, 118, 345, 118 * second)
    yield Reading(1, 0 if late else 93, 22_000, 0 if late else 71, 72 if late else 610, 1980, 72 * second)
    yield Reading(2, (91, 97, 94)[steps % 3], 60_000, (24, 21, 27)[steps % 3], 330, 1980, 330 * second)
    yield Reading(3, (88, 96, 92)[steps % 3], 70_000, (74, 81, 69)[steps % 3], 655, 1755, 655 * second)


def conventions(r: Reading) -> Points:
    labels = {"hw.id": UUIDS[r.index], "hw.type": "gpu", "hw.model": MODEL, "hw.vendor": "NVIDIA"}
    labels["fallow.gpu.index"] = str(r.index)
    return [
        Gauge("hw.gpu.utilization", "1", labels | {"hw.gpu.task": "general"}, r.percent / 100),
        Gauge("hw.gpu.memory.usage", "By", labels, r.memory_mib * MIB),
        Gauge("hw.power", "W", labels, r.watts),
        Gauge("hw.energy", "J", labels, r.energy_j),
        Gauge("fallow.gpu.sm.utilization", "1", labels, r.sm_percent / 100),
        Gauge("fallow.gpu.sm.clock", "Hz", labels, r.clock_mhz * 1e6),
    ]


def _dcgm(r: Reading, host_label: str, values: Mapping[str, float]) -> Points:
    labels = {"gpu": str(r.index), "UUID": UUIDS[r.index], "device": f"nvidia{r.index}", "modelName": MODEL}
    labels |= {host_label: HOST, "hpc_job": JOB, "DCGM_FI_DRIVER_VERSION": "575.57.08"}
    return [Gauge(name, "", labels, value) for name, value in values.items()]


def dcgm_4_5(r: Reading) -> Points:
    values = {
        "DCGM_FI_DEV_GPU_UTIL": r.percent,
        "DCGM_FI_DEV_FB_USED": r.memory_mib,
        "DCGM_FI_DEV_POWER_USAGE": r.watts,
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": r.energy_j * 1000,
        "DCGM_FI_PROF_SM_ACTIVE": r.sm_percent / 100,
        "DCGM_FI_DEV_SM_CLOCK": r.clock_mhz,
    }
    return _dcgm(r, "Hostname", values)


def dcgm_4_6(r: Reading) -> Points:
    """The names of DCGM 4.6 and up in dcgm-exporter from 4.9: base units, and another label for the host."""
    values = {
        "DCGM_FI_DEV_GPU_UTIL_RATIO": r.percent / 100,
        "DCGM_FI_DEV_FB_USED_BYTES": r.memory_mib * MIB,
        "DCGM_FI_DEV_BOARD_POWER_WATTS": r.watts,
        "DCGM_FI_DEV_GPU_ENERGY_JOULES_TOTAL": r.energy_j,
        "DCGM_FI_PROF_SM_UTIL_RATIO": r.sm_percent / 100,
        "DCGM_FI_DEV_SM_CLOCK_HERTZ": r.clock_mhz * 1e6,
    }
    return _dcgm(r, "hostname", values)


def nvml(r: Reading) -> Points:
    labels = {"uuid": UUIDS[r.index], "index": str(r.index), "name": MODEL}
    values: dict[str, float] = {
        "nvmlDeviceGetUtilizationRates.gpu": r.percent,
        "nvmlDeviceGetMemoryInfo_v2.used": r.memory_mib * MIB,
        "nvmlDeviceGetPowerUsage": r.watts * 1000,
        "nvmlDeviceGetTotalEnergyConsumption": r.energy_j * 1000,
        "NVML_GPM_METRIC_SM_UTIL": r.sm_percent,
        "nvmlDeviceGetClockInfo.sm": r.clock_mhz,
    }
    return [Gauge(name, "", labels, value) for name, value in values.items()]


def openlit(r: Reading) -> Points:
    """What OpenLIT does not have is told in Fallow's own words, as a receiver beside it would."""
    labels = {"hw.id": UUIDS[r.index], "hw.name": MODEL, "hw.vendor": "nvidia", "gpu.index": str(r.index)}
    labels["gpu.pci_address"] = "0000:1b:00.0"
    return [
        Gauge("hw.gpu.utilization", "1", labels | {"hw.gpu.task": "general"}, r.percent / 100),
        # Its trap: this is the memory controller's, and says nothing of memory in use.
        Gauge("hw.gpu.memory.utilization", "1", labels, 0.01),
        Gauge("hw.gpu.memory.usage", "By", labels, r.memory_mib * MIB),
        Gauge("hw.gpu.power.draw", "W", labels, r.watts),
        Gauge("hw.gpu.energy.consumed", "J", labels, r.energy_j),
        Gauge("hw.gpu.clock.graphics", "MHz", labels, r.clock_mhz),
    ]


def nvidia_smi(r: Reading) -> Points:
    labels = {"uuid": UUIDS[r.index], "index": str(r.index), "name": MODEL, "hostname": HOST}
    values: dict[str, float] = {
        "nvidia_smi_utilization_gpu_ratio": r.percent / 100,
        "nvidia_smi_memory_used_bytes": r.memory_mib * MIB,
        "nvidia_smi_power_draw_watts": r.watts,
        "nvidia_smi_clocks_current_sm_clock_hz": r.clock_mhz * 1e6,
    }
    return [Gauge(name, "", labels, value) for name, value in values.items()]


def dynolog(r: Reading) -> Points:
    """It knows a device's index, not its UUID, and calls the graphics engine's activity utilisation."""
    labels = {"hw.id": str(r.index), "job_id": JOB}
    return [
        Gauge("hw.gpu.utilization", "1", labels | {"hw.gpu.task": "device"}, r.percent / 100),
        Gauge("hw.gpu.utilization", "1", labels | {"hw.gpu.task": "general"}, r.percent / 100),
        Gauge("hw.gpu.memory.utilization", "1", labels, 0.01),
        Gauge("hw.power", "W", labels | {"hw.type": "gpu"}, r.watts),
        Gauge("hw.gpu.sm.utilization", "1", labels, r.sm_percent / 100),
        Gauge("hw.gpu.frequency", "MHz", labels, r.clock_mhz),
    ]


@dataclass(frozen=True)
class Vocabulary:
    """How a source says it."""

    points: Callable[[Reading], Points]
    resource: Mapping[str, str]
    scope: str = ""
    beside: Callable[[Reading], Points] | None = None
    """What another source on the same host adds."""


def _only(*names: str) -> Callable[[Reading], Points]:
    return lambda r: [point for point in conventions(r) if point.name in names]


_NODE = {"host.name": HOST, "fallow.job.id": JOB}
_SCRAPED = {"service.name": "dcgm-exporter", "service.instance.id": "10.0.3.7:9400", "k8s.pod.name": "dcgm-exporter-1"}
_SM = _only("fallow.gpu.sm.utilization")
VOCABULARIES: Mapping[str, Vocabulary] = {
    "conventions": Vocabulary(conventions, _NODE | {"service.name": "agent"}, "otelcol/gpu"),
    "dcgm-4.5": Vocabulary(dcgm_4_5, _SCRAPED),
    "dcgm-4.6": Vocabulary(dcgm_4_6, _SCRAPED),
    "nvml": Vocabulary(nvml, _NODE),
    "openlit": Vocabulary(openlit, _NODE | {"service.name": "gpu-collector"}, "otelcol.gpu.collector", _SM),
    "nvidia-smi": Vocabulary(nvidia_smi, _NODE, "", _SM),
    "dynolog": Vocabulary(dynolog, {"host.name": HOST, "service.name": "dynolog", "os.type": "linux"}, "dynolog"),
}


def recorded(file: Path, told: Callable[[int], str], until: int = 3600) -> Path:
    """Write the hour; ``told`` says in which vocabulary a second is."""
    out = Recording()
    for second in range(0, until, STEP_S):
        words = VOCABULARIES[told(second)]
        now = list(readings(second))
        out.metrics(second, words.resource, [p for r in now for p in words.points(r)], words.scope)
        if words.beside is not None:
            out.metrics(second, _NODE, [p for r in now for p in words.beside(r)])
    file.write_text(out.text())
    return file
