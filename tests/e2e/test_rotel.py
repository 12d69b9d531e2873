"""SDK → rotel → Fallow → rotel → backend, with a wire tap at each of Fallow's two boundaries."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from e2e.processes import Program, free_ports, listens, until
from helpers.sink import LogsSink
from helpers.tap import Tap

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

FALLOW = """\
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{into}"}}}}}}
processors: {{decode: , normalise: }}
exporters:
  otlp: {{endpoint: "127.0.0.1:{out}", tls: {{insecure: true}}}}
service:
  pipelines:
    telemetry: {{receivers: [otlp], processors: [decode, normalise], exporters: [otlp]}}
"""


@dataclass
class Line:
    """Everything between the SDK and the backend."""

    port: int
    before: Program
    fallow: Program
    behind: Program
    tap_in: Tap
    tap_out: Tap
    sink: LogsSink

    def bodies(self) -> list[str]:
        """Bodies of the log records that reached the backend."""
        return [r.body.string_value for c in self.sink.resources() for s in c.scope_logs for r in s.log_records]


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """One rotel before Fallow, one behind it, an OTLP sink at the end."""
    spec = find_spec("rotel")
    if spec is None or spec.origin is None:
        pytest.skip("rotel is not installed (make e2e installs it)")
    agent = str(Path(spec.origin).parent / "rotel-agent")
    first, before_http, fallow_port, behind_port, behind_http = free_ports(5)
    sink = LogsSink()
    sink.up()
    tap_out = Tap(behind_port)
    tap_in = Tap(fallow_port)
    config = tmp_path / "fallow.yaml"
    config.write_text(FALLOW.format(into=fallow_port, out=tap_out.port))

    def rotel(name: str, port: int, http: int, target: int) -> Program:
        flags = ["--otlp-grpc-endpoint", f"127.0.0.1:{port}", "--otlp-http-endpoint", f"127.0.0.1:{http}"]
        flags += ["--exporter", "otlp", "--otlp-exporter-endpoint", f"http://127.0.0.1:{target}"]
        flags += ["--otlp-exporter-protocol", "grpc", "--otlp-exporter-compression", "none"]
        return Program(name, [agent, "start", *flags], listens(port), {}, tmp_path / f"{name}.log")

    fallow = [sys.executable, "-m", "fallow", "run", str(config)]
    behind = rotel("behind", behind_port, behind_http, sink.port)
    middle = Program("fallow", fallow, listens(fallow_port), {}, tmp_path / "fallow.log")
    before = rotel("before", first, before_http, tap_in.port)
    programs = (behind, middle, before)
    try:
        for program in programs:
            program.start()
        yield Line(first, before, middle, behind, tap_in, tap_out, sink)
    finally:
        for program in reversed(programs):
            program.stop()
            print(f"--- {program.name}\n{program.tail()}")
        tap_in.close()
        tap_out.close()
        sink.down()


def emit(line: Line, numbers: range) -> None:
    """Log records through the SDK, one request each."""
    provider = LoggerProvider(Resource({"service.name": "trainer"}), shutdown_on_exit=False)
    exporter = OTLPLogExporter(f"127.0.0.1:{line.port}", insecure=True)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    for n in numbers:
        provider.get_logger("t").emit(timestamp=time.time_ns(), body=f"number {n}")
    provider.shutdown()


def test_every_record_comes_out_and_the_bytes_are_the_same(line: Line) -> None:
    emit(line, range(200))
    wanted = {f"number {n}" for n in range(200)}
    until(lambda: wanted <= set(line.bodies()), 60, lambda: f"{len(wanted - set(line.bodies()))} records are missing")
    assert line.tap_in.acknowledged
    assert sorted(line.tap_in.acknowledged) == sorted(line.tap_out.acknowledged)


@pytest.mark.parametrize("killed", ["before", "fallow", "behind"])
def test_what_fallow_acknowledged_was_taken_downstream(line: Line, killed: str) -> None:
    emit(line, range(100))
    until(lambda: "number 0" in line.bodies(), 60, lambda: "nothing comes through")
    emit(line, range(100, 150))  # still on its way when the kill comes
    victim: Any = getattr(line, killed)
    victim.kill()
    time.sleep(0.3)
    victim.start()
    emit(line, range(150, 250))
    until(lambda: "number 249" in line.bodies(), 60, lambda: "nothing comes through after the restart")
    missing = set(line.tap_in.acknowledged) - set(line.tap_out.acknowledged)
    assert line.tap_in.acknowledged
    assert not missing
