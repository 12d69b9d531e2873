"""OTLP/HTTP with protobuf: a pool of connections, used from a few threads."""

from __future__ import annotations

import asyncio
import gzip
import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path

import urllib3
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # googleapis-common-protos has no py.typed
from urllib3.exceptions import HTTPError, NameResolutionError, ProtocolError, SSLError, TimeoutError
from urllib3.exceptions import NewConnectionError as NotConnected

from fallow.batch import OtlpKind, OtlpRequest
from fallow.errors import PermanentError, TransientError
from fallow_exporters.otlp._sender import Disconnected, cannot_reach, retry_delay_s, status_in
from fallow_exporters.otlp._tls import client_context
from fallow_exporters.otlp.config import OtlpExporterConfig

_PATHS: Mapping[OtlpKind, str] = {"metrics": "/v1/metrics", "logs": "/v1/logs", "traces": "/v1/traces"}
_RETRYABLE = frozenset({429, 502, 503, 504})  # as the OTLP specification lists them
_THREADS = 8
_PROTOBUF = "application/x-protobuf"
_GZIP_LEVEL = 1  # four fifths of what the default level saves, at a third of its time


class HttpSender:
    """Connections to one URL, as many as there are threads."""

    def __init__(self, config: OtlpExporterConfig, directory: Path) -> None:
        self._config = config
        self._directory = directory
        self._headers = {name: value.get_secret_value() for name, value in config.headers.items()}
        self._headers |= {"content-type": _PROTOBUF, "user-agent": "fallow"}
        if config.compression == "gzip":
            self._headers["content-encoding"] = "gzip"
        self._pool: urllib3.PoolManager | None = None
        self._threads: ThreadPoolExecutor | None = None

    async def start(self) -> None:
        context = client_context(self._config.tls, self._directory) if self._config.url.startswith("https") else None
        self._pool = urllib3.PoolManager(
            num_pools=1, maxsize=_THREADS, retries=False, timeout=self._config.timeout / 1e9, ssl_context=context
        )
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="fallow-otlp-http")

    async def send(self, request: OtlpRequest) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._post, request)

    async def close(self) -> None:
        threads, self._threads = self._threads, None
        pool, self._pool = self._pool, None
        if threads is not None and pool is not None:
            threads.shutdown(wait=False, cancel_futures=True)
            pool.clear()

    def _post(self, request: OtlpRequest) -> bytes:
        if self._pool is None:
            raise TransientError(f"the exporter to {self._config.endpoint} is shut down")
        body = request.body
        if self._config.compression == "gzip":
            body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
        url = self._config.url + _PATHS[request.kind]
        try:
            # Redirects are not followed: OTLP has none, and headers may be secrets.
            answer = self._pool.request("POST", url, body=body, headers=self._headers, redirect=False)
        except HTTPError as error:
            raise self._failure(error) from error
        if 200 <= answer.status < 300:
            return answer.data
        raise self._refusal(answer)

    def _failure(self, error: HTTPError) -> TransientError:
        endpoint = self._config.endpoint
        if isinstance(error, NameResolutionError):
            return cannot_reach(endpoint, "the host name cannot be resolved")
        if isinstance(error, NotConnected):  # before TimeoutError, which it is as well
            return cannot_reach(endpoint, _system_words(error))
        if isinstance(error, TimeoutError):
            return TransientError(f"{endpoint} did not answer within {self._config.timeout / 1e9:g} s")
        if isinstance(error, SSLError):
            verify = "certificate verify failed" in str(error).lower()
            return cannot_reach(endpoint, f"TLS {'certificate verify' if verify else 'handshake'} failed")
        if isinstance(error, ProtocolError):
            return Disconnected(f"{endpoint} closed the connection")
        return TransientError(f"{endpoint}: {error}")

    def _refusal(self, answer: urllib3.BaseHTTPResponse) -> TransientError | PermanentError:
        is_status = answer.headers.get("content-type", "").startswith(_PROTOBUF)
        status = status_in(answer.data) if is_status else Status()
        said = status.message or answer.reason or ""
        text = f"{self._config.endpoint} answered {answer.status}: {said}"
        if answer.status not in _RETRYABLE:
            return PermanentError(text)
        delay = retry_after_s(answer.headers.get("retry-after"))
        return TransientError(text, retry_delay_s(status) if delay is None else delay)


def retry_after_s(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks to wait: a number, or an HTTP date; None where it is neither."""
    if value is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}\s*", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _system_words(error: BaseException) -> str:
    """What the system said, from the chain of causes; without a number before it."""
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, OSError) and at.strerror:
            return at.strerror.lower()
        at = at.__cause__ or at.__context__
    return str(error).rpartition(": ")[2]
