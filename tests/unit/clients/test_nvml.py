"""NVML through the real pynvml: plain values, and errors sorted by what follows from them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from fallow.clients.nvml import (
    DeviceGone,
    DriverGone,
    Failed,
    GpmWindow,
    Handle,
    Memory,
    Nvml,
    NvmlError,
    Process,
    Unsupported,
    key,
)
from helpers import fake_nvml

pytestmark = pytest.mark.skipif(not fake_nvml.there_is_a_compiler(), reason="gcc compiles the library of the tests")
CALLS = ("memory", "temperature", "power_mw", "utilization", "remapped_rows")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> fake_nvml.State:
    fake_nvml.preload()
    monkeypatch.setenv("FAKE_NVML", str(tmp_path / "state"))
    return fake_nvml.State(tmp_path / "state", "hopper", gpus=2)


@pytest.fixture
def nvml(state: fake_nvml.State) -> Iterator[Nvml]:
    library = Nvml()
    library.open()
    yield library
    library.close()


@pytest.fixture
def gpu(nvml: Nvml) -> Handle:
    return nvml.device(0)


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        (pynvml.NVML_ERROR_NOT_SUPPORTED, Unsupported, "not_supported"),
        (pynvml.NVML_ERROR_NO_PERMISSION, Unsupported, "no_permission"),
        (pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, Unsupported, "function_not_found"),
        (pynvml.NVML_ERROR_GPU_IS_LOST, DeviceGone, "gpu_is_lost"),
        (pynvml.NVML_ERROR_RESET_REQUIRED, DeviceGone, "reset_required"),
        (pynvml.NVML_ERROR_UNINITIALIZED, DriverGone, "uninitialized"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, DriverGone, "lib_rm_version_mismatch"),
        (pynvml.NVML_ERROR_UNKNOWN, Failed, "unknown"),
        (777, Failed, "error_777"),
    ],
)
def test_every_answer_is_of_a_kind_and_has_a_reason(
    nvml: Nvml, gpu: Handle, state: fake_nvml.State, code: int, kind: type[NvmlError], reason: str
) -> None:
    state.set(*(f"0 {name} !{code}" for name in ("nvmlDeviceGetTemperature", "nvmlDeviceGetPowerUsage")))
    for read in (nvml.temperature, nvml.power_mw):
        with pytest.raises(kind) as raised:
            read(gpu)
        assert (raised.value.code, raised.value.reason) == (code, reason)


def test_no_library_is_a_driver_that_is_not_there(tmp_path: Path) -> None:
    program = (
        "from fallow.clients.nvml import DriverGone, Nvml\n"
        "try:\n    Nvml().open()\nexcept DriverGone as error:\n    print(error.reason)\n"
    )
    if Path("/proc/driver/nvidia").exists():
        pytest.skip("there is a driver")
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "library_not_found"


def test_a_newer_function_is_asked_first_and_an_older_driver_is_not_asked_again(
    nvml: Nvml, gpu: Handle, state: fake_nvml.State
) -> None:
    state.set("0 nvmlDeviceGetCurrentClocksEventReasons 4", "0 nvmlDeviceGetCurrentClocksThrottleReasons 8")
    assert nvml.clock_reasons(gpu) == 4
    state.set(f"0 nvmlDeviceGetCurrentClocksEventReasons !{pynvml.NVML_ERROR_FUNCTION_NOT_FOUND}")
    assert nvml.clock_reasons(gpu) == 8
    state.set("0 nvmlDeviceGetCurrentClocksEventReasons 16")
    assert nvml.clock_reasons(gpu) == 8


def test_memory_is_told_without_the_reserved_part_by_older_drivers(
    nvml: Nvml, gpu: Handle, state: fake_nvml.State
) -> None:
    assert nvml.memory(gpu) == Memory(80 << 30, 1 << 30, 524288000)
    state.set(
        f"0 nvmlDeviceGetMemoryInfo_v2 !{pynvml.NVML_ERROR_FUNCTION_NOT_FOUND}", "0 nvmlDeviceGetMemoryInfo 1000 10"
    )
    assert nvml.memory(gpu) == Memory(1000, 10, None)


def test_field_values_have_each_their_own_answer(nvml: Nvml, gpu: Handle, state: fake_nvml.State) -> None:
    state.set("0 nvmlDeviceGetFieldValues/83 18446744073709551615", "0 nvmlDeviceGetFieldValues/82 !999")
    energy, temperature, power, missing = nvml.fields(gpu, [83, (82, 0), 186, 4242])
    assert isinstance(energy, Unsupported), "all bits set: not available"
    assert isinstance(temperature, Failed)
    assert power == 71500
    assert isinstance(missing, Unsupported)


def test_processes_behind_mps_are_processes_and_memory_may_be_unknown(
    nvml: Nvml, gpu: Handle, state: fake_nvml.State
) -> None:
    state.set("0 nvmlDeviceGetComputeRunningProcesses 10:100,11", "0 nvmlDeviceGetMPSComputeRunningProcesses 12:300")
    assert nvml.processes(gpu) == [Process(10, 100), Process(11, None), Process(12, 300)]
    state.set(f"0 nvmlDeviceGetMPSComputeRunningProcesses !{pynvml.NVML_ERROR_NOT_SUPPORTED}")
    assert [p.pid for p in nvml.processes(gpu)] == [10, 11]


def test_samples_of_processes_are_those_after_a_time(nvml: Nvml, gpu: Handle, state: fake_nvml.State) -> None:
    state.set("0 nvmlDeviceGetProcessUtilization 10:500:50:5:0:0,10:600:70:7:1:2")
    assert [(s.time, s.sm, s.memory, s.encoder, s.decoder) for s in nvml.process_samples(gpu, 500)] == [
        (600, 70, 7, 1, 2)
    ]
    state.set("0 nvmlDeviceGetProcessUtilization -")
    assert nvml.process_samples(gpu, 0) == []
    state.set("0 nvmlDeviceGetProcessUtilization +")
    assert nvml.process_samples(gpu, 0) == [], "success without samples, which pynvml raises"


def test_a_gpm_window_averages_between_two_reads(nvml: Nvml, gpu: Handle, state: fake_nvml.State) -> None:
    window = GpmWindow(gpu, None, (2, 5, 61))
    state.set("0 gpm/2 40", "0 gpm/61 !3")
    assert window.read() == {}
    state.set("0 gpm/2 60")
    found = window.read()
    assert (found[2], found[5]) == (50, 0)
    assert isinstance(found[61], Unsupported)
    state.set("0 gpm/2 nan")
    assert isinstance(window.read()[2], Failed), "no number is no value"
    window.close()
    window.close()


def test_a_card_without_gpm_has_no_window(nvml: Nvml, state: fake_nvml.State) -> None:
    state.drop("* nvmlGpmQueryDeviceSupport")
    with pytest.raises(Unsupported):
        GpmWindow(nvml.device(0), None, (2,))


def test_events_come_once_each_in_order_of_those_that_are_watched(
    nvml: Nvml, gpu: Handle, state: fake_nvml.State
) -> None:
    state.set("sys event 8 1 0")
    events = nvml.event_set()
    assert nvml.watch(gpu, 8 | 1, events) == 8, "what the card supports"
    state.set("sys event 8 79 0", "sys event 8 31 1", "sys event 2 5 0", "sys event 8 48 0 3")
    taken = [nvml.next_event(events) for _ in range(3)]
    assert [(e.data, e.instance) if e else None for e in taken] == [(79, None), (48, 3), None]
    assert taken[0] is not None
    assert taken[0].device == key(gpu) != key(nvml.device(1))
    nvml.free(events)


@pytest.mark.parametrize(
    ("found", "shown"),
    [("00000000:1B:00.0", "0000:1b:00.0"), ("00010000:1B:00.0", "10000:1b:00.0"), ("0000:1b:00.0", "0000:1b:00.0")],
)
def test_addresses_are_written_as_the_kernel_does(
    nvml: Nvml, gpu: Handle, state: fake_nvml.State, found: str, shown: str
) -> None:
    state.set(f"0 nvmlDeviceGetPciInfo {found}")
    assert nvml.pci_address(gpu) == shown


def test_links_are_up_or_down_or_there_are_none(nvml: Nvml, gpu: Handle, state: fake_nvml.State) -> None:
    state.set("0 nvmlDeviceGetNvLinkState 3 4", "0 nvmlDeviceGetNvLinkRemoteDeviceType 0")
    state.set("0 nvmlDeviceGetNvLinkRemotePciInfo/1 00000000:18:00.0")
    assert nvml.nvlinks(gpu) == [True, True, True, False]
    assert nvml.nvlink_peer(gpu, 1) == "0000:18:00.0"
    state.set("0 nvmlDeviceGetNvLinkState 0 4")
    assert nvml.nvlinks(gpu) == []


def test_after_an_upgrade_of_the_driver_the_new_library_is_loaded(tmp_path: Path) -> None:
    """In a process of its own: a library is loaded once."""
    old, new = fake_nvml.build("570.00"), fake_nvml.build("580.65.06")
    program = f"""
import os
from pathlib import Path
from fallow.clients.nvml import FOREIGN_LIBRARY, DriverGone, Nvml
from helpers.fake_nvml import State

state = State(Path(os.environ["FAKE_NVML"]))
nvml = Nvml()
nvml.open()
print(nvml.driver_version())
nvml.close()
state.set("sys kernel 580.65.06")
link = Path({str(tmp_path)!r}) / "libnvidia-ml.so.1"
link.unlink()
link.symlink_to({str(new / "libnvidia-ml.so.1")!r})
try:
    nvml.open()
except DriverGone as error:
    assert error.reason == FOREIGN_LIBRARY
    nvml.unload()
nvml.open()
print(nvml.driver_version())
"""
    (tmp_path / "libnvidia-ml.so.1").symlink_to(old / "libnvidia-ml.so.1")
    environment = {"FAKE_NVML": str(tmp_path / "state"), "LD_LIBRARY_PATH": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment_with(environment)
    )
    assert (found.stdout.split(), found.stderr) == (["570.00", "580.65.06"], "")


def environment_with(more: dict[str, str]) -> dict[str, str]:
    return {"PYTHONPATH": ":".join(sys.path), **more}
