"""OTLP/gRPC in, over real sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped]  # googleapis-common-protos has no py.typed
    BadRequest,
    ErrorInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # googleapis-common-protos has no py.typed
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from fallow.batch import OtlpKind
from fallow.errors import PermanentError, TransientError
from helpers import otlp
from helpers.otlp_server import ANYWHERE, METHODS, Counters, Sink, make_certificates, receiving

METRICS = otlp.metrics_request()
BODIES: dict[OtlpKind, bytes] = {"metrics": METRICS, "logs": otlp.logs_request(), "traces": otlp.traces_request()}
GRPC = {"protocols": {"grpc": ANYWHERE}}


@asynccontextmanager
async def channel(port: int, credentials: grpc.ChannelCredentials | None = None) -> AsyncGenerator[grpc.aio.Channel]:
    options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    target = f"127.0.0.1:{port}"
    if credentials is None:
        opened = grpc.aio.insecure_channel(target, options=options)
    else:
        opened = grpc.aio.secure_channel(target, credentials, options=options)
    try:
        yield opened
    finally:
        await opened.close(None)


async def export(opened: grpc.aio.Channel, body: bytes, kind: OtlpKind = "metrics", **options: Any) -> bytes:
    response: bytes = await opened.unary_unary(METHODS[kind], None, None)(body, **options)
    return response


async def refused(opened: grpc.aio.Channel, body: bytes, **options: Any) -> tuple[grpc.StatusCode, str, Status]:
    """Code, message and the Status in the trailers of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await export(opened, body, **options)
    error = raised.value
    trailers = dict(cast("Iterable[tuple[str, bytes]]", error.trailing_metadata()))
    return error.code(), error.details() or "", Status.FromString(trailers.get("grpc-status-details-bin", b""))


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_the_bytes_arrive_as_they_were_sent(kind: OtlpKind, compression: grpc.Compression) -> None:
    async def run() -> Sink:
        sink = Sink()
        async with receiving(sink, GRPC) as receiver, channel(receiver.grpc_port) as opened:
            before = time.time_ns()
            assert await export(opened, BODIES[kind], kind, compression=compression) == b""
            assert before <= sink.batches[0].arrival <= time.time_ns()
        return sink

    sink = asyncio.run(run())
    assert sink.bodies == [BODIES[kind]]
    assert sink.kinds == [kind]


def test_an_empty_request_is_a_success_that_nobody_hears_of() -> None:
    async def run() -> None:
        sink = Sink()
        async with receiving(sink, GRPC) as receiver, channel(receiver.grpc_port) as opened:
            assert await export(opened, b"") == b""
        assert sink.batches == []

    asyncio.run(run())


def test_the_response_of_the_downstream_comes_back() -> None:
    partial = ExportMetricsServiceResponse()
    partial.partial_success.rejected_data_points = 2
    answer = partial.SerializeToString()

    async def run() -> None:
        async with receiving(Sink([answer]), GRPC) as receiver, channel(receiver.grpc_port) as opened:
            assert await export(opened, METRICS) == answer

    asyncio.run(run())


@pytest.mark.parametrize(
    ("retry_after_s", "seconds", "nanos"), [(2.5, 2, 500_000_000), (None, 1, 0), (0.9999999999, 1, 0)]
)
def test_a_transient_error_says_when_to_come_again(retry_after_s: float | None, seconds: int, nanos: int) -> None:
    async def run() -> tuple[grpc.StatusCode, str, Status]:
        sink = Sink([TransientError("downstream is away", retry_after_s)])
        async with receiving(sink, GRPC) as receiver, channel(receiver.grpc_port) as opened:
            return await refused(opened, METRICS)

    code, message, status = asyncio.run(run())
    assert (code, message, status.code) == (grpc.StatusCode.UNAVAILABLE, "downstream is away", 14)
    info = RetryInfo()
    assert status.details[0].Unpack(info)
    assert (info.retry_delay.seconds, info.retry_delay.nanos) == (seconds, nanos)


def test_a_permanent_error_is_an_invalid_argument() -> None:
    async def run() -> tuple[grpc.StatusCode, str, Status]:
        async with (
            receiving(Sink([PermanentError("no such tenant")]), GRPC) as receiver,
            channel(receiver.grpc_port) as opened,
        ):
            return await refused(opened, METRICS)

    code, message, status = asyncio.run(run())
    assert (code, message) == (grpc.StatusCode.INVALID_ARGUMENT, "no such tenant")
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.reason == "REFUSED_DOWNSTREAM"


def test_what_is_not_otlp_is_an_invalid_argument_with_its_place() -> None:
    async def run() -> tuple[grpc.StatusCode, str, Status]:
        sink = Sink()
        async with receiving(sink, GRPC) as receiver, channel(receiver.grpc_port) as opened:
            answer = await refused(opened, METRICS[:-3])
        assert sink.batches == []
        return answer

    code, message, status = asyncio.run(run())
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "goes beyond the end" in message
    info = BadRequest()
    assert status.details[0].Unpack(info)
    assert info.field_violations[0].description == message


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_over_the_limit_is_refused_and_the_next_is_taken(compression: grpc.Compression) -> None:
    async def run() -> tuple[grpc.StatusCode, list[bytes]]:
        sink = Sink()
        settings = {"protocols": {"grpc": ANYWHERE | {"max_recv_msg_size_mib": 1}}}
        async with receiving(sink, settings) as receiver, channel(receiver.grpc_port) as opened:
            code, _, _ = await refused(opened, b"\x0a\x80\x80\x40" + bytes(1 << 20), compression=compression)
            await export(opened, METRICS)
        return code, sink.bodies

    assert asyncio.run(run()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, [METRICS])


