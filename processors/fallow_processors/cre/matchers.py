"""The automata of CRE: single, set, sequence, and both with negative conditions.

A matcher sees a stream of (time, which terms match, item). It keeps a clock: what is older than the clock is dropped and
counted as late; equal times are in order. A *hit* lists its items slot by slot, each slot's oldest first. Items are
consumed by a hit; a hit is greedy and takes the oldest.

Slots are (term, need): a sequence folds adjacent equal terms, a set folds equal terms anywhere. With window W and
negatives, a hit waits until time has passed strictly beyond every interval in which a negative could still veto it:

    set A+B, W=10        -A--B-----     hit at B
    sequence A→B, W=10   -B--A--B--     hit at the second B
    A→B unless N         -A-N-B----     vetoed: A is dropped, B alone starts nothing

Semantics: published CRE engines, in their intended form. What they do otherwise by mistake is behind a switch each, see
``Defect``, for comparison with them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, Literal, TypeVar, get_args

from fallow_processors.cre.order import FOREVER, NEVER

T = TypeVar("T")
Queue = deque[tuple[int, T]]
Hit = tuple[tuple[int, T], ...]
Asked = Callable[[int, int, int], bool | None]
"""(number of the negative, first, last time) → whether it held there; None where that is unknown."""
Defect = Literal["D1", "D2", "D3", "D4", "D10"]
"""A mistake of published engines that a matcher can be told to make too.

- D1: a sequence forgets nothing before its first slot is full: a term repeated in one slot has no window.
- D2: what follows a dropped event may stay in a sequence although it is older than what should precede it.
- D3: a set does not see negatives before one of its slots is full.
- D4: a set takes a slot for full although it lost events to age, and crashes (``crashed``) once all slots seem so.
- D10: with negatives, age is looked at only when an event is remembered to be due, and some are not remembered. Nobody
  lists this one; it shows in one of a thousand random sequences whose lines match several terms.
