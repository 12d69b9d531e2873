"""Events that come late, put in order before anyone sees them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

MEMORY_BYTES = 512 << 20
ENTRY_BYTES = 80
"""What an event takes beside its text."""


class Reorder(Generic[T]):
    """Holds events until the newest is ``window`` ahead of them; those older than what was released are dropped.

    Args:
        window: ns.
        memory: bytes beyond which the oldest leave early.
    """

    def __init__(self, window: int, memory: int = MEMORY_BYTES) -> None:
        self._window, self._memory = window, memory
        self._held: list[tuple[int, int, int, T]] = []
        self._arrived = self._size = 0
        self._newest = self._released = -(2**63)
        self.late = 0
        """Events that came too late."""

    def add(self, time: int, size: int, event: T) -> Iterator[tuple[int, T]]:
        """What the arrival of an event of ``size`` bytes of text releases, in order of time, equal times as they came."""
        if time < self._released:
            self.late += 1
            return
        self._arrived += 1
        self._size += ENTRY_BYTES + size
        heapq.heappush(self._held, (time, self._arrived, ENTRY_BYTES + size, event))
        self._newest = max(self._newest, time)
        safe = self._newest - self._window
        while self._held and (self._held[0][0] <= safe or self._size > self._memory):
            yield self._pop()

    def flush(self) -> Iterator[tuple[int, T]]:
        """All that is held, at the end of the stream."""
        while self._held:
            yield self._pop()

    def _pop(self) -> tuple[int, T]:
        self._released, _, size, event = heapq.heappop(self._held)
        self._size -= size
        return self._released, event
