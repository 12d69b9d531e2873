"""The receiver as the service runs it: its thread, its watch, its end; on the wall clock."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fallow.batch import Batch, OtlpRequest
from fallow.testing import context
from fallow_receivers.nvml import FACTORY, NvmlReceiver, NvmlReceiverConfig
from helpers import fake_nvml, otlp_text

pytestmark = pytest.mark.skipif(not fake_nvml.there_is_a_compiler(), reason="gcc compiles the library of the tests")
FAST = {"interval": "100ms", "slow_interval": "200ms", "call_timeout": "400ms"}
IDS = [f"GPU-00000000-0000-0000-0000-00000000000{i}" for i in range(3)]


class Run:
    """A running receiver and what came of it."""

    def __init__(self, folder: Path, **config: Any) -> None:
        fake_nvml.preload()
        self.state = fake_nvml.State(folder / "state", "hopper", gpus=3)
        self._folder, self._config = folder, NvmlReceiverConfig.model_validate(FAST | config)
        self.requests: list[OtlpRequest] = []

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Run]:
        receiver = FACTORY.build(self._config, context("nvml", self._folder))
        assert isinstance(receiver, NvmlReceiver)
        await receiver.start(self._take)
        try:
            yield self
        finally:
            await receiver.shutdown()
            await receiver.shutdown()

    async def _take(self, batch: Batch) -> bytes:
        assert batch.request is not None
        self.requests.append(batch.request)
        return b""

    async def until(self, there: Callable[[], bool], limit_s: float = 20) -> None:
        end = time.monotonic() + limit_s
        while not there():
            assert time.monotonic() < end, self.events()
            await asyncio.sleep(0.02)

    def events(self, name: str = "") -> list[tuple[str, str, str]]:
        """(name, GPU, reason)."""
        found = [
            (n, str(a.get("hw.id", "")), str(a.get("fallow.gpu.reason", "")))
            for n, a in otlp_text.events(self.requests)
        ]
        return [e for e in found if e[0].startswith(name)]

    def ids(self, since: int) -> set[str]:
        """GPUs with a temperature in the requests from a place on."""
        return {
            otlp_text.attributes(point.attributes)["hw.id"]
            for metric in otlp_text.metrics(self.requests[since:])
            if metric.name == "hw.temperature"
            for point in otlp_text.points(metric)
        }


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    os.environ["FAKE_NVML"] = str(tmp_path / "state")
    yield Run(tmp_path)
    os.environ.pop("FAKE_NVML")


def threads() -> int:
    return sum(thread.name == "nvml" for thread in threading.enumerate())


def test_samples_come_at_the_interval_from_one_thread_and_end_with_it(run: Run) -> None:
    async def story() -> None:
        async with run.running():
            await run.until(lambda: len(run.requests) > 5)
            assert threads() == 1
        seen = len(run.requests)
        await asyncio.sleep(0.3)
        assert len(run.requests) == seen

    asyncio.run(story())
    assert threads() == 0
    times = [
        otlp_text.points(metric)[0].time_unix_nano
        for request in run.requests
        for metric in otlp_text.metrics([request])
        if metric.name == "hw.temperature"
    ]
    apart = [b - a for a, b in pairwise(times)]
    assert min(apart) > 0
    assert sorted(apart)[len(apart) // 2] == pytest.approx(100_000_000, rel=0.3)
    assert run.events("fallow.gpu.topology") == [("fallow.gpu.topology", id, "") for id in IDS]


@pytest.mark.parametrize(
    "call", ["nvmlDeviceGetTemperature", "nvmlGpmSampleGet", "nvmlDeviceGetPciInfo", "nvmlDeviceGetFieldValues"]
)
def test_a_call_that_does_not_return_stops_only_its_own_gpu(run: Run, call: str) -> None:
    async def story() -> None:
        async with run.running():
            if call != "nvmlDeviceGetPciInfo":  # asked once, for the topology
                await run.until(lambda: run.ids(0) == set(IDS))
            run.state.set(f"1 {call} hang")
            await run.until(lambda: ("fallow.gpu.lost", IDS[1], "unresponsive") in run.events())
            since = len(run.requests)
            await run.until(lambda: len(run.requests) > since + 5)
            assert run.ids(since) == {IDS[0], IDS[2]}
            assert threads() == 2
            run.state.drop("1 " + call)
            await run.until(lambda: ("fallow.gpu.found", IDS[1], "") in run.events())
            since = len(run.requests)
            await run.until(lambda: run.ids(since) == set(IDS))
            assert threads() == 1

    asyncio.run(story())
    assert threads() == 0


def test_a_gpu_that_never_answers_keeps_no_other_from_being_read(run: Run) -> None:
    async def story() -> None:
        run.state.set("1 nvmlDeviceGetHandleByIndex hang")
        async with run.running():
            await run.until(lambda: run.ids(0) == {IDS[0], IDS[2]})
            assert ("fallow.gpu.lost", "", "unresponsive") in run.events()
            run.state.drop("1 nvmlDeviceGetHandleByIndex")
            await run.until(lambda: ("fallow.gpu.found", IDS[1], "") in run.events())

    asyncio.run(story())


def test_the_end_does_not_wait_for_a_call_that_does_not_return(run: Run) -> None:
    async def story() -> float:
        async with run.running():
            await run.until(lambda: run.ids(0) == set(IDS))
            run.state.set(
                "0 nvmlDeviceGetTemperature hang", "1 nvmlDeviceGetTemperature hang", "2 nvmlDeviceGetTemperature hang"
            )
            await asyncio.sleep(0.3)
            began = time.monotonic()
        return time.monotonic() - began

    assert asyncio.run(story()) < 6
    run.state.drop("0 nvmlDeviceGetTemperature", "1 nvmlDeviceGetTemperature", "2 nvmlDeviceGetTemperature")
    end = time.monotonic() + 10
    while threads() and time.monotonic() < end:
        time.sleep(0.02)
    assert threads() == 0


def test_a_driver_may_come_after_the_start(run: Run) -> None:
    async def story() -> None:
        run.state.set("sys nvmlInitWithFlags !9")
        async with run.running():
            await run.until(
                lambda: run.events("fallow.gpu.driver") == [("fallow.gpu.driver.lost", "", "driver_not_loaded")]
            )
            run.state.drop("sys nvmlInitWithFlags")
            await run.until(lambda: run.ids(0) == set(IDS))

    asyncio.run(story())
    assert [name for name, _, _ in run.events("fallow.gpu.driver")] == [
        "fallow.gpu.driver.lost",
        "fallow.gpu.driver.found",
    ]


def in_a_process_of_its_own(program: str, **environment: str) -> list[str]:
    """Lines that a program prints; a library is loaded once in a process."""
    plain = {k: v for k, v in os.environ.items() if k != "FAKE_NVML"}
    environment |= {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=plain | environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_an_upgraded_driver_is_found_with_its_library(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from helpers.nvml_node import Node
from helpers.otlp_text import events, metrics

node = Node(Path({str(tmp_path)!r}), "hopper", 1, preload=False)
def tick(second):
    requests = node.tick(second)
    for name, found in events(requests):
        if ".driver." in name:
            print(name, found.get("fallow.gpu.reason"), found.get("fallow.gpu.driver.version"))
    print(len(metrics(requests)) > 20)
tick(0)
node.state.set("sys * !1")
tick(1)
node.state.drop("sys *")
node.state.set("sys kernel 580.65.06")
library = Path({str(tmp_path)!r}) / "libnvidia-ml.so.1"
library.unlink()
library.symlink_to({str(fake_nvml.build() / "libnvidia-ml.so.1")!r})
tick(3)
tick(6)
"""
    (tmp_path / "libnvidia-ml.so.1").symlink_to(fake_nvml.build("570.00") / "libnvidia-ml.so.1")
    assert in_a_process_of_its_own(program, LD_LIBRARY_PATH=str(tmp_path)) == [
        "True",
        "fallow.gpu.driver.lost uninitialized None",
        "False",
        "fallow.gpu.driver.lost lib_rm_version_mismatch None",
        "False",
        "fallow.gpu.driver.found None 580.65.06",
        "True",
    ]


def test_without_the_library_of_the_vendor_it_says_what_to_install(tmp_path: Path) -> None:
    program = f"""
import asyncio, sys
from pathlib import Path
sys.modules["pynvml"] = None
from fallow.errors import PermanentError
from fallow.testing import context
from fallow_receivers.nvml import FACTORY, NvmlReceiverConfig

async def story():
    receiver = FACTORY.build(NvmlReceiverConfig(), context("nvml", Path({str(tmp_path)!r})))
    try:
        await receiver.start(None)
    except PermanentError as error:
        print(error)
    await receiver.shutdown()

asyncio.run(story())
"""
    assert in_a_process_of_its_own(program) == ["receiver nvml: needs nvidia-ml-py: pip install 'fallow[gpu]'"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"interval": "5ms"}, "below the minimum 100ms"),
        ({"interval": "20s"}, "slow_interval is below 20s, the interval"),
        ({"max_processes": 0}, "greater than or equal to 1"),
        ({"intervall": "1s"}, "Extra inputs are not permitted"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        NvmlReceiverConfig.model_validate(given)
