"""From the kernel's sums, which end with a process, to series that only grow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from fallow_receivers.ebpf._what import NOTHING, Key, Sum, What
from fallow_receivers.ebpf._who import OTHERS, Who


@dataclass(slots=True)
class Series:
    """One sum of one owner."""

    start: int
    """Unix ns from which it counts."""
    sum: Sum = NOTHING


@dataclass(slots=True)
class Totals:
    """Adds what was new in each reading to whose it is."""

    start: int
    """Unix ns of the reading before, from which new series count."""
    series: dict[tuple[Who, int, int], Series] = field(default_factory=dict[tuple[Who, int, int], Series])
    counted: dict[Who, dict[int, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    """Growth of the hardware counters in the newest reading."""
    _before: dict[Key, Sum] = field(default_factory=dict[Key, Sum])

    def begin(self) -> None:
        """A new reading comes."""
        self.counted.clear()

    def add(self, sums: Mapping[Key, Sum], who: Callable[[Key], Who]) -> None:
        """Take in what a group reads now."""
        before = self._before
        for key, sum in sums.items():
            known = before.get(key)
            if known == sum:
                continue
            before[key] = sum
            self._grow(who(key), key, sum if known is None else sum.since(known))

    def end(self, last: Iterable[tuple[Key, Sum]], who: Callable[[Key], Who]) -> None:
        """Take in the last values of sums that are no more."""
        for key, sum in last:
            self._grow(who(key), key, sum.since(self._before.pop(key, NOTHING)))

    def forget(self, pids: set[int]) -> None:
        """Drop the series of processes that have gone and were reported for the last time."""
        for place in [p for p in self.series if p[0].pid in pids]:
            del self.series[place]
        for key in [k for k in self._before if k.tgid in pids]:
            del self._before[key]

    def _grow(self, who: Who, key: Key, by: Sum) -> None:
        place = who, key.what, key.detail
        series = self.series.get(place)
        if series is None:
            series = self.series[place] = Series(start=self.start)
        series.sum = series.sum.plus(by)
        if key.what == What.COUNTER and who is not OTHERS:
            self.counted[who][key.detail] += by.amount
