"""The receiver: feeds that watch, one hand that tells what they heard and then notes that it did."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import time
from collections import Counter
from collections.abc import Awaitable
from contextlib import suppress

from fallow import semconv
from fallow.batch import Batch, OtlpRequest
from fallow.clients.kubernetes import Api, Gpus, Kubelet, KubernetesError
from fallow.component import Consume, Context
from fallow.cursor import CursorFile
from fallow.delivery import log_failure, patiently
from fallow.errors import PermanentError, TransientError
from fallow.polling import Cadence
from fallow.units import SECOND
from fallow_receivers.kubernetes.config import KubernetesReceiverConfig, PodResourcesSettings
from fallow_receivers.kubernetes.cursor import Cursor
from fallow_receivers.kubernetes.devices import held
from fallow_receivers.kubernetes.encode import Encoder
from fallow_receivers.kubernetes.feed import Feed, Heard
from fallow_receivers.kubernetes.said import Event
from fallow_receivers.kubernetes.watch import Watch

logger = logging.getLogger(__name__)

AT_ONCE = 64
"""What feeds may have heard and nobody has told yet; then they, and the server, wait."""
LONGEST_UNNOTED_S = 60.0
SHUTDOWN_GRACE_S = 5.0


class KubernetesReceiver:
    """Tells what Kubernetes does; each event once, over restarts of either side."""

    def __init__(self, config: KubernetesReceiverConfig, context: Context) -> None:
        self._config, self._context = config, context
        self._labels = {"receiver": context.id}
        self._file = CursorFile(context.directory / config.cursor, Cursor)
        self._api: Api | None = None
        self._kubelet: Kubelet | None = None
        self._feeds: list[Feed] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._heard: asyncio.Queue[Heard] = asyncio.Queue(AT_ONCE)
        self._cluster = ""
        self._noted = -math.inf
        self._said_full = False
        meter = context.meter
        self._accepted = meter.create_counter(
            "fallow_receiver_accepted_requests", unit="{request}", description="Requests that the pipeline took."
        )
        self._refused = meter.create_counter(
            "fallow_receiver_refused_requests", unit="{request}", description="Requests that the pipeline refused."
        )
        self._events = meter.create_counter(
            "fallow_kubernetes_events", unit="{event}", description="Events told, by name."
        )
        self._reads = meter.create_counter(
            "fallow_kubernetes_reads",
            unit="{read}",
            description="Lists and watches, and looks at the kubelet, by outcome.",
        )
        self._ignored = meter.create_counter(
            "fallow_kubernetes_ignored_objects", unit="{object}", description="Objects beyond max_objects, not told of."
        )

    async def start(self, consume: Consume) -> None:
        """Begin to watch; a server or a kubelet that does not answer yet is waited for.

        Raises:
            PermanentError: there is no way to an API server, or the library is not installed.
            OSError: the cursor cannot be used.
        """
        config = self._config
        self._stopping.clear()
        if config.watch:
            kubeconfig = self._context.directory / config.kubeconfig if config.kubeconfig else None
            timeout_s = config.timeout / SECOND
            try:
                self._api = await asyncio.to_thread(Api, kubeconfig, config.context, timeout_s)
            except PermanentError as error:
                raise PermanentError(f"receiver {self._context.id}: {error}") from error
            cursor = self._file.open()
            self._begin("kubernetes", self._watch(self._api, cursor, consume), "Watching Kubernetes broke off.")
        if config.pod_resources is not None:
            self._kubelet = Kubelet(config.pod_resources.socket, config.timeout / SECOND)
            looks = self._look(self._kubelet, config.pod_resources, consume)
            self._begin("pod resources", looks, "Looking at the kubelet broke off.")

    async def shutdown(self) -> None:
        """Hear no more, tell what was heard, but not for long, and let go of the cursor."""
        self._stopping.set()
        feeds, self._feeds = self._feeds, []
        for feed in feeds:
            feed.stop()
        if self._api is not None:
            await asyncio.to_thread(self._api.close)
            self._api = None
        if self._kubelet is not None:
            await asyncio.to_thread(self._kubelet.close)
            self._kubelet = None
        tasks, self._tasks = self._tasks, []
        if tasks:
            await asyncio.wait(tasks, timeout=SHUTDOWN_GRACE_S)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for feed in feeds:
            await asyncio.to_thread(feed.join, SHUTDOWN_GRACE_S)
        self._file.close()

    def _begin(self, name: str, work: Awaitable[None], broke: str) -> None:
        async def run() -> None:
            await work

        task = asyncio.create_task(run(), name=name)
        log_failure(task, logger, broke)
        self._tasks.append(task)

    # -- the API server ------------------------------------------------------------------------------------------------
    async def _watch(self, api: Api, cursor: Cursor, consume: Consume) -> None:
        cursor = await self._of_this_cluster(api, cursor)
        watch = Watch(self._config, cursor)
        encoder = Encoder(self._resource(), self._config.domain)
        self._listen(api, watch)
        # Metrics of a whole cluster, from one place: nothing to spread.
        due = time.monotonic() + self._config.interval / SECOND
        while not self._stopping.is_set():
            heard = await self._next(due - time.monotonic())
            if heard:
                await self._tell(watch, heard, encoder, consume)
            if time.monotonic() >= due:
                due = max(due + self._config.interval / SECOND, time.monotonic())
                for request in encoder.metrics(watch.points(int(time.time())), time.time_ns()):
                    await self._give(consume, request, patient=False)

    async def _of_this_cluster(self, api: Api, cursor: Cursor) -> Cursor:
        """The cursor, where it is of the cluster that answers; it is waited for."""
        while not self._stopping.is_set():
            try:
                self._cluster = await asyncio.to_thread(api.cluster)
                break
            except KubernetesError as error:
                logger.warning("The API server does not answer; trying again.", extra={"error": str(error)})
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), error.retry_after_s or 5)
        if cursor.cluster and self._cluster and cursor.cluster != self._cluster:
            logger.warning(
                "The cursor is of another cluster; beginning anew.",
                extra={"cursor": cursor.cluster, "cluster": self._cluster},
            )
            return Cursor()
        return cursor

    def _listen(self, api: Api, watch: Watch) -> None:
        loop = asyncio.get_running_loop()
        for kind in self._config.watch if not self._stopping.is_set() else ():
            feed = Feed(
                api,
                kind,
                watch.resource(kind),
                watch.reader(kind),
                lambda heard: _put(loop, self._heard, heard, self._stopping),
                version=watch.versions.get(kind, ""),
                said=lambda kind, what: self._reads.add(1, {**self._labels, "kind": kind, "outcome": what}),
            )
            self._feeds.append(feed)
            feed.start()

    async def _next(self, wait_s: float) -> list[Heard]:
        """All that was heard, after waiting until something was; empty when the time is up or the end has come."""
        if self._heard.empty():
            get, stop = asyncio.create_task(self._heard.get()), asyncio.create_task(self._stopping.wait())
            done, _ = await asyncio.wait({get, stop}, timeout=max(0, wait_s), return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            if get not in done:
                get.cancel()
                return []
            heard = [get.result()]
        else:
            heard = []
        while not self._heard.empty():
            heard.append(self._heard.get_nowait())
        return heard

    async def _tell(self, watch: Watch, heard: list[Heard], encoder: Encoder, consume: Consume) -> None:
        now = int(time.time())
        events = [event for one in heard for event in watch.take(one, now)]
        events.sort(key=lambda event: event.time)
        for request in encoder.events(events):
            await self._give(consume, request, patient=True)
        for name, count in Counter(event.name for event in events).items():
            self._events.add(count, self._labels | {"event": name})
        self._say_full(watch)
        # Only now: what is not noted is told again, with the same log.record.uid.
        await self._note(watch, events)

    async def _note(self, watch: Watch, events: list[Event]) -> None:
        """What was told, on disk; where nothing was, an older note is as good for some time."""
        if not events and time.monotonic() - self._noted < LONGEST_UNNOTED_S:
            return
        cursor = watch.cursor(self._cluster)
        try:
            await asyncio.to_thread(self._file.save, cursor)
            self._noted = time.monotonic()
        except OSError as error:
            logger.error("The cursor cannot be written.", extra={**self._labels, "error": str(error)})

    def _say_full(self, watch: Watch) -> None:
        ignored = watch.work.refused + watch.places.refused
        if not ignored:
            return
        watch.work.refused = watch.places.refused = 0
        self._ignored.add(ignored, self._labels)
        if not self._said_full:
            self._said_full = True
            logger.error("There are more objects than max_objects; the newest are not told of.", extra=self._labels)

    def _resource(self) -> dict[str, str]:
        known = {semconv.CLUSTER_NAME: self._config.cluster, semconv.K8S_CLUSTER_UID: self._cluster}
        return {name: value for name, value in known.items() if value}

    # -- the kubelet ---------------------------------------------------------------------------------------------------
    async def _look(self, kubelet: Kubelet, settings: PodResourcesSettings, consume: Consume) -> None:
        host = settings.host or socket.gethostname()
        cadence = Cadence(settings.interval, f"{host}/{self._context.id}")
        encoder, gpus = Encoder(self._resource(), ""), Gpus(names=tuple(self._config.gpu_resources))
        failing = False
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), cadence.wait_s(time.time_ns()))
                return
            try:
                allocations = await asyncio.to_thread(kubelet.allocations)
            except KubernetesError as error:
                self._reads.add(1, {**self._labels, "kind": "podresources", "outcome": "failure"})
                if not failing and not self._stopping.is_set():
                    failing = True
                    logger.warning("The kubelet cannot be asked; trying again.", extra={"error": str(error)})
                continue
            self._reads.add(1, {**self._labels, "kind": "podresources", "outcome": "success"})
            if failing:
                failing = False
                logger.info("The kubelet can be asked again.", extra=self._labels)
            for request in encoder.metrics(held(allocations, gpus, host), time.time_ns()):
                await self._give(consume, request, patient=False)

    async def _give(self, consume: Consume, request: OtlpRequest, *, patient: bool) -> None:
        """Hand a request on; events until they are taken, measurements once: the next are as good."""
        labels = self._labels | {"signal": request.kind}

        def once() -> Awaitable[bytes]:
            return consume(Batch(request=request, arrival=time.time_ns()))

        try:
            await (patiently(once) if patient else once())
        except TransientError:
            self._refused.add(1, labels)
        except PermanentError as error:
            self._refused.add(1, labels)
            logger.error("The pipeline refused a request.", extra={**labels, "error": str(error)})
        else:
            self._accepted.add(1, labels)


def _put(loop: asyncio.AbstractEventLoop, queue: asyncio.Queue[Heard], heard: Heard, stopping: asyncio.Event) -> bool:
    """From a feed's thread: wait until there is room; False when the end has come."""
    if stopping.is_set():
        return False
    try:
        waiting = asyncio.run_coroutine_threadsafe(queue.put(heard), loop)
    except RuntimeError:  # the loop is closed
        return False
    while not stopping.is_set():
        with suppress(TimeoutError):
            waiting.result(1.0)
            return True
    waiting.cancel()
    return False
