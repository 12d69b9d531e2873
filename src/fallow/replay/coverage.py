"""Which time the samples of a series cover.

A gap between two samples is covered where it is at most five times the series' median gap, or at most five minutes;
not after a stale mark. The lower median is exact although only gaps of more than a minute are kept: where it is less,
five minutes count anyway. Memory: 34 bytes for each series, 25 for each gap of more than a minute.
"""

from __future__ import annotations

import numpy as np

from fallow.batch import BoolArray, Int64Array
from fallow.replay.intervals import Spans
from fallow.units import SECOND

ALWAYS_COVERED = 300 * SECOND
MEDIANS_COVERED = 5
SHORT = ALWAYS_COVERED // MEDIANS_COVERED
MAX_PARTS = 1024


class Coverage:
    """The time that the samples of each slot cover."""

    def __init__(self) -> None:
        self._first: Int64Array = np.zeros(0, dtype=np.int64)
        self._last: Int64Array = np.zeros(0, dtype=np.int64)
        self._short: Int64Array = np.zeros(0, dtype=np.int64)
        self._began: BoolArray = np.zeros(0, dtype=np.bool_)
        self._ended: BoolArray = np.zeros(0, dtype=np.bool_)
        # Gaps of more than a minute, and those after a stale mark.
        self._gaps: list[Spans] = []
        self._after_end: list[BoolArray] = []

    def add(self, slot: Int64Array, time: Int64Array, stale: BoolArray) -> None:
        """Samples in any order; those before the newest that their slot had add nothing."""
        self._grow(int(slot.max()) + 1)
        order = np.lexsort((time, slot))
        slot, time, stale = slot[order], time[order], stale[order]
        new = np.append(True, slot[1:] != slot[:-1])
        # Where a slot has no sample yet, its first one in this batch stands for the one before.
        unknown = new & ~self._began[slot]
        self._first[slot[unknown]] = self._last[slot[unknown]] = time[unknown]
        self._began[slot[unknown]] = True
        kept = time >= self._last[slot]
        slot, time, stale = slot[kept], time[kept], stale[kept]
        if not len(slot):
            return
        new = np.append(True, slot[1:] != slot[:-1])
        before = np.where(new, self._last[slot], np.append(0, time[:-1]))
        ended = np.where(new, self._ended[slot], np.append(False, stale[:-1]))
        gap = time - before
        np.add.at(self._short, slot[(gap > 0) & (gap <= SHORT) & ~ended], 1)
        noted = (gap > SHORT) | (ended & (gap > 0))
        if noted.any():
            self._gaps.append(Spans(slot[noted], before[noted], time[noted]))
            self._after_end.append(ended[noted])
            if len(self._gaps) >= MAX_PARTS:
                self._join()
        final = np.append(slot[1:] != slot[:-1], True)
        self._last[slot[final]] = time[final]
        self._ended[slot[final]] = stale[final]

    def spans(self) -> Spans:
        """Per slot what is covered, in order."""
        began = np.flatnonzero(self._began)
        if not self._gaps:
            return Spans(began, self._first[began], self._last[began]).union()
        gaps, after_end = self._join()
        open_ = after_end | (gaps.end - gaps.start > self._limits(gaps, ~after_end)[gaps.owner])
        # What is left of [first, last] without the open gaps: each start is a beginning or a gap's end.
        owner = np.concatenate([began, gaps.owner[open_]])
        start = np.concatenate([self._first[began], gaps.end[open_]])
        end = np.concatenate([self._last[began], gaps.start[open_]])
        by_start, by_end = np.lexsort((start, owner)), np.lexsort((end, owner))
        return Spans(owner[by_start], start[by_start], end[by_end]).union()

    def _join(self) -> tuple[Spans, BoolArray]:
        gaps, after_end = Spans.joined(self._gaps), np.concatenate(self._after_end)
        self._gaps, self._after_end = [gaps], [after_end]
        return gaps, after_end

    def _limits(self, gaps: Spans, counted: BoolArray) -> Int64Array:
        """By slot the longest gap that counts as covered."""
        limits = np.full(len(self._first), ALWAYS_COVERED, dtype=np.int64)
        owner, length = gaps.owner[counted], (gaps.end - gaps.start)[counted]
        order = np.lexsort((length, owner))
        owner, length = owner[order], length[order]
        slots, start, long = np.unique(owner, return_index=True, return_counts=True)
        short = self._short[slots]
        # The lower median of all gaps, the short ones standing first.
        at = (short + long - 1) // 2 - short
        slow = at >= 0
        median = length[start[slow] + at[slow]]
        limits[slots[slow]] = np.maximum(ALWAYS_COVERED, MEDIANS_COVERED * median)
        return limits

    def _grow(self, size: int) -> None:
        old = len(self._first)
        if size <= old:
            return
        more = max(size, 2 * old, 64) - old
        whole, flags = np.zeros(more, dtype=np.int64), np.zeros(more, dtype=np.bool_)
        self._first, self._last = np.append(self._first, whole), np.append(self._last, whole)
        self._short = np.append(self._short, whole)
        self._began, self._ended = np.append(self._began, flags), np.append(self._ended, flags)