"""
DEFECTS: tuple[Defect, ...] = get_args(Defect)
INTENDED: frozenset[Defect] = frozenset()
_FOREVER = 1 << 63


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
    doubtful: bool = False
    """That it occurs is not certain: it does not veto, it makes the hit unknown."""

    def interval(self, frame: Sequence[int]) -> tuple[int, int]:
        """The closed interval that this negative forbids, for the times of a full frame; (0, 0) for an empty one."""
        if not frame:
            return 0, 0
        width = self.window if self.absolute else self.window + frame[-1] - frame[0]
        start = frame[self.anchor] + self.slide
        return start, start + max(0, width)


def slots_of(terms: Sequence[int], *, ordered: bool) -> tuple[Slot, ...]:
    """Positives in their order, each repeated as often as it counts, folded into slots."""
    return _folded(tuple(terms), ordered)


@lru_cache(maxsize=4096)  # matchers come and go, with the same terms
def _folded(terms: tuple[int, ...], ordered: bool) -> tuple[Slot, ...]:
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
        self,
        slots: Sequence[Slot],
        window: int,
        negatives: Sequence[Negative] = (),
        asked: Asked = never,
        defects: frozenset[Defect] = INTENDED,
    ) -> None:
        self.late = 0
        self.crashed = False
        """Whether a published engine would have crashed; from then on nothing is said."""
        self._defects = defects
        self.shed = 0
        """Events dropped because of a limit."""
        self.blind = NEVER
        """Up to this time negatives may have occurred that are not known any more."""
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
        self._due = _FOREVER if "D10" in defects else 0
        """When the next event is due to go by age (D10)."""
        self.unseen: tuple[Sequence[int], int] = ((), 0)
        """(until, from): for each negative, the end of a span in which it may have held without anybody having seen it."""

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

    def waits(self) -> tuple[int, int] | None:
        """Of the frame that is complete but undecided: its last event's time, and the time that has to pass."""
        return None

    def forgets(self) -> int:
        """After this time nothing of what is held matters any more, unless a frame waits."""
        newest = max((q[-1][0] for q in self._queues if q), default=NEVER)
        vetoed = max((v[-1] for v in self._vetoes if v), default=NEVER)
        return max(newest, vetoed) + self._right + self._left

    def clear(self) -> None:
        """Forget what is held."""
        for queue in self._queues:
            queue.clear()
        for vetoes in self._vetoes:
            vetoes.clear()

    @property
    def clock(self) -> int:
        """The time that it has come to."""
        return self._clock

    @property
    def held(self) -> int:
        """Events held."""
        return sum(map(len, self._queues)) + sum(map(len, self._vetoes))

    def drop_oldest(self, upto: int) -> list[Hit[T]]:
        """Drop the oldest events until no more than ``upto`` are held; the hits that this releases."""
        while self.held > upto:
            heads = [q[0][0] if q else FOREVER for q in self._queues]
            heads += [v[0] if v else FOREVER for v in self._vetoes]
            oldest = heads.index(min(heads))
            if oldest < len(self._queues):
                self._queues[oldest].popleft()
                self._dropped()
            else:
                self.blind = max(self.blind, self._vetoes[oldest - len(self._queues)].popleft())
            self.shed += 1
        return self._settle()

    # -- across a restart ----------------------------------------------------------------------------------------------
    def saved(self) -> dict[str, Any]:
        """All that the hits to come depend on, but for ``unseen``."""
        return {
            "clock": self._clock,
            "due": self._due,
            "queues": [list(queue) for queue in self._queues],
            "vetoes": [list(times) for times in self._vetoes],
            "blind": self.blind,
            "crashed": self.crashed,
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what another matcher of the same node saved."""
        self._clock, self._due = saved["clock"], saved["due"]
        self._queues = [deque(queue) for queue in saved["queues"]]
        self._vetoes = [deque(times) for times in saved["vetoes"]]
        self.blind, self.crashed = saved["blind"], saved["crashed"]

    def _overlooked(self, negative: int, start: int, end: int) -> bool:
        """Whether the negative may have held in the interval without anybody knowing of it."""
        until, since = self.unseen
        return start <= self.blind or (bool(until) and start <= until[negative] and end >= since)

    @property
    def idle(self) -> bool:
        """Whether nothing is held: a matcher of a partition may then be forgotten."""
        return not any(self._queues) and not any(self._vetoes) and not self.crashed

    def _settle(self) -> list[Hit[T]]:
        """The hits of frames that are complete and decided."""
        return []

    def _dropped(self) -> None:
        """Called after an event was dropped or a hit was taken."""

    def _on_time(self, time: int) -> bool:
        if time < self._clock:
            self.late += 1
            return False
        self._clock = time
        return True

    def _full(self, slot: int) -> bool:
        return len(self._queues[slot]) >= self._slots[slot].need

    def _active(self) -> int:
        """Number of leading full slots."""
        for slot in range(len(self._slots)):
            if not self._full(slot):
                return slot
        return len(self._slots)

    def _complete(self) -> bool:
        return self._active() == len(self._slots)

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

    _open: int = 0
    """Number of leading slots that were full after the last event."""

    def saved(self) -> dict[str, Any]:
        return super().saved() | {"open": self._open}

    def restore(self, saved: Mapping[str, Any]) -> None:
        super().restore(saved)
        self._open = saved["open"]

    def _append(self, time: int, mask: int, item: T) -> None:
        """Put the event into every full leading slot that it matches, and into the first that is not full."""
        for i in range(min(self._active() + 1, len(self._slots))):
            if mask >> self._slots[i].term & 1:
                self._queues[i].append((time, item))
        self._open = self._active()

    def _prune(self) -> None:
        """Drop what precedes the last used event of the slot before; nothing follows a slot that is not full.

        With D2 the slots that were not full keep what they have, unless the first is empty.
        """
        spared = "D2" in self._defects and self._queues[0]
        for i in range(1, self._open if spared else len(self._slots)):
            queue = self._queues[i]
            if not self._full(i - 1):
                queue.clear()
                continue
            earliest = self._earliest(i)
            while queue and queue[0][0] < earliest:
                queue.popleft()
        self._open = self._active()

    def _earliest(self, slot: int) -> int:
        """The time of the last used event of the slot before."""
        return self._queues[slot - 1][self._slots[slot - 1].need - 1][0]


class Seq(_Ordered[T]):
    """All slots filled within the window, one after the other."""

    def scan(self, time: int, mask: int, item: T) -> list[Hit[T]]:
        if not self._on_time(time):
            return []
        first = self._queues[0]
        if first and first[0][0] < time - self._window and (self._full(0) or "D1" not in self._defects):
            while first and first[0][0] < time - self._window:
                first.popleft()
            self._prune()
        self._append(time, mask, item)
        if not self._complete():
            return []
        hit = self._take()
        self._prune()
        return [hit]

    def _earliest(self, slot: int) -> int:
        return super()._earliest(1 if "D2" in self._defects else slot)

    def _dropped(self) -> None:
        self._prune()


class Negated(Matcher[T]):
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

    def waits(self) -> tuple[int, int] | None:
        if self.crashed or not self._complete():
            return None
        times = [time for time, _, _ in self._frame()]
        ends = [end for negative in self._negatives if (end := negative.interval(times)[1]) >= self._clock]
        return max(times), ends[0]

    def _expire(self, now: int) -> None:
        late = "D10" in self._defects
        if late and now < self._due:
            return
        if self._complete():
            self._due = _FOREVER if late else 0
            return
        dropped = False
        for queue in self._aging():
            while queue and queue[0][0] < now - self._right:
                queue.popleft()
                dropped = True
        for times in self._vetoes:
            while times and times[0] < now - self._right - self._left:
                times.popleft()
        if dropped:
            self._dropped()
        if late:
            vetoes = (times[0] + self._left + self._right for times in self._vetoes if times)
            self._due = min((*self._dues(), *vetoes), default=_FOREVER)

    def _dues(self) -> Iterator[int]:
        """When events will be due to go, of those of which it is remembered (D10)."""
        return (queue[0][0] + self._right for queue in self._queues if queue)

    def _remember(self, due: int) -> None:
        self._due = min(self._due, due)

    def _aging(self) -> Sequence[Queue[T]]:
        """The queues whose events are dropped by age alone."""
        return self._queues

    def _record(self, time: int, mask: int) -> None:
        for negative, times in zip(self._negatives, self._vetoes, strict=True):
            if mask >> negative.term & 1:
                times.append(time)
                self._remember(time + self._left + self._right)

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
            occurred = any(start <= time <= end for time in recorded)
            if occurred and not negative.doubtful:
                return negative.anchor
            if end >= self._clock:
                return "undecided"
            held = self._asked(i, start, end) if negative.asked else False
            if held:
                return negative.anchor
            if held is None or occurred or (not negative.asked and self._overlooked(i, start, end)):
                verdict = "unknown"
        return verdict

    def _drop(self, event: tuple[int, int, int]) -> None:
        del self._queues[event[1]][event[2]]
        self._dropped()


class NegSet(Negated[T]):
    """A set that negatives may veto."""

    _stale: frozenset[int] = frozenset()
    """Slots that count as full although events went by age (D4)."""

    def saved(self) -> dict[str, Any]:
        return super().saved() | {"stale": sorted(self._stale)}

    def restore(self, saved: Mapping[str, Any]) -> None:
        super().restore(saved)
        self._stale = frozenset(saved["stale"])

    def scan(self, time: int, mask: int, item: T) -> list[Hit[T]]:
        if self.crashed or not self._on_time(time):
            return []
        held = any(self._queues)  # before expiry: what expires at this event still lets the event be seen
        self._expire(time)
        for slot, queue in zip(self._slots, self._queues, strict=True):
            if mask >> slot.term & 1:
                queue.append((time, item))
                self._remember(time + self._right)
        if self._left or (self._any_full() if "D3" in self._defects else held or any(self._queues)):
            self._record(time, mask)
        return self._settle()

    def _any_full(self) -> bool:
        return any(self._full(slot) for slot in range(len(self._slots)))

    def _full(self, slot: int) -> bool:
        return len(self._queues[slot]) >= self._slots[slot].need or slot in self._stale

    def _expire(self, now: int) -> None:
        if "D4" not in self._defects:
            super()._expire(now)
        else:
            full = [slot for slot in range(len(self._slots)) if self._full(slot)]
            super()._expire(now)
            self._stale = frozenset(slot for slot in full if 0 < len(self._queues[slot]) < self._slots[slot].need)

    def _settle(self) -> list[Hit[T]]:
        if self._stale and self._complete():
            self.crashed = any(len(self._queues[slot]) < self._slots[slot].need for slot in self._stale)
        return [] if self.crashed else super()._settle()

    def _dropped(self) -> None:
        self._stale = frozenset()

    def _frame(self) -> list[tuple[int, int, int]]:
        events = [(self._queues[s][p][0], s, p) for s, slot in enumerate(self._slots) for p in range(slot.need)]
        return sorted(events, key=lambda event: event[0])

    def _in_frame(self, times: Sequence[int]) -> list[int]:
        return sorted(times)


class NegSeq(Negated[T], _Ordered[T]):
    """A sequence that negatives may veto."""

    def scan(self, time: int, mask: int, item: T) -> list[Hit[T]]:
        if not self._on_time(time):
            return []
        self._expire(time)
        if not self._queues[0] and not self._left and not mask >> self._slots[0].term & 1:
            return []
        self._record(time, mask)
        active = self._active()
        if active < len(self._slots) and mask >> self._slots[active].term & 1:
            self._remember(time + self._right)
        self._append(time, mask, item)
        return self._settle()

    def _dues(self) -> Iterator[int]:
        if self._full(0):
            yield self._queues[0][0][0] + self._right

    def _frame(self) -> list[tuple[int, int, int]]:
        return [(self._queues[s][p][0], s, p) for s, slot in enumerate(self._slots) for p in range(slot.need)]

    def _oldest(self, frame: list[tuple[int, int, int]]) -> tuple[int, int, int]:
        return frame[0]

    def _dropped(self) -> None:
        self._prune()

    def _aging(self) -> Sequence[Queue[T]]:
        return self._queues[:1]  # what follows goes with it

    def _earliest(self, slot: int) -> int:
        return self._queues[slot - 1][0][0] if "D2" in self._defects else super()._earliest(slot)


Variant = Callable[[type[Matcher[Any]]], type[Matcher[Any]]]


def itself(kind: type[Matcher[Any]]) -> type[Matcher[Any]]:
    """The automaton's own class."""
    return kind


def matcher(
    positives: Sequence[int],
    negatives: Sequence[Negative],
    window: int,
    *,
    ordered: bool,
    asked: Asked = never,
    defects: frozenset[Defect] = INTENDED,
    variant: Variant = itself,
) -> Matcher[Any]:
    """The automaton for positives (each as often as it counts) and negatives, with the defects asked for.

    ``variant`` is made instead of the automaton's own class.
    """
    slots = slots_of(positives, ordered=ordered)
    if negatives:
        return variant(NegSeq if ordered else NegSet)(slots, window, negatives, asked, defects)
    if not ordered and len(positives) == 1:
        return variant(Single)(slots, window)
    return variant(Seq if ordered else Set)(slots, window, defects=defects)
