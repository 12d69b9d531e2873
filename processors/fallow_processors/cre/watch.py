"""Lets somebody watch matchers at work: what they are offered, what they drop and why, what they find.

Watching changes nothing: the same automata run, and what they hold is compared before and after each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Protocol

from fallow_processors.cre.matchers import Hit, Matcher, Negated

Why = Literal["vetoed", "left out"]
"""Of an event that was dropped: a negative took it, or what it waited for did not come in its window and order."""


class Watcher(Protocol):
    """What is told about one matcher."""

    def offered(self, time: int, mask: int) -> None:
        """An event came; bit ``i`` of ``mask``: item ``i`` matches."""
        ...

    def late(self, time: int) -> None:
        """An event came when time had passed it; it counts for nothing."""
        ...

    def dropped(self, time: int, now: int, why: Why) -> None:
        """An event of ``time`` that was held is held no more."""
        ...

    def vetoed(self, negative: int, at: int | None, start: int, end: int) -> None:
        """A negative held in its interval, at a time or (None) somewhere."""
        ...

    def found(self, times: Sequence[int], decided: int, unknown: bool) -> None:
        """A hit, with the times of its events slot by slot."""
        ...


def watching(watcher: Watcher) -> Callable[[type[Matcher[Any]]], type[Matcher[Any]]]:
    """Makes of a kind of matcher one that is watched."""

    def variant(kind: type[Matcher[Any]]) -> type[Matcher[Any]]:
        base = _WatchedNegated if issubclass(kind, Negated) else _Watched
        made: Any = type(f"Watched{kind.__name__}", (base, kind), {"watcher": watcher})
        return made  # type: ignore[no-any-return]  # what type() makes of two bases has no static type

    return variant


class _Watched(Matcher[Any]):
    watcher: Watcher
    _why: Why = "left out"

    def scan(self, time: int, mask: int, item: Any) -> list[Hit[Any]]:
        self.watcher.offered(time, mask)
        late, before = self.late, self._held()
        hits = super().scan(time, mask, item)  # type: ignore[safe-super]  # that of the kind that is watched
        if self.late > late:
            self.watcher.late(time)
        return self._told(time, before, hits)

    def eval(self, clock: int) -> list[Hit[Any]]:
        before = self._held()
        return self._told(clock, before, super().eval(clock))

    def held_back(self) -> list[Hit[Any]]:
        found = super().held_back()
        self._found(found, unknown=True)
        return found

    def _held(self) -> dict[int, int]:
        """Times of the events held, by the identity of the event."""
        return {id(item): time for queue in self._queues for time, item in queue}

    def _told(self, now: int, before: dict[int, int], hits: list[Hit[Any]]) -> list[Hit[Any]]:
        kept = self._held().keys() | {id(item) for hit in (*hits, *self._held_back) for _, item in hit}
        for event in before.keys() - kept:
            self.watcher.dropped(before[event], now, self._why)
        self._why = "left out"
        self._found(hits, unknown=False)
        return hits

    def _found(self, hits: Iterable[Hit[Any]], *, unknown: bool) -> None:
        for hit in hits:
            times = [time for time, _ in hit]
            self.watcher.found(times, self.decided_at(times), unknown)


class _WatchedNegated(_Watched, Negated[Any]):
    def _verdict(self, times: list[int]) -> int | str:
        verdict = super()._verdict(times)
        if isinstance(verdict, int):
            self._why = "vetoed"
            self._tell_of_veto(times, verdict)
        return verdict

    def _tell_of_veto(self, times: list[int], anchor: int) -> None:
        for number, (negative, recorded) in enumerate(zip(self._negatives, self._vetoes, strict=True)):
            start, end = negative.interval(times)
            at = next((time for time in recorded if start <= time <= end), None)
            if negative.anchor == anchor and (at is not None or (negative.asked and self._asked(number, start, end))):
                self.watcher.vetoed(number, at, start, end)
                return
