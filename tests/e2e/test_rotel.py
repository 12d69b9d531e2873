"""SDK → rotel → Fallow → rotel → backend, with a wire tap at each of Fallow's two boundaries."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from e2e.processes import Program, free_ports, listens, until
from fallow.otlp_json import json_to_protobuf
from helpers.sink import LogsSink
from helpers.tap import Tap

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

RULES = Path(__file__).parents[2] / "rules"

FALLOW = """\
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{into}"}}}}}}
processors: {{decode: , normalise: , health: , cre: , recommender: }}
exporters:
  otlp: {{endpoint: "127.0.0.1:{out}", tls: {{insecure: true}}}}
  otlp_logs: {{endpoint: "127.0.0.1:{behind}", tls: {{insecure: true}}}}
service:
  ledger: {{url: "sqlite:///ledger.db"}}
  pipelines:
    telemetry: {{receivers: [otlp], processors: [decode, normalise, health, cre, recommender], exporters: [otlp, otlp_logs]}}
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
    config.write_text(FALLOW.format(into=fallow_port, out=tap_out.port, behind=behind_port))

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


def test_data_points_come_out_unchanged_and_optimisation_events_are_there(line: Line) -> None:
    sample = (RULES / "cre-2026-9003" / "test.otlp.jsonl").read_text().splitlines()
    sent = [ExportMetricsServiceRequest.FromString(json_to_protobuf("metrics", text)) for text in sample]
    with grpc.insecure_channel(f"127.0.0.1:{line.port}") as channel:
        stub: Any = MetricsServiceStub(channel)
        for request in sent:
            stub.Export(request, timeout=10)
            time.sleep(0.01)

    def events() -> set[str]:
        resources = line.sink.resources()
        return {r.event_name for c in resources for s in c.scope_logs for r in s.log_records if r.event_name}

    until(lambda: "fallow.recommendation" in events(), 60, lambda: f"only {events()} came")
    wanted = points(sent)
    until(lambda: points(line.sink.metrics.requests) >= wanted, 30, lambda: "data points are missing")
    assert points(line.sink.metrics.requests) == wanted


def points(requests: list[ExportMetricsServiceRequest]) -> Counter[tuple[str, str, bytes, bytes]]:
    """Every data point: name and unit of its metric, its resource, itself."""
    return Counter(
        (m.name, m.unit, r.resource.SerializeToString(deterministic=True), p.SerializeToString(deterministic=True))
        for request in requests
        for r in request.resource_metrics
        for s in r.scope_metrics
        for m in s.metrics
        for p in (*m.gauge.data_points, *m.sum.data_points)
    )


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
