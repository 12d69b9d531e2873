"""What both transports do with a request: who may send it, may it be held, is it OTLP, hand it on, count it."""

from __future__ import annotations

import contextlib
import hmac
import time
from collections.abc import Generator
from typing import Literal

from opentelemetry.metrics import Meter

from fallow.batch import Batch, OtlpKind, OtlpRequest
from fallow.component import Consume
from fallow.errors import FallowError, MalformedRequest, PermanentError, TransientError
from fallow_receivers.otlp._framing import check_framing

Transport = Literal["grpc", "http"]
RETRY_S = 1.0  # told to senders where the downstream did not say when to come again


class Unauthenticated(PermanentError):
    """The request carries no token, or a wrong one."""


class TooLarge(PermanentError):
    """The request is larger than this receiver takes."""


class Unsupported(PermanentError):
    """The request is in an encoding that this receiver does not read."""


class Busy(TransientError):
    """More is in flight than may be held."""


_REASONS: tuple[tuple[type[FallowError], str], ...] = (
    (Unauthenticated, "unauthenticated"),
    (TooLarge, "too_large"),
    (Unsupported, "unsupported"),
    (Busy, "busy"),
    (MalformedRequest, "malformed"),
    (TransientError, "transient"),
    (FallowError, "permanent"),
)


class Intake:
    """The way of every request from a transport into the pipeline.

    Args:
        token: what senders must show; None lets everyone in.
        limit: bytes that may be held at one time.
    """

    def __init__(self, consume: Consume, meter: Meter, *, receiver: str, token: str | None, limit: int) -> None:
        self._consume = consume
        self._receiver = receiver
        self._expected = None if token is None else f"Bearer {token}".encode()
        self._limit = limit
        self._held = 0
        self._requests = meter.create_counter(
            "fallow_receiver_accepted_requests", unit="{request}", description="Requests answered with success."
        )
        self._bytes = meter.create_counter(
            "fallow_receiver_accepted_bytes", unit="By", description="Unpacked size of accepted requests."
        )
        self._refused = meter.create_counter(
            "fallow_receiver_refused_requests", unit="{request}", description="Requests answered with an error."
        )

    def admit(self, authorization: bytes) -> None:
        """Raises Unauthenticated where the value of the ``authorization`` header is not the one expected."""
        if self._expected is None:
            return
        scheme, _, token = authorization.partition(b" ")
        shown = b"Bearer " + token.strip() if scheme.lower() == b"bearer" else b""
        if not hmac.compare_digest(shown, self._expected):
            raise Unauthenticated("a bearer token is required" if not authorization else "the bearer token is wrong")

    def hold(self, size: int) -> None:
        """Make room for so many bytes more; raises Busy where there is none. To be given back by ``release``."""
        if self._held + size > self._limit:
            raise Busy("the receiver holds as much as it may", retry_after_s=RETRY_S)
        self._held += size

    def release(self, size: int) -> None:
        """Give back what ``hold`` took."""
        self._held -= size

    async def take(self, transport: Transport, kind: OtlpKind, body: bytes) -> bytes:
        """Hand a request on and wait for the response's body; an empty request is a success by itself.

        Raises:
            MalformedRequest: the bytes are not OTLP at all.
            TransientError, PermanentError: as the pipeline answered.
        """
        response = b""
        if body:
            check_framing(body)
            batch = Batch(request=OtlpRequest(kind=kind, body=body), arrival=time.time_ns())
            response = await self._consume(batch)
        attributes = {"receiver": self._receiver, "transport": transport, "signal": kind}
        self._requests.add(1, attributes)
        self._bytes.add(len(body), attributes)
        return response

    @contextlib.contextmanager
    def counting_refusals(self, transport: Transport, kind: OtlpKind) -> Generator[None]:
        """Count what leaves the block as an error, by reason, and let it go on."""
        try:
            yield
        except FallowError as error:
            reason = next(name for made, name in _REASONS if isinstance(error, made))
            labels = {"receiver": self._receiver, "transport": transport, "signal": kind, "reason": reason}
            self._refused.add(1, labels)
            raise
