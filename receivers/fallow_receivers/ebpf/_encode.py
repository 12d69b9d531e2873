"""Series and events as OTLP requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from fallow import semconv
from fallow.batch import OtlpRequest
from fallow_receivers.ebpf import _what as what
from fallow_receivers.ebpf._probes import Victim
from fallow_receivers.ebpf._totals import Series, Totals
from fallow_receivers.ebpf._what import Attributes, Number, What
from fallow_receivers.ebpf._who import Who

SCOPE: Final = "fallow.ebpf"
_CUMULATIVE: Final = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
_BOUNDS: Final = [2.0**slot / 1e9 for slot in what.SLOTS]


class Encoder:
    """Requests of one host."""

    def __init__(self, host: str) -> None:
        self._resource = Resource(attributes=[_text(semconv.HOST_NAME, host)])
        self._scope = InstrumentationScope(name=SCOPE)

    def metrics(
        self,
        now: int,
        totals: Totals,
        states: Iterable[tuple[Attributes, int]],
        lost: Mapping[str, int],
        start: int,
    ) -> OtlpRequest:
        """All series at ``now`` (Unix ns).

        Args:
            states: attributes of each group's state, and 1 where it measures.
            lost: group → updates for which there was no room since ``start``.
        """
        page = _Page(now)
        latency: dict[tuple[Who, int], tuple[int, dict[int, int]]] = {}
        for (who, kind, detail), series in totals.series.items():
            if kind == What.BLOCK_LATENCY:
                start_of, slots = latency.setdefault((who, detail >> 8), (series.start, {}))
                slots[detail & 0xFF] = series.sum.times
            else:
                for value in what.values(kind, detail, series.sum):
                    page.add(value.metric, who, value.attributes, value.value, series.start)
        for (who, direction), (start_of, slots) in latency.items():
            total = totals.series.get((who, What.BLOCK, direction))
            page.histogram(who, direction, slots, total, start_of)
        for who, counted in totals.counted.items():
            for metric, above, below in (
                (what.IPC, what.INSTRUCTIONS, what.CYCLES),
                (what.MISS_RATIO, what.CACHE_MISSES, what.CACHE_REFERENCES),
            ):
                if counted.get(below) and above in counted:
                    page.add(metric, who, (), counted[above] / counted[below], 0)
        nobody = Who(0, ())
        for attributes, up in states:
            page.add(_UP, nobody, attributes, up, 0)
        for group, count in lost.items():
            page.add(_LOST, nobody, ((semconv.PROBE_GROUP, group),), count, start)
        scoped = ScopeMetrics(scope=self._scope, metrics=page.metrics.values())
        request = ExportMetricsServiceRequest(
            resource_metrics=[ResourceMetrics(resource=self._resource, scope_metrics=[scoped])]
        )
        return OtlpRequest(kind="metrics", body=request.SerializeToString())

    def victims(self, victims: Iterable[tuple[Victim, Attributes]], now: int) -> OtlpRequest:
        """OOM kills as events."""
        records = [
            LogRecord(
                time_unix_nano=victim.time,
                observed_time_unix_nano=now,
                severity_number=SeverityNumber.SEVERITY_NUMBER_ERROR,
                event_name=semconv.OOM_KILL,
                body=AnyValue(string_value=_sentence(victim)),
                attributes=[
                    *([KeyValue(key=semconv.PROCESS_PID, value=AnyValue(int_value=victim.pid))] if victim.pid else []),
                    *([_text(semconv.PROCESS_NAME, victim.name)] if victim.name else []),
                    *(_text(*label) for label in labels),
                ],
            )
            for victim, labels in victims
        ]
        scoped = ScopeLogs(scope=self._scope, log_records=records)
        request = ExportLogsServiceRequest(resource_logs=[ResourceLogs(resource=self._resource, scope_logs=[scoped])])
        return OtlpRequest(kind="logs", body=request.SerializeToString())


_UP: Final = what.Metric(name=semconv.PROBE_UP, unit=semconv.SIGNALS[semconv.PROBE_UP], kind="gauge")
_LOST: Final = what.Metric(name=semconv.PROBE_LOST, unit=semconv.SIGNALS[semconv.PROBE_LOST])


class _Page:
    """The metrics of one moment, each with its points."""

    def __init__(self, now: int) -> None:
        self.metrics: dict[str, Metric] = {}
        self._now = now
        self._owners: dict[Who, list[KeyValue]] = {}

    def add(self, metric: what.Metric, who: Who, attributes: Attributes, value: Number, start: int) -> None:
        made = self._metric(metric)
        point = NumberDataPoint(
            attributes=[*self._owner(who), *(_text(*a) for a in attributes)], time_unix_nano=self._now
        )
        if isinstance(value, float):
            point.as_double = value
        else:
            point.as_int = value
        if metric.kind == "gauge":
            made.gauge.data_points.append(point)
        else:
            point.start_time_unix_nano = start
            made.sum.data_points.append(point)

    def histogram(self, who: Who, direction: int, slots: Mapping[int, int], total: Series | None, start: int) -> None:
        counts = [0] * (len(_BOUNDS) + 1)
        for slot, count in slots.items():
            counts[min(max(slot + 1 - what.SLOTS.start, 0), len(_BOUNDS))] += count
        point = HistogramDataPoint(
            attributes=[*self._owner(who), _text(semconv.DISK_IO_DIRECTION, what.DIRECTIONS[direction])],
            start_time_unix_nano=start,
            time_unix_nano=self._now,
            count=sum(counts),
            bucket_counts=counts,
            explicit_bounds=_BOUNDS,
        )
        if total is not None:
            point.sum = total.sum.ns / 1e9
        self._metric(what.LATENCY).histogram.data_points.append(point)

    def _metric(self, metric: what.Metric) -> Metric:
        made = self.metrics.get(metric.name)
        if made is None:
            made = self.metrics[metric.name] = Metric(name=metric.name, unit=metric.unit)
            if metric.kind == "sum":
                made.sum.aggregation_temporality = _CUMULATIVE
                made.sum.is_monotonic = True
            elif metric.kind == "histogram":
                made.histogram.aggregation_temporality = _CUMULATIVE
        return made

    def _owner(self, who: Who) -> list[KeyValue]:
        made = self._owners.get(who)
        if made is None:
            pid = [KeyValue(key=semconv.PROCESS_PID, value=AnyValue(int_value=who.pid))] if who.pid else []
            made = self._owners[who] = [*pid, *(_text(*label) for label in who.labels)]
        return made


def _text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def _sentence(victim: Victim) -> str:
    if not victim.pid:
        return "The kernel killed a process for want of memory."
    return f"The kernel killed {victim.name or 'a process'} ({victim.pid}) for want of memory."
