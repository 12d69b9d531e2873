"""Samples for rules: recordings in OTLP JSON lines, as the Collector's file exporter writes them.

>>> sample = Recording()
>>> sample.metrics(0, {"host.name": "n1"}, [Gauge("hw.power", "W", {"hw.id": "GPU-1"}, 310)])
>>> sample.text().count("resourceMetrics")
1
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fallow.units import SECOND

ORIGIN: Final = 1_767_600_000  # s; 2026-01-05 08:00 UTC. Times of a recording are seconds after it.
NO_RECORDED_VALUE: Final = 1

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Gauge:
    """One point of a gauge; ``value`` None says that the series ended (NO_RECORDED_VALUE)."""

    name: str
    unit: str
    attributes: Mapping[str, str]
    value: float | None


@dataclass(frozen=True, slots=True)
class Counter:
    """One point of a cumulative, monotonic sum that began at the recording's origin."""

    name: str
    unit: str
    attributes: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Record:
    """One log record; with ``event_name`` an event."""

    body: str
    attributes: Mapping[str, str]
    event_name: str = ""


class Recording:
    """Export requests, one a line, in the order in which they were added."""

    def __init__(self, origin_s: int = ORIGIN) -> None:
        self._origin = origin_s
        self._lines: list[str] = []

    def metrics(
        self, at_s: float, resource: Mapping[str, str], points: Iterable[Gauge | Counter], scope: str = ""
    ) -> None:
        """One request with these points, all of one time and scope; points of one name become one metric."""
        metrics: dict[str, Json] = {}
        for point in points:
            made = metrics.setdefault(point.name, _metric(point))
            made["gauge" if isinstance(point, Gauge) else "sum"]["dataPoints"].append(self._point(at_s, point))
        scopes = [{"scope": {"name": scope} if scope else {}, "metrics": list(metrics.values())}]
        self._add("resourceMetrics", {"resource": _resource(resource), "scopeMetrics": scopes})

    def logs(self, at_s: float, resource: Mapping[str, str], records: Iterable[Record]) -> None:
        """One request with these records, all of one time."""
        made: list[Json] = []
        for record in records:
            entry: Json = {"timeUnixNano": self._time(at_s), "observedTimeUnixNano": self._time(at_s)}
            entry |= {"severityNumber": 9, "body": {"stringValue": record.body}}
            entry |= {"attributes": _attributes(record.attributes)} if record.attributes else {}
            entry |= {"eventName": record.event_name} if record.event_name else {}
            made.append(entry)
        scopes = [{"scope": {}, "logRecords": made}]
        self._add("resourceLogs", {"resource": _resource(resource), "scopeLogs": scopes})

    def text(self) -> str:
        """The lines, each with its newline."""
        return "".join(line + "\n" for line in self._lines)

    def _point(self, at_s: float, point: Gauge | Counter) -> Json:
        made: Json = {"attributes": _attributes(point.attributes)}
        if isinstance(point, Counter):
            made["startTimeUnixNano"] = self._time(0)
        made["timeUnixNano"] = self._time(at_s)
        return made | ({"flags": NO_RECORDED_VALUE} if point.value is None else {"asDouble": point.value})

    def _time(self, at_s: float) -> str:
        return str(self._origin * SECOND + round(at_s * SECOND))

    def _add(self, kind: str, resource: Json) -> None:
        self._lines.append(json.dumps({kind: [resource]}, separators=(",", ":"), ensure_ascii=False))


def _metric(point: Gauge | Counter) -> Json:
    made: Json = {"name": point.name} | ({"unit": point.unit} if point.unit else {})
    if isinstance(point, Gauge):
        return made | {"gauge": {"dataPoints": []}}
    return made | {"sum": {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": []}}


def _resource(attributes: Mapping[str, str]) -> Json:
    return {"attributes": _attributes(attributes)}


def _attributes(attributes: Mapping[str, str]) -> list[Json]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()]
