"""``fallow run``, killed while it takes snapshots, and ended gracefully: each start goes on from a whole one."""

from __future__ import annotations

import random
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from e2e.processes import Program, answers, free_ports
from helpers.otlp import metrics_request

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

CONFIG = """\
receivers:
  otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{http}"}}}}}}
processors: {{decode: , normalise: , health: , cre: }}
exporters:
  recommendations: {{endpoint: "127.0.0.1:{api}"}}
service:
  snapshot: {{directory: state, interval: 50ms}}
  telemetry: {{health: {{endpoint: "127.0.0.1:{health}"}}}}
  pipelines:
    telemetry: {{receivers: [otlp], processors: [decode, normalise, health, cre], exporters: [recommendations]}}
"""


def send(port: int, step: int) -> None:
    body = metrics_request(nodes=50, gpus=8, step=step, time=time.time_ns())
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/metrics", body)
    request.add_header("Content-Type", "application/x-protobuf")
    urllib.request.urlopen(request, timeout=10).close()


def test_each_start_goes_on_from_a_whole_snapshot(tmp_path: Path) -> None:
    http, api, health = free_ports(3)
    config = tmp_path / "fallow.yaml"
    config.write_text(CONFIG.format(http=http, api=api, health=health))
    fallow = Program(
        "fallow",
        [sys.executable, "-m", "fallow", "run", str(config)],
        answers(f"http://127.0.0.1:{health}"),
        {},
        tmp_path / "fallow.log",
    )
    try:
        scenario(fallow, http)
    finally:
        fallow.kill()
    said = fallow.log.read_text()
    print(said)
    assert said.count("There is no snapshot to go on from") == 1
    assert said.count("Went on from a snapshot") == 4
    assert "cannot be used" not in said
    assert "begins anew" not in said


def scenario(fallow: Program, port: int) -> None:
    """Three kills at moments that nobody chose, then two graceful ends."""
    rng, step = random.Random(1), 0
    for _ in range(3):
        fallow.start(timeout_s=200)  # the first may have to compile
        for _ in range(10):
            send(port, step := step + 1)
        time.sleep(rng.uniform(0.5, 1.5))
        fallow.kill()
    for _ in range(2):
        fallow.start()
        assert fallow.stop() == 0
