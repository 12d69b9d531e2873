"""Requests framed by hand are the messages that the OTLP library reads."""

from __future__ import annotations

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from fallow.otlp_write import SCHEMA_URL, WARN, Event, Instrument, Value, Writer, labels

UTIL = Instrument("hw.gpu.utilization", "1")
IO = Instrument("hw.gpu.io", "By", "counter")
USED = Instrument("hw.gpu.memory.usage", "By", "updowncounter")
A, B = labels({"hw.id": "GPU-a"}), labels({"hw.id": "GPU-b", "long": "x" * 300})


def test_points_of_every_kind_are_read_as_written() -> None:
    writer = Writer({"host.name": "n1"}, "fallow.test")
    writer.put(UTIL, A, 10, 0.25)
    writer.put(IO, A + labels({"network.io.direction": "receive"}), 10, 1 << 60, start=3)
    writer.put(USED, B, 11, -5)
    writer.put(UTIL, B, 11, 1.0, start=2)
    request = writer.metrics()
    assert request is not None
    (resource,) = ExportMetricsServiceRequest.FromString(request.body).resource_metrics
    (scope,) = resource.scope_metrics
    assert [(a.key, a.value.string_value) for a in resource.resource.attributes] == [("host.name", "n1")]
    assert (scope.scope.name, scope.schema_url) == ("fallow.test", SCHEMA_URL)
    util, io, used = scope.metrics
    assert [(m.name, m.unit) for m in scope.metrics] == [(i.name, i.unit) for i in (UTIL, IO, USED)]
    assert [(p.time_unix_nano, p.start_time_unix_nano, p.as_double) for p in util.gauge.data_points] == [
        (10, 0, 0.25),
        (11, 2, 1.0),
    ]
    cumulative = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    assert (io.sum.is_monotonic, io.sum.aggregation_temporality) == (True, cumulative)
    (point,) = io.sum.data_points
    assert (point.start_time_unix_nano, point.as_int) == (3, 1 << 60)
    assert [a.key for a in point.attributes] == ["hw.id", "network.io.direction"]
    assert (used.sum.is_monotonic, used.sum.data_points[0].as_int) == (False, -5)
    assert used.sum.data_points[0].attributes[1].value.string_value == "x" * 300


def test_what_was_taken_is_gone() -> None:
    writer = Writer({}, "fallow.test")
    writer.put(UTIL, A, 10, 0.25)
    assert writer.metrics() is not None
    assert writer.metrics() is None
    assert writer.events([]) is None


@pytest.mark.parametrize("value", ["text", True, 7, 0.5, ("a", "b"), (1, 2)])
def test_an_event_carries_its_attributes_flat(value: Value) -> None:
    event = Event(name="fallow.test", time=5, severity=WARN, attributes={"k": value}, body="for people")
    request = Writer({"host.name": "n1"}, "fallow.test").events([event])
    assert request is not None
    (resource,) = ExportLogsServiceRequest.FromString(request.body).resource_logs
    (record,) = resource.scope_logs[0].log_records
    assert (record.event_name, record.time_unix_nano, record.severity_number) == ("fallow.test", 5, WARN)
    assert record.body.string_value == "for people"
    found = record.attributes[0].value
    kind = found.WhichOneof("value")
    assert kind is not None
    got = getattr(found, kind)
    if kind == "array_value":
        got = tuple(getattr(v, str(v.WhichOneof("value"))) for v in got.values)
    assert got == value
