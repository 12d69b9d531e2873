"""The receiver: a thread that reads the probes, a task that hands on what it read."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from fallow.batch import Batch, OtlpRequest
from fallow.component import Consume, Context
from fallow.delivery import log_failure
from fallow.errors import PermanentError, TransientError
from fallow.polling import Cadence
from fallow_receivers.ebpf._node import Node
from fallow_receivers.ebpf.config import EbpfReceiverConfig

logger = logging.getLogger(__name__)

MOST_WAITING: Final = 64  # requests; beyond them the oldest is dropped


class EbpfReceiver:
    """Sends what the kernel sums up about the processes of this node."""

    def __init__(self, config: EbpfReceiverConfig, context: Context) -> None:
        self._config = config
        self._labels = {"receiver": context.id}
        self._cadence = Cadence(config.interval, f"{socket.gethostname()}/{context.id}")
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[OtlpRequest] = deque()
        self._accepted = context.meter.create_counter(
            "fallow_receiver_accepted_requests", unit="{request}", description="Requests that the pipeline took."
        )
        self._refused = context.meter.create_counter(
            "fallow_receiver_refused_requests", unit="{request}", description="Requests that the pipeline refused."
        )
        self._dropped = context.meter.create_counter(
            "fallow_receiver_dropped_requests",
            unit="{request}",
            description="Requests that were given up because too many waited for the pipeline.",
        )
        self._dropping = False

    async def start(self, consume: Consume) -> None:
        """Begin; programs are loaded behind it, which takes from a tenth of a second to some."""
        self._task = asyncio.create_task(self._run(consume), name="ebpf receiver")
        log_failure(self._task, logger, "The probes' readings broke off.")

    async def shutdown(self) -> None:
        """Detach all probes."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self, consume: Consume) -> None:
        loop = asyncio.get_running_loop()
        node = Node(self._config)
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ebpf")
        try:
            await loop.run_in_executor(thread, node.start)
            while True:
                self._waiting.extend(await loop.run_in_executor(thread, node.read))
                while len(self._waiting) > MOST_WAITING:
                    self._drop(self._waiting.popleft())
                while self._waiting and await self._give(consume, self._waiting[0]):
                    self._waiting.popleft()
                await asyncio.sleep(self._cadence.wait_s(time.time_ns()))
        finally:
            # On the thread of the readings, so never in the middle of one.
            thread.submit(node.close)
            thread.shutdown(wait=True)

    def _drop(self, request: OtlpRequest) -> None:
        if not self._dropping:
            logger.warning("The pipeline does not take what is measured; the oldest of it is dropped.")
        self._dropping = True
        self._dropped.add(1, self._labels | {"signal": request.kind})

    async def _give(self, consume: Consume, request: OtlpRequest) -> bool:
        """Whether the pipeline is done with it."""
        labels = self._labels | {"signal": request.kind}
        try:
            await consume(Batch(request=request, arrival=time.time_ns()))
        except PermanentError as error:
            self._refused.add(1, labels)
            logger.warning("The pipeline refused a request.", extra={"signal": request.kind, "error": str(error)})
        except TransientError:
            self._refused.add(1, labels)
            return False
        else:
            self._accepted.add(1, labels)
            self._dropping = False
        return True
