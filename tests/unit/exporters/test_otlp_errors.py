"""What a downstream answers, or does not, in the exporter's words: retryable or not, and when."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # googleapis-common-protos has no py.typed
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # googleapis-common-protos has no py.typed

from fallow.batch import OtlpRequest
from fallow.errors import FallowError, PermanentError, TransientError
from fallow_exporters.otlp import OtlpExporter, OtlpExporterConfig
from fallow_exporters.otlp._http import retry_after_s
from helpers import otlp
from helpers.otlp_server import ANYWHERE, BOTH, METHODS, Counters, Sink, make_certificates, receiving

METRICS = OtlpRequest(kind="metrics", body=otlp.metrics_request())
PROTOCOLS = ("grpc", "http")


@asynccontextmanager
async def exporting(endpoint: str, directory: Path = Path(), **options: Any) -> AsyncGenerator[OtlpExporter]:
    config = OtlpExporterConfig.model_validate({"endpoint": endpoint, "tls": {"insecure": True}} | options)
    exporter = OtlpExporter(config, Counters().context("otlp", directory))
    try:
        await exporter.start()
        yield exporter
    finally:
        await exporter.shutdown()


async def failure(exporter: OtlpExporter) -> FallowError:
    with pytest.raises(FallowError) as raised:
        await exporter.forward(METRICS)
    return raised.value


@asynccontextmanager
async def grpc_server(code: grpc.StatusCode, details: bytes) -> AsyncGenerator[str]:
    """An OTLP/gRPC server that always answers so."""

    async def export(_: bytes, context: Any) -> None:
        await context.abort(code, "said so", (("grpc-status-details-bin", details),) if details else ())

    handler = grpc.unary_unary_rpc_method_handler(export)
    server = grpc.aio.server()
    service = METHODS["metrics"].split("/")[1]
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def http_server(*responses: bytes) -> AsyncGenerator[tuple[str, list[bytes]]]:
    """A server that gives each connection its response, the last for ever; an empty one closes without a word."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        response = responses[min(len(heads), len(responses) - 1)]
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head)
        length = next(
            int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-len")
        )
        await reader.readexactly(length)
        writer.write(response)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", heads


def answer(code: int, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {code} Said So", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def retry_info(seconds: float) -> bytes:
    status = Status(code=14, message="later")
    delay = Duration()
    delay.FromNanoseconds(int(seconds * 1e9))
    status.details.add().Pack(RetryInfo(retry_delay=delay))
    made: bytes = status.SerializeToString()
    return made


RETRYABLE = ("CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS")


@pytest.mark.parametrize("code", [c for c in grpc.StatusCode if c is not grpc.StatusCode.OK], ids=lambda c: c.name)
def test_grpc_codes_are_retryable_as_otlp_lists_them(code: grpc.StatusCode) -> None:
    async def run() -> FallowError:
        async with grpc_server(code, b"") as endpoint, exporting(endpoint) as exporter:
            return await failure(exporter)

    error = asyncio.run(run())
    assert isinstance(error, TransientError if code.name in RETRYABLE else PermanentError)
    if code is not grpc.StatusCode.DEADLINE_EXCEEDED:
        assert str(error).endswith(f" answered {code.name}: said so")


@pytest.mark.parametrize("code", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE])
def test_grpc_retry_info_says_when(code: grpc.StatusCode) -> None:
    async def run() -> FallowError:
        async with grpc_server(code, retry_info(1.5)) as endpoint, exporting(endpoint) as exporter:
            return await failure(exporter)

    error = asyncio.run(run())
    assert isinstance(error, TransientError)
    assert error.retry_after_s == 1.5


def test_grpc_details_that_are_no_status_are_passed_over() -> None:
    async def run() -> FallowError:
        async with (
            grpc_server(grpc.StatusCode.INVALID_ARGUMENT, b"\xff\xff") as endpoint,
            exporting(endpoint) as exporter,
        ):
            return await failure(exporter)

    assert isinstance(asyncio.run(run()), PermanentError)


@pytest.mark.parametrize("code", [301, 400, 401, 403, 404, 408, 413, 429, 500, 501, 502, 503, 504])
def test_http_codes_are_retryable_as_otlp_lists_them(code: int) -> None:
    async def run() -> FallowError:
        async with (
            http_server(answer(code, Location="http://127.0.0.1:1/")) as (endpoint, _),
            exporting(endpoint, protocol="http") as exporter,
        ):
            return await failure(exporter)

    error = asyncio.run(run())
    assert isinstance(error, TransientError if code in (429, 502, 503, 504) else PermanentError)
    assert str(error).endswith(f" answered {code}: Said So")


def test_http_says_when_and_why() -> None:
    body = retry_info(2.5)

    async def run(**headers: str) -> FallowError:
        made = answer(503, body, Content_Type="application/x-protobuf", **headers)
        async with http_server(made) as (endpoint, _), exporting(endpoint, protocol="http") as exporter:
            return await failure(exporter)

    error = asyncio.run(run())
    assert isinstance(error, TransientError)
    assert (str(error).rpartition(": ")[2], error.retry_after_s) == ("later", 2.5)
    error = asyncio.run(run(Retry_After="9"))
    assert isinstance(error, TransientError)
    assert error.retry_after_s == 9.0


