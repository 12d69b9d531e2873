"""What a node's agent would send: OTLP requests as bytes, a function of the second alone.

Points are framed by hand around attributes that are encoded once for each job on a GPU: building messages for every
point would cost twenty times as much.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric, NumberDataPoint
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from fallow import semconv
from fallow.batch import OtlpRequest
from fallow_receivers.simulated.cluster import Cluster, Job, Slot, ns
from fallow_receivers.simulated.profiles import GIB, Activity

SIMULATED: Final = "fallow.simulated"  # resource attribute: nobody takes this for a real cluster
MODEL: Final = "NVIDIA H100 80GB HBM3"
MEMORY_LIMIT: Final = 80 * GIB
# W: an H100 SXM without a process, what holding memory adds, what full SM activity adds.
IDLE_POWER, HELD_POWER, WORK_POWER = 68.0, 47.0, 560.0
GAUGES: Final = (
    semconv.GPU_UTILIZATION,
    semconv.GPU_MEMORY_USAGE,
    semconv.GPU_MEMORY_LIMIT,
    semconv.GPU_SM,
    semconv.GPU_POWER,
)

_VALUE = struct.Struct("<BQBd")  # time_unix_nano (3) and as_double (4) of a NumberDataPoint
_TIME, _DOUBLE = 0x19, 0x21
_RESOURCE_METRICS, _SCOPE_METRICS, _METRICS, _GAUGE, _SUM, _POINTS = 1, 2, 2, 5, 7, 1
_EMPTY: Final[tuple[float, float, float | None, float]] = (0.0, 0.0, 0.0, IDLE_POWER)


@dataclass(frozen=True, slots=True)
class _Point:
    """A data point as its bytes before and behind time and value."""

    before: bytes
    behind: bytes

    @classmethod
    def of(cls, attributes: Mapping[str, str], start: int = 0) -> _Point:
        # Fields may come in any order: what does not change stands behind.
        fixed = NumberDataPoint(attributes=_attributes(attributes), start_time_unix_nano=start).SerializeToString()
        return cls(_key(_POINTS, 2) + _varint(_VALUE.size + len(fixed)), fixed)

    def at(self, time: int, value: float) -> bytes:
        return self.before + _VALUE.pack(_TIME, time, _DOUBLE, value) + self.behind


class NodeTelemetry:
    """One node's requests; ``origin`` is the Unix ns of second 0."""

    def __init__(self, cluster: Cluster, node: int, origin: int) -> None:
        self._cluster, self._node, self._origin = cluster, node, origin
        self._resource = Resource(attributes=_attributes({semconv.HOST_NAME: cluster.host(node), SIMULATED: "true"}))
        self._scope = InstrumentationScope(name="fallow.simulated")
        self._slots = [Slot(node, index) for index in range(cluster.gpus_per_node)]
        self._head = _field(1, self._resource.SerializeToString())
        self._scope_head = _field(1, self._scope.SerializeToString())
        self._names = {n: Metric(name=n, unit=semconv.SIGNALS[n]).SerializeToString() for n in GAUGES}
        served = semconv.SERVING_REQUESTS
        self._served = Metric(name=served, unit=semconv.SIGNALS[served]).SerializeToString()
        # By slot: the job whose labels the point has ("" for none).
        self._points: dict[int, tuple[str, _Point]] = {}

    def requests(self, after: float, until: float) -> list[OtlpRequest]:
        """What is sent at ``until``: what was said since ``after``, if anything, then a sample of every GPU."""
        logs = self.logs(after, until)
        said = [OtlpRequest(kind="logs", body=logs)] if logs else []
        return [*said, OtlpRequest(kind="metrics", body=self.metrics(until))]

    def metrics(self, second: float) -> bytes:
        """A sample of every GPU of the node."""
        time = self._origin + ns(second)
        running = [job for job in self._cluster.jobs(self._node, second, second) if job.start <= second]
        columns: list[list[bytes]] = [[] for _ in GAUGES]
        for point, (util, memory, sm, power) in self._samples(running, second):
            for column, value in zip(columns, (util, memory, MEMORY_LIMIT, sm, power), strict=True):
                if value is not None:
                    column.append(point.at(time, value))
        metrics = [
            _field(_METRICS, self._names[name] + _field(_GAUGE, b"".join(points)))
            for name, points in zip(GAUGES, columns, strict=True)
            if points
        ]
        if counts := list(self._counts(running, second)):
            kind = _key(2, 0) + _varint(AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE) + _key(3, 0) + b"\1"
            metrics.append(_field(_METRICS, self._served + _field(_SUM, b"".join(counts) + kind)))
        scoped = _field(_SCOPE_METRICS, self._scope_head + b"".join(metrics))
        return _field(_RESOURCE_METRICS, self._head + scoped)

    def logs(self, after: float, until: float) -> bytes:
        """What the scheduler and the jobs said in (after, until], in order of time; empty where they were silent."""
        said = [
            saying
            for job in self._cluster.jobs(self._node, after, until)
            if job.slots[0].node == self._node
            for saying in _sayings(job)
            if after < saying[0] <= until
        ]
        if not said:
            return b""
        records = [self._record(second, job, text, event) for second, job, text, event in sorted(said, key=_when)]
        scoped = ScopeLogs(scope=self._scope, log_records=records)
        request = ExportLogsServiceRequest(resource_logs=[ResourceLogs(resource=self._resource, scope_logs=[scoped])])
        return request.SerializeToString()

    def _samples(
        self, running: list[Job], second: float
    ) -> Iterator[tuple[_Point, tuple[float, float, float | None, float]]]:
        """Of every GPU: utilisation, memory in bytes, SM activity, power in W."""
        held: dict[int, tuple[Job, tuple[float, float, float | None, float]]] = {}
        for job in running:
            activity = job.plan.activity(second - job.start)
            for gpu, slot in enumerate(job.slots):
                if slot.node == self._node:
                    held[slot.index] = (job, _sample(activity, gpu))
        for slot in self._slots:
            holder = held.get(slot.index)
            yield (self._point(slot, None), _EMPTY) if holder is None else (self._point(slot, holder[0]), holder[1])

    def _point(self, slot: Slot, job: Job | None) -> _Point:
        id = job.id if job else ""
        known = self._points.get(slot.index)
        if known is None or known[0] != id:
            device = {
                semconv.HW_ID: self._cluster.uuid(slot),
                semconv.HW_TYPE: "gpu",
                semconv.HW_MODEL: MODEL,
                semconv.GPU_INDEX: str(slot.index),
            }
            known = self._points[slot.index] = (id, _Point.of(device | (job.labels if job else {})))
        return known[1]

    def _counts(self, running: list[Job], second: float) -> Iterator[bytes]:
        time = self._origin + ns(second)
        for job in running:
            if job.plan.requests is not None and job.slots[0].node == self._node:
                point = _Point.of(job.labels, self._origin + ns(job.start))
                yield point.at(time, job.plan.requests(second - job.start))

    def _record(self, second: float, job: Job, text: str, event: str) -> LogRecord:
        time = self._origin + ns(second)
        ended = {semconv.JOB_STATE: job.plan.state} if event == semconv.JOB_END else {}
        last_words = not event and job.plan.retries > 0
        severity = SeverityNumber.SEVERITY_NUMBER_ERROR if last_words else SeverityNumber.SEVERITY_NUMBER_INFO
        return LogRecord(
            time_unix_nano=time,
            observed_time_unix_nano=time,
            severity_number=severity,
            event_name=event,
            body=AnyValue(string_value=text),
            attributes=_attributes(job.labels | ended),
        )


_Saying = tuple[float, Job, str, str]


def _when(saying: _Saying) -> tuple[float, str]:
    return saying[0], saying[1].id


def _sayings(job: Job) -> Iterator[_Saying]:
    """(second, job, text, event): its start, what it says, its end."""
    yield job.start, job, f"job {job.id} started", semconv.JOB_START
    for note in job.plan.notes:
        if note.second < job.plan.duration:
            yield job.start + note.second, job, note.text.replace("{job}", job.id), note.event
    yield job.end, job, f"job {job.id} ended: {job.plan.state}", semconv.JOB_END


def _sample(activity: Activity, gpu: int) -> tuple[float, float, float | None, float]:
    memory, work = float(activity.memory[gpu]), float(activity.work[gpu])
    power = IDLE_POWER + (HELD_POWER if memory > 0 else 0.0) + WORK_POWER * work
    sm = None if activity.sm is None else round(float(activity.sm[gpu]), 4)
    return float(activity.util[gpu]), float(int(memory)), sm, round(power, 1)


def _attributes(labels: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in labels.items()]


def _field(number: int, body: bytes) -> bytes:
    return _key(number, 2) + _varint(len(body)) + body


def _key(number: int, wire: int) -> bytes:
    return bytes([number << 3 | wire])


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
