"""The OTLP exporter as a whole: configuration, limits, retries, and the way receiver → exporter → receiver."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from pydantic import ValidationError

from fallow.batch import Batch, OtlpKind, OtlpRequest
from fallow.errors import PermanentError, TransientError
from fallow.testing.components import check_component
from fallow_exporters.otlp import OtlpExporter, OtlpExporterConfig
from fallow_exporters.otlp._sender import Disconnected
from fallow_exporters.otlp.config import RetrySettings
from fallow_exporters.otlp.exporter import Waits
from helpers import otlp
from helpers.otlp_server import BOTH, METHODS, PATHS, Counters, Sink, receiving

METRICS = OtlpRequest(kind="metrics", body=otlp.metrics_request())
BODIES: dict[OtlpKind, bytes] = {
    "metrics": METRICS.body,
    "logs": otlp.logs_request(),
    "traces": otlp.traces_request(),
}
PROTOCOLS = ("grpc", "http")


@asynccontextmanager
async def exporting(
    port: int, counters: Counters | None = None, directory: Path = Path(), **options: Any
) -> AsyncGenerator[OtlpExporter]:
    """An exporter to a port of this machine, in plain text unless ``options`` say otherwise."""
    settings = {"endpoint": f"127.0.0.1:{port}", "tls": {"insecure": True}} | options
    config = OtlpExporterConfig.model_validate(settings)
    exporter = OtlpExporter(config, (counters or Counters()).context("otlp", directory))
    await exporter.start()
    try:
        yield exporter
    finally:
        await exporter.shutdown()


def test_keeps_the_contract_of_components(tmp_path: Path) -> None:
    points = list(check_component("exporters", "otlp", tmp_path))
    assert [name for name, kept in points if not kept] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"endpoint": "4317"}, "is not host:port", id="endpoint"),
        pytest.param({"endpoint": "http://a:1"}, "is a URL; for grpc write host:port", id="url-for-grpc"),
        pytest.param({"endpoint": "ftp://a:1", "protocol": "http"}, "neither host:port nor", id="scheme"),
        pytest.param(
            {"endpoint": "https://a:1", "protocol": "http", "tls": {"insecure": True}},
            "not insecure",
            id="contradiction",
        ),
        pytest.param(
            {"endpoint": "http://a:1", "protocol": "http", "tls": {"ca_file": "x"}}, "write https", id="http-with-ca"
        ),
        pytest.param({"endpoint": "a:1", "tls": {"cert_file": "x"}}, "go together", id="half-a-pair"),
        pytest.param({"endpoint": "a:1", "tls": {"insecure": True, "ca_file": "x"}}, "uses no cert", id="insecure-ca"),
        pytest.param({"endpoint": "a:1", "headers": {"a b": "c"}}, "'a b' is not a header name", id="header"),
        pytest.param({"endpoint": "a:1", "timeout": "0"}, "more than 0", id="timeout"),
        pytest.param(
            {"endpoint": "a:1", "retry_on_failure": {"max_interval": "1ms"}}, "at most max_interval", id="retry"
        ),
        pytest.param({"endpoint": "a:1", "compression": "zstd"}, "'none' or 'gzip'", id="compression"),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        OtlpExporterConfig.model_validate(options)


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({"endpoint": "a:4318"}, "https://a:4318"),
        ({"endpoint": "a:4318", "tls": {"insecure": True}}, "http://a:4318"),
        ({"endpoint": "http://a:4318/otlp/"}, "http://a:4318/otlp"),
    ],
)
def test_an_endpoint_is_a_url(options: dict[str, Any], url: str) -> None:
    assert OtlpExporterConfig.model_validate(options | {"protocol": "http"}).url == url


def test_headers_are_not_shown() -> None:
    config = OtlpExporterConfig.model_validate({"endpoint": "a:1", "headers": {"X-Key": "s3cret"}})
    assert "s3cret" not in repr(config)
    assert config.headers["x-key"].get_secret_value() == "s3cret"


@pytest.mark.parametrize("outgoing", PROTOCOLS)
@pytest.mark.parametrize("incoming", PROTOCOLS)
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_bytes_pass_unchanged_through_receiver_and_exporter(incoming: str, outgoing: str, compression: str) -> None:
    partial = ExportMetricsServiceResponse()
    partial.partial_success.rejected_data_points = 1
    answer = partial.SerializeToString()

    async def send(kind: OtlpKind, body: bytes, grpc_port: int, http_port: int) -> bytes:
        if incoming == "grpc":
            async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
                response: bytes = await channel.unary_unary(METHODS[kind], None, None)(body)
                return response
        async with httpx.AsyncClient(trust_env=False) as client:
            url = f"http://127.0.0.1:{http_port}{PATHS[kind]}"
            return (await client.post(url, content=body, headers={"content-type": "application/x-protobuf"})).content

    async def run() -> Sink:
        end = Sink([answer])
        async with receiving(end) as last:
            port = last.grpc_port if outgoing == "grpc" else last.http_port
            async with exporting(port, protocol=outgoing, compression=compression) as exporter:

                class Through(Sink):
                    async def consume(self, batch: Batch) -> bytes:
                        assert batch.request is not None
                        return await exporter.forward(batch.request)

                async with receiving(Through()) as first:
                    answers = [await send(k, b, first.grpc_port, first.http_port) for k, b in BODIES.items()]
        assert answers == [answer, b"", b""]
        return end

    end = asyncio.run(run())
    assert end.bodies == list(BODIES.values())
    assert end.kinds == list(BODIES)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_headers_are_sent(protocol: str) -> None:
    async def run() -> None:
        sink = Sink()
        async with receiving(sink, BOTH | {"auth": {"bearer_token": "s3cret"}}) as receiver:
            port = receiver.grpc_port if protocol == "grpc" else receiver.http_port
            headers = {"Authorization": "Bearer s3cret"}
            async with exporting(port, protocol=protocol, headers=headers) as exporter:
                await exporter.forward(METRICS)
            async with exporting(port, protocol=protocol) as exporter:
                with pytest.raises(PermanentError, match=r"(UNAUTHENTICATED|401): a bearer token is required"):
                    await exporter.forward(METRICS)
        assert sink.bodies == [METRICS.body]

    asyncio.run(run())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_more_requests_than_may_wait_are_told_at_once(protocol: str) -> None:
    async def run(counters: Counters) -> None:
        sink = Sink(delay_s=0.3)
        async with receiving(sink) as receiver:
            port = receiver.grpc_port if protocol == "grpc" else receiver.http_port
            async with exporting(port, counters, protocol=protocol, max_in_flight=2) as exporter:
                waiting = [asyncio.create_task(exporter.forward(METRICS)) for _ in range(2)]
                await sink.entered.wait()
                started = time.monotonic()
                with pytest.raises(TransientError, match="2 requests wait for") as raised:
                    await exporter.forward(METRICS)
                assert time.monotonic() - started < 0.1
                assert raised.value.retry_after_s == 1.0
                await asyncio.gather(*waiting)
                await exporter.forward(METRICS)

    counters = Counters()
    asyncio.run(run(counters))
    assert counters.values("fallow_exporter_sent_requests") == {("metrics",): 3}
    assert counters.values("fallow_exporter_sent_bytes") == {("metrics",): 3 * len(METRICS.body)}
    assert counters.values("fallow_exporter_send_failed_requests") == {("busy", "metrics"): 1}
    assert counters.values("fallow_exporter_in_flight_requests") == {(): 0}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_shutdown_lets_requests_in_flight_end_and_takes_no_more(protocol: str) -> None:
    async def run() -> None:
        sink = Sink([b"\x0a\x00"], delay_s=0.2)
        async with receiving(sink) as receiver:
            port = receiver.grpc_port if protocol == "grpc" else receiver.http_port
            async with exporting(port, protocol=protocol) as exporter:
                call = asyncio.create_task(exporter.forward(METRICS))
                await sink.entered.wait()
                await exporter.shutdown()
                assert await call == b"\x0a\x00"
                with pytest.raises(TransientError, match="is not running"):
                    await exporter.forward(METRICS)

    asyncio.run(run())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_attempts_go_on_while_the_sender_may_wait(protocol: str) -> None:
    async def run(counters: Counters) -> None:
        sink = Sink([TransientError("busy", 0.0), TransientError("busy", 0.0)])
        # HTTP cannot say less than one second in Retry-After.
        retry = {"initial_interval": "1ms", "max_elapsed_time": "5s"}
        async with receiving(sink) as receiver:
            port = receiver.grpc_port if protocol == "grpc" else receiver.http_port
            async with exporting(port, counters, protocol=protocol, retry_on_failure=retry) as exporter:
                assert await exporter.forward(METRICS) == b""
        assert sink.bodies == [METRICS.body] * 3

    counters = Counters()
    asyncio.run(run(counters))
    assert counters.values("fallow_exporter_retries") == {("metrics",): 2}


def test_by_default_the_sender_is_asked_to_try_again() -> None:
    async def run(counters: Counters) -> Sink:
        sink = Sink([TransientError("busy", 7.5)])
        async with receiving(sink) as receiver, exporting(receiver.grpc_port, counters) as exporter:
            with pytest.raises(TransientError, match="answered UNAVAILABLE: busy") as raised:
                await exporter.forward(METRICS)
            assert raised.value.retry_after_s == 7.5
        return sink

    counters = Counters()
    assert len(asyncio.run(run(counters)).bodies) == 1
    assert counters.values("fallow_exporter_send_failed_requests") == {("transient", "metrics"): 1}


def test_a_connection_that_breaks_is_tried_once_more_at_once() -> None:
    waits = Waits(RetrySettings())
    assert waits.after(Disconnected("gone")) == 0.0
    assert waits.after(Disconnected("gone again")) is None
    assert Waits(RetrySettings(enabled=False)).after(Disconnected("gone")) is None
    assert Waits(RetrySettings()).after(TransientError("busy")) is None


def test_waits_grow_to_their_limit_and_end_in_time() -> None:
    settings = RetrySettings.model_validate({"initial_interval": "1s", "max_interval": "4s", "max_elapsed_time": "60s"})
    waits = Waits(settings, now=0.0)
    for longest in (1.0, 2.0, 4.0, 4.0):
        wait = waits.after(TransientError("busy"), now=10.0)
        assert wait is not None
        assert longest / 2 <= wait <= longest
    assert waits.after(TransientError("busy", 20.0), now=10.0) == 20.0
    assert waits.after(TransientError("busy", 20.0), now=45.0) is None
    assert waits.after(TransientError("busy"), now=60.0) is None