def test_more_in_flight_than_may_be_held_is_told_to_come_again() -> None:
    async def run() -> tuple[grpc.StatusCode, str]:
        sink = Sink(delay_s=0.3)
        settings = {"protocols": {"grpc": ANYWHERE | {"max_recv_msg_size_mib": 1}}, "max_in_flight_mib": 2}
        large = b"\x0a\xf0\xff\x3f" + bytes((1 << 20) - 16)
        async with receiving(sink, settings) as receiver, channel(receiver.grpc_port) as opened:
            held = [asyncio.create_task(export(opened, large)) for _ in range(2)]
            while len(sink.batches) < 2:
                await asyncio.sleep(0.005)
            code, message, _ = await refused(opened, METRICS)
            await asyncio.gather(*held)
            assert await export(opened, METRICS) == b""
        return code, message

    assert asyncio.run(run()) == (grpc.StatusCode.UNAVAILABLE, "the receiver holds as much as it may")


def test_an_unknown_method_is_unimplemented() -> None:
    async def run() -> None:
        async with receiving(Sink(), GRPC) as receiver, channel(receiver.grpc_port) as opened:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await opened.unary_unary(
                    "/opentelemetry.proto.collector.profiles.v1.ProfilesService/Export", None, None
                )(b"")
            assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED

    asyncio.run(run())


@pytest.mark.parametrize("in_file", [False, True])
def test_a_bearer_token_is_asked_for(tmp_path: Path, in_file: bool) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    auth = {"bearer_token_file": "token"} if in_file else {"bearer_token": "s3cret"}

    async def run() -> list[grpc.StatusCode]:
        sink, codes = Sink(), list[grpc.StatusCode]()
        async with (
            receiving(sink, GRPC | {"auth": auth}, directory=tmp_path) as receiver,
            channel(receiver.grpc_port) as opened,
        ):
            for metadata in ((), (("authorization", "Bearer wrong"),), (("authorization", "Basic s3cret"),)):
                codes.append((await refused(opened, METRICS, metadata=metadata))[0])
            assert sink.batches == []
            assert await export(opened, METRICS, metadata=(("authorization", "bearer s3cret"),)) == b""
        return codes

    assert asyncio.run(run()) == [grpc.StatusCode.UNAUTHENTICATED] * 3


def test_tls_and_mutual_tls(tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    ca, cert, key = files.ca.read_bytes(), files.client_cert.read_bytes(), files.client_key.read_bytes()

    async def run() -> None:
        sink = Sink()
        one_sided = {"protocols": {"grpc": ANYWHERE | {"tls": files.server}}}
        async with receiving(sink, one_sided, directory=tmp_path) as receiver:
            async with channel(receiver.grpc_port, grpc.ssl_channel_credentials(ca)) as opened:
                await export(opened, METRICS)
            async with channel(receiver.grpc_port) as opened:
                assert (await refused(opened, METRICS))[0] is grpc.StatusCode.UNAVAILABLE
        mutual = {"protocols": {"grpc": ANYWHERE | {"tls": files.mutual}}}
        async with receiving(sink, mutual, directory=tmp_path) as receiver:
            async with channel(receiver.grpc_port, grpc.ssl_channel_credentials(ca, key, cert)) as opened:
                await export(opened, METRICS)
            async with channel(receiver.grpc_port, grpc.ssl_channel_credentials(ca)) as opened:
                assert (await refused(opened, METRICS))[0] is grpc.StatusCode.UNAVAILABLE
        assert sink.bodies == [METRICS] * 2

    asyncio.run(run())


def test_a_shutdown_lets_requests_in_flight_end() -> None:
    async def run() -> bytes:
        sink = Sink([b"\x0a\x00"], delay_s=0.2)
        async with receiving(sink, GRPC) as receiver, channel(receiver.grpc_port) as opened:
            call = asyncio.create_task(export(opened, METRICS))
            await sink.entered.wait()
            await receiver.shutdown()
            return await call

    assert asyncio.run(run()) == b"\x0a\x00"


def test_a_shutdown_waits_no_longer_than_its_grace() -> None:
    async def run() -> tuple[float, grpc.StatusCode]:
        sink = Sink(delay_s=30)
        async with (
            receiving(sink, GRPC | {"shutdown_grace": "100ms"}) as receiver,
            channel(receiver.grpc_port) as opened,
        ):
            call = asyncio.create_task(refused(opened, METRICS))
            await sink.entered.wait()
            started = time.monotonic()
            await receiver.shutdown()
            return time.monotonic() - started, (await call)[0]

    took, code = asyncio.run(run())
    assert took < 2
    assert code is grpc.StatusCode.UNAVAILABLE


def test_what_it_takes_and_refuses_is_counted() -> None:
    async def run(counters: Counters) -> None:
        sink = Sink([b"", TransientError("away"), PermanentError("no")])
        async with receiving(sink, GRPC, counters=counters) as receiver, channel(receiver.grpc_port) as opened:
            await export(opened, METRICS)
            await refused(opened, METRICS)
            await refused(opened, METRICS)
            await refused(opened, b"\x00")

    counters = Counters()
    asyncio.run(run(counters))
    assert counters.values("fallow_receiver_accepted_requests") == {("metrics", "grpc"): 1}
    assert counters.values("fallow_receiver_accepted_bytes") == {("metrics", "grpc"): len(METRICS)}
    assert counters.values("fallow_receiver_refused_requests") == {
        (reason, "metrics", "grpc"): 1 for reason in ("transient", "permanent", "malformed")
    }
