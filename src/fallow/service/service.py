"""The service: builds components from a configuration, starts them, and drains them in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
import uuid
from collections.abc import Callable, Generator, Mapping
from typing import Any

from opentelemetry.metrics import Meter, NoOpMeter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

import fallow
from fallow.batch import Batch
from fallow.component import Consume, Context, Exporter, Forwarder, Processor, Receiver, Stateful
from fallow.config import ComponentSettings, Config, Pipeline, TelemetrySettings
from fallow.delivered import Delivered
from fallow.errors import PermanentError, StateError, TransientError
from fallow.ledger import Ledger
from fallow.malloc import tune
from fallow.series import SeriesTable
from fallow.service.analysis import Analysis, Chain
from fallow.service.health import Health
from fallow.service.keeper import Keeper
from fallow.service.snapshots import Snapshots
from fallow.state import Past, Saved, State
from fallow.telemetry import ServiceMetrics

logger = logging.getLogger(__name__)

TICK_S = 1.0


class Service:
    """A configuration, ready to run.

    Args:
        config: as ``load_config`` gives it.
        observe: called in the analysis thread with every processed batch (the demo's live table).

    Raises:
        DocumentError: a component found its rules, playbook or tables wrong.
    """

    def __init__(self, config: Config, observe: Callable[[Batch], None] | None = None) -> None:
        self._settings = config.service
        self._observe = observe
        self.resource = {
            "service.name": "fallow",
            "service.version": fallow.__version__,
            "service.instance.id": str(uuid.uuid4()),
            **config.service.telemetry.resource,
        }
        self._provider = _meter_provider(config.service.telemetry, self.resource)
        meter: Meter = self._provider.get_meter("fallow") if self._provider else NoOpMeter("fallow")
        self.metrics = ServiceMetrics(meter)
        ledger = config.service.ledger
        self.ledger = Ledger(
            _beside(ledger.url, config), max_recommendations=ledger.max_recommendations, max_changes=ledger.max_changes
        )
        self.series = SeriesTable(config.service.max_series)
        self.delivered = Delivered(self.series)

        def build(id: str, settings: ComponentSettings) -> Any:
            context = Context(
                id=id,
                series=self.series,
                ledger=self.ledger,
                meter=meter,
                directory=config.path.parent,
                telemetry_resource=self.resource,
            )
            return settings.factory.build(settings.config, context)

        used = _used(config.service.pipelines)
        self.receivers: dict[str, Receiver] = {i: build(i, config.receivers[i]) for i in used["receivers"]}
        self.exporters: dict[str, Exporter | Forwarder] = {i: build(i, config.exporters[i]) for i in used["exporters"]}
        self._pipelines = [
            self._pipeline(name, p, lambda i: build(i, config.processors[i]))
            for name, p in config.service.pipelines.items()
        ]
        self._keeper: Keeper | None = None
        if (kept := config.service.snapshot) is not None:
            snapshots = Snapshots(config.path.parent / kept.directory, kept.keep)
            self._keeper = Keeper(snapshots, kept.interval, self._pipelines, self.series, self.metrics)
        health = config.service.telemetry.health
        self.health = Health(health.endpoint, lambda: self._serving, self.delivered.document) if health else None
        self._serving = False
        self._ticker: asyncio.Task[None] | None = None
        self._started: list[Receiver | Exporter | Forwarder | Health] = []

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Serve until cancelled or told to stop by SIGTERM or SIGINT; drains first.

        Raises:
            OSError: an address cannot be had.
        """
        stop = asyncio.Event()
        with _signals(stop.set):
            try:
                await self.start()
                started()
                await stop.wait()
            finally:
                await self.shutdown()

    async def start(self) -> None:
        """Exporters first, receivers last, so that nothing arrives before it can be dealt with."""
        tune()
        for component in (*([self.health] if self.health else []), *self.exporters.values()):
            await component.start()
            self._started.append(component)
        for pipeline in self._pipelines:
            await asyncio.to_thread(pipeline.prepare)
        if self._keeper is not None:
            await asyncio.to_thread(self._keeper.restore)
        for pipeline in self._pipelines:
            pipeline.start(asyncio.get_running_loop())
        for id, receiver in self.receivers.items():
            await receiver.start(self._consume(id))
            self._started.append(receiver)
        self._ticker = asyncio.create_task(self._tick())
        if self._keeper is not None:
            self._keeper.start()
        self._serving = True
        logger.info("Serving.", extra={"receivers": list(self.receivers), "exporters": list(self.exporters)})

    async def shutdown(self, *, finish: bool = False) -> None:
        """Stop receivers, process what is queued, then stop exporters; safe to call twice.

        Where snapshots are configured a last one is taken, from which the next start goes on as if nothing had been.

        Args:
            finish: release what processors hold back instead, as at the end of a recording.
        """
        self._serving = False
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        timeout_s = self._settings.drain_timeout / 1e9
        receivers = [c for c in self._started if c in self.receivers.values()]
        for receiver in receivers:
            await self._stopped(receiver)
        ended = not finish
        for pipeline in self._pipelines:
            if not await asyncio.to_thread(pipeline.stop, timeout_s, finish):
                ended = False
                logger.error(
                    "Analysis did not end in time; what was queued is lost to it.", extra={"pipeline": pipeline.name}
                )
        if self._keeper is not None:
            await self._keeper.stop(ended=ended)
        for component in reversed([c for c in self._started if c not in receivers]):
            await self._stopped(component)
        self._started.clear()
        self.ledger.close()
        if self._provider is not None:
            await asyncio.to_thread(self._provider.shutdown)
            self._provider = None

    async def _stopped(self, component: Receiver | Exporter | Forwarder | Health) -> None:
        try:
            await component.shutdown()
        except Exception:  # the service's component guard: the others still get to drain
            logger.exception("A component raised while shutting down.", extra={"component": type(component).__name__})

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for pipeline in self._pipelines:
                pipeline.tick()

    def _consume(self, receiver: str) -> Consume:
        fed = [p for p in self._pipelines if receiver in p.receivers]

        async def consume(batch: Batch) -> bytes:
            response = b""
            for pipeline in fed:
                response = await pipeline.consume(batch) or response
            return response

        return consume

    def _pipeline(self, name: str, pipeline: Pipeline, build: Callable[[str], Processor]) -> _Running:
        exporters = {id: self.exporters[id] for id in pipeline.exporters}
        return _Running(name, pipeline.receivers, pipeline.processors, build, exporters, self)

    def record(self, batch: Batch) -> None:
        """Commit what processing found, and take note of what was delivered; called in an analysis thread."""
        self.delivered.observe(batch.metrics, batch.logs)
        if batch.detections or batch.recommendations:
            for change in self.ledger.record(batch.detections, batch.recommendations):
                if change.detection is not None:
                    found = change.detection
                    self.metrics.detections.add(1, {"fallow.rule": found.rule, "fallow.state": found.state})
                elif change.recommendation is not None:
                    self.metrics.recommendations.add(1, {"fallow.rule": change.recommendation.rule})
            if batch.arrival:
                self.metrics.latency.record((time.time_ns() - batch.arrival) / 1e9)
        if self._observe is not None:
            self._observe(batch)

    @property
    def queue_size(self) -> int:
        """Batches that may wait for analysis, per pipeline."""
        return self._settings.queue_size


class _Running:
    """One pipeline at work."""

    def __init__(
        self,
        name: str,
        receivers: tuple[str, ...],
        processors: tuple[str, ...],
        build: Callable[[str], Processor],
        exporters: Mapping[str, Exporter | Forwarder],
        service: Service,
    ) -> None:
        self.name = name
        self.receivers = receivers
        self._service = service
        self._forwarders = [e for e in exporters.values() if isinstance(e, Forwarder)]
        self._exporters = {i: e for i, e in exporters.items() if isinstance(e, Exporter)}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._analysis: Analysis | None = None
        self._build = build
        self._processors = {id: build(id) for id in processors}
        self._chain = Chain(self._processors, lambda id: service.metrics.errors.add(1, {"component": id}))
        if processors:
            self._analysis = Analysis(name, self._chain, self._done, service.metrics, service.queue_size)

    def prepare(self) -> None:
        self._chain.prepare()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        if self._analysis is not None:
            self._analysis.start()

    # -- what the keeper asks ------------------------------------------------------------------------------------------
    @property
    def newest(self) -> int:
        return self._analysis.newest if self._analysis is not None else 0

    async def save(self) -> Saved | None:
        if self._analysis is None:
            return self.saved_at_the_end()
        loop = asyncio.get_running_loop()
        saved: asyncio.Future[Saved] = loop.create_future()

        def take_down() -> None:
            loop.call_soon_threadsafe(_settle, saved, self.saved_at_the_end())

        return await saved if self._analysis.between(take_down) else None

    def saved_at_the_end(self) -> Saved:
        began = time.perf_counter()
        found = self._chain.save()
        self._service.metrics.snapshot_pause.record(time.perf_counter() - began, {"pipeline": self.name})
        return found

    def restore(self, state: State, past: Past, newest: int) -> dict[str, Mapping[str, int]]:
        taken_up: dict[str, Mapping[str, int]] = {}
        for id, processor in self._processors.items():
            part = state.parts.get(id)
            if part is None or not isinstance(processor, Stateful):
                continue
            try:
                taken_up[id] = processor.restore(part, past)
            except Exception as error:  # the service's component guard
                known = isinstance(error, StateError)
                fields = {"processor": id, "reason": str(error) if known else repr(error)}
                logger.warning("A processor begins anew.", extra=fields, exc_info=not known)
                self._chain.replace(id, self._build(id))
        if self._analysis is not None and newest:
            self._analysis.resume(newest)
        return taken_up

    def stop(self, timeout_s: float, finish: bool) -> bool:
        return self._analysis is None or self._analysis.stop(timeout_s, finish=finish)

    def tick(self) -> None:
        if self._analysis is not None:
            self._analysis.tick()

    async def consume(self, batch: Batch) -> bytes:
        """Pass the request on; only when the downstream has it, analyse it (a sender that is refused sends again)."""
        request, response = batch.request, b""
        if request is not None:
            for forwarder in self._forwarders:
                response = await forwarder.forward(request) or response
        if (
            self._analysis is not None
            and (request is None or request.kind != "traces")
            and not self._analysis.offer(batch)
        ):
            if not self._forwarders:
                raise TransientError("the analysis queue is full", retry_after_s=1.0)
            self._service.metrics.skipped.add(1, {"pipeline": self.name})
        return response

    def _done(self, batch: Batch) -> None:
        self._service.record(batch)
        if self._exporters and self._loop is not None and self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self._export(batch), self._loop).result()

    async def _export(self, batch: Batch) -> None:
        for id, exporter in self._exporters.items():
            try:
                await exporter.export(batch)
            except (PermanentError, TransientError) as error:
                self._service.metrics.errors.add(1, {"component": id})
                logger.warning("An exporter could not take a batch.", extra={"exporter": id, "error": str(error)})


