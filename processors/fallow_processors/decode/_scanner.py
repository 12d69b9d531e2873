"""The kernel's tables and what Python does around a scan: growing, first sight of identities, taking a scan back."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import numpy as np
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, NumberDataPoint
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from fallow.batch import Int32Array
from fallow.series import SeriesKey, SeriesTable
from fallow.series.table import Pairs
from fallow_processors.decode import _kernels as k
from fallow_processors.decode._oracle import MetricWalk, Of
from fallow_processors.decode._points import Columns, Rows
from fallow_processors.decode._values import attribute_pairs

FIRST_TABLE = 1 << 12
FIRST_LIST = 1 << 8
FIRST_ROW = 8  # series of an entity before its row first grows
BYTES_PER_POINT = 64  # a first guess of the output's size; real points take 100 to 250
ATTRIBUTES_TAG = 0x3A  # NumberDataPoint.attributes
REFUSED = -2  # written into a row for a series that the series table refused


class Declined(Exception):
    """The request is not plain enough for the scanner: upb decides."""


class MetricScanner:
    """Decodes metric requests with the kernel.

    The keys of the hashes are drawn at random, so that nobody can make identities that collide; ids do not depend on them.
    """

    def __init__(
        self,
        series: SeriesTable,
        walk: MetricWalk,
        *,
        max_identities: int,
        max_metrics: int,
        keys: k.Keys | None = None,
    ) -> None:
        self._series = series
        self._walk = walk
        self._limits = (max_identities, max_metrics)
        self._keys = keys or _random_keys()
        self._state = np.zeros(k.STATE_SIZE, dtype=np.int64)
        self._entity_keys, self._entity_ids = _table(FIRST_TABLE)
        self._metric_keys, self._metric_ids = _table(FIRST_TABLE)
        self._row_base = np.zeros(FIRST_TABLE, dtype=np.int64)
        self._row_mask = np.full(FIRST_TABLE, -1, dtype=np.int32)
        self._pool = np.zeros(FIRST_TABLE * FIRST_ROW, dtype=np.uint64)
        self._pool_used = 0
        self._new_entities = np.empty((FIRST_LIST, k.E_WIDTH), dtype=np.int64)
        self._new_metrics = np.empty((FIRST_LIST, k.M_WIDTH), dtype=np.int64)
        self._others = np.empty((FIRST_LIST, k.O_WIDTH), dtype=np.int64)
        self._entities: list[tuple[Pairs, Pairs]] = []
        self._metrics: list[tuple[str, str, str]] = []
        self._make_output(0)

    def load_kernels(self) -> None:
        """Compile (or load) the kernels now, not while a request waits."""
        self._scan(b"\x08\x00")  # a field that nobody knows
        self._grow(k.NEED_METRIC_TABLE)
        base, mask = np.zeros(1, dtype=np.int64), np.full(1, -1, dtype=np.int32)
        k.move_row(base, mask, np.zeros(FIRST_ROW, dtype=np.uint64), 0, 0, FIRST_ROW)
        k.put_series(base, mask, np.zeros(FIRST_ROW, dtype=np.uint64), 0, 0, 0)

    @property
    def identities(self) -> int:
        return len(self._entities)

    def decode(self, body: bytes) -> tuple[list[Columns], Rows]:
        """Number points as columns that the caller may write, then all other points as rows.

        Raises:
            Declined: upb has to decode this request; nothing of it was kept.
            DecodeError: it is not OTLP; nothing of it was kept.
        """
        rows = Rows()
        if not body:
            return [], rows
        n = self._scan(body)
        try:
            others = self._first_sight(body)
        except DecodeError:
            self._take_back()
            raise
        self._resolve(n)
        for metric, of in others:
            self._walk.metric(metric, of, rows)
        for reason, slot in (("no_time", k.NO_TIME), ("no_value", k.NO_VALUE), ("identity_limit", k.REFUSED)):
            if self._state[slot]:
                rows.dropped[reason] += int(self._state[slot])
        return [self._columns(n, rows)], rows

    def _scan(self, body: bytes) -> int:
        buf = np.frombuffer(body, dtype=np.uint8)
        if len(self._time) * BYTES_PER_POINT < len(body):
            self._make_output(len(body) // BYTES_PER_POINT + 1)
        while True:
            n = k.scan(
                buf,
                self._keys,
                *self._limits,
                self._state,
                self._entity_keys,
                self._entity_ids,
                self._metric_keys,
                self._metric_ids,
                self._row_base,
                self._row_mask,
                self._pool,
                self._entity,
                self._metric,
                self._sid,
                self._time,
                self._value,
                self._flags,
                self._new_entities,
                self._new_metrics,
                self._others,
            )
            if n >= 0:
                return n
            self._take_back()
            if n == k.TO_UPB:
                raise Declined
            self._grow(int(self._state[k.NEED]))

    def _take_back(self) -> None:
        """Remove what the last scan put into the tables, newest first."""
        for keys, rows, count, total in (
            (self._entity_keys, self._new_entities, k.NEW_ENTITIES, k.ENTITIES),
            (self._metric_keys, self._new_metrics, k.NEW_METRICS, k.METRICS),
        ):
            new = int(self._state[count])
            keys[rows[:new, 0]] = 0  # all of them at once is the same as one by one
            self._state[total] -= new
            self._state[count] = 0

    def _grow(self, need: int) -> None:
        match need:
            case k.NEED_OUTPUT:
                self._make_output(2 * len(self._time))
            case k.NEED_NEW_ENTITIES:
                self._new_entities = np.empty((4 * len(self._new_entities), k.E_WIDTH), dtype=np.int64)
            case k.NEED_NEW_METRICS:
                self._new_metrics = np.empty((4 * len(self._new_metrics), k.M_WIDTH), dtype=np.int64)
            case k.NEED_OTHERS:
                self._others = np.empty((4 * len(self._others), k.O_WIDTH), dtype=np.int64)
            case k.NEED_ENTITY_TABLE:
                old = (self._entity_keys, self._entity_ids)
                self._entity_keys, self._entity_ids = _table(4 * len(old[0]))
                k.rehash(*old, self._entity_keys, self._entity_ids)
                more = len(self._entity_keys) - len(self._row_base)
                self._row_base = np.concatenate([self._row_base, np.zeros(more, dtype=np.int64)])
                self._row_mask = np.concatenate([self._row_mask, np.full(more, -1, dtype=np.int32)])
            case _:
                old = (self._metric_keys, self._metric_ids)
                self._metric_keys, self._metric_ids = _table(4 * len(old[0]))
                k.rehash(*old, self._metric_keys, self._metric_ids)

    def _make_output(self, size: int) -> None:
        size = max(size, 1 << 10)
        self._entity = np.empty(size, dtype=np.int32)
        self._metric = np.empty(size, dtype=np.int32)
        self._sid = np.empty(size, dtype=np.int32)
        self._time = np.empty(size, dtype=np.int64)
        self._value = np.empty(size, dtype=np.float64)
        self._flags = np.empty(size, dtype=np.uint8)

    def _first_sight(self, body: bytes) -> list[tuple[Metric, Of]]:
        """Decode the bytes that stand behind new ids, and metrics that are not numbers; all of it or, if it raises, none."""
        if self._state[k.VERIFY]:
            ExportMetricsServiceRequest.FromString(body)
        resources = _Decoded(body)
        others = [
            (Metric.FromString(body[m0:m1]), Of(resources.pairs(r0, r1), resources.scope(c0, c1)))
            for m0, m1, c0, c1, r0, r1 in self._others[: self._state[k.OTHERS]].tolist()
        ]
        metrics: list[tuple[str, str, str]] = []
        for _, m0, d0, d1, m1, c0, c1 in self._new_metrics[: self._state[k.NEW_METRICS]].tolist():
            header = Metric.FromString(body[m0:d0] + body[d1:m1])
            metrics.append((header.name, header.unit, resources.scope(c0, c1)))
        entities: list[tuple[Pairs, Pairs]] = []
        for _, r0, r1, a0, a1, x, y in self._new_entities[: self._state[k.NEW_ENTITIES]].tolist():
            # Only the bytes that were hashed: what an id stands for must be a function of its key.
            attributes = body[a0:a1] if a0 >= 0 else b"".join(_attribute_fields(body, x, y))
            point = NumberDataPoint.FromString(attributes)
            entities.append((resources.pairs(r0, r1), attribute_pairs(point.attributes)))
        self._metrics += metrics
        self._entities += entities
        return others

    def _resolve(self, n: int) -> None:
        """Intern the series of pairs (entity, metric) that no row has yet."""
        if not self._state[k.UNRESOLVED]:
            return
        unresolved = np.flatnonzero(self._sid[:n] == k.UNKNOWN_SERIES)
        pairs = zip(
            unresolved.tolist(), self._entity[unresolved].tolist(), self._metric[unresolved].tolist(), strict=True
        )
        fresh: dict[tuple[int, int], int] = {}
        for i, entity, metric in pairs:
            series = fresh.get((entity, metric))
            if series is None:
                (resource, attributes), (name, unit, scope) = self._entities[entity], self._metrics[metric]
                series = self._series.intern(SeriesKey(name, unit, scope, resource, attributes))
                fresh[entity, metric] = series = series if series >= 0 else REFUSED
                while not k.put_series(self._row_base, self._row_mask, self._pool, entity, metric, series):
                    self._grow_row(entity)
            self._sid[i] = series

    def _grow_row(self, entity: int) -> None:
        size = max(FIRST_ROW, 2 * (int(self._row_mask[entity]) + 1))
        while self._pool_used + size > len(self._pool):
            self._pool = np.concatenate([self._pool, np.zeros_like(self._pool)])
        k.move_row(self._row_base, self._row_mask, self._pool, entity, self._pool_used, size)
        self._pool_used += size

    def _columns(self, n: int, rows: Rows) -> Columns:
        """Copies of the output, without the series that were refused."""
        series = self._sid[:n].copy()
        if n == 0 or series.min() >= 0:
            return Columns(
                series=series, time=self._time[:n].copy(), value=self._value[:n].copy(), flags=self._flags[:n].copy()
            )
        keep = series >= 0
        rows.dropped["series_limit"] += int(n - keep.sum())
        return Columns(
            series=series[keep],
            time=self._time[:n][keep],
            value=self._value[:n][keep],
            flags=self._flags[:n][keep],
        )


class _Decoded:
    """Resources and scopes of one request, each decoded once."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._pairs: dict[tuple[int, int], Pairs] = {}
        self._scopes: dict[tuple[int, int], str] = {}

    def pairs(self, start: int, end: int) -> Pairs:
        found = self._pairs.get((start, end))
        if found is None:
            found = attribute_pairs(Resource.FromString(self._body[start:end]).attributes)
            self._pairs[start, end] = found
        return found

    def scope(self, start: int, end: int) -> str:
        found = self._scopes.get((start, end))
        if found is None:
            found = self._scopes[start, end] = InstrumentationScope.FromString(self._body[start:end]).name
        return found


def _random_keys() -> k.Keys:
    a, b, c, d = (np.uint64(secrets.randbits(64)) for _ in range(4))
    return a, b, c, d


def _table(size: int) -> tuple[k.UInt64Array, Int32Array]:
    return np.zeros(size, dtype=np.uint64), np.zeros(size, dtype=np.int32)


def _attribute_fields(body: bytes, p: int, end: int) -> Iterator[bytes]:
    """The attribute fields of a point, tag and length included; the scan has found the framing good."""
    while p < end:
        start, tag = p, body[p]
        p += 1
        match tag & 7:
            case 0:
                _, p = _varint(body, p)
            case 1:
                p += 8
            case 2:
                size, p = _varint(body, p)
                p += size
            case _:
                p += 4
        if tag == ATTRIBUTES_TAG:
            yield body[start:p]


def _varint(body: bytes, p: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        b = body[p]
        p += 1
        value |= (b & 127) << shift
        if b < 128:
            return value, p
        shift += 7
