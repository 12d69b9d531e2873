"""Sets of time spans per owner as columns, without a loop over spans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fallow.batch import Int64Array


@dataclass(frozen=True, slots=True)
class Spans:
    """(n,) each: the owner's number, start and end in Unix ns; a span that does not last is no span."""

    owner: Int64Array
    start: Int64Array
    end: Int64Array

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int, int]]) -> Spans:
        """Spans from plain (owner, start, end)."""
        columns = np.asarray(rows, dtype=np.int64).reshape(-1, 3)
        return cls(columns[:, 0], columns[:, 1], columns[:, 2])

    @classmethod
    def joined(cls, parts: Sequence[Spans]) -> Spans:
        """All the spans of the parts, overlaps and all."""
        if not parts:
            return cls.of([])
        return cls(
            np.concatenate([p.owner for p in parts]),
            np.concatenate([p.start for p in parts]),
            np.concatenate([p.end for p in parts]),
        )

    def union(self, depth: int = 1) -> Spans:
        """Per owner, where at least ``depth`` spans lie over each other; in order, disjoint, touching ones joined."""
        lasting = self.end > self.start
        owner = np.concatenate([self.owner[lasting]] * 2)
        time = np.concatenate([self.start[lasting], self.end[lasting]])
        step = np.repeat(np.array([1, -1]), len(time) // 2)
        order = np.lexsort((-step, time, owner))
        owner, time, step = owner[order], time[order], step[order]
        level = np.cumsum(step)  # every owner's steps sum to 0, so that the next one starts from 0
        opens = (level >= depth) & (level - step < depth)
        closes = (level < depth) & (level - step >= depth)
        return Spans(owner[opens], time[opens], time[closes])

    def intersection(self, other: Spans) -> Spans:
        """Per owner, where both have a span."""
        return Spans.joined([self.union(), other.union()]).union(depth=2)

    def total(self) -> int:
        """Nanoseconds, as they stand."""
        return int((self.end - self.start).sum())
