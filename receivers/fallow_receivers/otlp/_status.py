"""Errors as OTLP tells them: gRPC codes, HTTP codes and ``google.rpc.Status`` with its details."""

from __future__ import annotations

import math

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped]  # googleapis-common-protos has no py.typed
    BadRequest,
    ErrorInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # googleapis-common-protos has no py.typed

from fallow.errors import FallowError, MalformedRequest, TransientError
from fallow_receivers.otlp._intake import RETRY_S, TooLarge, Unauthenticated, Unsupported

DETAILS_KEY = "grpc-status-details-bin"


def grpc_code(error: FallowError) -> grpc.StatusCode:
    """The code by which a sender knows whether to send again."""
    if isinstance(error, TransientError):
        return grpc.StatusCode.UNAVAILABLE
    if isinstance(error, Unauthenticated):
        return grpc.StatusCode.UNAUTHENTICATED
    if isinstance(error, TooLarge):
        return grpc.StatusCode.RESOURCE_EXHAUSTED  # without RetryInfo: not to be sent again
    return grpc.StatusCode.INVALID_ARGUMENT


def http_code(error: FallowError) -> int:
    """The same for HTTP."""
    if isinstance(error, TransientError):
        return 503
    if isinstance(error, Unauthenticated):
        return 401
    if isinstance(error, Unsupported):
        return 415
    return 413 if isinstance(error, TooLarge) else 400


def status_of(error: FallowError) -> Status:
    """The error with its details: when to send again, what is wrong with the body, or who refused it."""
    detail: Message | None = None
    if isinstance(error, TransientError):
        detail = RetryInfo(retry_delay=_duration(retry_after_s(error)))
    elif isinstance(error, MalformedRequest):
        violation = BadRequest.FieldViolation(field="body", description=str(error))
        detail = BadRequest(field_violations=[violation])
    elif not isinstance(error, (Unauthenticated, TooLarge, Unsupported)):
        detail = ErrorInfo(reason="REFUSED_DOWNSTREAM", domain="fallow")
    status = Status(code=int(grpc_code(error).value[0]), message=str(error))
    if detail is not None:
        status.details.add().Pack(detail)
    return status


def retry_after_s(error: TransientError) -> float:
    """Seconds after which the sender may try again."""
    return RETRY_S if error.retry_after_s is None else max(0.0, error.retry_after_s)


def retry_after_header(error: TransientError) -> bytes:
    """The same as HTTP spells it: whole seconds, at least one."""
    return str(max(1, math.ceil(retry_after_s(error)))).encode()


def _duration(seconds: float) -> Duration:
    whole, nanos = divmod(round(seconds * 1e9), 1_000_000_000)
    return Duration(seconds=whole, nanos=nanos)
