"""Scenes of a node, and exactly what is sent of each."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from helpers import fake_nvml, otlp_text
from helpers.golden import ROOT, Golden
from helpers.nvml_node import START, Node, breaches

pytestmark = pytest.mark.skipif(not fake_nvml.there_is_a_compiler(), reason="gcc compiles the library of the tests")
GIB = fake_nvml.GIB
LOST, UNINITIALIZED, NOT_LOADED, UNKNOWN = "!15", "!1", "!9", "!999"


class Stage:
    """A node whose ticks are told."""

    def __init__(self, node: Node) -> None:
        self.node, self.set, self.drop = node, node.state.set, node.state.drop
        self.story = otlp_text.Story(START)

    def tick(self, second: float, say: str) -> None:
        found = self.node.tick(second)
        assert not list(breaches(found))
        self.story.tell(f"{second:g}s, {say}", found)

    def pass_by(self, second: float) -> None:
        """A tick that is not shown."""
        self.node.tick(second)


@contextmanager
def stage(folder: Path, card: str = "hopper", gpus: int = 1, **config: Any) -> Generator[Stage]:
    node = Node(folder, card, gpus, **config)
    try:
        yield Stage(node)
    finally:
        node.close()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(ROOT / "nvml", update=bool(request.config.getoption("--update-golden")))


def test_eight_gpus(tmp_path: Path, golden: Golden) -> None:
    with stage(tmp_path, gpus=8) as s:
        for gpu in range(8):
            s.set(
                f"{gpu} nvmlDeviceGetUtilizationRates {10 * gpu} {gpu}",
                f"{gpu} nvmlDeviceGetMemoryInfo_v2 {80 * GIB} {gpu * GIB} 524288000",
                f"{gpu} nvmlDeviceGetFieldValues/186 {70_000 + 1000 * gpu}",
                f"{gpu} nvmlDeviceGetClockInfo/1 {345 + gpu}",
            )
        s.pass_by(0)
        s.tick(1, "a fast sample of each")
        golden.check("eight-gpus", s.story.shown())


def test_hopper(tmp_path: Path, golden: Golden) -> None:
    with stage(tmp_path) as s:
        s.tick(0, "idle: what there is, its topology, what it lacks")
        s.set(
            "0 nvmlDeviceGetUtilizationRates 98 40",
            "0 nvmlDeviceGetComputeRunningProcesses 4194301:2000000000,4194302",
            "0 nvmlDeviceGetProcessUtilization 4194301:1760000000500000:80:30:0:0,4194301:1760000000700000:60:20:0:0",
            "0 nvmlDeviceGetCurrentClocksEventReasons 36",
            "0 nvmlDeviceGetFieldValues/83 1000700",
            "0 nvmlDeviceGetFieldValues/197 1005000",
            "0 nvmlDeviceGetFieldValues/138 1000010",
            "0 gpm/1 99",
            "0 gpm/2 90",
            "0 gpm/3 40",
            "0 gpm/5 70",
            "0 gpm/10 50",
            "0 gpm/20 100",
            "0 gpm/61 1000",
        )
        s.tick(1, "busy, held back by power and heat; the monitor's window began idle")
        s.set("0 nvmlDeviceGetFieldValues/74 2500000000", "0 nvmlDeviceGetRemappedRows 1 2 1 0")
        s.set("0 nvmlDeviceGetTotalEccErrors/0 7", "0 nvmlDeviceGetFieldValues/230 1")
        s.tick(10, "rows wait for a reset")
        golden.check("hopper", s.story.shown())


def test_ampere(tmp_path: Path, golden: Golden) -> None:
    """Throughput follows from counters; a counter that went down begins anew."""
    with stage(tmp_path, "ampere") as s:
        s.tick(0, "no monitor")
        s.set("0 nvmlDeviceGetFieldValues/138 110", "0 nvmlDeviceGetFieldValues/83 1000700")
        s.tick(1, "100 KiB later")
        s.set("0 nvmlDeviceGetFieldValues/138 5", "0 nvmlDeviceGetFieldValues/83 200")
        s.tick(2, "after a reset")
        golden.check("ampere", s.story.shown())


def test_unsupported(tmp_path: Path, golden: Golden) -> None:
    with stage(tmp_path, "old", 1) as s:
        s.tick(0, "little, and why")
        s.tick(1, "no more is asked for")
        golden.check("unsupported", s.story.shown())


def test_mig(tmp_path: Path, golden: Golden) -> None:
    with stage(tmp_path) as s:
        s.set("0 nvmlDeviceGetMigMode 1 1", "0 nvmlDeviceGetUtilizationRates !3")
        s.set(*fake_nvml.mig(0, 0, 1, "3g.40gb", 40 * GIB), *fake_nvml.mig(0, 1, 2, "1g.10gb", 10 * GIB))
        s.set("0/0 gpm/2 50", "0/0 gpm/5 25", "0/1 gpm/2 5", "0/0 nvmlDeviceGetComputeRunningProcesses 4194301:1000")
        s.tick(0, "a divided GPU and its instances")
        s.tick(1, "their activity")
        golden.check("mig", s.story.shown())


def test_mig_reconfiguration(tmp_path: Path, golden: Golden) -> None:
    with stage(tmp_path, profiling=False) as s:
        s.pass_by(0)
        s.set("0 nvmlDeviceGetMigMode 1 1", *fake_nvml.mig(0, 0, 1, "3g.40gb", 40 * GIB), "sys event 256 0 0")
        s.tick(1, "divided: the driver says so")
        s.drop("0/0")
        s.set(*fake_nvml.mig(0, 1, 2, "1g.10gb", 10 * GIB), "0/0 * !2")
        s.tick(2, "an instance was destroyed, another made: a reading fails, the GPU is not lost")
        s.tick(3, "seen by the look that followed")
        s.drop("0/1", "0 nvmlDeviceGetMigMode")
        s.tick(13, "whole again")
        golden.check("mig-reconfiguration", s.story.shown())


def test_shared_instance(tmp_path: Path, golden: Golden) -> None:
    """Two compute instances in one GPU instance: what the monitor sums over both is nobody's."""
    with stage(tmp_path) as s:
        s.set("0 nvmlDeviceGetMigMode 1 1")
        s.set(*fake_nvml.mig(0, 0, 1, "1c.3g.40gb", 40 * GIB), *fake_nvml.mig(0, 1, 1, "1c.3g.40gb", 40 * GIB))
        s.set("0/0 gpm/2 50", "0/1 gpm/2 50")
        s.pass_by(0)
        s.tick(1, "no activity")
        golden.check("shared-instance", s.story.shown())


