"""Puts what comes from several sources in order of time before anybody sees it."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

NEVER = -(1 << 62)
FOREVER = 1 << 62
SOURCES = 1 << 16
"""Sources remembered; beyond this those longest unheard of are forgotten."""


class InOrder(Generic[T]):
    """Holds items until it is safe that nothing older comes; equal times come by rank, then as they were added."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str, int, T]] = []
        self._added = 0

    def add(self, time: int, rank: str, item: T) -> None:
        """Hold an item."""
        heapq.heappush(self._heap, (time, rank, self._added, item))
        self._added += 1

    def release(self, safe: int) -> Iterator[tuple[int, T]]:
        """(time, item) of everything up to ``safe``, oldest first."""
        while self._heap and self._heap[0][0] <= safe:
            time, _, _, item = heapq.heappop(self._heap)
            yield time, item


class Newest:
    """The newest time that enough sources have come to, so that one with a wrong clock does not carry the others off."""

    def __init__(self) -> None:
        self._times: dict[Hashable, int] = {}

    def see(self, source: Hashable, time: int) -> None:
        """A source has come to a time."""
        if time > self._times.get(source, NEVER):
            self._times[source] = time
        if len(self._times) > SOURCES:
            newest = sorted(self._times.items(), key=lambda entry: entry[1])[SOURCES // 2 :]
            self._times = dict(newest)

    def reached(self) -> int:
        """One of up to two sources, two of up to nine, else three have come to this time."""
        count = len(self._times)
        if not count:
            return NEVER
        enough = 1 if count < 3 else 2 if count < 10 else 3
        return heapq.nlargest(enough, self._times.values())[-1]
