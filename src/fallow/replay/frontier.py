"""What keeping fewer GPUs warm would save, and what it would cost: a frontier of policies over a recording.

Time is cut into steps of the recording's own cadence. Of each GPU it is known at each step whether it was there and
whether it worked. A policy says which GPUs are kept at each step, from the steps before alone:

- *time-out*: each GPU by itself is given back after it was idle for so long, and started again when it is wanted;
- *learned*: it is given back once it is more likely than not to stay idle for ten minutes (the processor ``rhythm``);
- *keep warm*: of the GPUs of the recording, taken as interchangeable, as many are kept as worked at most of late,
  times a margin, plus a reserve;
- *oracle*: exactly those that work. No policy saves more.

The span without work at the end of a GPU's recording is left out, of what is saved and of what was there: nobody knows
what came after. Intervals are normal bootstrap intervals of 95 % over GPUs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fallow.batch import MetricBatch
from fallow.replay.accounting import gpu_of
from fallow.semconv import GPU_IDLE_PERSISTENCE_PEAK, GPU_UTILIZATION
from fallow.series import SeriesTable
from fallow.units import SECOND

BUSY = 0.05
LIKELY = 0.5
TIME_OUTS_MIN = (5, 10, 15, 30, 60)
KEEP_WARM = ((15, 1.25, 2), (15, 1.5, 4), (30, 1.25, 0), (30, 1.25, 2), (60, 1.25, 2))
"""Minutes looked back, margin, reserve."""
MOST_CELLS = 200_000_000
SAMPLES = 200
_UNSEEN, _OTHER = -2, -1

Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]
_Part = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]
Interval = tuple[float, float, float]
"""(value, low, high)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One policy: what it saves and what it costs, each with its interval."""

    kind: str
    policy: str
    saved: Interval
    """Share of the GPU-time that was there."""
    hours: float
    """GPU-hours saved."""
    starts: Interval
    """Cold starts a GPU-hour saved."""
    short: Interval
    """Share of steps in which a GPU that is wanted has to be started first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """(steps, gpus) whether a GPU was there, whether it worked, and whether its idleness was said to be likely to last."""

    there: Flags
    busy: Flags
    likely: Flags
    step_s: float
    """How long a step is."""


