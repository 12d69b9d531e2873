"""SDK → Collector → Fallow → Collector → file: what went in comes out, whoever is killed on the way."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from e2e.conftest import OTEL_CONFIG, Gateway
from e2e.processes import until
from fallow.recommend.v1 import recommend_pb2 as pb
from fallow.recommend.v1.recommend_pb2_grpc import RecommendationServiceStub

RULES = OTEL_CONFIG.parent / "rules"

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.mark.parametrize("file", sorted(p.name for p in OTEL_CONFIG.glob("*.yaml") if p.name != "builder.yaml"))
def test_every_configuration_is_accepted_by_its_program(file: str, otelcol: Path) -> None:
    path = str(OTEL_CONFIG / file)
    ours = [sys.executable, "-m", "fallow", "validate", path]
    command = ours if file.startswith("fallow-") else [str(otelcol), "validate", "--config", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_an_sdk_sends_comes_out_unchanged(gateway: Gateway) -> None:
    resource = Resource({"service.name": "trainer", "host.name": "n1"})
    meters = MeterProvider(
        [PeriodicExportingMetricReader(OTLPMetricExporter(f"127.0.0.1:{gateway.grpc}", insecure=True), 3_600_000)],
        resource,
    )
    counter = meters.get_meter("t").create_counter("steps", unit="{step}")
    histogram = meters.get_meter("t").create_histogram("latency", unit="s")
    for i in range(50):
        counter.add(i, {"rank": i, "ratio": i / 3})
        histogram.record(i / 7)
    loggers = LoggerProvider(resource)
    loggers.add_log_record_processor(
        SimpleLogRecordProcessor(OTLPLogExporter(f"127.0.0.1:{gateway.grpc}", insecure=True))
    )
    for i in range(20):
        loggers.get_logger("t").emit(timestamp=1_760_000_000_000_000_000 + i, body=f"step {i} ✓", attributes={"i": i})
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"http://127.0.0.1:{gateway.http}/v1/traces")))
    spans = []
    for i in range(20):
        with tracers.get_tracer("t").start_as_current_span(f"span {i}") as span:
            spans.append(f"{span.get_span_context().span_id:016x}")
    for provider in (meters, loggers, tracers):
        provider.shutdown()

    until(
        lambda: len(list(_records(gateway))) >= 20 and len(_spans(gateway)) >= 20 and "latency" in _metrics(gateway),
        30,
        lambda: f"not all arrived: {gateway.lines('resourceMetrics')}",
    )
    records = sorted(_records(gateway), key=lambda r: r["timeUnixNano"])
    assert [r["body"]["stringValue"] for r in records] == [f"step {i} ✓" for i in range(20)]
    assert [r["attributes"][0]["value"]["intValue"] for r in records] == [str(i) for i in range(20)]
    assert sorted(_spans(gateway)) == sorted(spans)
    points = _metrics(gateway)["steps"]["sum"]["dataPoints"]
    found = {(_attributes(p)["rank"]["intValue"], _attributes(p)["ratio"]["doubleValue"]): p["asInt"] for p in points}
    assert found == {(str(i), i / 3): str(i) for i in range(50)}
    (whole,) = _metrics(gateway)["latency"]["histogram"]["dataPoints"]
    assert (whole["count"], whole["max"]) == ("50", 7.0)


def test_optimisation_events_come_back_as_log_records(gateway: Gateway) -> None:
    sent = (RULES / "cre-2026-9003" / "test.otlp.jsonl").read_text().splitlines()
    points = 0
    for line in sent:
        kind = "metrics" if "resourceMetrics" in line[:30] else "logs"
        points += line.count('"asDouble"')
        request = urllib.request.Request(
            f"http://127.0.0.1:{gateway.http}/v1/{kind}", line.encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            assert response.status == 200

    def events() -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for record in _records(gateway):
            found.setdefault(record.get("eventName", ""), []).append(record)
        return found

    until(lambda: "fallow.recommendation" in events(), 60, lambda: f"no recommendation: {list(events())}")
    said = [_attributes(record) for record in events()["fallow.detection"]]
    fired = {s["fallow.rule.id"]["stringValue"] for s in said if s["fallow.detection.state"]["stringValue"] == "fired"}
    assert "CRE-2026-9003" in fired
    passed_on = sum(json.dumps(line).count('"asDouble"') for line in gateway.lines("resourceMetrics"))
    assert passed_on == points
    with grpc.insecure_channel(f"127.0.0.1:{gateway.api}") as channel:
        (recommended,) = RecommendationServiceStub(channel).List(pb.ListRequest(), timeout=10).recommendations
    assert recommended.rule_id == "CRE-2026-9003"
    assert recommended.saving.gpu_seconds > 0


class Sender(threading.Thread):
    """Sends numbered log records until told to stop; each again until somebody says that it has it."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.acknowledged: list[int] = []
        self._port = port
        self._stop_sending = threading.Event()

    def run(self) -> None:
        with grpc.insecure_channel(
            f"127.0.0.1:{self._port}", options=[("grpc.max_reconnect_backoff_ms", 200)]
        ) as channel:
            stub: Any = LogsServiceStub(channel)
            number = 0
            while not self._stop_sending.is_set():
                try:
                    stub.Export(_request(number), timeout=2)
                except grpc.RpcError:
                    time.sleep(0.05)
                    continue
                self.acknowledged.append(number)
                number += 1
                time.sleep(0.002)

    def finish(self) -> list[int]:
        """Stop; the numbers that were acknowledged."""
        self._stop_sending.set()
        self.join(10)
        return self.acknowledged


