"""Processing, apart from the flow: one thread per pipeline behind a bounded queue.

What waits in the queue is taken at once: consecutive requests of one kind become one (protobuf messages that are
joined are one message), so that cost per request falls as load rises and latency stays at the length of one round.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from fallow.batch import Batch, OtlpRequest
from fallow.component import Prepared, Processor, Stateful
from fallow.state import Saved, State
from fallow.telemetry import ServiceMetrics

logger = logging.getLogger(__name__)

MAX_JOINED_BYTES = 4 * 1024 * 1024
MAX_JOINED_REQUESTS = 256
VERSION = 1

_Item = Batch | int | Callable[[], None]


class Chain:
    """Processors in order, guarded: one that raises is counted and left out for that batch, the rest go on.

    Args:
        processors: by component id, in the order in which data meets them.
        failed: called with the component id each time one raises.
    """

    def __init__(self, processors: Mapping[str, Processor], failed: Callable[[str], None] = lambda _: None) -> None:
        self._processors = list(processors.items())
        self._failed = failed

    def prepare(self) -> None:
        """What takes long before the first batch."""
        for _, processor in self._processors:
            if isinstance(processor, Prepared):
                processor.prepare()

    def process(self, batch: Batch) -> Batch:
        """The batch after all processors."""
        return self._from(0, batch)

    def tick(self, now: int) -> list[Batch]:
        """What each processor releases at event time ``now``, carried through those after it."""
        return self._each(lambda processor: processor.tick(now))

    def finish(self) -> list[Batch]:
        """What each processor still holds back, carried through those after it."""
        return self._each(lambda processor: processor.finish())

    def save(self) -> Saved:
        """Take down the state of all processors that have any, by component id."""
        saved: dict[str, Saved] = {}
        for id, processor in self._processors:
            if isinstance(processor, Stateful):
                try:
                    saved[id] = processor.save()
                except Exception:
                    self._failed(id)
                    logger.exception("State could not be taken down.", extra={"processor": id})
        return lambda: State(version=VERSION, parts={id: one() for id, one in saved.items()})

    def replace(self, id: str, processor: Processor) -> None:
        """Let another processor take the place of this one, before the first batch."""
        self._processors = [(known, processor if known == id else p) for known, p in self._processors]

    def _from(self, first: int, batch: Batch) -> Batch:
        for id, processor in self._processors[first:]:
            batch = self._guarded(id, partial(processor.process, batch), batch)
        return batch

    def _each(self, step: Callable[[Processor], Batch]) -> list[Batch]:
        out: list[Batch] = []
        for at, (id, processor) in enumerate(self._processors):
            released = self._guarded(id, partial(step, processor), Batch())
            if released != Batch():
                out.append(self._from(at + 1, released))
        return out

    def _guarded(self, id: str, step: Callable[[], Batch], otherwise: Batch) -> Batch:
        try:
            return step()
        except Exception:  # the service's component guard: a fault in one component never stops the flow
            self._failed(id)
            logger.exception("A processor raised; its work on this batch is lost.", extra={"processor": id})
            return otherwise


class Analysis:
    """The thread that takes batches off the queue, runs the chain, and hands on what came out.

    Args:
        name: of the pipeline, for logs and the thread.
        done: called in the analysis thread with each processed batch, in order.
        queue_size: batches that may wait.
    """

    def __init__(
        self, name: str, chain: Chain, done: Callable[[Batch], None], metrics: ServiceMetrics, queue_size: int
    ) -> None:
        self._name = name
        self._chain = chain
        self._done = done
        self._metrics = metrics
        self._queue: queue.Queue[_Item | None] = queue.Queue(queue_size)
        self._thread = threading.Thread(target=self._run, name=f"analysis-{name}", daemon=True)
        self._newest = 0
        self._newest_at = 0

    def start(self) -> None:
        self._thread.start()

    def offer(self, batch: Batch) -> bool:
        """Put a batch in the queue; False where it is full."""
        try:
            self._queue.put_nowait(batch)
        except queue.Full:
            return False
        return True

    def tick(self) -> None:
        """Let event time go on with the wall clock while nothing arrives; dropped where the queue is full anyway."""
        if self._newest and self._queue.empty():
            self.offer_tick(self._newest + time.monotonic_ns() - self._newest_at)

    def offer_tick(self, now: int) -> None:
        """Tell the chain that event time has reached ``now``."""
        try:
            self._queue.put_nowait(now)
        except queue.Full:
            return

    def between(self, act: Callable[[], None]) -> bool:
        """Let the analysis thread do something between two batches; False where the queue is full."""
        try:
            self._queue.put_nowait(act)
        except queue.Full:
            return False
        return True

    @property
    def newest(self) -> int:
        """The event time that was reached; 0: none."""
        return self._newest

    def resume(self, newest: int) -> None:
        """Let event time go on from there; called before the start."""
        self._newest, self._newest_at = newest, time.monotonic_ns()

    def stop(self, timeout_s: float, *, finish: bool) -> bool:
        """Process what is queued, then end; ``finish`` also releases what processors hold back. False on time-out."""
        if not self._thread.is_alive():
            return True
        self._finish = finish
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            return False
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    _finish = False

    def _run(self) -> None:
        for item in self._rounds():
            if isinstance(item, int):
                for batch in self._chain.tick(item):
                    self._deliver(batch)
            elif isinstance(item, Batch):
                self._process(item)
            else:
                item()
        if self._finish:
            for batch in self._chain.finish():
                self._deliver(batch)

    def _rounds(self) -> Iterator[_Item]:
        while True:
            waiting = [self._queue.get()]
            while len(waiting) < MAX_JOINED_REQUESTS:
                try:
                    waiting.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            ended = None in waiting
            yield from joined([item for item in waiting if item is not None])
            if ended:
                return

    def _process(self, batch: Batch) -> None:
        out = self._chain.process(batch)
        self._count(out)
        self._deliver(out)

    def _deliver(self, batch: Batch) -> None:
        try:
            self._done(batch)
        except Exception:  # the service's component guard
            logger.exception("What processing found could not be handed on.", extra={"pipeline": self._name})

    def _count(self, batch: Batch) -> None:
        attributes = {"pipeline": self._name}
        newest = 0
        if batch.metrics is not None and len(batch.metrics):
            self._metrics.samples.add(len(batch.metrics), attributes)
            newest = int(batch.metrics.time.max())
        if batch.logs is not None and len(batch.logs):
            self._metrics.log_records.add(len(batch.logs), attributes)
            newest = max(newest, int(batch.logs.time.max()))
        for reason, count in batch.dropped.items():
            self._metrics.dropped.add(count, {**attributes, "reason": reason})
        # A source whose clock is ahead must not make time pass for all others.
        newest = min(newest, time.time_ns())
        if newest > self._newest:
            self._newest, self._newest_at = newest, time.monotonic_ns()


def joined(items: Sequence[_Item]) -> Iterator[_Item]:
    """The items with consecutive requests of one kind joined, up to 4 MiB each; all else stays where it is."""
    held: list[Batch] = []
    size = 0
    for item in items:
        fits = (
            isinstance(item, Batch)
            and item.request is not None
            and held
            and held[0].request is not None
            and held[0].request.kind == item.request.kind
            and size + len(item.request.body) <= MAX_JOINED_BYTES
        )
        if not fits and held:
            yield _one(held)
            held, size = [], 0
        if isinstance(item, Batch) and item.request is not None:
            held.append(item)
            size += len(item.request.body)
        else:
            yield item
    if held:
        yield _one(held)


def _one(batches: Sequence[Batch]) -> Batch:
    first = batches[0]
    if len(batches) == 1 or first.request is None:
        return first
    body = b"".join(b.request.body for b in batches if b.request is not None)
    return replace(first, request=OtlpRequest(kind=first.request.kind, body=body))
