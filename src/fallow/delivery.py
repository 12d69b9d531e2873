"""The way from a receiver that makes its own telemetry into the pipeline: bounded, patient, in order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping

from opentelemetry.metrics import Meter

from fallow.batch import Batch, OtlpRequest
from fallow.component import Consume
from fallow.errors import PermanentError, TransientError

logger = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0


async def patiently(send: Callable[[], Awaitable[bytes]], limit_s: float | None = None) -> bytes:
    """What ``send`` gives, however often it has to be tried.

    Raises:
        TransientError: it failed for longer than ``limit_s``.
        PermanentError: as ``send`` raised it.
    """
    pause, began = FIRST_PAUSE_S, time.monotonic()
    while True:
        try:
            return await send()
        except TransientError as error:
            wait = pause if error.retry_after_s is None else error.retry_after_s
            if limit_s is not None and time.monotonic() + wait - began > limit_s:
                raise
        await asyncio.sleep(wait)
        pause = min(2 * pause, LONGEST_PAUSE_S)


def log_failure(task: asyncio.Task[None], to: logging.Logger, message: str) -> None:
    """Let a task that a receiver lives by say why it ended, where an error ended it."""

    def say(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            to.error(message, exc_info=error)

    task.add_done_callback(say)


class Delivery:
    """Hands requests to the pipeline one after the other, each until it is taken.

    Where the pipeline takes nothing for long, the oldest metrics are dropped first, and logs (events) only when no
    metrics are left to drop; both are counted.

    Args:
        capacity: requests that may wait.
        labels: attributes of the own metrics.
    """

    def __init__(self, meter: Meter, labels: Mapping[str, str], capacity: int) -> None:
        self._labels, self._capacity = labels, capacity
        self._waiting: deque[OtlpRequest] = deque()
        self._filled = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._dropping = False
        self._accepted = meter.create_counter(
            "fallow_receiver_accepted_requests", unit="{request}", description="Requests that the pipeline took."
        )
        self._refused = meter.create_counter(
            "fallow_receiver_refused_requests", unit="{request}", description="Requests that the pipeline refused."
        )
        self._dropped = meter.create_counter(
            "fallow_receiver_dropped_requests",
            unit="{request}",
            description="Requests dropped unsent because the pipeline took nothing for too long.",
        )

    def start(self, consume: Consume) -> None:
        """Begin to hand over; needs a running loop."""
        self._task = asyncio.create_task(self._run(consume), name="delivery")

    def offer(self, request: OtlpRequest) -> None:
        """Queue a request; called in the loop's thread."""
        self._waiting.append(request)
        if len(self._waiting) > self._capacity:
            self._drop()
        self._filled.set()

    async def close(self, timeout_s: float) -> None:
        """Hand over what waits, for no longer than this; safe without a start, safe twice."""
        task, self._task = self._task, None
        if task is None:
            return
        end = time.monotonic() + timeout_s
        while (self._waiting or self._filled.is_set()) and not task.done() and time.monotonic() < end:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        if self._waiting:
            logger.warning("Requests were not handed over before the end.", extra={"requests": len(self._waiting)})

    def _drop(self) -> None:
        victim = next((r for r in self._waiting if r.kind == "metrics"), self._waiting[0])
        self._waiting.remove(victim)
        self._dropped.add(1, {**self._labels, "signal": victim.kind})
        if not self._dropping:
            self._dropping = True
            logger.error("The pipeline takes nothing; the oldest requests are dropped.", extra=dict(self._labels))

    async def _run(self, consume: Consume) -> None:
        while True:
            await self._filled.wait()
            while self._waiting:
                request = self._waiting.popleft()
                try:
                    await self._give(consume, request)
                except asyncio.CancelledError:
                    self._waiting.appendleft(request)
                    raise
            self._filled.clear()
            self._dropping = False

    async def _give(self, consume: Consume, request: OtlpRequest) -> None:
        labels = {**self._labels, "signal": request.kind}
        try:
            await patiently(lambda: consume(Batch(request=request, arrival=time.time_ns())))
        except PermanentError as error:
            self._refused.add(1, labels)
            logger.warning("The pipeline refused a request.", extra={**labels, "error": str(error)})
        else:
            self._accepted.add(1, labels)
