"""What a matcher of CRE should say, written down step by step as it is specified: slow, plain, and of other parts than the matchers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["single", "set", "seq", "negset", "negseq"]
Event = tuple[int, int]
"""(time, number of the event)."""
Hit = tuple[Event, ...]


@dataclass(frozen=True)
class Forbidden:
    """A negative."""

    term: int
    window: int = 0
    slide: int = 0
    anchor: int = 0
    absolute: bool = False


@dataclass
class Oracle:
    """A matcher by its definition; with the defects D1–D4 where they are asked for."""

    kind: Kind
    terms: Sequence[int]
    window: int
    negatives: Sequence[Forbidden] = ()
    defects: frozenset[str] = frozenset()
    clock: int = 0
    crashed: bool = False
    slots: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    held: list[list[Event]] = field(default_factory=list[list[Event]])
    full: list[bool] = field(default_factory=list[bool])
    seen: list[list[int]] = field(default_factory=list[list[int]])

    def __post_init__(self) -> None:
        for term in self.terms:
            equal = [i for i, (t, _) in enumerate(self.slots) if t == term]
            if self.is_sequence:
                equal = [i for i in equal if i == len(self.slots) - 1]
            if equal:
                self.slots[equal[0]] = (term, self.slots[equal[0]][1] + 1)
            else:
                self.slots.append((term, 1))
        self.held = [[] for _ in self.slots]
        self.full = [False for _ in self.slots]
        self.seen = [[] for _ in self.negatives]

    # -- what happens --------------------------------------------------------------------------------------------------
    def event(self, time: int, terms: Iterable[int], number: int) -> list[Hit]:
        """An event that matches some terms."""
        matched, event = set(terms), (time, number)
        if self.kind == "single":
            return [(event,)] if self.terms[0] in matched else []
        if time < self.clock or self.crashed:
            return []
        self.clock = time
        return {"set": self._set, "seq": self._seq, "negset": self._negset, "negseq": self._negseq}[self.kind](
            event, matched
        )

    def passes(self, clock: int) -> list[Hit]:
        """Time has come to ``clock``."""
        if not self.is_negated or clock <= self.clock or self.crashed:
            return []
        self.clock = clock
        return self._settle()

    # -- without negatives ---------------------------------------------------------------------------------------------
    def _set(self, event: Event, matched: set[int]) -> list[Hit]:
        self._age(range(len(self.slots)), event[0] - self.window)
        self._fill(range(len(self.slots)), event, matched)
        return [self._consume()] if all(self.full) else []

    def _seq(self, event: Event, matched: set[int]) -> list[Hit]:
        active = self._active()
        if self.held[0] and (active or "D1" not in self.defects) and event[0] - self.held[0][0][0] >= self.window:
            self._age([0], event[0] - self.window)
            self._prune(active)
        active = self._active()
        self._fill(range(min(active + 1, len(self.slots))), event, matched)
        if not all(self.full):
            return []
        hit = self._consume()
        self._prune(len(self.slots))
        return [hit]

    # -- with negatives ------------------------------------------------------------------------------------------------
    def _negset(self, event: Event, matched: set[int]) -> list[Hit]:
        something = any(self.held)
        self._expire(event[0])
        self._fill(range(len(self.slots)), event, matched)
        visible = any(self.full) if "D3" in self.defects else something or any(self.held)
        if visible or self.left:
            self._see(event[0], matched)
        return self._settle()

    def _negseq(self, event: Event, matched: set[int]) -> list[Hit]:
        self._expire(event[0])
        if not self.held[0] and not self.left and self.slots[0][0] not in matched:
            return []
        self._see(event[0], matched)
        self._fill(range(min(self._active() + 1, len(self.slots))), event, matched)
        return self._settle()

    def _see(self, time: int, matched: set[int]) -> None:
        for negative, times in zip(self.negatives, self.seen, strict=True):
            if negative.term in matched:
                times.append(time)

    def _settle(self) -> list[Hit]:
        hits: list[Hit] = []
        while all(self.full):
            if any(len(events) < need for events, (_, need) in zip(self.held, self.slots, strict=True)):
                self.crashed = True
                return []
            frame = self._frame()
            times = [self.held[slot][place][0] for slot, place in frame]
            if max(times) - min(times) > self.window:
                self._drop(*(frame[0] if self.is_sequence else (frame[times.index(min(times))][0], 0)))
                continue
            verdict = self._judge(times)
            if verdict == "undecided":
                return hits
            if isinstance(verdict, int):
                self._drop(*frame[verdict])
                continue
            hits.append(self._consume())
            if self.is_sequence:
                self._prune(len(self.slots))
        return hits

    def _judge(self, times: Sequence[int]) -> int | str:
        for negative, seen in zip(self.negatives, self.seen, strict=True):
            width = negative.window if negative.absolute else negative.window + times[-1] - times[0]
            start = times[negative.anchor] + negative.slide
            end = start + max(0, width)
            if any(start <= time <= end for time in seen):
                return negative.anchor
            if end >= self.clock:
                return "undecided"
        return "hit"

    def _frame(self) -> list[tuple[int, int]]:
        """(slot, place in it) of each event of the frame, in the order in which anchors count."""
        frame = [(slot, place) for slot, (_, need) in enumerate(self.slots) for place in range(need)]
        return frame if self.is_sequence else sorted(frame, key=lambda at: self.held[at[0]][at[1]][0])

    def _drop(self, slot: int, place: int) -> None:
        self.held[slot] = self.held[slot][:place] + self.held[slot][place + 1 :]
        self.full[slot] = len(self.held[slot]) >= self.slots[slot][1]
        if self.is_sequence:
            self._prune(len(self.slots))

    def _expire(self, now: int) -> None:
        if all(self.full):
            return
        right = self.window + max([0, *(n.window + n.slide for n in self.negatives)])
        active = self._active()
        aged = self._age([0] if self.is_sequence else range(len(self.slots)), now - right)
        self.seen = [[time for time in times if time >= now - right - self.left] for times in self.seen]
        if self.is_sequence and aged:
            self._prune(active)

    # -- what both have ------------------------------------------------------------------------------------------------
    @property
    def is_sequence(self) -> bool:
        return self.kind in ("seq", "negseq")

    @property
    def is_negated(self) -> bool:
        return self.kind in ("negset", "negseq")

    @property
    def left(self) -> int:
        return max([0, *(-n.slide for n in self.negatives)])

    def _active(self) -> int:
        return [*self.full, False].index(False)

    def _fill(self, slots: Iterable[int], event: Event, matched: set[int]) -> None:
        for slot in slots:
            if self.slots[slot][0] in matched:
                self.held[slot].append(event)
                self.full[slot] = self.full[slot] or len(self.held[slot]) >= self.slots[slot][1]

    def _age(self, slots: Iterable[int], deadline: int) -> bool:
        """Events before the deadline go. With D4 a slot that was full stays so until it is empty."""
        aged = False
        for slot in slots:
            kept = [event for event in self.held[slot] if event[0] >= deadline]
            aged |= len(kept) < len(self.held[slot])
            self.held[slot] = kept
            enough = 1 if "D4" in self.defects and self.kind == "negset" and self.full[slot] else self.slots[slot][1]
            self.full[slot] = len(kept) >= enough
        return aged

    def _consume(self) -> Hit:
        hit: list[Event] = []
        for slot, (_, need) in enumerate(self.slots):
            hit += self.held[slot][:need]
            self.held[slot] = self.held[slot][need:]
            self.full[slot] = len(self.held[slot]) >= need
        return tuple(hit)

    def _prune(self, active: int) -> None:
        """What is older than it may be goes from the slots after the first; ``active`` of them were full."""
        last = active if "D2" in self.defects and self.held[0] else len(self.slots)
        for slot in range(1, last):
            before, need = self.held[slot - 1], self.slots[slot - 1][1]
            if "D2" not in self.defects:
                bound = before[need - 1 : need]
            elif self.kind == "seq":
                bound = self.held[0][self.slots[0][1] - 1 :][:1]
            else:
                bound = before[:1]
            kept = [event for event in self.held[slot] if bound and event[0] >= bound[0][0]]
            self.held[slot] = kept if len(before) >= need else []
            self.full[slot] = len(self.held[slot]) >= self.slots[slot][1]
        self.full[0] = len(self.held[0]) >= self.slots[0][1]