class Activity:
    """Takes the samples of a replay, and makes of them when each GPU was there and worked."""

    def __init__(self, series: SeriesTable) -> None:
        self._series = series
        self._rows = np.full(0, _UNSEEN, dtype=np.int64)
        self._gpus: dict[tuple[str, ...], int] = {}
        self._outlooks = np.full(0, _UNSEEN, dtype=np.int64)
        self._parts: list[_Part] = []
        self._likely: list[_Part] = []

    def observe(self, metrics: MetricBatch) -> None:
        """Take note of samples."""
        if not len(metrics):
            return
        self._rows = self._known(self._rows, GPU_UTILIZATION, metrics.series)
        self._outlooks = self._known(self._outlooks, GPU_IDLE_PERSISTENCE_PEAK, metrics.series)
        for rows, parts, least in ((self._rows, self._parts, BUSY), (self._outlooks, self._likely, LIKELY)):
            row = rows[metrics.series]
            kept = (row >= 0) & ~metrics.stale
            if kept.any():
                parts.append((row[kept], metrics.time[kept], metrics.value[kept] >= least))

    def _known(self, rows: NDArray[np.int64], name: str, series: NDArray[np.int32]) -> NDArray[np.int64]:
        """By series id the GPU, for series of a signal."""
        top = int(series.max()) + 1
        if top > len(rows):
            rows = np.append(rows, np.full(2 * top - len(rows), _UNSEEN))
        for one in np.unique(series[rows[series] == _UNSEEN]).tolist():
            key = self._series.key(one)
            gpu = gpu_of(key.labels) if key.name == name else None
            rows[one] = _OTHER if gpu is None else self._gpus.setdefault(gpu, len(self._gpus))
        return rows

    def grid(self) -> Grid:
        """What the samples come to.

        Raises:
            ValueError: there is nothing to look at, or more than fits into memory.
        """
        if not self._parts:
            raise ValueError("no samples of hw.gpu.utilization")
        row, time, works = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        order = np.lexsort((time, row))
        row, time, works = row[order], time[order], works[order]
        gaps = np.diff(time)[row[1:] == row[:-1]]
        gaps = gaps[gaps > 0]
        if not len(gaps):
            raise ValueError("a single sample of each GPU: there is no time to look at")
        step = max(int(np.median(gaps)), 15 * SECOND)
        at = (time - time.min() + step // 2) // step
        shape = int(at.max()) + 1, len(self._gpus)
        if shape[0] * shape[1] > MOST_CELLS:
            raise ValueError(f"{shape[1]:,} GPUs over {shape[0]:,} steps are more than {MOST_CELLS:,} cells")
        there, busy = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
        there[at, row] = True
        busy[at[works], row[works]] = True
        _bridge(there, 300 * SECOND // step)
        # What is idle to the end is not known to be waste.
        last = np.where(busy.any(axis=0), shape[0] - 1 - np.argmax(busy[::-1], axis=0), -1)
        there &= np.arange(shape[0])[:, None] <= last
        likely = np.zeros(shape, dtype=np.bool_)
        for gpu, when, yes in self._likely:
            likely[np.clip((when[yes] - time.min() + step // 2) // step, 0, shape[0] - 1), gpu[yes]] = True
        return Grid(there=there, busy=busy & there, likely=likely, step_s=step / SECOND)


def frontier(grid: Grid, seed: int = 0) -> list[Point]:
    """Every policy over a recording."""
    there, busy, step_s = grid.there, grid.busy, grid.step_s
    rng = np.random.default_rng(seed)
    gpus = there.shape[1]
    # (gpus, samples) how often each sample has each GPU; the first is the recording itself.
    weight = np.ones((gpus, 1 + SAMPLES), dtype=np.float32)
    weight[:, 1:] = rng.multinomial(gpus, np.full(gpus, 1 / gpus), SAMPLES).T
    was, active = _counted(there, weight), _counted(busy, weight)
    points: list[Point] = []
    by_gpu = [
        ("time-out", f"{minutes} min", time_out(there, busy, max(1, round(minutes * 60 / step_s))))
        for minutes in TIME_OUTS_MIN
    ]
    if grid.likely.any():
        by_gpu.append(("learned", "likely to stay idle", _from(there, busy, grid.likely)))
    for kind, name, given in by_gpu:
        starts = _counted(_started(given, busy), weight)
        saved, short = _counted(given, weight).sum(axis=0), (starts > 0).mean(axis=0)
        points.append(_point(kind, name, step_s, was, saved, starts.sum(axis=0), short))
    for minutes, margin, reserve in (*KEEP_WARM, (0, 1.0, 0)):
        kept = keep_warm(active, was, round(minutes * 60 / step_s), margin, reserve)
        warm = np.maximum(kept, active)
        # GPUs that come with their owner are not started by a policy.
        starts = np.maximum(0, np.diff(warm, axis=0) - np.maximum(0, np.diff(was, axis=0))).sum(axis=0)
        kind, name = (
            ("keep warm", f"most of {minutes} min × {margin:g} + {reserve}") if minutes else ("oracle", "what works")
        )
        points.append(_point(kind, name, step_s, was, (was - warm).sum(axis=0), starts, (active > kept).mean(axis=0)))
    return points


def time_out(there: Flags, busy: Flags, steps: int) -> Flags:
    """(steps, gpus) whether a GPU is given back, having been idle for so many steps."""
    given = np.zeros_like(there)
    idle = np.zeros(there.shape[1], dtype=np.int64)
    for at in range(len(there)):
        given[at] = there[at] & ~busy[at] & (idle >= steps)
        idle = np.where(there[at] & ~busy[at], idle + 1, 0)
    return given


def _from(there: Flags, busy: Flags, decided: Flags) -> Flags:
    """Whether a GPU is given back: from the step after a decision until it works or goes."""
    given = np.zeros_like(there)
    for at in range(1, len(there)):
        given[at] = (given[at - 1] | decided[at - 1]) & there[at] & ~busy[at]
    return given


def _started(given: Flags, busy: Flags) -> Flags:
    """Whether a GPU that was given back has to start."""
    started = np.zeros_like(given)
    started[1:] = given[:-1] & busy[1:]
    return started


def keep_warm(active: Counts, there: Counts, back: int, margin: float, reserve: int) -> Counts:
    """(steps, samples) how many GPUs are kept, from what worked in the ``back`` steps before; 0: what works now."""
    if not back:
        return active
    padded = np.concatenate([np.repeat(active[:1], back, axis=0), active])[: len(active) + back - 1]
    most = np.lib.stride_tricks.sliding_window_view(padded, back, axis=0).max(axis=-1)
    kept: Counts = np.minimum(np.ceil(most * margin).astype(np.int64) + reserve, there)
    return kept


def _counted(flags: Flags, weight: NDArray[np.float32]) -> Counts:
    counted: Counts = np.rint(flags.astype(np.float32) @ weight).astype(np.int64)
    return counted


def _point(
    kind: str,
    policy: str,
    step_s: float,
    was: Counts,
    saved: Counts,
    starts: Counts,
    short: NDArray[np.float64],
) -> Point:
    hours = saved * (step_s / 3600)
    return Point(
        kind=kind,
        policy=policy,
        saved=_interval(saved / np.maximum(was.sum(axis=0), 1)),
        hours=float(hours[0]),
        starts=_interval(starts / np.maximum(hours, 1e-9)),
        short=_interval(short),
    )


def _interval(values: NDArray[np.float64]) -> Interval:
    """The value, and 1.96 standard deviations of its bootstrap samples to both sides.

    Not their quantiles: samples repeat GPUs, which shifts what is no sum over GPUs.
    """
    value, spread = float(values[0]), 1.96 * float(values[1:].std())
    return value, max(0.0, value - spread), value + spread


def _bridge(there: Flags, most: int) -> None:
    """A GPU is there over gaps of so many steps."""
    seen = np.full(there.shape[1], -(10**9))
    for at in range(len(there)):
        for gpu in np.flatnonzero(there[at] & (at - seen > 1) & (at - seen <= most)).tolist():
            there[seen[gpu] + 1 : at, gpu] = True
        seen = np.where(there[at], at, seen)
