"""Samples that wait until what happened at their time can be known."""

from __future__ import annotations

import numpy as np

from fallow.batch import Int32Array, Int64Array, MetricBatch
from fallow.state import State
from fallow.units import SECOND

_COLUMNS = ("series", "time", "value", "stale")


class Waiting:
    """Holds samples by the second, and lets whole seconds go in order of time.

    Time goes on with the clocks of those who send: the newest of all, less the lateness. One clock that is ahead of all
    others does not count.
    """

    def __init__(self, lateness: int, most: int) -> None:
        self._lateness, self._most = lateness, most
        self._seconds: dict[int, list[MetricBatch]] = {}
        self._newest: Int64Array = np.zeros(0, dtype=np.int64)
        self._count = 0
        self.passed = 0
        """Everything up to here was let go."""

    def __len__(self) -> int:
        return self._count

    def add(self, metrics: MetricBatch, clock: Int32Array) -> None:
        """Hold samples; ``clock`` (n,) is the number of whose clock each sample's time is by."""
        self._count += len(metrics)
        top = int(clock.max()) + 1
        if top > len(self._newest):
            grown = np.zeros(max(top, 2 * len(self._newest)), dtype=np.int64)
            grown[: len(self._newest)] = self._newest
            self._newest = grown
        np.maximum.at(self._newest, clock, metrics.time)
        second = metrics.time // SECOND
        first, last = int(second.min()), int(second.max())
        if first == last:
            self._seconds.setdefault(first, []).append(metrics)
            return
        order = np.argsort(second, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(second[order])) + 1):
            self._seconds.setdefault(int(second[rows[0]]), []).append(_rows(metrics, rows))

    def reach(self, now: int = 0) -> MetricBatch | None:
        """What need not wait any longer, event time being ``now`` at least."""
        until = max(_newest(self._newest), now) - self._lateness
        ready = [second for second in self._seconds if (second + 1) * SECOND <= until]
        return self._let_go(ready, until)

    def relieve(self) -> tuple[int, MetricBatch | None]:
        """(how many, which) have to go because too many wait: the oldest."""
        ready: list[int] = []
        left = self._count
        for second in sorted(self._seconds) if left > self._most else ():
            if left <= self._most:
                break
            ready.append(second)
            left -= sum(map(len, self._seconds[second]))
        early = self._count - left
        return early, self._let_go(ready, max(ready, default=-1) * SECOND + SECOND)

    def finish(self) -> MetricBatch | None:
        """All that still waits."""
        return self._let_go(list(self._seconds), self.passed)

    def _let_go(self, seconds: list[int], until: int) -> MetricBatch | None:
        self.passed = max(self.passed, until)
        parts = [part for second in sorted(seconds) for part in self._seconds.pop(second)]
        if not parts:
            return None
        whole = joined(parts)
        self._count -= len(whole)
        return in_order_of_time(whole)

    def series(self) -> Int32Array:
        """The series of which something waits."""
        parts = [part.series for of in self._seconds.values() for part in of]
        return np.unique(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.int32)

    # -- across a restart ----------------------------------------------------------------------------------------------
    def save(self) -> State:
        """All that waits, and how far time has come."""
        parts = [part for second in sorted(self._seconds) for part in self._seconds[second]]
        whole = joined(parts) if parts else MetricBatch.of([], [], [])
        arrays = {name: getattr(whole, name) for name in _COLUMNS}
        return State(version=1, document={"passed": self.passed}, arrays=arrays | {"newest": self._newest.copy()})

    def restore(self, state: State, series: Int32Array) -> None:
        """Hold it again; what is of a series that there is no room for is dropped."""
        self.passed = state.of(1).document["passed"]
        held = MetricBatch(**{name: state.arrays[name] for name in _COLUMNS})
        ids = series[held.series]
        there = np.flatnonzero(ids >= 0)
        if len(there):
            kept = _rows(held, there)
            kept = MetricBatch(series=ids[there], time=kept.time, value=kept.value, stale=kept.stale)
            self.add(kept, np.zeros(len(kept), dtype=np.int32))
        self._newest = state.arrays["newest"].copy()


def _newest(newest: Int64Array) -> int:
    """The newest time of all clocks but one; of two, one may have stopped."""
    count = int(np.count_nonzero(newest))
    if count > 2:
        return int(np.partition(newest, -2)[-2])
    return int(newest.max(initial=0))


def _rows(metrics: MetricBatch, rows: Int64Array) -> MetricBatch:
    return MetricBatch(
        series=metrics.series[rows], time=metrics.time[rows], value=metrics.value[rows], stale=metrics.stale[rows]
    )


def in_order_of_time(metrics: MetricBatch) -> MetricBatch:
    """The samples sorted by time; those of one time stay in the order given."""
    return _rows(metrics, np.argsort(metrics.time, kind="stable"))


def joined(parts: list[MetricBatch]) -> MetricBatch:
    """The samples of all parts, one part after the other."""
    if len(parts) == 1:
        return parts[0]
    return MetricBatch(
        series=np.concatenate([p.series for p in parts]),
        time=np.concatenate([p.time for p in parts]),
        value=np.concatenate([p.value for p in parts]),
        stale=np.concatenate([p.stale for p in parts]),
    )
