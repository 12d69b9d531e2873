"""OTLP/gRPC without (de)serialisers: the bytes object that came in is the one that goes out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio

from fallow.batch import OtlpKind, OtlpRequest
from fallow.errors import PermanentError, TransientError
from fallow_exporters.otlp._sender import Disconnected, cannot_reach, retry_delay_s, status_in
from fallow_exporters.otlp._tls import read_pem
from fallow_exporters.otlp.config import OtlpExporterConfig

_METHODS: Mapping[OtlpKind, str] = {
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
}
# As the OTLP specification lists them; RESOURCE_EXHAUSTED only with RetryInfo.
_RETRYABLE = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),  # two exporters to one place do not share backoff and connection
    # A downstream that was restarted is found again within 2 s, not after the default's up to 120 s.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 2000),
]
_UNREACHED = re.compile(
    r"^(?:failed to connect to all addresses|errors resolving|DNS resolution failed|empty address list)"
)


class GrpcSender:
    """One channel with a raw stub per kind."""

    def __init__(self, config: OtlpExporterConfig, directory: Path) -> None:
        self._config = config
        self._directory = directory
        self._metadata = tuple((name, value.get_secret_value()) for name, value in config.headers.items())
        self._compression = grpc.Compression.Gzip if config.compression == "gzip" else grpc.Compression.NoCompression
        self._channel: grpc.aio.Channel | None = None
        self._stubs: Mapping[OtlpKind, Callable[..., Any]] = {}

    async def start(self) -> None:
        tls, endpoint = self._config.tls, self._config.endpoint
        if tls.insecure:
            channel = grpc.aio.insecure_channel(endpoint, options=_OPTIONS)
        else:
            ca, cert, key = (read_pem(file, self._directory) for file in (tls.ca_file, tls.cert_file, tls.key_file))
            credentials = grpc.ssl_channel_credentials(ca, key, cert)
            channel = grpc.aio.secure_channel(endpoint, credentials, options=_OPTIONS)
        self._channel = channel
        # grpc-stubs wants the (de)serialisers named; None leaves the bytes alone.
        self._stubs = {kind: channel.unary_unary(method, None, None) for kind, method in _METHODS.items()}

    async def send(self, request: OtlpRequest) -> bytes:
        try:
            response: bytes = await self._stubs[request.kind](
                request.body,
                timeout=self._config.timeout / 1e9,
                metadata=self._metadata,
                compression=self._compression,
            )
        except grpc.aio.AioRpcError as error:
            raise self._meaning(error) from error
        return response

    async def close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close(None)

    def _meaning(self, error: grpc.aio.AioRpcError) -> TransientError | PermanentError:
        code, details, endpoint = error.code(), error.details() or "", self._config.endpoint
        status = status_in(_trailer(error))
        delay = retry_delay_s(status)
        if code is grpc.StatusCode.UNAVAILABLE and _UNREACHED.match(details):
            return cannot_reach(endpoint, _why(details))
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return TransientError(f"{endpoint} did not answer within {self._config.timeout / 1e9:g} s", delay)
        text = f"{endpoint} answered {code.name}: {details}"
        if code is grpc.StatusCode.UNAVAILABLE and delay is None:
            return Disconnected(text)
        if code in _RETRYABLE or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and delay is not None):
            return TransientError(text, delay)
        return PermanentError(text)


def _trailer(error: grpc.aio.AioRpcError) -> bytes | None:
    # grpc-stubs has its own idea of metadata: at run time they are pairs.
    pairs = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    return next((v for k, v in pairs if k == "grpc-status-details-bin" and isinstance(v, bytes)), None)


def _why(details: str) -> str:
    """The system's words in gRPC's chain of reasons."""
    plain = details.lower().replace("_", " ")
    for words in ("certificate verify failed", "handshake failed"):
        if words in plain:
            return f"TLS {words}"
    last = details.rpartition("Failed to connect to remote host: ")[2].removeprefix("connect: ")
    if last != details:
        return re.sub(r" \(\d+\)$", "", last).lower()
    return "the host name cannot be resolved" if "lookup" in details or "DNS" in details else details