def test_a_retry_after_header_is_a_number_or_a_date() -> None:
    assert retry_after_s(None) is None
    assert retry_after_s(" 12 ") == 12.0
    assert retry_after_s("soon") is None
    assert retry_after_s("99999999999999999999") is None
    assert retry_after_s(formatdate(time.time() - 100, usegmt=True)) == 0.0
    in_a_minute = retry_after_s(formatdate(time.time() + 60, usegmt=True))
    assert in_a_minute is not None
    assert 50 < in_a_minute < 61


def test_an_http_connection_that_breaks_is_tried_once_more_at_once() -> None:
    async def run() -> int:
        async with (
            http_server(b"", answer(200)) as (endpoint, heads),
            exporting(endpoint, protocol="http") as exporter,
        ):
            assert await exporter.forward(METRICS) == b""
            return len(heads)

    assert asyncio.run(run()) == 2


def test_an_http_connection_that_goes_on_breaking_is_transient() -> None:
    async def run() -> tuple[FallowError, int]:
        async with http_server(b"") as (endpoint, heads), exporting(endpoint, protocol="http") as exporter:
            return await failure(exporter), len(heads)

    error, attempts = asyncio.run(run())
    assert isinstance(error, TransientError)
    assert str(error).endswith(" closed the connection")
    assert attempts == 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_downstream_that_is_not_there_reads_well(protocol: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"

    async def run() -> FallowError:
        async with exporting(endpoint, protocol=protocol) as exporter:
            return await failure(exporter)

    error = asyncio.run(run())
    assert isinstance(error, TransientError)
    assert str(error) == f"cannot reach {endpoint}: connection refused"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_name_that_is_not_known_reads_well(protocol: str) -> None:
    async def run() -> FallowError:
        async with exporting("no-such-host.invalid:4317", protocol=protocol) as exporter:
            return await failure(exporter)

    error = asyncio.run(run())
    assert isinstance(error, TransientError)
    assert str(error) == "cannot reach no-such-host.invalid:4317: the host name cannot be resolved"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_downstream_that_is_slow_is_transient(protocol: str) -> None:
    async def run() -> FallowError:
        async with receiving(Sink(delay_s=1.0), BOTH | {"shutdown_grace": "1ms"}) as receiver:
            port = receiver.grpc_port if protocol == "grpc" else receiver.http_port
            async with exporting(f"127.0.0.1:{port}", protocol=protocol, timeout="100ms") as exporter:
                return await failure(exporter)

    error = asyncio.run(run())
    assert isinstance(error, TransientError)
    assert str(error).endswith(" did not answer within 0.1 s")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_downstream_that_comes_back_is_found_again(protocol: str) -> None:
    async def run() -> None:
        sink = Sink()
        async with receiving(sink) as receiver:
            port = receiver.grpc_port if protocol == "grpc" else receiver.http_port
            endpoint = f"127.0.0.1:{port}"
            exporter = OtlpExporter(
                OtlpExporterConfig.model_validate(
                    {"endpoint": endpoint, "protocol": protocol, "tls": {"insecure": True}}
                ),
                Counters().context("otlp", Path()),
            )
            await exporter.start()
            await exporter.forward(METRICS)
        assert isinstance(await failure(exporter), TransientError)
        async with receiving(sink, {"protocols": {protocol: {"endpoint": endpoint}}}):
            end = time.monotonic() + 10
            while len(sink.bodies) < 2 and time.monotonic() < end:
                try:
                    await exporter.forward(METRICS)
                except TransientError:
                    await asyncio.sleep(0.05)
            await exporter.shutdown()
        assert sink.bodies == [METRICS.body] * 2

    asyncio.run(run())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_tls_and_mutual_tls(protocol: str, tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    trusting = {"ca_file": "ca.pem"}
    known = trusting | {"cert_file": "client.pem", "key_file": "client.key"}

    async def run() -> None:
        sink = Sink()
        for server, client in ((files.server, trusting), (files.mutual, known)):
            async with receiving(
                sink, {"protocols": {protocol: ANYWHERE | {"tls": server}}}, directory=tmp_path
            ) as receiver:
                endpoint = f"127.0.0.1:{receiver.grpc_port or receiver.http_port}"
                async with exporting(endpoint, tmp_path, protocol=protocol, tls=client) as exporter:
                    await exporter.forward(METRICS)
                async with exporting(endpoint, tmp_path, protocol=protocol, tls={}) as exporter:
                    error = await failure(exporter)
                assert isinstance(error, TransientError)
                assert str(error) == f"cannot reach {endpoint}: TLS certificate verify failed"
        assert sink.bodies == [METRICS.body] * 2

    asyncio.run(run())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_text_where_tls_is_expected_reads_well(protocol: str) -> None:
    async def run() -> tuple[FallowError, str]:
        async with receiving(Sink()) as receiver:
            endpoint = f"127.0.0.1:{receiver.grpc_port if protocol == 'grpc' else receiver.http_port}"
            async with exporting(endpoint, protocol=protocol, tls={}) as exporter:
                return await failure(exporter), endpoint

    error, endpoint = asyncio.run(run())
    assert str(error) == f"cannot reach {endpoint}: TLS handshake failed"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_certificate_that_cannot_be_used_is_told(protocol: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with exporting("127.0.0.1:1", tmp_path, protocol=protocol, tls={"ca_file": "missing.pem"}):
            raise AssertionError("started")

    with pytest.raises(OSError, match=r"^cannot use .*missing\.pem for TLS: no such file or directory$"):
        asyncio.run(run())


def test_ssl_errors_are_os_errors() -> None:
    assert issubclass(ssl.SSLError, OSError)  # what the code above rests on
