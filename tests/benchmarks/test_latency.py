"""From the arrival of the confirming sample to the recommendation on a Watch stream, at 1,000 GPUs × 10 signals a second.

The confirming sample is the one that lets the host's event time pass the instant at which the condition became true: a
recommendation of instant T is possible from the arrival of the host's first sample after T, and not before.
"""

from __future__ import annotations

import bisect
import os
import platform
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from fallow.recommend.v1 import recommend_pb2 as pb
from fallow.recommend.v1.recommend_pb2_grpc import RecommendationServiceStub
from fallow.units import SECOND
from helpers.otlp_server import METHODS

HOSTS, GPUS = 125, 8
SIGNALS = (
    ("hw.gpu.utilization", "1"),
    ("hw.gpu.memory.usage", "By"),
    ("hw.gpu.memory.limit", "By"),
    ("hw.power", "W"),
    ("hw.temperature", "Cel"),
    ("fallow.gpu.sm.utilization", "1"),
    ("fallow.gpu.tensor.utilization", "1"),
    ("fallow.gpu.dram.utilization", "1"),
    ("fallow.gpu.sm.clock", "Hz"),
    ("fallow.gpu.nvlink.throughput", "By/s"),
)
WARM_UP_S, MEASURED_S, CYCLE_S, IDLE_S = 25, 40, 40, 20
P99_MS = 100.0

# The built-in pack decides after minutes; this rule is like CRE-2026-9003 and decides within the run.
RULE = """\
rules:
  - metadata: {id: benchLatency111, kind: optimize, version: 0.1.0}
    cre: {id: CRE-2026-9999, severity: 3, title: Idle for ten seconds, tags: [idle-gpu]}
    rule:
      set:
        match:
          - promql:
              expr: max_over_time(hw_gpu_utilization[10s]) < 0.05 and hw_gpu_memory_usage > 1073741824
              event: {source: cre.metrics, origin: true}
"""
CONFIG = """\
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{otlp}"}}}}}}
processors:
  decode:
  normalise:
  attribute:
  health:
  baselines:
  rhythm:
  cre: {{rules: [{pack}, rule.yaml]}}
  recommender:
exporters:
  recommendations: {{endpoint: "127.0.0.1:{api}"}}
service:
  ledger: {{url: "sqlite:///ledger.db"}}
  pipelines:
    telemetry:
      receivers: [otlp]
      processors: [decode, normalise, attribute, health, baselines, rhythm, cre, recommender]
      exporters: [recommendations]
"""


class Host:
    """One host's request, made once; its times and values are changed before each sending."""

    def __init__(self, number: int) -> None:
        self.sent: list[tuple[int, float]] = []
        """(sample time, when its sending began)."""
        self._request = ExportMetricsServiceRequest()
        resource = self._request.resource_metrics.add()
        resource.resource.attributes.add(key="host.name").value.string_value = f"n{number}"
        scope = resource.scope_metrics.add()
        self._points: list[list[Any]] = []
        for name, unit in SIGNALS:
            metric = scope.metrics.add(name=name, unit=unit)
            self._points.append([self._point(metric, number, gpu) for gpu in range(GPUS)])
        # Each GPU is busy and idle in turn, at a phase of its own.
        self._phase = [(number * 7 + gpu * 13) % CYCLE_S for gpu in range(GPUS)]

    @staticmethod
    def _point(metric: Any, number: int, gpu: int) -> Any:
        point = metric.gauge.data_points.add(as_double=0.5)
        point.attributes.add(key="hw.id").value.string_value = f"GPU-{number:04}-{gpu}"
        point.attributes.add(key="fallow.job.id").value.string_value = f"{number * 10 + gpu}"
        return point

    def body(self, second: int, now: int) -> bytes:
        for column, points in enumerate(self._points):
            for gpu, point in enumerate(points):
                point.time_unix_nano = now
                if column == 0:
                    point.as_double = 0.0 if (second + self._phase[gpu]) % CYCLE_S < IDLE_S else 0.9
                elif column == 1:
                    point.as_double = 40e9 + second
        return self._request.SerializeToString()


