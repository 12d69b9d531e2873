"""The receiver: asks the service for its clock at an interval, and sends how far this one is from it."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.aio as aio

from fallow import semconv
from fallow.batch import Batch
from fallow.clock.v1.clock_pb2 import ExchangeRequest
from fallow.clock.v1.clock_pb2_grpc import ClockServiceStub
from fallow.component import Consume, Context
from fallow.delivery import log_failure
from fallow.errors import PermanentError, TransientError
from fallow.otlp_write import Instrument, Writer, labels
from fallow.polling import Cadence
from fallow.units import SECOND
from fallow_receivers.clock.config import ClockReceiverConfig, TlsSettings
from fallow_receivers.clock.offset import Exchange, best

logger = logging.getLogger(__name__)

SCOPE = "fallow.receivers.clock"
OFFSET = Instrument(semconv.CLOCK_OFFSET, semconv.SIGNALS[semconv.CLOCK_OFFSET])
UNCERTAINTY = Instrument(semconv.CLOCK_UNCERTAINTY, semconv.SIGNALS[semconv.CLOCK_UNCERTAINTY])


class ClockReceiver:
    """Measures how far this node's clock is from the service's."""

    def __init__(self, config: ClockReceiverConfig, context: Context) -> None:
        self._config, self._directory = config, context.directory
        host = config.host or socket.gethostname()
        self._writer = Writer({semconv.HOST_NAME: host}, SCOPE)
        self._cadence = Cadence(config.interval, f"{host}/{context.id}")
        self._labels = {"receiver": context.id}
        self._task: asyncio.Task[None] | None = None
        self._silent = self._off = False
        self._looks = context.meter.create_counter(
            "fallow_clock_looks", unit="{look}", description="Looks at the service's clock, by outcome."
        )

    async def start(self, consume: Consume) -> None:
        """Begin to ask; a service that does not answer yet is waited for. Raises OSError where a file cannot be read."""
        credentials = _credentials(self._config.tls, self._directory)
        self._task = asyncio.create_task(self._run(consume, credentials), name="clock")
        log_failure(self._task, logger, "Asking for the service's clock broke off.")

    async def shutdown(self) -> None:
        """Ask no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self, consume: Consume, credentials: grpc.ChannelCredentials | None) -> None:
        endpoint = self._config.endpoint
        channel = aio.insecure_channel(endpoint) if credentials is None else aio.secure_channel(endpoint, credentials)
        async with channel:
            stub = ClockServiceStub(channel)
            while True:
                found = await self._look(stub)
                if found is not None:
                    await self._tell(found, consume)
                await asyncio.sleep(self._cadence.wait_s(time.time_ns()))

    async def _look(self, stub: Any) -> Exchange | None:
        """The best of some exchanges; None where there was none."""
        exchanges: list[Exchange] = []
        try:
            for _ in range(self._config.exchanges):
                asked = time.time_ns()
                answer = await stub.Exchange(ExchangeRequest(), timeout=self._config.timeout / SECOND)
                exchanges.append(
                    Exchange(
                        asked=asked,
                        received=answer.received_unix_nano,
                        sent=answer.answered_unix_nano,
                        answered=time.time_ns(),
                    )
                )
        except aio.AioRpcError as error:
            if not self._silent:
                self._silent = True
                logger.warning(
                    "The service's clock cannot be asked; trying again.",
                    extra={**self._labels, "error": f"{error.code().name}: {error.details()}"},
                )
        else:
            self._silent = False
        found = best(exchanges)
        self._looks.add(1, {**self._labels, "outcome": "success" if found else "failure"})
        return found

    async def _tell(self, found: Exchange, consume: Consume) -> None:
        self._warn(found)
        now, none = time.time_ns(), labels({})
        self._writer.put(OFFSET, none, now, found.offset / SECOND)
        self._writer.put(UNCERTAINTY, none, now, found.uncertainty / SECOND)
        request = self._writer.metrics()
        try:
            await consume(Batch(request=request, arrival=now))
        except (TransientError, PermanentError):  # the next is as good
            logger.debug("The pipeline refused a request.", extra=self._labels)

    def _warn(self, found: Exchange) -> None:
        """Once, until it is over."""
        off = abs(found.offset) - found.uncertainty > self._config.warn_above
        if off and not self._off:
            logger.warning(
                "This node's clock is off: what it says is put in a wrong order with what others say.",
                extra={**self._labels, "offset_s": found.offset / SECOND},
            )
        self._off = off


def _credentials(tls: TlsSettings, directory: Path) -> grpc.ChannelCredentials | None:
    if tls.insecure:
        return None
    ca, key, cert = ((directory / f).read_bytes() if f else None for f in (tls.ca_file, tls.key_file, tls.cert_file))
    return grpc.ssl_channel_credentials(ca, key, cert)
