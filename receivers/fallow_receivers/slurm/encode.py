"""Events and measurements as OTLP requests: each resource is the node, or the cluster where there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, NumberDataPoint, ScopeMetrics
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

import fallow
from fallow import semconv
from fallow.batch import OtlpRequest
from fallow.otlp_write import key_values
from fallow.units import SECOND
from fallow_receivers.slurm.said import Attributes, Event

SCOPE: Final = "fallow.slurm"
AT_ONCE: Final = 2000
"""Records or points of one request: a Collector takes 4 MiB by default."""
SEVERITY: Final[Mapping[str, SeverityNumber.ValueType]] = {
    semconv.NODE_DOWN: SeverityNumber.SEVERITY_NUMBER_WARN,
    semconv.NODE_DRAIN: SeverityNumber.SEVERITY_NUMBER_WARN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One value of one metric now."""

    name: str
    value: float
    attributes: Attributes
    node: str = ""


class Encoder:
    """Writes requests for one cluster; ``domain`` stands behind node names."""

    def __init__(self, cluster: str, domain: str) -> None:
        self._cluster, self._domain = cluster, domain
        self._scope = InstrumentationScope(name=SCOPE, version=fallow.__version__)

    def events(self, events: Sequence[Event], now_ns: int) -> Iterator[OtlpRequest]:
        """Log records in the order given."""
        for at in range(0, len(events), AT_ONCE):
            yield self._events(events[at : at + AT_ONCE], now_ns)

    def metrics(self, points: Sequence[Point], now_ns: int) -> Iterator[OtlpRequest]:
        """Gauges."""
        for at in range(0, len(points), AT_ONCE):
            yield self._metrics(points[at : at + AT_ONCE], now_ns)

    def _events(self, events: Sequence[Event], now_ns: int) -> OtlpRequest:
        """One resource for each run of events about the same node."""
        request = ExportLogsServiceRequest()
        records, node = None, ""
        for event in events:
            if records is None or event.node != node:
                node = event.node
                of_node = request.resource_logs.add(resource=self._resource(node))
                records = of_node.scope_logs.add(scope=self._scope).log_records
            records.append(self._record(event, now_ns))
        return OtlpRequest(kind="logs", body=request.SerializeToString())

    def _metrics(self, points: Sequence[Point], now_ns: int) -> OtlpRequest:
        """One resource for each node."""
        request = ExportMetricsServiceRequest()
        made: dict[tuple[str, str], Metric] = {}
        scopes: dict[str, ScopeMetrics] = {}
        for point in points:
            metric = made.get((point.node, point.name))
            if metric is None:
                scope = scopes.get(point.node)
                if scope is None:
                    of_node = request.resource_metrics.add(resource=self._resource(point.node))
                    scope = scopes[point.node] = of_node.scope_metrics.add(scope=self._scope)
                metric = scope.metrics.add(name=point.name, unit=semconv.SIGNALS[point.name])
                made[point.node, point.name] = metric
            metric.gauge.data_points.append(
                NumberDataPoint(time_unix_nano=now_ns, as_double=point.value, attributes=key_values(point.attributes))
            )
        return OtlpRequest(kind="metrics", body=request.SerializeToString())

    def _resource(self, node: str) -> Resource:
        host = {semconv.HOST_NAME: node + self._domain} if node else {}
        return Resource(attributes=key_values({**host, semconv.CLUSTER_NAME: self._cluster}))

    def _record(self, event: Event, now_ns: int) -> LogRecord:
        return LogRecord(
            time_unix_nano=event.time_s * SECOND,
            observed_time_unix_nano=now_ns,
            severity_number=SEVERITY.get(event.name, SeverityNumber.SEVERITY_NUMBER_INFO),
            event_name=event.name,
            body=AnyValue(string_value=event.text),
            attributes=key_values({**event.attributes, semconv.RECORD_UID: event.uid(self._cluster)}),
        )
