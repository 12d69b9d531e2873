"""A node with GPUs and a Slurm: agent → Collector → Fallow → one detection out of what all three receivers say.

The GPUs and libcuda are stand-ins, compiled by the tests; NVML's bindings, the kernel's probes, Slurm and its jobs, the
Collector and both Fallows are real.
"""

from __future__ import annotations

import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import slurm_cluster
from e2e.conftest import OTEL_CONFIG, Gateway, running_gateway
from e2e.processes import Program, answers, free_ports, until
from e2e.slurm_cluster import SlurmCluster
from fallow import semconv
from helpers import fake_nvml
from helpers.gpu import Built, build
from helpers.kernel import needs
from helpers.sink import attributes

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

AGENT = """\
receivers:
  nvml: {{interval: 1s}}
  ebpf: {{interval: 1s, groups: [cuda], rescan: 1s, libraries: []}}
  slurm: {{interval: 1s, node_interval: 1s, history: none, commands: {commands}, conf: {conf}}}
exporters:
  otlp: {{endpoint: "127.0.0.1:{collector}", tls: {{insecure: true}}}}
service:
  telemetry: {{health: {{endpoint: "127.0.0.1:{health}"}}}}
  pipelines:
    node: {{receivers: [nvml, ebpf, slurm], exporters: [otlp]}}
"""
# A job begins (Slurm), launches kernels (the kernel's probes), and then its GPU is idle (NVML): in this order.
RULE = """\
rules:
  - metadata: {id: 5mEGVRvSjpbkGQpQLjC7pH, kind: optimize, version: 0.1.0}
    cre:
      id: CRE-2026-9999
      severity: 2
      title: A job that had begun to work has stopped working
      category: resource-waste
      author: fallow
      description: It launched kernels, and then its GPUs did nothing.
      cause: It is the test's.
      impact: None.
      mitigation: None.
      references: [https://example.org]
      applications: [{name: slurm}]
    rule:
      sequence:
        window: 10m
        correlations: [host.name]
        order:
          - set: {event: {source: fallow.scheduler}, match: [{field: event.name, value: fallow.job.start}]}
          - promql:
              expr: sum by (host_name) (rate(fallow_cuda_kernel_launches[5s])) > 0
              event: {source: cre.metrics}
          - promql:
              expr: max by (host_name) (max_over_time(hw_gpu_utilization[5s])) == 0
              event: {source: cre.metrics, origin: true}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("gpu"))


@pytest.fixture
def slurm() -> Iterator[SlurmCluster]:
    """A Slurm of one node, this one, under the name that the other receivers have for it."""
    if reason := slurm_cluster.missing():
        pytest.skip(reason)
    with (
        tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as base,
        SlurmCluster(Path(base), nodes=(socket.gethostname(),)) as made,
    ):
        yield made


@pytest.fixture
def gateway(otelcol: Path, tmp_path: Path) -> Iterator[Gateway]:
    rules = tmp_path / "rules" / "cre-2026-9999"
    rules.mkdir(parents=True)
    (rules / "rule.yaml").write_text(RULE)
    text = (OTEL_CONFIG / "fallow-gateway.yaml").read_text(encoding="utf-8")
    assert "\n  cre: #" in text
    config = tmp_path / "fallow-gateway.yaml"
    config.write_text(text.replace("\n  cre: #", f"\n  cre: {{rules: [{rules.parent}]}} #"))
    with running_gateway(otelcol, tmp_path, config) as made:
        yield made


def test_one_sequence_over_a_gpu_the_kernel_and_the_scheduler(
    slurm: SlurmCluster, gateway: Gateway, built: Built, tmp_path: Path
) -> None:
    needs("libbpf")
    if not fake_nvml.there_is_a_compiler():
        pytest.skip("the stand-in for NVML needs gcc")
    gpus = fake_nvml.State(tmp_path / "gpus", gpus=2)
    gpus.set("* nvmlDeviceGetUtilizationRates 90 40")
    (health,) = free_ports(1)
    config = tmp_path / "agent.yaml"
    config.write_text(AGENT.format(commands=slurm.commands, conf=slurm.conf, collector=gateway.grpc, health=health))
    agent = Program(
        "agent",
        [sys.executable, "-m", "fallow", "run", str(config)],
        answers(f"http://127.0.0.1:{health}"),
        {"LD_LIBRARY_PATH": str(fake_nvml.build()), "FAKE_NVML": str(tmp_path / "gpus")},
        tmp_path / "agent.log",
    )
    agent.start()
    try:
        until(lambda: _seen(gateway, semconv.GPU_UTILIZATION), 60, agent.tail)
        began = time.time_ns()
        # The job's program launches kernels, a hundred each half second, for some seconds.
        launches = "(for i in $(seq 16); do echo cuLaunchKernel 100; sleep 0.5; done; sleep 120)"
        job = slurm.submit(f"{launches} | {built.program} {built.cuda}", "--gres=gpu:1")
        slurm.wait(job, "RUNNING")
        until(lambda: _seen(gateway, semconv.CUDA_KERNEL_LAUNCHES), 60, agent.tail)
        time.sleep(8)
        assert not _detections(gateway), "all of it, or nothing"
        gpus.set("* nvmlDeviceGetUtilizationRates 0 0")
        until(lambda: bool(_detections(gateway)), 60, lambda: f"{agent.tail()}\n{gateway.fallow.tail()}")
        time.sleep(3)
        (found,) = _detections(gateway)
        assert found["fallow.rule.id"] == "CRE-2026-9999"
        assert int(str(found["time"])) > began
        slurm.run("scancel", job)
    finally:
        agent.stop()
        print(agent.tail())


def _seen(gateway: Gateway, metric: str) -> bool:
    """Whether a metric has come out behind Fallow."""
    return any(f'"{metric}"' in str(line).replace("'", '"') for line in gateway.lines("resourceMetrics"))


def _detections(gateway: Gateway) -> list[dict[str, object]]:
    return [
        {**attributes(record), "time": record.time_unix_nano}
        for of in gateway.sink.resources()
        for scope in of.scope_logs
        for record in scope.log_records
        if record.event_name == semconv.DETECTION_EVENT and attributes(record)["fallow.detection.state"] == "fired"
    ]
