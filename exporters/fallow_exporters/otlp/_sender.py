"""One attempt at passing a request on: what both protocols promise, and how they say what failed."""

from __future__ import annotations

from typing import Protocol

from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # googleapis-common-protos has no py.typed
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # googleapis-common-protos has no py.typed

from fallow.batch import OtlpRequest
from fallow.errors import TransientError


class Disconnected(TransientError):
    """A connection that had been there broke: the next attempt makes a new one."""


class Sender(Protocol):
    """A connection to the downstream."""

    async def start(self) -> None:
        """Get ready; connects with the first request. Raises OSError where a certificate cannot be used."""
        ...

    async def send(self, request: OtlpRequest) -> bytes:
        """The response's body.

        Raises:
            Disconnected: the connection broke on the way; the downstream may or may not have the request.
            TransientError: it cannot be reached, or says that the request may succeed later.
            PermanentError: it refuses the request.
        """
        ...

    async def close(self) -> None: ...


def cannot_reach(endpoint: str, why: str) -> TransientError:
    """The error for a downstream that is not there."""
    return TransientError(f"cannot reach {endpoint}: {why}")


def status_in(data: bytes | None) -> Status:
    """The ``google.rpc.Status`` in a trailer or body; empty where there is none."""
    try:
        return Status.FromString(data or b"")
    except DecodeError:
        return Status()


def retry_delay_s(status: Status) -> float | None:
    """Seconds that the status asks to wait; None where it has no RetryInfo."""
    info = RetryInfo()
    for detail in status.details:
        try:
            if detail.type_url.endswith("/google.rpc.RetryInfo"):
                info.ParseFromString(detail.value)
                return max(0.0, float(info.retry_delay.seconds) + float(info.retry_delay.nanos) / 1e9)
        except DecodeError:
            continue
    return None
