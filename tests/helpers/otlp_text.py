"""OTLP requests as plain data, for golden files and assertions: what is sent, nothing of how."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, NumberDataPoint

from fallow.batch import OtlpRequest

SECOND = 1_000_000_000
DEVICE = (
    "hw.id",
    "hw.type",
    "hw.model",
    "hw.parent",
    "hw.name",
    "hw.vendor",
    "hw.serial_number",
    "hw.driver_version",
    "hw.firmware_version",
    "fallow.gpu.index",
)


def value(found: AnyValue) -> Any:
    """The value of an attribute."""
    kind = found.WhichOneof("value")
    if kind is None:
        return None
    plain = getattr(found, kind)
    return [value(v) for v in plain.values] if kind == "array_value" else plain


def attributes(found: Any) -> dict[str, Any]:
    return {a.key: value(a.value) for a in found}


def kind(metric: Metric) -> str:
    """As the instruments are called."""
    if metric.HasField("gauge"):
        return "gauge"
    return "counter" if metric.sum.is_monotonic else "updowncounter"


def points(metric: Metric) -> list[NumberDataPoint]:
    return list(metric.gauge.data_points or metric.sum.data_points)


def number(point: NumberDataPoint) -> float:
    return point.as_double if point.HasField("as_double") else point.as_int


def metrics(requests: Iterable[OtlpRequest]) -> list[Metric]:
    """Every metric of the requests."""
    return [
        metric
        for request in requests
        if request.kind == "metrics"
        for resource in ExportMetricsServiceRequest.FromString(request.body).resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]


def events(requests: Iterable[OtlpRequest]) -> list[tuple[str, dict[str, Any]]]:
    """(event name, attributes) of every log record of the requests."""
    return [(name, found) for name, _, _, found in _records(requests)]


class Story:
    """Requests as a golden file shows them: times in s from ``origin``, and each set of device attributes told once."""

    def __init__(self, origin: int) -> None:
        self._origin = origin
        self._devices: dict[tuple[tuple[str, Any], ...], str] = {}
        self._steps: dict[str, Any] = {}

    def tell(self, step: str, requests: Iterable[OtlpRequest]) -> None:
        """What was sent at a step, metrics by name, points in the order of their attributes."""
        taken = list(requests)
        found = self._steps[step] = {}
        if told := [self._event(*e) for e in _records(taken)]:
            found["events"] = told
        for metric in sorted(metrics(taken), key=lambda m: m.name):
            head = f"{metric.name} {kind(metric)} {metric.unit}"
            assert head not in found, "one metric of a name in a request"
            found[head] = sorted(self._point(p) for p in points(metric))

    def shown(self) -> dict[str, Any]:
        return {"devices": {name: dict(device) for device, name in self._devices.items()}, **self._steps}

    def _point(self, point: NumberDataPoint) -> str:
        since = f" since {self._second(point.start_time_unix_nano)}" if point.start_time_unix_nano else ""
        value = f"{round(number(point), 6):.15g} at {self._second(point.time_unix_nano)}{since}"
        device, others = self._split(attributes(point.attributes))
        return " ".join([device, *(f"{k}={v}" for k, v in others.items()), value])

    def _event(self, name: str, time: int, severity: int, found: dict[str, Any]) -> dict[str, Any]:
        device, others = self._split(found)
        return {"event": name, "device": device, "at": self._second(time), "severity": severity} | others

    def _split(self, found: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """What stands for the device, and the other attributes."""
        device = {k: v for k, v in found.items() if k in DEVICE}
        if not device:
            return "node", found
        name = self._devices.setdefault(tuple(device.items()), f"D{len(self._devices)}")
        return name, {k: v for k, v in found.items() if k not in device}

    def _second(self, time: int) -> str:
        return f"{(time - self._origin) / SECOND:g}s"


def _records(requests: Iterable[OtlpRequest]) -> Iterable[tuple[str, int, int, dict[str, Any]]]:
    for request in requests:
        if request.kind == "logs":
            for resource in ExportLogsServiceRequest.FromString(request.body).resource_logs:
                for scope in resource.scope_logs:
                    for r in scope.log_records:
                        yield r.event_name, r.time_unix_nano, r.severity_number, attributes(r.attributes)
