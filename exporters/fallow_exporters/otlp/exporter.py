"""The forwarder: bounded, retrying only as long as a sender may be kept waiting."""

from __future__ import annotations

import asyncio
import logging
import random
import time

from fallow.batch import OtlpRequest
from fallow.component import Context
from fallow.errors import FallowError, PermanentError, TransientError
from fallow_exporters.otlp._grpc import GrpcSender
from fallow_exporters.otlp._http import HttpSender
from fallow_exporters.otlp._sender import Disconnected, Sender
from fallow_exporters.otlp.config import OtlpExporterConfig, RetrySettings

logger = logging.getLogger(__name__)

BUSY_RETRY_S = 1.0
_DRAIN_POLL_S = 0.01


class OtlpExporter:
    """Passes requests on and gives back what the downstream answered."""

    def __init__(self, config: OtlpExporterConfig, context: Context) -> None:
        self._config = config
        self._id = context.id
        made = GrpcSender if config.protocol == "grpc" else HttpSender
        self._sender: Sender = made(config, context.directory)
        self._running = False
        self._in_flight = 0
        self._failing = False
        meter = context.meter
        self._sent = meter.create_counter(
            "fallow_exporter_sent_requests", unit="{request}", description="Requests that the downstream took."
        )
        self._sent_bytes = meter.create_counter(
            "fallow_exporter_sent_bytes", unit="By", description="Size of the requests that the downstream took."
        )
        self._failed = meter.create_counter(
            "fallow_exporter_send_failed_requests", unit="{request}", description="Requests that it did not take."
        )
        self._retries = meter.create_counter(
            "fallow_exporter_retries", unit="{attempt}", description="Attempts beyond the first."
        )
        self._waiting = meter.create_up_down_counter(
            "fallow_exporter_in_flight_requests", unit="{request}", description="Requests that wait for the downstream."
        )

    async def start(self) -> None:
        """Get ready; the downstream need not be there yet. Raises OSError where a certificate cannot be used."""
        await self._sender.start()
        self._running = True

    async def forward(self, request: OtlpRequest) -> bytes:
        """The downstream's response body.

        Raises:
            TransientError: the downstream is away or busy, or too many requests wait for it already.
            PermanentError: the downstream refuses this request.
        """
        labels = {"exporter": self._id, "signal": request.kind}
        if not self._running or self._in_flight >= self._config.max_in_flight:
            self._failed.add(1, labels | {"reason": "busy"})
            if not self._running:
                raise TransientError(f"the exporter to {self._config.endpoint} is not running", BUSY_RETRY_S)
            raise TransientError(f"{self._in_flight} requests wait for {self._config.endpoint} already", BUSY_RETRY_S)
        self._change_in_flight(1)
        try:
            response = await self._attempts(request)
        except FallowError as error:
            transient = isinstance(error, TransientError)
            self._failed.add(1, labels | {"reason": "transient" if transient else "permanent"})
            self._say_state(error)
            raise
        finally:
            self._change_in_flight(-1)
        self._sent.add(1, labels)
        self._sent_bytes.add(len(request.body), labels)
        self._say_state(None)
        return response

    async def shutdown(self) -> None:
        """Take nothing new, wait no longer than the grace for what is in flight, and disconnect."""
        self._running = False
        end = time.monotonic() + self._config.shutdown_grace / 1e9
        while self._in_flight and time.monotonic() < end:
            await asyncio.sleep(_DRAIN_POLL_S)
        await self._sender.close()

    async def _attempts(self, request: OtlpRequest) -> bytes:
        waits = Waits(self._config.retry_on_failure)
        while True:
            try:
                return await self._sender.send(request)
            except TransientError as error:
                wait = waits.after(error)
                if wait is None:
                    raise
            self._retries.add(1, {"exporter": self._id, "signal": request.kind})
            await asyncio.sleep(wait)

    def _change_in_flight(self, by: int) -> None:
        self._in_flight += by
        self._waiting.add(by, {"exporter": self._id})

    def _say_state(self, error: FallowError | None) -> None:
        """One line when the downstream begins to fail, one when it is well again; refusals one by one are counted."""
        if isinstance(error, PermanentError):
            return
        if (error is not None) != self._failing:
            self._failing = error is not None
            if error is not None:
                logger.warning("Downstream does not take requests.", extra={"exporter": self._id, "error": str(error)})
            else:
                logger.info("Downstream takes requests again.", extra={"exporter": self._id})


class Waits:
    """How long to wait before the next attempt at one request, on a clock in seconds (the process's own by default)."""

    def __init__(self, settings: RetrySettings, now: float | None = None) -> None:
        self._settings = settings
        self._started = time.monotonic() if now is None else now
        self._attempt = 0

    def after(self, error: TransientError, now: float | None = None) -> float | None:
        """Seconds to wait after this failure; None where it is the sender's turn to try again."""
        elapsed = (time.monotonic() if now is None else now) - self._started
        self._attempt += 1
        settings = self._settings
        if not settings.enabled:
            return None
        if isinstance(error, Disconnected) and self._attempt == 1:
            return 0.0
        interval = min(settings.initial_interval * 2 ** min(self._attempt - 1, 32), settings.max_interval) / 1e9
        wait = max(interval * random.uniform(0.5, 1.0), error.retry_after_s or 0.0)
        return wait if elapsed + wait <= settings.max_elapsed_time / 1e9 else None
