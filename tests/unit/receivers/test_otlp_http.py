"""OTLP/HTTP in, over real sockets."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # googleapis-common-protos has no py.typed
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from fallow.batch import OtlpKind
from fallow.errors import FallowError, PermanentError, TransientError
from fallow.otlp_json import protobuf_to_json
from helpers import otlp
from helpers.otlp_server import ANYWHERE, PATHS, Counters, Sink, make_certificates, receiving

METRICS = otlp.metrics_request()
BODIES: dict[OtlpKind, bytes] = {"metrics": METRICS, "logs": otlp.logs_request(), "traces": otlp.traces_request()}
HTTP = {"protocols": {"http": ANYWHERE}}
SMALL = {"protocols": {"http": ANYWHERE | {"max_recv_msg_size_mib": 1}}}
PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json; charset=utf-8"}


@asynccontextmanager
async def client(port: int, tls: ssl.SSLContext | None = None) -> AsyncGenerator[httpx.AsyncClient]:
    scheme = "https" if tls else "http"
    made = httpx.AsyncClient(base_url=f"{scheme}://127.0.0.1:{port}", verify=tls or True, trust_env=False, timeout=10)
    async with made:
        yield made


def one(
    sink: Sink,
    content: bytes | str,
    headers: dict[str, str],
    settings: Mapping[str, Any] = HTTP,
    *,
    method: str = "POST",
    url: str = "/v1/metrics",
) -> httpx.Response:
    """The response to one request."""

    async def run() -> httpx.Response:
        async with receiving(sink, settings) as receiver, client(receiver.http_port) as opened:
            return await opened.request(method, url, content=content, headers=headers)

    return asyncio.run(run())


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("packed", [False, True])
def test_the_bytes_arrive_as_they_were_sent(kind: OtlpKind, packed: bool) -> None:
    sink, body = Sink(), BODIES[kind]
    headers = PROTOBUF | ({"content-encoding": "gzip"} if packed else {"content-encoding": "identity"})
    response = one(sink, gzip.compress(body) if packed else body, headers, url=PATHS[kind])
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-type"] == "application/x-protobuf"
    assert (sink.bodies, sink.kinds) == ([body], [kind])


def test_a_body_in_chunks_is_put_together() -> None:
    async def chunks() -> AsyncGenerator[bytes]:
        for at in range(0, len(METRICS), 1000):
            yield METRICS[at : at + 1000]

    sink = Sink()
    response = one(sink, chunks(), PROTOBUF)  # type: ignore[arg-type]  # httpx takes an iterator as well
    assert response.status_code == 200
    assert sink.bodies == [METRICS]


@pytest.mark.parametrize("packed", [False, True])
def test_json_is_encoded_again_once_and_answered_in_json(packed: bool) -> None:
    partial = ExportMetricsServiceResponse()
    partial.partial_success.error_message = "some are late"
    sink, text = Sink([partial.SerializeToString()]), protobuf_to_json("metrics", METRICS).encode()
    headers = JSON | ({"content-encoding": "gzip"} if packed else {})
    response = one(sink, gzip.compress(text) if packed else text, headers)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"partialSuccess": {"errorMessage": "some are late"}}
    found = ExportMetricsServiceRequest.FromString(sink.bodies[0])
    assert found == ExportMetricsServiceRequest.FromString(METRICS)


@pytest.mark.parametrize(("content", "headers", "answer"), [(b"", PROTOBUF, b""), (b"{}", JSON, b"{}")])
def test_an_empty_request_is_a_success_that_nobody_hears_of(
    content: bytes, headers: dict[str, str], answer: bytes
) -> None:
    sink = Sink()
    response = one(sink, content, headers)
    assert (response.status_code, response.content) == (200, answer)
    assert sink.batches == []


@pytest.mark.parametrize(
    ("content", "headers", "options", "code", "message"),
    [
        pytest.param(METRICS[:-1], PROTOBUF, {}, 400, "goes beyond the end", id="cut-off"),
        pytest.param("{", JSON, {}, 400, "line 1 column 2", id="not-json"),
        pytest.param(b"x", PROTOBUF | {"content-encoding": "gzip"}, {}, 400, "not gzip", id="not-gzip"),
        pytest.param(
            gzip.compress(METRICS)[:-9],
            PROTOBUF | {"content-encoding": "gzip"},
            {},
            400,
            "the end is missing",
            id="gzip-cut",
        ),
        pytest.param(METRICS, PROTOBUF, {"url": "/v1/profiles"}, 404, "/v1/metrics, /v1/logs", id="path"),
        pytest.param(METRICS, PROTOBUF, {"method": "PUT"}, 405, "POST", id="method"),
        pytest.param(b"\x0a\x80\x80\x40" + bytes(1 << 20), PROTOBUF, {}, 413, "larger than 1 MiB", id="too-large"),
        pytest.param(
            gzip.compress(bytes(5 << 20)),
            PROTOBUF | {"content-encoding": "gzip"},
            {},
            413,
            "larger than 1 MiB",
            id="bomb",
        ),
        pytest.param(METRICS, {"content-type": "text/plain"}, {}, 415, "application/json", id="content-type"),
        pytest.param(METRICS, {}, {}, 415, "application/x-protobuf", id="no-content-type"),
        pytest.param(METRICS, PROTOBUF | {"content-encoding": "zstd"}, {}, 415, "gzip or identity", id="encoding"),
    ],
)
def test_what_is_wrong_is_told_in_the_encoding_of_the_request(
    content: bytes | str, headers: dict[str, str], options: dict[str, str], code: int, message: str
) -> None:
    sink = Sink()
    response = one(sink, content, headers, SMALL, **options)
    assert response.status_code == code
    if headers.get("content-type") == "application/x-protobuf":
        assert response.headers["content-type"] == "application/x-protobuf"
        said = Status.FromString(response.content).message
    else:
        said = response.json()["message"]
    assert message in said
    assert sink.batches == []


def test_a_method_that_is_not_allowed_is_told_which_is() -> None:
    assert one(Sink(), b"", {}, method="GET").headers["allow"] == "POST"


@pytest.mark.parametrize(("retry_after_s", "header"), [(None, "1"), (0.2, "1"), (2.5, "3"), (30.0, "30")])
def test_a_transient_error_says_when_to_come_again(retry_after_s: float | None, header: str) -> None:
    response = one(Sink([TransientError("away", retry_after_s)]), METRICS, PROTOBUF)
    assert (response.status_code, response.headers["retry-after"]) == (503, header)
    assert Status.FromString(response.content).message == "away"


def test_a_permanent_error_is_a_bad_request() -> None:
    response = one(Sink([PermanentError("no such tenant")]), protobuf_to_json("metrics", METRICS), JSON)
    assert response.status_code == 400
    assert response.json()["message"] == "no such tenant"
    assert response.json()["details"][0]["reason"] == "REFUSED_DOWNSTREAM"


def test_a_chunked_body_over_the_limit_is_refused() -> None:
    async def endless() -> AsyncGenerator[bytes]:
        for _ in range(40):
            yield bytes(64 << 10)

    response = one(Sink(), endless(), PROTOBUF, SMALL)  # type: ignore[arg-type]  # httpx takes an iterator as well
    assert response.status_code == 413


def test_the_connection_stays_after_an_error() -> None:
    async def run() -> list[int]:
        sink = Sink([TransientError("away")])
        async with receiving(sink, SMALL) as receiver, client(receiver.http_port) as opened:
            bodies = (METRICS, b"\x00", bytes(2 << 20), METRICS)
            return [(await opened.post("/v1/metrics", content=b, headers=PROTOBUF)).status_code for b in bodies]

    assert asyncio.run(run()) == [503, 400, 413, 200]


def test_a_bearer_token_is_asked_for() -> None:
    async def run() -> list[httpx.Response]:
        sink = Sink()
        settings = HTTP | {"auth": {"bearer_token": "s3cret"}}
        async with receiving(sink, settings) as receiver, client(receiver.http_port) as opened:
            answers = [
                await opened.post("/v1/metrics", content=METRICS, headers=PROTOBUF | headers)
                for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer s3cret"})
            ]
        assert sink.bodies == [METRICS]
        return answers

    answers = asyncio.run(run())
    assert [a.status_code for a in answers] == [401, 401, 200]
    assert answers[0].headers["www-authenticate"] == "Bearer"
    assert Status.FromString(answers[0].content).code == 16


def test_tls_and_mutual_tls(tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    anonymous, known = (ssl.create_default_context(cafile=files.ca) for _ in range(2))
    known.load_cert_chain(files.client_cert, files.client_key)

    async def run() -> None:
        sink = Sink()
        one_sided = {"protocols": {"http": ANYWHERE | {"tls": files.server}}}
        async with receiving(sink, one_sided) as receiver, client(receiver.http_port, anonymous) as opened:
            await opened.post("/v1/metrics", content=METRICS, headers=PROTOBUF)
        mutual = {"protocols": {"http": ANYWHERE | {"tls": files.mutual}}}
        async with receiving(sink, mutual) as receiver:
            async with client(receiver.http_port, known) as opened:
                await opened.post("/v1/metrics", content=METRICS, headers=PROTOBUF)
            async with client(receiver.http_port, anonymous) as opened:
                with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
                    await opened.post("/v1/metrics", content=METRICS, headers=PROTOBUF)
        assert sink.bodies == [METRICS] * 2

    asyncio.run(run())


def test_a_shutdown_lets_requests_in_flight_end() -> None:
    async def run() -> httpx.Response:
        sink = Sink(delay_s=0.3)
        async with receiving(sink, HTTP) as receiver, client(receiver.http_port) as opened:
            call = asyncio.create_task(opened.post("/v1/metrics", content=METRICS, headers=PROTOBUF))
            await sink.entered.wait()
            await receiver.shutdown()
            return await call

    assert asyncio.run(run()).status_code == 200


def test_large_json_does_not_hold_up_small_requests() -> None:
    record = {
        "timeUnixNano": "1",
        "body": {"stringValue": "x" * 40},
        "attributes": [{"key": "a", "value": {"intValue": 1}}],
    }
    large = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record] * 20_000}]}]})

    async def run() -> list[OtlpKind]:
        sink = Sink()
        async with receiving(sink, HTTP) as receiver, client(receiver.http_port) as opened:
            slow = asyncio.create_task(opened.post("/v1/logs", content=large, headers=JSON))
            await asyncio.sleep(0.05)
            await opened.post("/v1/metrics", content=METRICS, headers=PROTOBUF)
            assert (await slow).status_code == 200
        return sink.kinds

    assert asyncio.run(run()) == ["metrics", "logs"]


def test_what_it_takes_and_refuses_is_counted() -> None:
    answers: list[bytes | FallowError] = [b"", TransientError("away")]

    async def run(counters: Counters) -> None:
        async with (
            receiving(Sink(answers), SMALL, counters=counters) as receiver,
            client(receiver.http_port) as opened,
        ):
            for body in (METRICS, METRICS, b"\x00", bytes(2 << 20)):
                await opened.post("/v1/metrics", content=body, headers=PROTOBUF)
            await opened.post("/v1/metrics", content=METRICS, headers={"content-type": "text/plain"})

    counters = Counters()
    asyncio.run(run(counters))
    assert counters.values("fallow_receiver_accepted_bytes") == {("metrics", "http"): len(METRICS)}
    assert counters.values("fallow_receiver_refused_requests") == {
        (reason, "metrics", "http"): 1 for reason in ("transient", "malformed", "too_large", "unsupported")
    }
