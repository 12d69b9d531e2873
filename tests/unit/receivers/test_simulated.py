"""The simulated cluster: the same for a seed, whole, and honest about what it is."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from fallow import semconv
from fallow.batch import Batch, OtlpRequest
from fallow.errors import TransientError
from fallow.testing.components import context
from fallow.units import SECOND
from fallow_receivers.simulated import Cluster, SimulatedReceiver, SimulatedReceiverConfig, send
from fallow_receivers.simulated.encode import SIMULATED, NodeTelemetry
from fallow_receivers.simulated.profiles import HOUR
from helpers.otlp_server import Sink, receiving

ORIGIN = 1_767_600_000 * SECOND
PATTERNS = {"P01", "P02", "P03", "P05", "P07", "P12", "P13", "P32", "P36", "P61"}


def telemetry(seed: int, node: int, seconds: list[float]) -> list[bytes]:
    source = NodeTelemetry(Cluster(seed, 4, 8), node, ORIGIN)
    return [source.metrics(second) for second in seconds]


def test_the_same_seed_gives_the_same_bytes_whatever_was_asked_before() -> None:
    seconds = [900.0, 4500.0, 9000.0]
    every = telemetry(1, 0, [float(s) for s in range(0, 9001, 300)])
    assert telemetry(1, 0, seconds) == [every[s] for s in (3, 15, 30)]
    assert telemetry(2, 0, seconds) != telemetry(1, 0, seconds)


def test_no_gpu_is_held_by_two_jobs() -> None:
    cluster = Cluster(3, 4, 8)
    held: dict[object, list[tuple[float, float]]] = defaultdict(list)
    for job in cluster.started(8 * HOUR):
        for slot in job.slots:
            held[slot].append((job.start, job.end))
    assert sum(map(len, held.values())) > 40
    for spans in held.values():
        spans.sort()
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_every_pattern_is_there_within_six_hours() -> None:
    truth = Cluster(1, 8, 8).truth(6 * HOUR, ORIGIN)
    assert {span.pattern for span in truth} == PATTERNS
    assert all(ORIGIN <= span.start < span.end <= ORIGIN + 6 * HOUR * SECOND for span in truth)


def test_a_gpu_has_a_job_exactly_while_one_holds_it() -> None:
    cluster = Cluster(1, 4, 8)
    source = NodeTelemetry(cluster, 0, ORIGIN)
    for second in (600.0, 3600.0, 7200.0, 10_800.0):
        request = ExportMetricsServiceRequest.FromString(source.metrics(second))
        (resource,) = request.resource_metrics
        named = {a.key: a.value.string_value for a in resource.resource.attributes}
        assert named == {semconv.HOST_NAME: "sim-node-000", SIMULATED: "true"}
        running = {
            slot.index: job.id
            for job in cluster.started(second)
            if job.end > second
            for slot in job.slots
            if slot.node == 0
        }
        (utilization,) = (m for m in resource.scope_metrics[0].metrics if m.name == semconv.GPU_UTILIZATION)
        assert len(utilization.gauge.data_points) == 8
        for point in utilization.gauge.data_points:
            labels = {a.key: a.value.string_value for a in point.attributes}
            assert labels.get(semconv.JOB_ID) == running.get(int(labels[semconv.GPU_INDEX]))
            assert point.time_unix_nano == ORIGIN + int(second * SECOND)
            assert 0.0 <= point.as_double <= 1.0


def test_jobs_say_when_they_start_and_end() -> None:
    cluster = Cluster(1, 4, 8)
    events: dict[str, list[str]] = defaultdict(list)
    for node in range(4):
        body = NodeTelemetry(cluster, node, ORIGIN).logs(-1.0, 5 * HOUR)
        for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
            for record in resource.scope_logs[0].log_records:
                labels = {a.key: a.value.string_value for a in record.attributes}
                if record.event_name in (semconv.JOB_START, semconv.JOB_END):
                    events[labels[semconv.JOB_ID]].append(record.event_name)
    jobs = cluster.started(5 * HOUR)
    assert set(events) == {job.id for job in jobs}
    for job in jobs:
        ended = [semconv.JOB_END] if job.end <= 5 * HOUR else []
        assert events[job.id] == [semconv.JOB_START, *ended]


def test_the_receiver_hands_on_until_its_time_is_over_and_tries_again() -> None:
    taken: list[OtlpRequest] = []
    refusals = [TransientError("busy", 0.01)]

    async def consume(batch: Batch) -> bytes:
        if refusals:
            raise refusals.pop()
        assert batch.request is not None
        taken.append(batch.request)
        return b""

    config = SimulatedReceiverConfig.model_validate(
        {
            "nodes": 2,
            "gpus_per_node": 2,
            "interval": "30s",
            "speed": 1e5,
            "duration": "10m",
            "start": "2026-01-05T08:00:00Z",
        }
    )

    async def run() -> None:
        receiver = SimulatedReceiver(config, context("simulated", Path()))
        await receiver.start(consume)
        while sum(r.kind == "metrics" for r in taken) < 42:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        await receiver.shutdown()

    asyncio.run(asyncio.wait_for(run(), 20))
    bodies = [ExportMetricsServiceRequest.FromString(r.body) for r in taken if r.kind == "metrics"]
    times = {b.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0].time_unix_nano for b in bodies}
    assert len(bodies) == 42
    assert (min(times), max(times)) == (ORIGIN, ORIGIN + 600 * SECOND)


def test_a_start_that_is_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="2026-01-05T08:00:00Z"):
        SimulatedReceiverConfig.model_validate({"start": "yesterday"})


def test_it_sends_to_a_service_and_says_what_was_true() -> None:
    async def run() -> tuple[int, int]:
        sink = Sink()
        async with receiving(sink) as receiver:
            truth = await send(
                f"127.0.0.1:{receiver.grpc_port}",
                seed=1,
                nodes=2,
                gpus_per_node=8,
                duration_s=1800,
                wall_s=0.5,
                start_ns=ORIGIN,
            )
            return len(truth), sum(kind == "metrics" for kind in sink.kinds)

    facts, requests = asyncio.run(run())
    assert requests == 2 * 121
    assert facts >= 1