def _settle(future: asyncio.Future[Saved], found: Saved) -> None:
    if not future.done():
        future.set_result(found)


def _used(pipelines: Mapping[str, Pipeline]) -> dict[str, list[str]]:
    """Ids of the receivers and exporters that some pipeline names, each once."""
    return {
        "receivers": list(dict.fromkeys(i for p in pipelines.values() for i in p.receivers)),
        "exporters": list(dict.fromkeys(i for p in pipelines.values() for i in p.exporters)),
    }


def _beside(url: str, config: Config) -> str:
    """A relative SQLite path starts at the configuration's folder."""
    prefix = "sqlite:///"
    if not url.startswith(prefix) or url.startswith("sqlite:////"):
        return url
    return prefix + str((config.path.parent / url.removeprefix(prefix)).resolve())


def _meter_provider(settings: TelemetrySettings, resource: Mapping[str, str]) -> MeterProvider | None:
    if not settings.metrics.endpoint:
        return None
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

    exporter = OTLPMetricExporter(endpoint=settings.metrics.endpoint, insecure=True)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=settings.metrics.interval / 1e6)
    return MeterProvider([reader], Resource.create(dict(resource)))


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Generator[None]:
    loop = asyncio.get_running_loop()
    handled = (signal.SIGTERM, signal.SIGINT)
    for number in handled:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
