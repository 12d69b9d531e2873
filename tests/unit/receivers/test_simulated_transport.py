"""The simulated cluster's receiver, and its sender against a real gRPC server."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from pydantic import ValidationError

from fallow import semconv
from fallow.batch import OtlpKind, OtlpRequest
from fallow.errors import PermanentError, TransientError
from fallow.testing.components import check_component, context
from fallow_receivers.simulated import Cluster, SimulatedReceiver, SimulatedReceiverConfig, Truth, send
from fallow_receivers.simulated.encode import NodeTelemetry
from fallow_receivers.simulated.profiles import HOUR
from fallow_receivers.simulated.sender import METHODS
from helpers.otlp_server import Counters, Sink

ORIGIN = 1_767_600_000 * 10**9


def sent(cluster: Cluster, step: float, until: float) -> Iterator[OtlpRequest]:
    """Everything that all nodes send, in order."""
    nodes = [NodeTelemetry(cluster, node, ORIGIN) for node in range(cluster.nodes)]
    for k in range(int(until // step) + 1):
        for node in nodes:
            yield from node.requests((k - 1) * step, k * step)


def time_of(body: bytes) -> int:
    """Of a metrics request's samples."""
    resource = ExportMetricsServiceRequest.FromString(body).resource_metrics[0]
    times = {p.time_unix_nano for m in resource.scope_metrics[0].metrics for p in m.gauge.data_points}
    assert len(times) == 1
    return int(times.pop())


# -- the receiver ------------------------------------------------------------------------------------------------------


def test_the_receiver_keeps_the_contract(tmp_path: Path) -> None:
    assert not [name for name, kept in check_component("receivers", "simulated", tmp_path) if not kept]


