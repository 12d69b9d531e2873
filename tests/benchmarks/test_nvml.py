"""What the agent costs on a node with eight busy GPUs, at one second; the library of the tests is part of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from benchmarks.test_service import sink
from helpers import fake_nvml

GPUS, MEASURED_S = 8, 20.0
MOST_CPU_SHARE, MOST_ADDED_MB = 0.01, 10.0

AGENT = """
receivers:
  {receiver}
exporters:
  otlp: {{endpoint: "{endpoint}", tls: {{insecure: true}}}}
service:
  pipelines:
    node: {{receivers: [{name}], exporters: [otlp]}}
"""
SIMULATED = f"simulated: {{nodes: 1, gpus_per_node: {GPUS}, interval: 1s}}"


@dataclass
class Cost:
    """Of an agent at work."""

    cpu_share: float
    rss_mb: float
    samples: int


def cost(receiver: str, folder: Path, measured_s: float) -> Cost:
    """An agent with one receiver that samples each second and an exporter, after its first samples."""
    with sink() as (endpoint, arrived):
        file = folder / "agent.yaml"
        file.write_text(AGENT.format(receiver=receiver, name=receiver.partition(":")[0], endpoint=endpoint))
        environment = os.environ | {"FAKE_NVML": str(folder / "state"), "LD_LIBRARY_PATH": str(fake_nvml.build())}
        with (folder / "log").open("w") as log:
            agent = subprocess.Popen(
                [sys.executable, "-m", "fallow", "run", str(file)], stdout=log, stderr=log, env=environment
            )
        try:
            until = time.monotonic() + 60
            while arrived() < 5:
                assert time.monotonic() < until, (folder / "log").read_text()
                time.sleep(0.1)
            process = psutil.Process(agent.pid)
            before, began, already = process.cpu_times(), time.monotonic(), arrived()
            time.sleep(measured_s)
            passed, after = time.monotonic() - began, process.cpu_times()
            used = after.user + after.system - before.user - before.system
            return Cost(used / passed, process.memory_info().rss / 2**20, arrived() - already)
        finally:
            agent.terminate()
            agent.wait(20)


@pytest.mark.bench
@pytest.mark.skipif(not fake_nvml.there_is_a_compiler(), reason="gcc compiles the library of the tests")
def test_the_agent_at_one_second(tmp_path: Path) -> None:
    state = fake_nvml.State(tmp_path / "state", "hopper", GPUS)
    for gpu in range(GPUS):
        state.set(
            f"{gpu} nvmlDeviceGetUtilizationRates 98 40",
            f"{gpu} nvmlDeviceGetComputeRunningProcesses {4194301 + gpu}:2000000000",
            *(f"{gpu} gpm/{id} {40 + gpu}" for id in (1, 2, 3, 5, 10)),
        )
    found = cost("nvml: {}", tmp_path, MEASURED_S)
    added = found.rss_mb - cost(SIMULATED, tmp_path, 1).rss_mb
    print(
        f"\nnvml, {GPUS} GPUs at 1 s: {found.cpu_share:.2%} of one core ({MOST_CPU_SHARE:.0%} allowed), RSS"
        f" {found.rss_mb:.0f} MB, {added:+.1f} against simulated GPUs ({MOST_ADDED_MB:.0f} allowed),"
        f" {found.samples} samples in {MEASURED_S:.0f} s"
    )
    assert found.samples >= MEASURED_S * 0.9
    assert found.cpu_share <= MOST_CPU_SHARE
    assert added <= MOST_ADDED_MB