def test_lost_gpu(tmp_path: Path, golden: Golden) -> None:
    with stage(tmp_path, gpus=2, profiling=False) as s:
        s.pass_by(0)
        s.set(f"1 * {LOST}", "sys event 8 79 1")
        s.tick(1, "fallen off the bus: the Xid is told all the same")
        s.tick(2, "the other is read on")
        s.tick(11, "failed, as long as it lasts")
        s.drop("1 *")
        s.tick(21, "back")
        golden.check("lost-gpu", s.story.shown())


def test_lost_before_the_start(tmp_path: Path, golden: Golden) -> None:
    with stage(tmp_path, gpus=2, profiling=False, processes=False) as s:
        s.set(f"1 * {LOST}")
        s.tick(0, "one never answered")
        s.tick(10, "told once")
        s.drop("1 *")
        s.tick(20, "it answers")
        golden.check("lost-before-the-start", s.story.shown())


def test_driver_reload(tmp_path: Path, golden: Golden) -> None:
    with stage(tmp_path, gpus=2, profiling=False, processes=False) as s:
        s.set(f"sys * {NOT_LOADED}")
        s.tick(0, "no driver yet: told once")
        s.tick(1, "still none")
        s.drop("sys *")
        s.tick(4, "there it is")
        s.set(f"sys * {UNINITIALIZED}")
        s.tick(5, "unloaded under us")
        s.set("sys nvmlDeviceGetCount 1", "0 nvmlDeviceGetFieldValues/83 5")
        s.drop("sys *")
        s.tick(6, "loaded again, with one GPU less; energy counts anew")
        golden.check("driver-reload", s.story.shown())


def test_hot_removal(tmp_path: Path, golden: Golden) -> None:
    """Indices of those behind it change: the GPU is known by its UUID."""
    with stage(tmp_path, gpus=3, profiling=False, processes=False) as s:
        s.pass_by(0)
        s.drop("1 ", "2 ")
        s.set(
            "1 nvmlDeviceGetUUID GPU-00000000-0000-0000-0000-000000000002",
            "1 nvmlDeviceGetPciInfo 00000000:19:00.0",
            "1 nvmlDeviceGetSerial 1650123002",
            "sys nvmlDeviceGetCount 2",
        )
        s.tick(10, "the middle one was removed")
        golden.check("hot-removal", s.story.shown())


def test_xid_events(tmp_path: Path, golden: Golden) -> None:
    with stage(tmp_path, gpus=2, profiling=False, processes=False) as s:
        s.set("1 nvmlDeviceGetMigMode 1 1", *fake_nvml.mig(1, 0, 3, "7g.80gb", 80 * GIB))
        s.pass_by(0)
        s.set("sys event 8 31 0", "sys event 8 13 0", "sys event 8 31 0", "sys event 2 0 0", "sys event 8 43 1 3")
        s.tick(1, "in order, of the instance where there is one; counted by code")
        s.set("sys event 32768 2 0", "sys event 16384 0 1", "sys event 4 8 0")
        s.tick(2, "a recovery action, a GPU that became unavailable; performance states are not watched")
        golden.check("xid-events", s.story.shown())


def test_deaf(tmp_path: Path, golden: Golden) -> None:
    """While a lost GPU is listened to, the driver tells nothing of the others: they are listened to anew."""
    with stage(tmp_path, gpus=2, profiling=False, processes=False) as s:
        s.pass_by(0)
        s.set(f"1 * {LOST}", f"sys nvmlEventSetWait {LOST}")
        s.pass_by(1)
        s.pass_by(10)
        s.drop("sys nvmlEventSetWait")
        s.set("sys event 8 31 0")
        s.tick(11, "an Xid of the other")
        golden.check("deaf", s.story.shown())


def test_failed_calls(tmp_path: Path, golden: Golden) -> None:
    """A call that fails once, values that cannot be: a gap, and nothing else."""
    with stage(tmp_path, profiling=False, processes=False) as s:
        s.pass_by(0)
        s.set(f"0 nvmlDeviceGetTemperature {UNKNOWN}", "0 nvmlDeviceGetUtilizationRates 4294967295 5")
        s.set(f"0 nvmlDeviceGetMemoryInfo_v2 {GIB} {2 * GIB} 0")
        s.tick(1, "no temperature, no utilization, no memory")
        s.drop("0 nvmlDeviceGetTemperature", "0 nvmlDeviceGetUtilizationRates", "0 nvmlDeviceGetMemoryInfo_v2")
        s.tick(2, "all there")
        golden.check("failed-calls", s.story.shown())