class Watcher(threading.Thread):
    """Notes when each recommendation arrives."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.seen: list[tuple[float, str, int]] = []
        """(when, host, the instant it was decided for)."""
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def run(self) -> None:
        stub: Any = RecommendationServiceStub(self._channel)
        try:
            for change in stub.Watch(pb.WatchRequest(), wait_for_ready=True):
                now = time.perf_counter()
                one = change.recommendation
                if one.state == pb.STATE_PROPOSED:
                    self.seen.append((now, dict(one.target)["hw.id"][4:8], int(one.created_unix_nano)))
        except grpc.RpcError:
            return

    def stop(self) -> None:
        self._channel.close()


def send(port: int, hosts: list[Host]) -> None:
    """Every host once a second, spread over it, as fast as the service answers but never ahead of time."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        export = channel.unary_unary(METHODS["metrics"], None, None)
        export(b"", wait_for_ready=True, timeout=60)
        began = time.perf_counter() + 0.2
        waiting: list[Any] = []
        for second in range(WARM_UP_S + MEASURED_S):
            for number, host in enumerate(hosts):
                time.sleep(max(0.0, began + second + number / len(hosts) - time.perf_counter()))
                now = time.time_ns()
                body = host.body(second, now)
                host.sent.append((now, time.perf_counter()))
                waiting.append(export.future(body, timeout=30))
            for call in waiting:
                call.result()
            waiting.clear()


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.mark.bench
@pytest.mark.timeout(300)
def test_recommendations_come_within_a_tenth_of_a_second(tmp_path: Path) -> None:
    otlp, api = free_port(), free_port()
    pack = Path(__file__).parents[2] / "rules"
    (tmp_path / "rule.yaml").write_text(RULE)
    (tmp_path / "fallow.yaml").write_text(CONFIG.format(otlp=otlp, api=api, pack=pack))
    hosts = [Host(number) for number in range(HOSTS)]
    command = [sys.executable, "-m", "fallow", "run", str(tmp_path / "fallow.yaml")]
    watcher = Watcher(api)
    with subprocess.Popen(command) as server:
        try:
            watcher.start()
            used = psutil.Process(server.pid)
            send(otlp, hosts)
            cpu = used.cpu_times()
            memory = used.memory_info().rss / 1e6
            time.sleep(1)
        finally:
            server.terminate()
            server.wait(30)
            watcher.stop()
    latency = latencies(hosts, watcher)
    p50, p99 = (float(np.percentile(latency, q)) for q in (50, 99))
    print(
        f"\n{HOSTS * GPUS} GPUs x {len(SIGNALS)} signals x 1 s over {MEASURED_S} s in {HOSTS} requests of "
        f"{len(hosts[0].body(0, 0))} bytes a second; {os.cpu_count()} x {platform.machine()} shared with the sender"
        f"\n  confirming sample to Watch: p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {max(latency):.1f} ms, "
        f"{len(latency)} recommendations; p99 below {P99_MS:.0f} ms required"
        f"\n  service: {(cpu.user + cpu.system) / (WARM_UP_S + MEASURED_S):.2f} cores with start-up, {memory:.0f} MB"
    )
    assert len(latency) > 300
    assert p99 < P99_MS


def latencies(hosts: list[Host], watcher: Watcher) -> list[float]:
    """Milliseconds from the sample that passed the instant to the recommendation, after warm-up."""
    times = {f"{number:04}": [at for at, _ in host.sent] for number, host in enumerate(hosts)}
    began = min(host.sent[0][0] for host in hosts) + WARM_UP_S * SECOND
    found: list[float] = []
    late: dict[str, int] = defaultdict(int)
    for when, host, instant in watcher.seen:
        at = bisect.bisect_right(times[host], instant)
        if at == len(times[host]) or times[host][at] < began:
            late[host] += at == len(times[host])
            continue
        found.append((when - hosts[int(host)].sent[at][1]) * 1e3)
    # A recommendation that the host's samples do not explain came from a tick of the clock, after the last of them.
    assert sum(late.values()) <= len(hosts) * GPUS
    return found
