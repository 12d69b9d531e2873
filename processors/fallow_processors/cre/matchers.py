"""The automata of CRE: single, set, sequence, and both with negative conditions.

A matcher sees a stream of (time, which terms match, item). It keeps a clock: what is older than the clock is dropped and
counted as late; equal times are in order. A *hit* lists its items slot by slot, each slot's oldest first. Items are
consumed by a hit; a hit is greedy and takes the oldest.

Slots are (term, need): a sequence folds adjacent equal terms, a set folds equal terms anywhere. With window W and
negatives, a hit waits until time has passed strictly beyond every interval in which a negative could still veto it:

    set A+B, W=10        -A--B-----     hit at B
    sequence A→B, W=10   -B--A--B--     hit at the second B
    A→B unless N         -A-N-B----     vetoed: A is dropped, B alone starts nothing

Semantics: published CRE engines, in their intended form; their known defects (expiry of a first slot that is not full,
order of partly filled slots, negatives unseen by a partly filled set) are not reproduced.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Queue = deque[tuple[int, T]]
Hit = tuple[tuple[int, T], ...]
Asked = Callable[[int, int, int], bool | None]
"""(number of the negative, first, last time) → whether it held there; None where that is unknown."""


def never(negative: int, start: int, end: int) -> bool | None:
    """The answer where no negative is asked about."""
    return False


@dataclass(frozen=True, slots=True)
class Slot:
    """A term and how many events of it a hit needs."""

    term: int
    need: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Negative:
    """A term that must not occur in a closed interval around the frame; durations in the unit of the times."""

    term: int
    window: int = 0
    slide: int = 0
    anchor: int = 0
    absolute: bool = False
    asked: bool = False
    """Its times are not recorded: whoever made the matcher is asked whether it held in the interval."""

    def interval(self, frame: Sequence[int]) -> tuple[int, int]:
        """The closed interval that this negative forbids, for the times of a full frame; (0, 0) for an empty one."""
        if not frame:
            return 0, 0
        width = self.window if self.absolute else self.window + frame[-1] - frame[0]
        start = frame[self.anchor] + self.slide
        return start, start + max(0, width)


def slots_of(terms: Sequence[int], *, ordered: bool) -> tuple[Slot, ...]:
    """Positives in their order, each repeated as often as it counts, folded into slots."""
    folded: list[Slot] = []
    for term in terms:
        found = next((i for i, s in enumerate(folded) if s.term == term), None)
        if ordered and folded and folded[-1].term == term:
            found = len(folded) - 1
        elif ordered:
            found = None
        if found is None:
            folded.append(Slot(term, 1))
        else:
            folded[found] = Slot(term, folded[found].need + 1)
    return tuple(folded)


class Matcher(ABC, Generic[T]):
    """Base of the automata: slots, clock and window."""

    def __init__(
        self, slots: Sequence[Slot], window: int, negatives: Sequence[Negative] = (), asked: Asked = never
    ) -> None:
        self.late = 0
        self._asked = asked
        self._held_back: list[Hit[T]] = []
        self._slots = tuple(slots)
        self._window = window
        self._queues: list[Queue[T]] = [deque() for _ in slots]
        self._clock = 0
        self._negatives = tuple(negatives)
        self._vetoes: list[deque[int]] = [deque() for _ in negatives]
        self._left = max((-n.slide for n in negatives), default=0)
        self._left = max(0, self._left)
        self._right = window + max((n.window + n.slide for n in negatives), default=0)
        self._right = max(window, self._right)

    @abstractmethod
    def scan(self, time: int, mask: int, item: T) -> list[Hit[T]]:
        """The hits that an event brings; bit ``i`` of ``mask`` says that term ``i`` matches it."""
        ...

    def eval(self, clock: int) -> list[Hit[T]]:
        """The hits that are released when nothing arrived up to ``clock``."""
        return []

    def held_back(self) -> list[Hit[T]]:
        """Hits, since the last call, of which it is unknown whether a negative held."""
        found, self._held_back = self._held_back, []
        return found

    def decided_at(self, times: Sequence[int]) -> int:
        """From when on nothing could veto a hit with these times, in the order of its slots."""
        return max(times)

    @property
    def idle(self) -> bool:
        """Whether nothing is held: a matcher of a partition may then be forgotten."""
        return not any(self._queues) and not any(self._vetoes)

    def _on_time(self, time: int) -> bool:
        if time < self._clock:
            self.late += 1
            return False
        self._clock = time
        return True

    def _full(self, slot: int) -> bool:
        return len(self._queues[slot]) >= self._slots[slot].need

    def _complete(self) -> bool:
        return all(self._full(slot) for slot in range(len(self._slots)))

    def _take(self) -> Hit[T]:
        """The oldest events of every slot, consumed."""
        return tuple(q.popleft() for slot, q in zip(self._slots, self._queues, strict=True) for _ in range(slot.need))


class Single(Matcher[T]):
    """One term: every event of it is a hit, in whatever order."""

    def scan(self, time: int, mask: int, item: T) -> list[Hit[T]]:
        return [((time, item),)] if mask >> self._slots[0].term & 1 else []


class Set(Matcher[T]):
    """All slots filled within the window, in any order."""

    def scan(self, time: int, mask: int, item: T) -> list[Hit[T]]:
        if not self._on_time(time):
            return []
        for slot, queue in zip(self._slots, self._queues, strict=True):
            while queue and queue[0][0] < time - self._window:
                queue.popleft()
            if mask >> slot.term & 1:
                queue.append((time, item))
        return [self._take()] if self._complete() else []


class _Ordered(Matcher[T]):
    """What both sequences share: which slots are open, and what is dropped when an earlier one loses its events."""

    def _active(self) -> int:
        """Number of leading full slots."""
        return next((i for i in range(len(self._slots)) if not self._full(i)), len(self._slots))

    def _append(self, time: int, mask: int, item: T) -> None:
        """Put the event into every full leading slot that it matches, and into the first that is not full."""
        for i in range(min(self._active() + 1, len(self._slots))):
            if mask >> self._slots[i].term & 1:
                self._queues[i].append((time, item))

    def _prune(self) -> None:
        """Drop what precedes the last used event of the slot before; nothing follows a slot that is not full."""
        after = self._slots[0].need
        for i in range(1, len(self._slots)):
            before = self._queues[i - 1]
            if len(before) < after:
                self._queues[i].clear()
            else:
                last = before[after - 1][0]
                while self._queues[i] and self._queues[i][0][0] < last:
                    self._queues[i].popleft()
            after = self._slots[i].need


class Seq(_Ordered[T]):
    """All slots filled within the window, one after the other."""

    def scan(self, time: int, mask: int, item: T) -> list[Hit[T]]:
        if not self._on_time(time):
            return []
        first = self._queues[0]
        if first and first[0][0] < time - self._window:
            while first and first[0][0] < time - self._window:
                first.popleft()
            self._prune()
        self._append(time, mask, item)
        if not self._complete():
            return []
        hit = self._take()
        self._prune()
        return [hit]


class _Negated(Matcher[T]):
    """Frames that wait until no negative can veto them any more."""

    def eval(self, clock: int) -> list[Hit[T]]:
        if clock <= self._clock:
            return []
        self._clock = clock
        return self._settle()

    @abstractmethod
    def _frame(self) -> list[tuple[int, int, int]]:
        """(time, slot, position in the slot) of each event of the complete frame, in the order of anchors."""
        ...

    def _dropped(self) -> None:
        """Called after an event was dropped or a hit was taken."""

    def _expire(self, now: int) -> None:
        if self._complete():
            return
        dropped = False
        for queue in self._queues:
            while queue and queue[0][0] < now - self._right:
                queue.popleft()
                dropped = True
        for times in self._vetoes:
            while times and times[0] < now - self._right - self._left:
                times.popleft()
        if dropped:
            self._dropped()

    def _record(self, time: int, mask: int) -> None:
        for negative, times in zip(self._negatives, self._vetoes, strict=True):
            if mask >> negative.term & 1:
                times.append(time)

    def _settle(self) -> list[Hit[T]]:
        hits: list[Hit[T]] = []
        while self._complete():
            frame = self._frame()
            if self._span(frame) > self._window:
                self._drop(self._oldest(frame))
                continue
            verdict = self._verdict([time for time, _, _ in frame])
            if verdict == "undecided":
                break
            if isinstance(verdict, int):
                self._drop(frame[verdict])
                continue
            (self._held_back if verdict == "unknown" else hits).append(self._take())
            self._dropped()
        return hits

    def decided_at(self, times: Sequence[int]) -> int:
        frame = self._in_frame(times)
        return max(max(frame), *(negative.interval(frame)[1] for negative in self._negatives))

    def _in_frame(self, times: Sequence[int]) -> list[int]:
        """Times of a hit in the order of anchors."""
        return list(times)

    def _span(self, frame: list[tuple[int, int, int]]) -> int:
        return frame[-1][0] - frame[0][0]

    def _oldest(self, frame: list[tuple[int, int, int]]) -> tuple[int, int, int]:
        return min(frame, key=lambda event: (event[0], event[1], event[2]))

    def _verdict(self, times: list[int]) -> int | str:
        """The anchor whose event is vetoed, "undecided", "unknown", or "hit"."""
        verdict = "hit"
        for i, (negative, recorded) in enumerate(zip(self._negatives, self._vetoes, strict=True)):
            start, end = negative.interval(times)
            if any(start <= time <= end for time in recorded):
                return negative.anchor
            if end >= self._clock:
                return "undecided"
            if negative.asked:
                held = self._asked(i, start, end)
                if held:
                    return negative.anchor
                verdict = "unknown" if held is None else verdict
        return verdict

    def _drop(self, event: tuple[int, int, int]) -> None:
        del self._queues[event[1]][event[2]]
        self._dropped()


class NegSet(_Negated[T]):
    """A set that negatives may veto."""

    def scan(self, time: int, mask: int, item: T) -> list[Hit[T]]:
        if not self._on_time(time):
            return []
        held = any(self._queues)  # before expiry: what expires at this event still lets the event be seen
        self._expire(time)
        for slot, queue in zip(self._slots, self._queues, strict=True):
            if mask >> slot.term & 1:
                queue.append((time, item))
        if self._left or held or any(self._queues):
            self._record(time, mask)
        return self._settle()

    def _frame(self) -> list[tuple[int, int, int]]:
        events = [(self._queues[s][p][0], s, p) for s, slot in enumerate(self._slots) for p in range(slot.need)]
        return sorted(events, key=lambda event: event[0])

    def _in_frame(self, times: Sequence[int]) -> list[int]:
        return sorted(times)


class NegSeq(_Negated[T], _Ordered[T]):
    """A sequence that negatives may veto."""

    def scan(self, time: int, mask: int, item: T) -> list[Hit[T]]:
        if not self._on_time(time):
            return []
        self._expire(time)
        if not self._queues[0] and not self._left and not mask >> self._slots[0].term & 1:
            return []
        self._record(time, mask)
        self._append(time, mask, item)
        return self._settle()

    def _frame(self) -> list[tuple[int, int, int]]:
        return [(self._queues[s][p][0], s, p) for s, slot in enumerate(self._slots) for p in range(slot.need)]

    def _oldest(self, frame: list[tuple[int, int, int]]) -> tuple[int, int, int]:
        return frame[0]

    def _dropped(self) -> None:
        self._prune()


def matcher(
    positives: Sequence[int], negatives: Sequence[Negative], window: int, *, ordered: bool, asked: Asked = never
) -> Matcher[Any]:
    """The automaton for positives (each as often as it counts) and negatives."""
    slots = slots_of(positives, ordered=ordered)
    if negatives:
        return (NegSeq if ordered else NegSet)(slots, window, negatives, asked)
    if not ordered and len(positives) == 1:
        return Single(slots, window)
    return Seq(slots, window) if ordered else Set(slots, window)
