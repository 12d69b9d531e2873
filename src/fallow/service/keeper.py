"""Takes snapshots of pipelines while they run, and puts the newest back before they start."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Protocol

from fallow.errors import StateError
from fallow.series import SeriesTable
from fallow.service.snapshots import Snapshot, Snapshots
from fallow.state import Past, Saved, State
from fallow.telemetry import ServiceMetrics

logger = logging.getLogger(__name__)

VERSION = 1
BUSY_S = 1.0
"""A pipeline whose queue is full is asked again after this."""


class Kept(Protocol):
    """A pipeline, as far as its state is concerned."""

    @property
    def name(self) -> str: ...

    @property
    def newest(self) -> int:
        """The event time that was reached; 0: none."""
        ...

    async def save(self) -> Saved | None:
        """Its state between two batches; None where it is too busy."""
        ...

    def saved_at_the_end(self) -> Saved:
        """Its state when it has stopped."""
        ...

    def restore(self, state: State, past: Past, newest: int) -> Mapping[str, Mapping[str, int]]:
        """Go on from there; returns what each processor took up."""
        ...


class Keeper:
    """Keeps the state of some pipelines, and of the series table that they share, on disk.

    Args:
        interval_ns: from one snapshot to the next.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        interval_ns: int,
        pipelines: Iterable[Kept],
        series: SeriesTable,
        metrics: ServiceMetrics,
    ) -> None:
        self._snapshots = snapshots
        self._interval_s = interval_ns / 1e9
        self._pipelines = list(pipelines)
        self._series = series
        self._metrics = metrics
        self._task: asyncio.Task[None] | None = None
        self._restored = False

    def restore(self) -> None:
        """Put back the newest snapshot that can be used; called before the pipelines start."""
        self._restored = True
        found = self._snapshots.newest()
        if found is None:
            logger.info("There is no snapshot to go on from; rules begin anew.")
            return
        gap = found.gap(time.time_ns())
        try:
            series = self._series.restore(found.state.of(VERSION).parts["series"])
        except (StateError, LookupError) as error:
            logger.warning("The series of a snapshot cannot be used; rules begin anew.", extra={"reason": str(error)})
            return
        taken_up: dict[str, Mapping[str, Mapping[str, int]]] = {}
        for pipeline in self._pipelines:
            state = found.state.parts.get(f"pipeline {pipeline.name}")
            if state is not None:
                past = Past(series=series, gap=gap)
                taken_up[pipeline.name] = pipeline.restore(state, past, found.newest)
        logger.info(
            "Went on from a snapshot.",
            extra={
                "age_s": round((time.time_ns() - found.taken) / 1e9, 1),
                "lost_s": round(gap.span / 1e9, 1) if gap else 0,
                "series": len(series),
                "pipelines": taken_up,
                "begin_anew": [p.name for p in self._pipelines if p.name not in taken_up],
            },
        )

    def start(self) -> None:
        """Take one every interval from now on."""
        self._task = asyncio.create_task(self._run())

    async def stop(self, *, ended: bool) -> None:
        """No more of them; ``ended``: the pipelines have processed all they got, and a last one is taken."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if ended and self._restored:
            self._restored = False
            await asyncio.to_thread(self._last)

    def _last(self) -> None:
        self._write(time.time_ns(), [p.saved_at_the_end() for p in self._pipelines], graceful=True)

    async def _run(self) -> None:
        wait_s = self._interval_s
        while True:
            await asyncio.sleep(wait_s)
            taken = time.time_ns()
            saved = [await pipeline.save() for pipeline in self._pipelines]
            whole = [one for one in saved if one is not None]
            wait_s = self._interval_s if len(whole) == len(saved) else min(BUSY_S, self._interval_s)
            if len(whole) == len(saved):
                await asyncio.to_thread(self._write, taken, whole)

    def _write(self, taken: int, saved: list[Saved], *, graceful: bool = False) -> None:
        newest = max((pipeline.newest for pipeline in self._pipelines), default=0)
        try:
            parts = {f"pipeline {p.name}": one() for p, one in zip(self._pipelines, saved, strict=True)}
            parts["series"] = self._series.save()()  # ids only grow: what the others name is there
            state = State(version=VERSION, parts=parts)
            size = self._snapshots.write(Snapshot(taken=taken, newest=newest, graceful=graceful, state=state))
        except Exception as error:  # the service's component guard: it goes on without
            self._metrics.snapshot_failures.add(1)
            unexpected = not isinstance(error, OSError)
            fields = {"error": str(error)}
            logger.warning("A snapshot could not be written; the one before stays.", extra=fields, exc_info=unexpected)
            return
        self._metrics.snapshot_size.set(size)
        self._metrics.snapshot_duration.record((time.time_ns() - taken) / 1e9)
        self._metrics.snapshot_taken = taken
