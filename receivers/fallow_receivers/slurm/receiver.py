"""The receiver: looks at Slurm at an interval, hands on what happened, then notes that it did."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from fallow.batch import Batch, OtlpRequest
from fallow.clients.slurm import Cli, Client, Rest, SlurmError
from fallow.component import Consume, Context
from fallow.cursor import CursorFile
from fallow.delivery import log_failure, patiently
from fallow.errors import PermanentError, TransientError
from fallow.units import SECOND
from fallow_receivers.slurm.config import RestSettings, SlurmReceiverConfig
from fallow_receivers.slurm.cursor import Cursor
from fallow_receivers.slurm.encode import Encoder
from fallow_receivers.slurm.watch import Look, Watch

logger = logging.getLogger(__name__)

LONGEST_UNNOTED_S = 60.0
# After a look of t seconds nothing is asked for 19 t, a twentieth of the time at most; but an outage is no reason to be
# blind for long.
REST_FACTOR, LONGEST_STRETCH = 19, 4
SHUTDOWN_GRACE_S = 5.0


class SlurmReceiver:
    """Tells what Slurm does; each event once, over restarts of either side."""

    def __init__(self, config: SlurmReceiverConfig, context: Context) -> None:
        self._config, self._context = config, context
        self._labels = {"receiver": context.id}
        self._file = CursorFile(context.directory / config.cursor, Cursor)
        self._client: Client | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._failing = False
        self._noted = -math.inf
        meter = context.meter
        self._accepted = meter.create_counter(
            "fallow_receiver_accepted_requests", unit="{request}", description="Requests that the pipeline took."
        )
        self._refused = meter.create_counter(
            "fallow_receiver_refused_requests", unit="{request}", description="Requests that the pipeline refused."
        )
        self._events = meter.create_counter("fallow_slurm_events", unit="{event}", description="Events told, by name.")
        self._looks = meter.create_counter(
            "fallow_slurm_looks", unit="{look}", description="Looks at Slurm, by outcome."
        )
        self._duration = meter.create_histogram(
            "fallow_slurm_look_duration", unit="s", description="Time that Slurm took to answer a look."
        )

    async def start(self, consume: Consume) -> None:
        """Begin to look; a controller that does not answer yet is waited for.

        Raises:
            OSError: the cursor cannot be used, or a file that the configuration names cannot be read.
        """
        cursor = self._file.open()
        try:
            self._client = _client(self._config, self._context.directory)
        except OSError:
            self._file.close()
            raise
        watch = Watch(self._config, self._client, cursor, self._context.directory)
        self._stopping.clear()
        self._task = asyncio.create_task(self._run(watch, consume), name="slurm")
        log_failure(self._task, logger, "Watching Slurm broke off.")

    async def shutdown(self) -> None:
        """Finish the look that is going on, but not for long, and let go of the cursor."""
        task, self._task = self._task, None
        client, self._client = self._client, None
        if task is not None:
            self._stopping.set()
            await asyncio.wait([task], timeout=SHUTDOWN_GRACE_S)
            if client is not None:
                client.close()
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        self._file.close()

    async def _run(self, watch: Watch, consume: Consume) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            look = await self._look(watch)
            took = time.monotonic() - began
            self._duration.record(took, self._labels)
            if look is not None:
                await self._tell(look, watch, consume)
            usual = self._config.interval / SECOND
            pause = max(usual - (time.monotonic() - began), min(REST_FACTOR * took, LONGEST_STRETCH * usual), 0)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def _look(self, watch: Watch) -> Look | None:
        try:
            look = await asyncio.to_thread(watch.look, int(time.time()))
        except SlurmError as error:
            self._looks.add(1, self._labels | {"outcome": "failure"})
            if not self._failing and not self._stopping.is_set():
                self._failing = True
                logger.warning("Slurm cannot be read; trying again.", extra={**self._labels, "error": str(error)})
            return None
        self._looks.add(1, self._labels | {"outcome": "success"})
        if self._failing:
            self._failing = False
            logger.info("Slurm can be read again.", extra=self._labels)
        return look

    async def _tell(self, look: Look, watch: Watch, consume: Consume) -> None:
        now, encoder = time.time_ns(), Encoder(watch.cluster, self._config.domain)
        for request in await asyncio.to_thread(lambda: list(encoder.events(look.events, now))):
            await self._give(consume, request, patient=True)
        for name, count in Counter(event.name for event in look.events).items():
            self._events.add(count, self._labels | {"event": name})
        # Only now: what is not noted is told again, with the same log.record.uid.
        watch.told(look)
        await self._note(look)
        for request in await asyncio.to_thread(lambda: list(encoder.metrics(look.points, now))):
            await self._give(consume, request, patient=False)

    async def _note(self, look: Look) -> None:
        """What was told, on disk; where nothing was, an older note is as good for some time."""
        if not look.events and time.monotonic() - self._noted < LONGEST_UNNOTED_S:
            return
        try:
            await asyncio.to_thread(self._file.save, look.cursor)
            self._noted = time.monotonic()
        except OSError as error:
            logger.error("The cursor cannot be written.", extra={**self._labels, "error": str(error)})

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


def _client(config: SlurmReceiverConfig, directory: Path) -> Client:
    timeout_s = config.timeout / SECOND
    if config.rest is None:
        commands = directory / config.commands if config.commands else None
        return Cli(commands=commands, conf=directory / config.conf if config.conf else None, timeout_s=timeout_s)
    rest = config.rest
    return Rest(
        rest.endpoint,
        user=rest.user,
        token=_token(rest, directory),
        version=rest.version,
        ca_file=directory / rest.ca_file if rest.ca_file else None,
        timeout_s=timeout_s,
    )


def _token(rest: RestSettings, directory: Path) -> Callable[[], str]:
    """The token now; a file is read each time, and once here, so that a missing one is found at the start."""
    if rest.token is not None:
        fixed = rest.token.get_secret_value().strip()
        return lambda: fixed
    if rest.token_file is None:
        return lambda: ""
    file = directory / rest.token_file
    file.read_text(encoding="utf-8")
    return lambda: file.read_text(encoding="utf-8").strip()
