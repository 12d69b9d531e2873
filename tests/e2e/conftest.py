"""The gateway of ``otel-config/``, as it is run: the Collector, Fallow, and a file as backend."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.collector import collector
from e2e.processes import Program, answers, free_ports
from helpers.sink import LogsSink

OTEL_CONFIG = Path(__file__).parents[2] / "otel-config"

# What comes back goes to a backend of the test instead of a file, through a queue on disk: the file exporter buffers
# what it has acknowledged, and a kill would lose that behind Fallow's boundary.
BACKEND = """\
exporters:
  otlp/backend:
    endpoint: 127.0.0.1:{port}
    tls: {{insecure: true}}
    sending_queue: {{enabled: true, storage: file_storage}}
    retry_on_failure: {{enabled: true, initial_interval: 100ms, max_elapsed_time: 0s}}
service:
  pipelines:
    logs/back: {{receivers: [otlp/from_fallow], exporters: [otlp/backend, file]}}
"""


@pytest.fixture(scope="session")
def otelcol() -> Path:
    """The Collector; skips where there is no Go to build it with, fails where Go is there and the build fails."""
    program = collector()
    if program is None:
        pytest.skip("Go is not installed, so the Collector of otel-config/builder.yaml cannot be built")
    return program


@dataclass
class Gateway:
    """Both programs, running on free ports."""

    collector: Program
    fallow: Program
    grpc: int
    http: int
    fallow_grpc: int
    api: int
    backend: Path
    sink: LogsSink

    def lines(self, kind: str) -> list[dict[str, Any]]:
        """Requests of a kind (resourceMetrics, resourceLogs, resourceSpans) that reached the backend."""
        if not self.backend.exists():
            return []
        whole = self.backend.read_text().split("\n")[:-1]
        return [found for line in whole if kind in (found := json.loads(line))]


@pytest.fixture
def gateway(otelcol: Path, tmp_path: Path) -> Iterator[Gateway]:
    """The Collector and Fallow with the files of ``otel-config/`` as they are."""
    with running_gateway(otelcol, tmp_path, OTEL_CONFIG / "fallow-gateway.yaml") as made:
        yield made


@contextmanager
def running_gateway(otelcol: Path, tmp_path: Path, config: Path) -> Generator[Gateway]:
    """The Collector as in ``otel-config/``, and Fallow with a configuration that has its addresses from the same places."""
    grpc, http, back, fallow_grpc, fallow_http, api, health, fallow_health = free_ports(8)
    environment = {
        "GATEWAY_GRPC": f"127.0.0.1:{grpc}",
        "GATEWAY_HTTP": f"127.0.0.1:{http}",
        "FROM_FALLOW_GRPC": f"127.0.0.1:{back}",
        "FALLOW_GRPC": f"127.0.0.1:{fallow_grpc}",
        "FALLOW_HTTP": f"127.0.0.1:{fallow_http}",
        "FALLOW_API": f"127.0.0.1:{api}",
        "GATEWAY_HEALTH": f"127.0.0.1:{health}",
        "FALLOW_HEALTH": f"127.0.0.1:{fallow_health}",
        "GATEWAY_STORAGE": str(tmp_path / "storage"),
        "BACKEND_FILE": str(tmp_path / "backend.otlp.jsonl"),
        "FALLOW_LEDGER": str(tmp_path / "fallow.db"),
        "FALLOW_STATE": str(tmp_path / "state"),
    }
    programs: list[Program] = []
    sink = LogsSink()
    sink.up()
    overlay = tmp_path / "backend.yaml"
    overlay.write_text(BACKEND.format(port=sink.port))

    def program(name: str, command: list[str], ready: Callable[[], bool]) -> Program:
        # A Collector that is sent something before its persistent queue is open ends with a nil pointer (0.145).
        restarts = 3 if name == "otelcol" else 0
        programs.append(Program(name, command, ready, environment, tmp_path / f"{name}.log", restarts))
        programs[-1].start(timeout_s=600)  # Fallow compiles its kernels where they are not cached
        return programs[-1]

    try:
        otel = program(
            "otelcol",
            [str(otelcol), "--config", str(OTEL_CONFIG / "gateway.yaml"), "--config", str(overlay)],
            answers(f"http://127.0.0.1:{health}"),
        )
        fallow = program(
            "fallow",
            [sys.executable, "-m", "fallow", "run", str(config)],
            answers(f"http://127.0.0.1:{fallow_health}"),
        )
        yield Gateway(otel, fallow, grpc, http, fallow_grpc, api, tmp_path / "backend.otlp.jsonl", sink)
    finally:
        for one in reversed(programs):
            one.stop()
            print(f"--- {one.name}\n{one.tail()}")
        sink.down()
