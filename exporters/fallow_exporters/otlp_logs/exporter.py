"""Follows the ledger's change log and sends it on; the log itself is the queue on disk."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import Protocol

import grpc
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression as HttpCompression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult

from fallow.batch import Batch
from fallow.component import Context
from fallow.ledger import Change
from fallow.units import SECOND
from fallow_exporters.otlp_logs.config import OtlpLogsConfig
from fallow_exporters.otlp_logs.records import record

logger = logging.getLogger(__name__)

FIRST_BACKOFF_S = 0.5


class _Sender(Protocol):
    def export(self, batch: list[ReadableLogRecord]) -> LogRecordExportResult: ...

    def shutdown(self) -> None: ...


class OtlpLogsExporter:
    """Sends every entry of the change log, in order, and moves its cursor only when the backend has taken it."""

    def __init__(self, config: OtlpLogsConfig, context: Context) -> None:
        self._config = config
        self._ledger = context.ledger
        self._resource = context.telemetry_resource
        self._cursor = f"exporter/{context.id}"
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._sender: _Sender | None = None
        self._away = False
        self._sent = context.meter.create_counter(
            "fallow_exporter_sent_log_records",
            unit="{record}",
            description="Optimisation events that the backend took.",
        )
        self._failed = context.meter.create_counter(
            "fallow_exporter_send_failed_log_records",
            unit="{record}",
            description="Events of a request that failed; kept.",
        )

    async def start(self) -> None:
        """Begin to follow the change log from where this exporter last was."""
        # The SDK logs each failed request with a traceback; this exporter says once that the backend is away.
        for name in ("grpc", "http"):
            logging.getLogger(f"opentelemetry.exporter.otlp.proto.{name}").setLevel(logging.CRITICAL)
        self._sender = _sender(self._config)
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed while the service ends
                loop.call_soon_threadsafe(self._changed.set)

        self._unsubscribe = self._ledger.subscribe(wake)
        self._task = asyncio.create_task(self._follow())

    async def export(self, batch: Batch) -> None:
        """Nothing: the ledger's change log is followed, into which the batch was already written."""

    async def shutdown(self) -> None:
        """Try once more to send what is left, then stop; what the backend did not take stays for the next start."""
        if self._task is None or self._sender is None:
            return
        task, self._task = self._task, None
        self._unsubscribe()
        self._stopping.set()
        self._changed.set()
        await task
        await asyncio.to_thread(self._sender.shutdown)

    async def _follow(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while True:
            stopping = self._stopping.is_set()
            self._changed.clear()
            if await self._drain():
                backoff_s = FIRST_BACKOFF_S
                if stopping:
                    return
                await self._changed.wait()
            elif stopping:
                return
            else:
                await _wait(self._stopping, backoff_s * random.uniform(0.8, 1.2))
                backoff_s = min(2 * backoff_s, self._config.max_backoff / SECOND)

    async def _drain(self) -> bool:
        """Send until nothing is left (True) or the backend does not take it (False)."""
        after = await asyncio.to_thread(self._ledger.cursor, self._cursor)
        while changes := await asyncio.to_thread(self._ledger.changes, after, self._config.batch_size):
            if not await asyncio.to_thread(self._send, changes):
                return False
            after = changes[-1].revision
        return True

    def _send(self, changes: list[Change]) -> bool:
        records = [record(change, self._resource) for change in changes]
        taken = self._sender is not None and self._sender.export(records) is LogRecordExportResult.SUCCESS
        if taken:
            self._ledger.set_cursor(self._cursor, changes[-1].revision)
            self._sent.add(len(records))
        else:
            self._failed.add(len(records))
        self._say(taken)
        return taken

    def _say(self, taken: bool) -> None:
        if taken and self._away:
            logger.info("The events backend is back.", extra={"endpoint": self._config.endpoint})
        elif not taken and not self._away:
            logger.warning(
                "The events backend does not take events; they are kept until it does.",
                extra={"endpoint": self._config.endpoint},
            )
        self._away = not taken


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


def _sender(config: OtlpLogsConfig) -> _Sender:
    headers = {name: value.get_secret_value() for name, value in config.headers.items()}
    timeout_s, zipped = config.timeout / SECOND, config.compression == "gzip"
    ca = config.tls.ca_file
    if config.protocol == "http":
        compression = HttpCompression.Gzip if zipped else HttpCompression.NoCompression
        certificate = str(ca) if ca else None
        return HttpExporter(config.endpoint, certificate, headers=headers, timeout=timeout_s, compression=compression)
    credentials = None if config.tls.insecure else grpc.ssl_channel_credentials(ca.read_bytes() if ca else None)
    return GrpcExporter(
        config.endpoint,
        insecure=config.tls.insecure,
        credentials=credentials,
        headers=headers,
        timeout=timeout_s,
        compression=grpc.Compression.Gzip if zipped else grpc.Compression.NoCompression,
    )
