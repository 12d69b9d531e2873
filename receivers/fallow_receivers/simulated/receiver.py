"""The receiver: the simulated nodes' requests, on the real clock or a faster one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator

from fallow.batch import Batch, OtlpRequest
from fallow.component import Consume, Context
from fallow.delivery import log_failure, patiently
from fallow.errors import PermanentError
from fallow_receivers.simulated.cluster import Cluster, Truth
from fallow_receivers.simulated.config import SimulatedReceiverConfig, unix_ns
from fallow_receivers.simulated.encode import NodeTelemetry
from fallow_receivers.simulated.truth import TruthFile

logger = logging.getLogger(__name__)


class SimulatedReceiver:
    """Sends what a simulated cluster's agents would; ``origin`` is its second 0 in Unix ns, 0 before the start."""

    def __init__(self, config: SimulatedReceiverConfig, context: Context) -> None:
        self._config = config
        self._truth_path = context.directory / config.truth if config.truth else None
        self._labels = {"receiver": context.id}
        self._cluster = Cluster(config.seed, config.nodes, config.gpus_per_node, config.behaviours)
        self._task: asyncio.Task[None] | None = None
        self._truth: TruthFile | None = None
        self._second = 0.0
        self.origin = 0
        self._accepted = context.meter.create_counter(
            "fallow_receiver_accepted_requests", unit="{request}", description="Requests that the pipeline took."
        )
        self._refused = context.meter.create_counter(
            "fallow_receiver_refused_requests", unit="{request}", description="Requests that the pipeline refused."
        )

    async def start(self, consume: Consume) -> None:
        """Begin to send; raises OSError where the truth cannot be written."""
        self.origin = time.time_ns() if self._config.start == "now" else unix_ns(self._config.start)
        if self._truth_path is not None:
            duration = self._config.duration
            until = None if duration is None else duration // self._config.interval * self._config.interval / 1e9
            self._truth = TruthFile(self._truth_path, self._cluster, self.origin, until)
        self._task = asyncio.create_task(self._run(consume), name="simulated cluster")
        log_failure(self._task, logger, "The simulation broke off.")

    async def shutdown(self) -> None:
        """Stop, in the middle of a step if need be: what a node sends next is simply not sent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        truth, self._truth = self._truth, None
        if truth is not None:
            truth.close()

    async def finished(self) -> None:
        """Wait until the configured duration is over."""
        if self._task is not None:
            await self._task

    def truth(self) -> Truth:
        """What is truly there in what was sent so far; of long runs only jobs of the last steps are remembered."""
        return self._cluster.truth(self._second, self.origin)

    async def _run(self, consume: Consume) -> None:
        nodes = [NodeTelemetry(self._cluster, node, self.origin) for node in range(self._config.nodes)]
        began = time.monotonic()
        for after, second in self._steps():
            await asyncio.sleep(max(0.0, began + second / self._config.speed - time.monotonic()))
            for node in nodes:
                for request in node.requests(after, second):
                    await self._give(consume, request)
            self._second = second
            if self._truth is not None:
                self._truth.tell(second)
            if self._config.duration is None:  # for ever: memory must not grow
                self._cluster.forget(after)
        logger.info("The simulation is over.", extra={"seconds": self._second})

    def _steps(self) -> Iterator[tuple[float, float]]:
        """(the step before, the step), s."""
        interval, duration = self._config.interval, self._config.duration
        at = 0
        while duration is None or at <= duration:
            yield (at - interval) / 1e9, at / 1e9
            at += interval

    async def _give(self, consume: Consume, request: OtlpRequest) -> None:
        labels = self._labels | {"signal": request.kind}
        try:
            await patiently(lambda: consume(Batch(request=request, arrival=time.time_ns())))
        except PermanentError as error:
            self._refused.add(1, labels)
            logger.warning("The pipeline refused a request.", extra={"signal": request.kind, "error": str(error)})
        else:
            self._accepted.add(1, labels)
