"""OTLP requests for tests, shaped like what Collectors send from GPU nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

START = 1_760_000_000_000_000_000
SECOND = 1_000_000_000

GAUGES = ("hw.gpu.utilization", "hw.gpu.memory.usage", "hw.power", "hw.temperature")
COUNTERS = ("hw.energy", "hw.errors")


def metrics_request(
    *,
    nodes: int = 2,
    gpus: int = 2,
    gauges: Sequence[str] = GAUGES,
    counters: Sequence[str] = COUNTERS,
    step: int = 0,
    time: int = START,
) -> bytes:
    """One resource a node; nodes × gpus × (gauges + counters) points, gauges as doubles, counters as ints."""
    request = ExportMetricsServiceRequest()
    for node in range(nodes):
        metrics = request.resource_metrics.add()
        metrics.resource.attributes.extend(_node_attributes(node))
        scope = metrics.scope_metrics.add()
        scope.scope.name = "github.com/example/gpureceiver"
        for index, name in enumerate(gauges):
            gauge = scope.metrics.add(name=name, unit="1")
            for gpu in range(gpus):
                point = gauge.gauge.data_points.add(time_unix_nano=time + step * SECOND)
                point.as_double = (node * 31 + gpu * 7 + index + step) % 100 / 100
                point.attributes.extend(_gpu_attributes(node, gpu))
        for name in counters:
            counter = scope.metrics.add(name=name, unit="1")
            counter.sum.is_monotonic = True
            counter.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
            for gpu in range(gpus):
                point = counter.sum.data_points.add(
                    start_time_unix_nano=time, time_unix_nano=time + step * SECOND, as_int=1000 * step + gpu
                )
                point.attributes.extend(_gpu_attributes(node, gpu))
    return request.SerializeToString()


def logs_request(
    bodies: Sequence[str] = ("NVRM: Xid (PCI:0000:1b:00): 79", "all is well"),
    *,
    nodes: int = 2,
    time: int = START,
    event_name: str = "",
) -> bytes:
    """One resource a node, each with all the bodies, a second apart."""
    request = ExportLogsServiceRequest()
    for node in range(nodes):
        logs = request.resource_logs.add()
        logs.resource.attributes.extend(_node_attributes(node))
        scope = logs.scope_logs.add()
        scope.scope.name = "filelogreceiver"
        for index, body in enumerate(bodies):
            at = time + index * SECOND
            record = scope.log_records.add(time_unix_nano=at, observed_time_unix_nano=at + 1, severity_number=9)
            record.event_name = event_name
            record.body.string_value = body
            record.trace_id = bytes(range(16))
            record.span_id = bytes(range(8))
    return request.SerializeToString()


def traces_request(*, nodes: int = 2, spans: int = 2, time: int = START) -> bytes:
    """One resource a node, each with a chain of spans."""
    request = ExportTraceServiceRequest()
    for node in range(nodes):
        traces = request.resource_spans.add()
        traces.resource.attributes.extend(_node_attributes(node))
        scope = traces.scope_spans.add()
        for index in range(spans):
            span = scope.spans.add(name=f"step {index}", kind=2, start_time_unix_nano=time, end_time_unix_nano=time + 5)
            span.trace_id = bytes([node] * 16)
            span.span_id = bytes([index + 1] * 8)
            span.parent_span_id = bytes([index] * 8) if index else b""
            link = span.links.add()
            link.trace_id, link.span_id = bytes(range(16)), bytes(range(8))
    return request.SerializeToString()


def key_values(attributes: Mapping[str, str]) -> list[KeyValue]:
    """String attributes as OTLP spells them."""
    made: list[KeyValue] = []
    for key, value in attributes.items():
        pair = KeyValue(key=key)
        pair.value.string_value = value
        made.append(pair)
    return made


def _node_attributes(node: int) -> list[KeyValue]:
    return key_values(
        {
            "host.name": f"gpu-node-{node:03d}",
            "service.name": "dcgm-exporter",
            "service.instance.id": f"10.0.0.{node}:9400",
            "k8s.cluster.name": "train-eu-1",
        }
    )


def _gpu_attributes(node: int, gpu: int) -> list[KeyValue]:
    uuid = f"GPU-{node:08x}-0000-4000-8000-{gpu:012x}"
    return key_values({"hw.id": uuid, "hw.type": "gpu", "fallow.gpu.index": str(gpu), "k8s.pod.name": f"worker-{node}"})
