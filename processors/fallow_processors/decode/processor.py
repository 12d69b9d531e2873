"""The ``decode`` processor."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from fallow.batch import Batch, MetricBatch
from fallow.component import Context
from fallow.errors import PermanentError
from fallow.state import Past, Saved, State
from fallow_processors.decode._delta import DeltaTotals
from fallow_processors.decode._logs import decode_logs
from fallow_processors.decode._oracle import MetricWalk
from fallow_processors.decode._points import STALE, Columns, Rows
from fallow_processors.decode.config import DecodeConfig

if TYPE_CHECKING:
    from fallow_processors.decode._log_scanner import LogScanner
    from fallow_processors.decode._scanner import MetricScanner

logger = logging.getLogger(__name__)


class DecodeProcessor:
    """Adds ``metrics`` or ``logs`` to batches that carry a request; traces and batches without one pass untouched."""

    def __init__(self, config: DecodeConfig, context: Context) -> None:
        self._walk = MetricWalk(context.series, max_identities=config.max_identities, max_buckets=config.max_buckets)
        self._deltas = DeltaTotals()
        self._scanner: MetricScanner | None = None
        self._log_scanner: LogScanner | None = None
        if config.kernel != "python":
            self._use_numba(config, context)
        self._labels = {"processor": context.id}
        self._requests = context.meter.create_counter(
            "fallow_processor_decode_requests", unit="{request}", description="Requests decoded, by kind and path."
        )
        self._identities = context.meter.create_counter(
            "fallow_processor_decode_identities",
            unit="{identity}",
            description="Distinct (resource, point attributes) that became known.",
        )

    def _use_numba(self, config: DecodeConfig, context: Context) -> None:
        try:
            from fallow_processors.decode import _kernels
            from fallow_processors.decode._log_scanner import LogScanner
            from fallow_processors.decode._scanner import MetricScanner
        except ImportError as error:
            if config.kernel == "numba":
                raise PermanentError(f"{context.id}: kernel: numba cannot be imported: {error}") from error
            logger.warning("Decoding without numba, at a fraction of the speed.", extra={"reason": str(error)})
            return
        self._scanner = MetricScanner(
            context.series, self._walk, max_identities=config.max_identities, max_metrics=config.max_metrics
        )
        self._log_scanner = LogScanner()
        self._deltas = DeltaTotals(_kernels.accumulate)

    def prepare(self) -> None:
        """Load the kernels, or compile them."""
        if self._scanner is not None and self._log_scanner is not None:
            self._scanner.load_kernels()
            self._log_scanner.load_kernels()

    def process(self, batch: Batch) -> Batch:
        """The batch with its request as columns; a request that is not OTLP counts as ``malformed``."""
        if batch.request is None or batch.request.kind == "traces":
            return batch
        body = batch.request.body
        try:
            if batch.request.kind == "logs":
                logs, dropped, path = decode_logs(body, self._log_scanner)
                self._count("logs", path)
                return dataclasses.replace(batch, logs=logs, dropped=_added(batch.dropped, dropped))
            metrics, dropped = self._metrics(body)
            return dataclasses.replace(batch, metrics=metrics, dropped=_added(batch.dropped, dropped))
        except DecodeError:
            self._count(batch.request.kind, "malformed")
            return dataclasses.replace(batch, dropped=_added(batch.dropped, {"malformed": 1}))

    def tick(self, now: int) -> Batch:
        """Nothing: decoding holds nothing back."""
        return Batch()

    def finish(self) -> Batch:
        """Nothing: decoding holds nothing back."""
        return Batch()

    def save(self) -> Saved:
        return self._deltas.save()

    def restore(self, state: State, past: Past) -> Mapping[str, int]:
        return {"totals of delta series": self._deltas.restore(state, past)}

    def _metrics(self, body: bytes) -> tuple[MetricBatch, Counter[str]]:
        known = self._known_identities()
        parts, rows, path = self._points(body)
        if rows.series:
            parts.append(rows.columns())
        columns = Columns.joined(parts) if parts else Rows().columns()
        columns = self._deltas.apply(columns, rows.dropped)
        self._count("metrics", path)
        if new := self._known_identities() - known:
            self._identities.add(new, self._labels)
        stale = (columns.flags & STALE).astype(np.bool_)
        metrics = MetricBatch(series=columns.series, time=columns.time, value=columns.value, stale=stale)
        return metrics, rows.dropped

    def _points(self, body: bytes) -> tuple[list[Columns], Rows, str]:
        if self._scanner is not None:
            from fallow_processors.decode._scanner import Declined

            try:
                return *self._scanner.decode(body), "numba"
            except Declined:
                pass
        return [], self._walk.request(ExportMetricsServiceRequest.FromString(body)), "upb"

    def _known_identities(self) -> int:
        return self._walk.identities + (self._scanner.identities if self._scanner else 0)

    def _count(self, kind: str, path: str) -> None:
        self._requests.add(1, self._labels | {"kind": kind, "path": path})


def _added(dropped: Mapping[str, int], more: Mapping[str, int]) -> Mapping[str, int]:
    if not more:
        return dropped
    total = Counter(dropped)
    total.update(more)
    return dict(total)
