"""The same telemetry over the wire: what the cluster's agents would export to a service by OTLP/gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import grpc
import grpc.aio

from fallow.batch import OtlpKind, OtlpRequest
from fallow.delivery import patiently
from fallow.errors import PermanentError, TransientError
from fallow_receivers.simulated.cluster import Cluster, Truth, ns
from fallow_receivers.simulated.encode import NodeTelemetry

METHODS: Final[Mapping[OtlpKind, str]] = {
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
TIMEOUT_S: Final = 30.0
PATIENCE_S: Final = 60.0  # how long a request is tried again
_OPTIONS: list[tuple[str, Any]] = [("grpc.max_send_message_length", -1), ("grpc.enable_retries", 0)]
_RETRYABLE = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
)


async def send(
    endpoint: str,
    *,
    seed: int,
    nodes: int,
    gpus_per_node: int,
    duration_s: float,
    wall_s: float,
    interval_s: float = 15.0,
    start_ns: int | None = None,
) -> Truth:
    """Export a simulated cluster's telemetry; returns what is truly there in it.

    The nodes of a step send at the same time, a node's requests one after another; the next step begins when all are
    answered.

    Args:
        endpoint: host:port of an OTLP/gRPC receiver, plain text.
        duration_s: simulated seconds; samples from second 0 up to and with this one.
        wall_s: real seconds that this takes, where the service keeps up; 0 for as fast as it can.
        start_ns: Unix ns of second 0; left out, the data end at the moment of the call.

    Raises:
        TransientError: the service took no request for a minute.
        PermanentError: it refused one for good.
    """
    origin = time.time_ns() - ns(duration_s) if start_ns is None else start_ns
    cluster = Cluster(seed, nodes, gpus_per_node)
    telemetry = [NodeTelemetry(cluster, node, origin) for node in range(nodes)]
    steps = int(duration_s // interval_s)
    began = time.monotonic()
    async with grpc.aio.insecure_channel(endpoint, options=_OPTIONS) as channel:
        # None leaves the bytes alone; the stubs of grpc want both named.
        stubs: dict[OtlpKind, Callable[..., Any]] = {
            kind: channel.unary_unary(method, None, None) for kind, method in METHODS.items()
        }
        for step in range(steps + 1):
            await asyncio.sleep(max(0.0, began + wall_s * step / max(1, steps) - time.monotonic()))
            at = step * interval_s
            await asyncio.gather(*(_export(stubs, node.requests(at - interval_s, at)) for node in telemetry))
    return cluster.truth(steps * interval_s, origin)


async def _export(stubs: Mapping[OtlpKind, Callable[..., Any]], requests: list[OtlpRequest]) -> None:
    for request in requests:

        async def once(request: OtlpRequest = request) -> bytes:
            try:
                answer: bytes = await stubs[request.kind](request.body, timeout=TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                text = f"{error.code().name}: {error.details()}"
                raise (TransientError if error.code() in _RETRYABLE else PermanentError)(text) from error
            return answer

        await patiently(once, PATIENCE_S)