def _more_than(sender: Sender, count: int) -> bool:
    return len(sender.acknowledged) > count


def _request(number: int) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add()
    record.time_unix_nano = time.time_ns()
    record.body.string_value = f"number {number}"
    return request


@pytest.mark.parametrize("killed", ["fallow", "collector"])
@pytest.mark.parametrize("into", ["fallow", "collector"])
def test_nothing_acknowledged_is_lost_when_one_is_killed(gateway: Gateway, killed: str, into: str) -> None:
    sender = Sender(gateway.fallow_grpc if into == "fallow" else gateway.grpc)
    sender.start()
    for _ in range(2):
        count = len(sender.acknowledged)
        until(partial(_more_than, sender, count + 100), 60, lambda: "nothing is acknowledged")
        victim: Any = getattr(gateway, killed)
        victim.kill()
        time.sleep(0.3)
        victim.start()
    count = len(sender.acknowledged)
    until(lambda: len(sender.acknowledged) > count + 100, 60, lambda: "nothing is acknowledged after the restart")
    wanted = {f"number {n}" for n in sender.finish()}

    def missing() -> set[str]:
        logs = [s.log_records for r in gateway.sink.resources() for s in r.scope_logs]
        return wanted - {record.body.string_value for records in logs for record in records}

    until(lambda: not missing(), 60, lambda: f"{len(missing())} of {len(wanted)} acknowledged records are missing")


def test_sigterm_drains_and_ends_with_0(gateway: Gateway) -> None:
    assert gateway.fallow.stop() == 0, gateway.fallow.tail()


def _records(gateway: Gateway) -> Iterator[dict[str, Any]]:
    for line in gateway.lines("resourceLogs"):
        for resource in line["resourceLogs"]:
            for scope in resource["scopeLogs"]:
                yield from scope["logRecords"]


def _spans(gateway: Gateway) -> list[str]:
    lines = gateway.lines("resourceSpans")
    return [s["spanId"] for line in lines for r in line["resourceSpans"] for c in r["scopeSpans"] for s in c["spans"]]


def _metrics(gateway: Gateway) -> dict[str, Any]:
    lines = gateway.lines("resourceMetrics")
    return {
        m["name"]: m for line in lines for r in line["resourceMetrics"] for c in r["scopeMetrics"] for m in c["metrics"]
    }


def _attributes(point: dict[str, Any]) -> dict[str, Any]:
    return {a["key"]: a["value"] for a in point["attributes"]}
