"""Order of time: what waits to be seen, what waits to be decided, and how far the sources have come."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator, KeysView
from typing import Generic, TypeVar

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

Rank = tuple[int, tuple[str, ...], bool]
"""What decides between events of one time: the number of the item, whose it is, whether it is unknown."""

NEVER = -(1 << 62)
FOREVER = 1 << 62
SOURCES = 1 << 16
"""Sources remembered; beyond this those longest unheard of are forgotten."""
_LEADERS = 3


class InOrder(Generic[T]):
    """Holds items until it is safe that nothing older comes; equal times come by rank, then as they were added."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, Rank, int, T]] = []
        self._added = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, time: int, rank: Rank, item: T) -> None:
        """Hold an item."""
        heapq.heappush(self._heap, (time, rank, self._added, item))
        self._added += 1

    def release(self, safe: int) -> Iterator[tuple[int, T]]:
        """(time, item) of everything up to ``safe``, oldest first."""
        while self._heap and self._heap[0][0] <= safe:
            yield self.pop()

    def pop(self) -> tuple[int, T]:
        """(time, item) of the oldest."""
        time, _, _, item = heapq.heappop(self._heap)
        return time, item

    def held(self) -> list[tuple[int, Rank, T]]:
        """(time, rank, item) of everything held, in the order in which it will be released."""
        return [(time, rank, item) for time, rank, _, item in sorted(self._heap, key=lambda entry: entry[:3])]


class Agenda(Generic[K]):
    """Which keys wait for which time, one each; what is not due costs nothing."""

    def __init__(self) -> None:
        self._times: dict[K, int] = {}
        self._heap: list[tuple[int, int, K]] = []
        self._added = 0

    def __len__(self) -> int:
        return len(self._times)

    def __contains__(self, key: K) -> bool:
        return key in self._times

    def keys(self) -> KeysView[K]:
        """Everything that waits."""
        return self._times.keys()

    def time(self, key: K) -> int:
        """What the key waits for."""
        return self._times[key]

    def put(self, key: K, time: int | None) -> None:
        """Let a key wait for ``time`` instead of what it waited for; None: for nothing."""
        if time is None:
            self._times.pop(key, None)
        elif self._times.get(key) != time:
            self._times[key] = time
            heapq.heappush(self._heap, (time, self._added, key))
            self._added += 1
            if len(self._heap) > 2 * len(self._times) + 64:
                self._heap = [(time, i, key) for i, (key, time) in enumerate(self._times.items())]
                heapq.heapify(self._heap)
                self._added = len(self._heap)

    def earliest(self) -> int:
        """The earliest time that something waits for; FOREVER where nothing does."""
        while self._heap and self._times.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else FOREVER

    def due(self, upto: int) -> Iterator[K]:
        """Takes what waits for times up to ``upto``, earliest first."""
        while self._times and self.earliest() <= upto:
            _, _, key = heapq.heappop(self._heap)
            del self._times[key]
            yield key

    def entries(self) -> list[tuple[K, int]]:
        """Each key and what it waits for, in the order in which they are due."""
        first: dict[tuple[int, K], int] = {}
        for time, i, key in sorted(self._heap, key=lambda entry: entry[:2]):
            first.setdefault((time, key), i)
        return sorted(self._times.items(), key=lambda entry: (entry[1], first[entry[1], entry[0]]))


class Newest:
    """The newest time that enough sources have come to, so that one with a wrong clock does not carry the others off."""

    def __init__(self) -> None:
        self._times: dict[Hashable, int] = {}
        self._leaders: dict[Hashable, int] = {}

    def see(self, source: Hashable, time: int) -> None:
        """A source has come to a time."""
        if time <= self._times.get(source, NEVER):
            return
        self._times[source] = time
        self._leaders[source] = time
        if len(self._leaders) > _LEADERS:
            del self._leaders[min(self._leaders, key=self._leaders.__getitem__)]
        if len(self._times) > SOURCES:
            newest = sorted(self._times.items(), key=lambda entry: entry[1])[SOURCES // 2 :]
            self._times = dict(newest)

    def of(self, source: Hashable) -> int:
        """The time that one source has come to."""
        return self._times.get(source, NEVER)

    def times(self) -> list[tuple[Hashable, int]]:
        """Each source and the time that it has come to, leaders last."""
        return sorted(self._times.items(), key=lambda entry: entry[0] in self._leaders)

    def reached(self) -> int:
        """One of up to two sources, two of up to nine, else three have come to this time."""
        count = len(self._times)
        if not count:
            return NEVER
        enough = 1 if count < 3 else 2 if count < 10 else 3
        return sorted(self._leaders.values(), reverse=True)[enough - 1]
