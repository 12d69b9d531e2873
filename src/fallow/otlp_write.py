"""OTLP requests as receivers write them: metric points framed by hand, events as messages.

A node agent writes some thousand points a second for years. Points are framed around attributes that were encoded once;
building a message for each would cost ten times as much.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric, NumberDataPoint
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

import fallow
from fallow.batch import OtlpRequest

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"

Value = str | bool | int | float | Sequence[str] | Sequence[int]
Attributes = Mapping[str, Value]
Kind = Literal["gauge", "counter", "updowncounter"]

INFO: Final = 9
WARN: Final = 13
ERROR: Final = 17
FATAL: Final = 21

# Field 1 of a message and its length, then time_unix_nano (3) and as_double (4) or as_int (6) of a NumberDataPoint,
# and start_time_unix_nano (2).
_DOUBLE, _INT = struct.Struct("<BQBd"), struct.Struct("<BQBq")
_STARTED_DOUBLE, _STARTED_INT = struct.Struct("<BQBQBd"), struct.Struct("<BQBQBq")
_START, _TIME, _AS_DOUBLE, _AS_INT = 0x11, 0x19, 0x21, 0x31
_RESOURCE_METRICS, _SCOPE_METRICS, _METRICS, _GAUGE, _SUM, _POINTS = 1, 2, 2, 5, 7, 1
_SCHEMA: Final = 3


@dataclass(frozen=True, slots=True, eq=False)
class Instrument:
    """What a metric is, as OTLP carries it; one object for each metric, known by its identity."""

    name: str
    unit: str
    kind: Kind = "gauge"


def labels(attributes: Attributes) -> bytes:
    """Attributes of points, encoded once, in the order given; two of them joined are the attributes of both."""
    return NumberDataPoint(attributes=key_values(attributes)).SerializeToString()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened: a log record with an event name, its data in flat attributes.

    ``severity`` is one number per event name; ``body`` is for people only.
    """

    name: str
    time: int
    severity: int
    attributes: Attributes
    body: str = ""


class Writer:
    """Requests of one resource and one instrumentation scope; what is not encoded yet is held until it is taken."""

    def __init__(self, resource: Attributes, scope: str) -> None:
        self._resource = Resource(attributes=key_values(resource))
        self._scope = InstrumentationScope(name=scope, version=fallow.__version__)
        self._head = _field(1, self._resource.SerializeToString())
        self._scope_head = _field(1, self._scope.SerializeToString())
        self._schema = _field(_SCHEMA, SCHEMA_URL.encode())
        self._heads: dict[Instrument, tuple[bytes, bytes]] = {}
        self._points: dict[Instrument, list[bytes]] = {}

    def put(self, instrument: Instrument, labels: bytes, time: int, value: float, start: int = 0) -> None:
        """One point; an int value stays one.

        Args:
            labels: as the function of that name gives them.
            time: Unix ns of the measurement.
            start: Unix ns since when a counter counts; the time of its first sample where nothing else is known.
        """
        points = self._points.get(instrument)
        if points is None:
            points = self._points[instrument] = []
        if type(value) is int:
            body = (
                _STARTED_INT.pack(_START, start, _TIME, time, _AS_INT, value)
                if start
                else _INT.pack(_TIME, time, _AS_INT, value)
            )
        elif start:
            body = _STARTED_DOUBLE.pack(_START, start, _TIME, time, _AS_DOUBLE, value)
        else:
            body = _DOUBLE.pack(_TIME, time, _AS_DOUBLE, value)
        points.append(b"\n" + _varint(len(body) + len(labels)) + body + labels)

    def metrics(self) -> OtlpRequest | None:
        """The points put since the last call, metric by metric in the order first put; None where there are none."""
        taken, self._points = self._points, {}
        if not taken:
            return None
        metrics = b"".join(self._metric(instrument, b"".join(points)) for instrument, points in taken.items())
        scoped = _field(_SCOPE_METRICS, self._scope_head + metrics + self._schema)
        return OtlpRequest(kind="metrics", body=_field(_RESOURCE_METRICS, self._head + scoped))

    def events(self, events: Sequence[Event]) -> OtlpRequest | None:
        """A request of log records, in the order given; None where there are none."""
        if not events:
            return None
        scoped = ScopeLogs(scope=self._scope, log_records=[_record(e) for e in events], schema_url=SCHEMA_URL)
        resource = ResourceLogs(resource=self._resource, scope_logs=[scoped])
        return OtlpRequest(
            kind="logs", body=ExportLogsServiceRequest(resource_logs=[resource]).SerializeToString(deterministic=True)
        )

    def _metric(self, instrument: Instrument, points: bytes) -> bytes:
        known = self._heads.get(instrument)
        if known is None:
            name = Metric(name=instrument.name, unit=instrument.unit).SerializeToString()
            known = self._heads[instrument] = (name, _temporality(instrument.kind))
        name, behind = known
        number = _GAUGE if instrument.kind == "gauge" else _SUM
        return _field(_METRICS, name + _field(number, points + behind))


def _temporality(kind: Kind) -> bytes:
    if kind == "gauge":
        return b""
    cumulative = bytes([2 << 3]) + _varint(AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE)
    return cumulative + (bytes([3 << 3, 1]) if kind == "counter" else b"")


def _record(event: Event) -> LogRecord:
    return LogRecord(
        time_unix_nano=event.time,
        observed_time_unix_nano=event.time,
        severity_number=event.severity,  # type: ignore[arg-type]  # its stub knows only the named numbers
        event_name=event.name,
        body=AnyValue(string_value=event.body) if event.body else None,
        attributes=key_values(event.attributes),
    )


def key_values(attributes: Attributes) -> list[KeyValue]:
    """Attributes as OTLP has them, in the order given."""
    return [KeyValue(key=key, value=_any(value)) for key, value in attributes.items()]


def _any(value: Value) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(array_value=ArrayValue(values=[_any(v) for v in value]))


def _field(number: int, body: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    if value < len(_SHORT):
        return _SHORT[value]
    return _varint_of(value)


def _varint_of(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


_SHORT: Final = tuple(_varint_of(n) for n in range(1024))