@pytest.mark.parametrize(
    "wrong",
    [
        {"nodes": 0},
        {"gpus_per_node": 17},
        {"interval": "10ms"},
        {"speed": 0},
        {"start": "yesterday"},
        {"start": "2026-01-05T08:00:00"},
        {"duration": "0"},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(wrong: Mapping[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        SimulatedReceiverConfig.model_validate(wrong)


SMALL = {
    "nodes": 2,
    "gpus_per_node": 2,
    "speed": 100_000,
    "start": "2026-01-05T08:00:00Z",
    "duration": "30m",
    "interval": "60s",
}


async def received(sink: Sink, counters: Counters, options: Mapping[str, object]) -> SimulatedReceiver:
    config = SimulatedReceiverConfig.model_validate(options)
    receiver = SimulatedReceiver(config, counters.context("simulated", Path()))
    await receiver.start(sink.consume)
    await receiver.finished()
    await receiver.shutdown()
    return receiver


def test_it_sends_what_the_nodes_would_until_its_duration_is_over() -> None:
    sink, counters = Sink(), Counters()
    receiver = asyncio.run(received(sink, counters, SMALL))
    assert receiver.origin == ORIGIN
    expected = list(sent(Cluster(1, 2, 2), 60, HOUR / 2))
    assert [b.request for b in sink.batches] == expected
    assert all(b.arrival > 0 for b in sink.batches)
    accepted = counters.values("fallow_receiver_accepted_requests")
    assert accepted[("metrics",)] == 62
    assert sum(accepted.values()) == len(expected)


def test_it_tries_again_what_may_succeed_and_counts_what_will_not() -> None:
    sink = Sink(answers=[TransientError("busy", 0.01), PermanentError("no")])
    counters = Counters()
    asyncio.run(received(sink, counters, SMALL | {"duration": "1s", "interval": "1s", "nodes": 1}))
    assert sink.bodies[0] == sink.bodies[1]
    assert sum(counters.values("fallow_receiver_refused_requests").values()) == 1
    assert sum(counters.values("fallow_receiver_accepted_requests").values()) == len(sink.batches) - 2


def test_its_clock_is_as_fast_as_it_is_told() -> None:
    began = time.monotonic()
    asyncio.run(received(Sink(), Counters(), SMALL | {"duration": "4m", "speed": 800}))
    assert 0.29 <= time.monotonic() - began < 3


def test_it_stops_when_told() -> None:
    async def run() -> int:
        sink = Sink()
        config = SimulatedReceiverConfig.model_validate({"nodes": 1, "gpus_per_node": 1, "interval": "60s"})
        receiver = SimulatedReceiver(config, context("simulated", Path()))
        before = time.time_ns()
        await receiver.start(sink.consume)
        await sink.entered.wait()
        assert before <= receiver.origin <= time.time_ns()
        await asyncio.wait_for(receiver.shutdown(), 1)
        seen = len(sink.batches)
        await asyncio.sleep(0.05)
        assert len(sink.batches) == seen
        return seen

    assert asyncio.run(run()) >= 1


# -- the sender --------------------------------------------------------------------------------------------------------


@dataclass
class Service:
    """The end of the wire: keeps requests in the order of their arrival, and answers as it is told."""

    answers: list[grpc.StatusCode] = field(default_factory=list)
    """For the first requests; after them success."""
    bodies: list[tuple[OtlpKind, bytes]] = field(default_factory=list)
    tried: int = 0
    open: int = 0
    most_open: int = 0
    port: int = 0

    def method(self, kind: OtlpKind) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def export(body: bytes, call: Any) -> bytes:
            self.tried += 1
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            await asyncio.sleep(0.002)
            self.open -= 1
            if self.answers:
                await call.abort(self.answers.pop(0), "not now")
            self.bodies.append((kind, body))
            return b""

        return export


@asynccontextmanager
async def serving(service: Service) -> AsyncGenerator[str]:
    server = grpc.aio.server()
    for kind, path in METHODS.items():
        name, method = path.strip("/").split("/")
        handler = grpc.unary_unary_rpc_method_handler(service.method(kind))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {method: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def sending(
    service: Service, *, wall_s: float = 0.0, start_ns: int | None = ORIGIN, duration_s: float = HOUR
) -> Truth:
    async with serving(service) as endpoint:
        return await send(
            endpoint,
            seed=1,
            nodes=3,
            gpus_per_node=8,
            duration_s=duration_s,
            wall_s=wall_s,
            interval_s=120,
            start_ns=start_ns,
        )


def of_host(bodies: Sequence[tuple[OtlpKind, bytes]]) -> dict[str, list[tuple[OtlpKind, bytes]]]:
    found: dict[str, list[tuple[OtlpKind, bytes]]] = defaultdict(list)
    for kind, body in bodies:
        if kind == "metrics":
            resource = ExportMetricsServiceRequest.FromString(body).resource_metrics[0].resource
        else:
            resource = ExportLogsServiceRequest.FromString(body).resource_logs[0].resource
        host = next(a.value.string_value for a in resource.attributes if a.key == semconv.HOST_NAME)
        found[host].append((kind, body))
    return found


def test_it_exports_each_nodes_requests_in_order_and_several_nodes_at_once() -> None:
    service = Service()
    truth = asyncio.run(sending(service))
    cluster = Cluster(1, 3, 8)
    expected: list[tuple[OtlpKind, bytes]] = [(r.kind, r.body) for r in sent(cluster, 120, HOUR)]
    assert of_host(service.bodies) == of_host(expected)
    assert service.most_open == 3
    assert truth == cluster.truth(HOUR, ORIGIN)
    assert {span.pattern for span in truth} >= {"P01", "P03"}
    times = [time_of(body) for kind, body in service.bodies if kind == "metrics"]
    assert times == sorted(times)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_it_sends_again_what_the_service_could_not_take(code: grpc.StatusCode) -> None:
    service = Service(answers=[code, code])
    asyncio.run(sending(service, duration_s=240))
    expected: list[tuple[OtlpKind, bytes]] = [(r.kind, r.body) for r in sent(Cluster(1, 3, 8), 120, 240)]
    assert of_host(service.bodies) == of_host(expected)
    assert service.tried == len(expected) + 2


def test_it_gives_up_where_the_service_refuses() -> None:
    with pytest.raises(PermanentError, match="INVALID_ARGUMENT: not now"):
        asyncio.run(sending(Service(answers=[grpc.StatusCode.INVALID_ARGUMENT])))


def test_it_takes_the_time_that_it_is_given_and_its_data_end_now() -> None:
    service = Service()
    began, before = time.monotonic(), time.time_ns()
    asyncio.run(sending(service, wall_s=0.6, start_ns=None, duration_s=1200))
    assert 0.6 <= time.monotonic() - began < 5
    newest = max(time_of(body) for kind, body in service.bodies if kind == "metrics")
    assert before <= newest <= time.time_ns()
