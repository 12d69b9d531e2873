"""The simulated cluster as a receiver, and as a client of another service."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import grpc
import grpc.aio as aio

from fallow.batch import Batch, OtlpKind, OtlpRequest
from fallow.component import Consume
from fallow.errors import PermanentError, TransientError
from fallow.units import SECOND
from fallow_receivers.simulated.cluster import Cluster, Truth
from fallow_receivers.simulated.config import SimulatedConfig
from fallow_receivers.simulated.encode import NodeTelemetry

logger = logging.getLogger(__name__)

METHODS: dict[OtlpKind, str] = {
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
_RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
_LONGEST_WAIT_S = 2.0
_KEPT_S = 3600.0
"""What ended longer ago is forgotten."""

Take = Callable[[OtlpRequest], Awaitable[object]]


class Simulation:
    """A cluster and its clock; ``origin`` is the Unix ns of second 0."""

    def __init__(self, cluster: Cluster, interval_s: float, origin: int) -> None:
        self.cluster = cluster
        self._interval = interval_s
        self._nodes = [NodeTelemetry(cluster, node, origin) for node in range(cluster.nodes)]
        self._step = 0

    @property
    def second(self) -> float:
        """How far it has come, in simulated seconds."""
        return self._step * self._interval

    async def step(self, take: Take) -> None:
        """Send the next sample of every node: nodes at once, what one node says in its order."""
        before = self.second
        self._step += 1

        async def one(node: NodeTelemetry) -> None:
            for request in node.requests(before, self.second):
                await take(request)

        await asyncio.gather(*(one(node) for node in self._nodes))

    async def run(self, take: Take, speed: float, until_s: float | None) -> None:
        """Step until a simulated second, ``speed`` simulated seconds in a second at most."""
        began = time.monotonic() - self.second / speed
        while until_s is None or self.second + self._interval <= until_s:
            await self.step(take)
            # Also gives way to others where it is behind its clock.
            await asyncio.sleep(max(0.0, began + self.second / speed - time.monotonic()))


class SimulatedReceiver:
    """Telemetry of a cluster that does not exist, handed to the pipeline."""

    def __init__(self, config: SimulatedConfig) -> None:
        self._config = config
        self._task: asyncio.Task[None] | None = None

    async def start(self, consume: Consume) -> None:
        c = self._config
        origin = time.time_ns() if c.start is None else c.start
        simulation = Simulation(Cluster(c.seed, c.nodes, c.gpus_per_node), c.interval / SECOND, origin)

        async def take(request: OtlpRequest) -> None:
            await _until_taken(lambda: consume(Batch(request=request, arrival=time.time_ns())))

        until = None if c.duration is None else c.duration / SECOND
        self._task = asyncio.create_task(self._run(simulation, take, until))

    async def shutdown(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self, simulation: Simulation, take: Take, until: float | None) -> None:
        while until is None or simulation.second < until:
            stop = simulation.second + _KEPT_S
            await simulation.run(take, self._config.speed, stop if until is None else min(stop, until))
            simulation.cluster.forget(simulation.second - _KEPT_S)
            if until is not None and simulation.second + self._config.interval / SECOND > until:
                return


async def _until_taken(attempt: Callable[[], Awaitable[object]]) -> None:
    """Try until it is taken; what is refused for good is left out, and said."""
    wait = 0.05
    while True:
        try:
            await attempt()
        except TransientError as error:
            await asyncio.sleep(error.retry_after_s or wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)
        except PermanentError as error:
            logger.warning("A simulated request was refused.", extra={"reason": str(error)})
            return
        else:
            return


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
    """Send a simulated cluster's telemetry to an OTLP/gRPC service.

    Args:
        endpoint: host:port.
        duration_s: simulated time, in s; it takes about ``wall_s`` seconds.
        start_ns: Unix ns of the simulated second 0; left out: so that it ends about now.

    Returns:
        What was truly wrong, when and where.

    Raises:
        TransientError: the service refuses for good, or does not answer for a minute.
    """
    origin = time.time_ns() - int(duration_s * SECOND) if start_ns is None else start_ns
    simulation = Simulation(Cluster(seed, nodes, gpus_per_node), interval_s, origin)
    async with aio.insecure_channel(endpoint) as channel:
        calls = {kind: channel.unary_unary(method, None, None) for kind, method in METHODS.items()}

        async def take(request: OtlpRequest) -> None:
            await _call(calls[request.kind], request.body, endpoint)

        await simulation.run(take, duration_s / wall_s, duration_s)
    return simulation.cluster.truth(duration_s, origin)


async def _call(call: Callable[..., Awaitable[object]], body: bytes, endpoint: str) -> None:
    wait, until = 0.05, time.monotonic() + 60
    while True:
        try:
            await call(body, timeout=30, wait_for_ready=True)
        except aio.AioRpcError as error:
            if error.code() not in _RETRIED or time.monotonic() > until:
                raise TransientError(f"{endpoint} does not take telemetry: {error.details()}") from error
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)
        else:
            return
