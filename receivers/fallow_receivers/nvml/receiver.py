"""The receiver: one thread that reads, and a watch over it, so that a call that never returns stops nothing else."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from fallow import semconv
from fallow.batch import OtlpRequest
from fallow.component import Consume, Context
from fallow.delivery import Delivery
from fallow.errors import PermanentError
from fallow.otlp_write import Event, Writer
from fallow.polling import Cadence
from fallow_receivers.nvml.config import NvmlReceiverConfig

if TYPE_CHECKING:  # the vendor's library is loaded at the start
    from fallow_receivers.nvml.collector import Collector, Counts
    from fallow_receivers.nvml.device import Device
    from fallow_receivers.nvml.metrics import Epochs

logger = logging.getLogger(__name__)

SCOPE = "fallow.receivers.nvml"
UNRESPONSIVE = "unresponsive"
GRACE_S = 2.0
"""How long shutdown waits for what is being read, and for what is to be handed over."""
_WATCH_S = 0.5


class NvmlReceiver:
    """Reads the node's GPUs; the driver need not be there yet."""

    def __init__(self, config: NvmlReceiverConfig, context: Context) -> None:
        self._config, self._context = config, context
        resource = {semconv.HOST_NAME: socket.gethostname(), **config.resource}
        self._resource = resource
        self._cadence = Cadence(config.interval, f"{resource[semconv.HOST_NAME]}/{context.id}")
        self._delivery = Delivery(context.meter, {"receiver": context.id}, config.queue_size)
        self._poller: _Poller | None = None
        self._watch: asyncio.Task[None] | None = None
        self._avoid: dict[int, Device | None] = {}
        self._abandoned = 0
        self._said_stuck = False
        self._epochs: Epochs | None = None
        self._counts: Counts | None = None

    async def start(self, consume: Consume) -> None:
        """Begin to read.

        Raises:
            PermanentError: nvidia-ml-py is not installed.
        """
        try:
            from fallow_receivers.nvml.collector import Counts
            from fallow_receivers.nvml.metrics import Epochs
        except ModuleNotFoundError as error:
            if error.name != "pynvml":
                raise
            raise PermanentError(
                f"receiver {self._context.id}: needs nvidia-ml-py: pip install 'fallow[gpu]'"
            ) from None
        self._epochs, self._counts = Epochs(), Counts.of(self._context.meter, self._context.id)
        self._delivery.start(consume)
        self._begin(())
        self._watch = asyncio.create_task(self._watch_over(), name="nvml watch")

    async def shutdown(self) -> None:
        """Read no more, hand over what was read; a call that does not return is not waited for."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            await asyncio.wait([watch])
        poller, self._poller = self._poller, None
        if poller is not None:
            await asyncio.to_thread(poller.stop, GRACE_S)
            await asyncio.sleep(0)  # what it has just offered
        await self._delivery.close(GRACE_S)

    def _begin(self, events: tuple[Event, ...]) -> None:
        from fallow.clients.nvml import Nvml
        from fallow_receivers.nvml.collector import Collector

        assert self._epochs is not None
        assert self._counts is not None
        collector = Collector(
            Nvml(),
            self._config,
            Writer(self._resource, SCOPE),
            self._epochs,
            self._counts,
            avoid=self._avoid,
            may_unload=lambda: self._abandoned == 0,
            events=events,
        )
        self._poller = _Poller(collector, self._cadence, asyncio.get_running_loop(), self._delivery.offer)
        self._poller.start()

    async def _watch_over(self) -> None:
        limit_s = self._config.call_timeout / 1e9
        while True:
            await asyncio.sleep(min(_WATCH_S, limit_s / 2))
            doing = self._poller.collector.doing if self._poller is not None else None
            if doing is None or time.monotonic() - doing[1] < limit_s:
                self._said_stuck = False
            elif doing[0] is not None:
                self._give_up(doing[0])
            elif not self._said_stuck:
                self._said_stuck = True
                logger.error("NVML does not answer; there are no samples until it does.")

    def _give_up(self, index: int) -> None:
        """Leave the thread to the call that does not return, and go on in another without that GPU."""
        from fallow_receivers.nvml import events as say

        stuck = self._poller
        assert stuck is not None
        gpu = self._avoid[index] = stuck.collector.gpu(index)
        self._abandoned += 1
        stuck.abandon(partial(self._returned, index))
        logger.error("A call does not return; its GPU is left out.", extra={"gpu": index})
        now = time.time_ns()
        if gpu is None:
            self._begin((say.silent(index, UNRESPONSIVE, now),))
        else:
            self._begin(tuple(say.lost(device, UNRESPONSIVE, now) for device in (gpu, *gpu.instances)))

    def _returned(self, index: int) -> None:
        self._abandoned -= 1
        self._avoid.pop(index, None)
        logger.info("A call has returned; its GPU is read again.", extra={"gpu": index})


class _Poller:
    """A thread that lets its collector tick at the cadence's instants."""

    def __init__(
        self,
        collector: Collector,
        cadence: Cadence,
        loop: asyncio.AbstractEventLoop,
        offer: Callable[[OtlpRequest], None],
    ) -> None:
        self.collector = collector
        self._cadence, self._loop, self._offer = cadence, loop, offer
        self._stop = threading.Event()
        self._returned: Callable[[], object] | None = None
        # A daemon: nothing can end a thread that is in a call which does not return.
        self._thread = threading.Thread(target=self._run, name="nvml", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        self._stop.set()
        self._thread.join(timeout_s)

    def abandon(self, returned: Callable[[], object]) -> None:
        """Whatever it reads is no longer wanted; ``returned`` is called in the loop when it is through."""
        self._returned = returned
        self.collector.abandoned = True
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(self._cadence.wait_s(time.time_ns())):
            try:
                requests = self.collector.tick(time.time_ns())
            except Exception:  # the thread's guard: the next tick may be well
                if not self.collector.abandoned:
                    logger.exception("A tick failed.")
                continue
            if not self.collector.abandoned:
                for request in requests:
                    self._tell(partial(self._offer, request))
        self.collector.close()
        if self._returned is not None:
            self._tell(self._returned)

    def _tell(self, what: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # a call has returned after the end: the loop is closed
            self._loop.call_soon_threadsafe(what)
