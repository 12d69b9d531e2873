"""The OTLP receiver as a whole: configuration, life, and the OpenTelemetry SDK as its sender."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from pydantic import ValidationError

from fallow.testing.components import check_component
from fallow_receivers.otlp import OtlpReceiver, OtlpReceiverConfig
from helpers.otlp_server import ANYWHERE, Counters, Sink, make_certificates, receiving


def test_keeps_the_contract_of_components(tmp_path: Path) -> None:
    points = list(check_component("receivers", "otlp", tmp_path))
    assert [name for name, kept in points if not kept] == []


def test_a_protocol_that_is_only_named_has_its_defaults() -> None:
    config = OtlpReceiverConfig.model_validate({"protocols": {"grpc": None, "http": None}})
    assert config.protocols.grpc is not None
    assert config.protocols.http is not None
    assert config.protocols.grpc.endpoint == "127.0.0.1:4317"
    assert config.protocols.http.endpoint == "127.0.0.1:4318"
    assert config.protocols.grpc.max_recv_msg_size_mib == 64
    assert OtlpReceiverConfig.model_validate({"protocols": {"http": {}}}).protocols.grpc is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({}, "Field required", id="nothing"),
        pytest.param({"protocols": {}}, "at least one protocol: grpc, http", id="no-protocol"),
        pytest.param({"protocols": {"udp": None}}, "Extra inputs are not permitted", id="unknown-protocol"),
        pytest.param({"protocols": {"grpc": {"endpoint": "4317"}}}, "is not host:port", id="endpoint"),
        pytest.param({"protocols": {"grpc": None}, "auth": {}}, "either bearer_token or", id="no-token"),
        pytest.param({"protocols": {"grpc": None}, "auth": {"bearer_token": " "}}, "is empty", id="empty-token"),
        pytest.param({"protocols": {"grpc": None}, "max_in_flight_mib": 100}, "is below 128", id="holds-too-little"),
        pytest.param({"protocols": {"grpc": {"tls": {"cert_file": "x"}}}}, "key_file", id="no-key"),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        OtlpReceiverConfig.model_validate(options)


def test_the_token_is_not_shown() -> None:
    config = OtlpReceiverConfig.model_validate({"protocols": {"grpc": None}, "auth": {"bearer_token": "s3cret"}})
    assert "s3cret" not in repr(config)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_port_in_use_is_told_and_nothing_stays_open(protocol: str, tmp_path: Path) -> None:
    async def run(taken: int, free: int) -> None:
        other = "http" if protocol == "grpc" else "grpc"
        protocols = {protocol: {"endpoint": f"127.0.0.1:{taken}"}, other: {"endpoint": f"127.0.0.1:{free}"}}
        config = OtlpReceiverConfig.model_validate({"protocols": protocols})
        receiver = OtlpReceiver(config, Counters().context("otlp", tmp_path))
        with pytest.raises(OSError, match=f"^cannot listen on 127.0.0.1:{taken}: address already in use$"):
            await receiver.start(Sink().consume)
        socket.create_server(("127.0.0.1", free)).close()
        await receiver.shutdown()

    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
        free.close()
        asyncio.run(run(taken.getsockname()[1], number))


def test_a_host_that_is_not_here_is_told(tmp_path: Path) -> None:
    async def run() -> None:
        config = OtlpReceiverConfig.model_validate({"protocols": {"grpc": {"endpoint": "192.0.2.1:4317"}}})
        receiver = OtlpReceiver(config, Counters().context("otlp", tmp_path))
        with pytest.raises(OSError, match=r"^cannot listen on 192\.0\.2\.1:4317: cannot assign requested address$"):
            await receiver.start(Sink().consume)

    asyncio.run(run())


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_certificate_that_cannot_be_used_is_told(protocol: str, tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    (tmp_path / "broken.pem").write_text("no certificate")

    async def start(**tls: str) -> None:
        settings = {"protocols": {protocol: ANYWHERE | {"tls": tls}}}
        async with receiving(Sink(), settings, directory=tmp_path):
            raise AssertionError("started")

    with pytest.raises(OSError, match=r"^cannot use .*missing\.pem for TLS: no such file or directory$"):
        asyncio.run(start(cert_file="missing.pem", key_file="server.key"))
    with pytest.raises(OSError, match=r"^cannot use .*broken\.pem for TLS: "):
        asyncio.run(start(cert_file="broken.pem", key_file="server.key"))
    with pytest.raises(OSError, match=r"^cannot use .*server\.pem for TLS: .*mismatch"):
        asyncio.run(start(cert_file=str(files.cert), key_file="client.key"))


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no such file"), (b" \n", "it is empty"), (b"\xff", "not UTF-8")]
)
def test_a_token_file_that_cannot_be_used_is_told(content: bytes | None, message: str, tmp_path: Path) -> None:
    async def start() -> None:
        settings = {"protocols": {"grpc": ANYWHERE}, "auth": {"bearer_token_file": "token"}}
        async with receiving(Sink(), settings, directory=tmp_path):
            raise AssertionError("started")

    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(OSError, match=message):
        asyncio.run(start())


def test_it_can_be_shut_down_twice_and_started_again(tmp_path: Path) -> None:
    async def run() -> None:
        config = OtlpReceiverConfig.model_validate({"protocols": {"grpc": ANYWHERE, "http": ANYWHERE}})
        receiver = OtlpReceiver(config, Counters().context("otlp", tmp_path))
        await receiver.shutdown()
        for _ in range(2):
            await receiver.start(Sink().consume)
            assert receiver.grpc_port > 0
            assert receiver.http_port > 0
            await receiver.shutdown()
        await receiver.shutdown()
        assert receiver.grpc_port == receiver.http_port == 0

    asyncio.run(run())


def _measure(exporter: MetricExporter) -> None:
    """Three points through the SDK."""
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    gauge = provider.get_meter("test").create_gauge("hw.gpu.utilization", unit="1")
    for gpu in range(3):
        gauge.set(gpu / 4, {"hw.id": f"GPU-{gpu}"})
    provider.shutdown()


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_sdk_is_understood(protocol: str) -> None:
    async def run() -> Sink:
        sink = Sink()
        async with receiving(sink) as receiver:
            exporter: MetricExporter
            if protocol == "grpc":
                exporter = GrpcExporter(endpoint=f"127.0.0.1:{receiver.grpc_port}", insecure=True)
            else:
                exporter = HttpExporter(endpoint=f"http://127.0.0.1:{receiver.http_port}/v1/metrics")
            await asyncio.to_thread(_measure, exporter)
        return sink

    sink = asyncio.run(run())
    assert sink.kinds == ["metrics"]
    metric = ExportMetricsServiceRequest.FromString(sink.bodies[0]).resource_metrics[0].scope_metrics[0].metrics[0]
    assert metric.name == "hw.gpu.utilization"
    assert [p.as_double for p in metric.gauge.data_points] == [0.0, 0.25, 0.5]
