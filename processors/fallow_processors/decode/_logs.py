"""Log requests as columns: by a plain walk over upb's messages, or by the scanner where it takes the request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from fallow.batch import LogBatch
from fallow.semconv import EVENT_NAME
from fallow.series.table import Pairs, pairs
from fallow_processors.decode._points import MAX_TIME
from fallow_processors.decode._values import attribute_map, text

if TYPE_CHECKING:
    from fallow_processors.decode._log_scanner import LogScanner

SCOPE_NAME = "otel.scope.name"
MAX_SEVERITY = 24  # SeverityNumber of opentelemetry/proto/logs/v1/logs.proto; anything else is "unspecified", 0


class Sources:
    """The distinct resources (merged with their scope) of one request, in the order they came."""

    def __init__(self) -> None:
        self._index: dict[Pairs, int] = {}
        self.resources: list[Mapping[str, str]] = []

    def index(self, resource: Mapping[str, str], key: Pairs) -> int:
        """Where the resource stands; ``key`` is the resource as sorted pairs."""
        found = self._index.get(key)
        if found is None:
            found = self._index[key] = len(self.resources)
            self.resources.append(resource)
        return found


def merged(resource: Resource, scope: InstrumentationScope) -> dict[str, str]:
    """Attributes of the resource and, where the scope has one, its name."""
    return attribute_map(resource.attributes) | ({SCOPE_NAME: scope.name} if scope.name else {})


def body_text(body: AnyValue) -> str | None:
    """The string body, else the body as canonical JSON; None where there is none."""
    return None if body.WhichOneof("value") is None else text(body)


def decode_logs(body: bytes, scanner: LogScanner | None) -> tuple[LogBatch, Counter[str], str]:
    """(log records, what was dropped, the path taken: numba or upb); raises DecodeError where it is not OTLP."""
    if scanner is not None:
        found = scanner.decode(body)
        if found is not None:
            return *found, "numba"
    return *walk_logs(ExportLogsServiceRequest.FromString(body)), "upb"


def walk_logs(request: ExportLogsServiceRequest) -> tuple[LogBatch, Counter[str]]:
    """The log records of a request, by a plain walk."""
    sources, dropped = Sources(), Counter[str]()
    records: list[LogRecord] = []
    times: list[int] = []
    source: list[int] = []
    for rl in request.resource_logs:
        for sl in rl.scope_logs:
            if not sl.log_records:
                continue
            resource = merged(rl.resource, sl.scope)
            at = sources.index(resource, pairs(resource))
            for record in sl.log_records:
                time = _usable(record.time_unix_nano) or _usable(record.observed_time_unix_nano)
                if not time:
                    dropped["no_time"] += 1
                    continue
                records.append(record)
                times.append(time)
                source.append(at)
    batch = LogBatch(
        time=np.array(times, dtype=np.int64),
        observed=np.array([_usable(r.observed_time_unix_nano) for r in records], dtype=np.int64),
        severity=np.array([_severity(r.severity_number) for r in records], dtype=np.int8),
        source=np.array(source, dtype=np.int32),
        resources=tuple(sources.resources),
        body=pa.array([body_text(r.body) for r in records], type=pa.string()),
        event_name=tuple(_event_name(r) for r in records),
        attributes=lambda i: attribute_map(records[i].attributes),
        having=lambda name: [i for i, r in enumerate(records) if any(a.key == name for a in r.attributes)],
    )
    return batch, dropped


def _usable(time: int) -> int:
    return time if time < MAX_TIME else 0


def _severity(number: int) -> int:
    return number if 0 <= number <= MAX_SEVERITY else 0


def _event_name(record: LogRecord) -> str:
    named = [a.value for a in record.attributes if a.key == EVENT_NAME]
    return record.event_name or (text(named[-1]) if named else "")
