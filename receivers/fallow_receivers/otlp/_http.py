"""OTLP/HTTP: a bare ASGI application on uvicorn, in the service's own loop."""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
from collections.abc import Awaitable, Callable, Generator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import uvicorn
from google.protobuf import json_format
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # googleapis-common-protos has no py.typed

from fallow.batch import OtlpKind
from fallow.errors import FallowError, TransientError
from fallow.otlp_json import json_to_protobuf, response_to_json
from fallow_receivers.otlp._gzip import gunzip
from fallow_receivers.otlp._intake import Intake, TooLarge, Unsupported
from fallow_receivers.otlp._listen import certificates, listener
from fallow_receivers.otlp._status import http_code, retry_after_header, status_of
from fallow_receivers.otlp.config import HttpSettings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Encoding = Literal["application/x-protobuf", "application/json"]

_PATHS: Mapping[str, OtlpKind] = {"/v1/metrics": "metrics", "/v1/logs": "logs", "/v1/traces": "traces"}
_PROTOBUF: Encoding = "application/x-protobuf"
_JSON: Encoding = "application/json"
_OFFLOAD_BYTES = 256 << 10  # work on more than this would hold up every other request of the loop for over 1 ms
_STARTED_POLL_S = 0.005
_UNIMPLEMENTED = 12  # google.rpc.Code


class HttpServer:
    """The three paths on one port."""

    def __init__(self, settings: HttpSettings, intake: Intake, directory: Path) -> None:
        self._settings = settings
        self._intake = intake
        self._directory = directory
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self, grace_s: float) -> None:
        """Listen; raises OSError where the address or a certificate cannot be had."""
        tls = self._settings.tls
        found = None if tls is None else certificates(tls, self._directory)
        client_ca = found.client_ca_file if found else None
        config = uvicorn.Config(
            Application(self._intake, self._settings.max_recv_msg_size_mib << 20),
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=math.ceil(grace_s),
            ssl_certfile=found.cert_file if found else None,
            ssl_keyfile=found.key_file if found else None,
            ssl_ca_certs=None if client_ca is None else str(client_ca),
            ssl_cert_reqs=ssl.CERT_NONE if client_ca is None else ssl.CERT_REQUIRED,
        )
        listening = listener(self._settings.endpoint)
        self.port = listening.getsockname()[1]
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listening]))
        while not self._server.started and not self._task.done():
            await asyncio.sleep(_STARTED_POLL_S)
        if self._task.done():
            await self._task  # raises what went wrong

    async def shutdown(self) -> None:
        """Accept nothing new; what has not ended after the grace is cancelled."""
        server, task = self._server, self._task
        self._server = self._task = None
        if server is not None and task is not None:
            server.should_exit = True
            await task


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield  # the service handles signals


@dataclass(frozen=True, slots=True)
class _Reply:
    code: int
    body: bytes
    encoding: Encoding
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Application:
    """The ASGI application.

    Args:
        limit: the largest body, unpacked, in bytes.
    """

    def __init__(self, intake: Intake, limit: int) -> None:
        self._intake = intake
        self._limit = limit

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        reply = await self._reply(scope, receive)
        if reply is None:
            return  # the sender has gone
        headers = [
            (b"content-type", reply.encoding.encode()),
            (b"content-length", str(len(reply.body)).encode()),
            *reply.headers,
        ]
        await send({"type": "http.response.start", "status": reply.code, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _reply(self, scope: Message, receive: Receive) -> _Reply | None:
        headers = _Headers(scope["headers"])
        kind = _PATHS.get(scope["path"])
        encoding = headers.encoding
        if kind is None:
            return _refusal(404, f"no such path; there are: {', '.join(_PATHS)}", encoding)
        if scope["method"] != "POST":
            return _refusal(405, "POST expected", encoding, (b"allow", b"POST"))
        try:
            with self._intake.counting_refusals("http", kind):
                return await self._taken(kind, encoding, headers, receive)
        except FallowError as error:
            return _error_reply(error, encoding)

    async def _taken(
        self, kind: OtlpKind, encoding: Encoding | None, headers: _Headers, receive: Receive
    ) -> _Reply | None:
        self._intake.admit(headers.get(b"authorization"))
        if encoding is None:
            raise Unsupported(f"content-type must be {_PROTOBUF} or {_JSON}")
        if headers.coding not in (b"", b"identity", b"gzip"):
            raise Unsupported("content-encoding must be gzip or identity")
        if headers.length > self._limit:
            raise self._too_large()
        with _Held(self._intake) as held:
            body = await self._body(receive, held)
            if body is None:
                return None
            if headers.coding == b"gzip":
                body = await _beside(len(body), gunzip, body, self._limit)
                if body is None:
                    raise self._too_large()
                held.more(len(body))
            if encoding == _JSON:
                body = await _beside(len(body), json_to_protobuf, kind, body)
            response = await self._intake.take("http", kind, body)
        if encoding == _JSON:
            response = response_to_json(kind, response).encode()
        return _Reply(200, response, encoding)

    async def _body(self, receive: Receive, held: _Held) -> bytes | None:
        """The whole body; None where the sender went away."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            size += len(part)
            if size > self._limit:
                raise self._too_large()
            held.more(len(part))
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts) if len(parts) > 1 else parts[0]

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the request is larger than {self._limit >> 20} MiB")


class _Held:
    """Room taken in the intake for one request, given back at the end of the block."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._intake.release(self._size)

    def more(self, size: int) -> None:
        self._intake.hold(size)
        self._size += size


class _Headers:
    """The few headers that matter; ASGI gives their names in lower case."""

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self._values = dict(headers)

    def get(self, name: bytes) -> bytes:
        return self._values.get(name, b"")

    @property
    def encoding(self) -> Encoding | None:
        name = self.get(b"content-type").partition(b";")[0].strip().lower()
        return _PROTOBUF if name == _PROTOBUF.encode() else _JSON if name == _JSON.encode() else None

    @property
    def coding(self) -> bytes:
        return self.get(b"content-encoding").strip().lower()

    @property
    def length(self) -> int:
        """Bytes that the body has on the wire; 0 where it comes in chunks. The HTTP parser has checked the number."""
        return int(self.get(b"content-length") or b"0")


async def _beside(size: int, work: Callable[..., Any], *arguments: object) -> Any:
    """Do small work here, large work in a thread."""
    return work(*arguments) if size < _OFFLOAD_BYTES else await asyncio.to_thread(work, *arguments)


def _error_reply(error: FallowError, encoding: Encoding | None) -> _Reply:
    headers: tuple[tuple[bytes, bytes], ...] = ()
    code = http_code(error)
    if isinstance(error, TransientError):
        headers = ((b"retry-after", retry_after_header(error)),)
    elif code == 401:
        headers = ((b"www-authenticate", b"Bearer"),)
    return _status_reply(code, status_of(error), encoding, headers)


def _refusal(code: int, message: str, encoding: Encoding | None, *headers: tuple[bytes, bytes]) -> _Reply:
    """What is no request at all, whatever its body."""
    return _status_reply(code, Status(code=_UNIMPLEMENTED, message=message), encoding, headers)


def _status_reply(
    code: int, status: Status, encoding: Encoding | None, headers: tuple[tuple[bytes, bytes], ...]
) -> _Reply:
    """The status in the encoding of the request; in JSON, which people read, where that is none of OTLP's."""
    if encoding == _PROTOBUF:
        return _Reply(code, status.SerializeToString(), _PROTOBUF, headers)
    return _Reply(code, json_format.MessageToJson(status, indent=None).encode(), _JSON, headers)
