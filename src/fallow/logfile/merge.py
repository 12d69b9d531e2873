"""Events of several sources, in the order of their time."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from fallow.batch import BoolArray, Int64Array
from fallow.logfile.lines import Records
from fallow.logfile.reorder import Reorder

_EVENTS = 4096
"""Events that leave a reorder buffer together."""


def merged(sources: Iterable[Iterable[Records]]) -> Iterator[tuple[int, Records]]:
    """(source, events): of what the sources have next, always the earliest; each source stays in its own order."""
    heads: list[tuple[int, int, Records, Iterator[Records]]] = []
    for number, source in enumerate(sources):
        _push(heads, number, iter(source))
    while heads:
        _, number, records, rest = heapq.heappop(heads)
        # Up to where another source goes on. Times may go back inside a source: what has been reached counts.
        before = len(records)
        if heads:
            before = int(np.searchsorted(np.maximum.accumulate(records.time), heads[0][0], side="right"))
        yield number, records[:before]
        if before < len(records):
            heapq.heappush(heads, (int(records.time[before]), number, records[before:], rest))
        else:
            _push(heads, number, rest)


def _push(heads: list[tuple[int, int, Records, Iterator[Records]]], number: int, rest: Iterator[Records]) -> None:
    for records in rest:
        if len(records):
            heapq.heappush(heads, (int(records.time[0]), number, records, rest))
            return


def reordered(blocks: Iterable[Records], buffer: Reorder[bytes]) -> Iterator[Records]:
    """Events put in order by a buffer, which counts those that come too late."""
    times: list[int] = []
    texts: list[bytes] = []
    for records in blocks:
        for time, text in zip(records.time.tolist(), records.texts(), strict=True):
            for released, event in buffer.add(time, len(text), text):
                times.append(released)
                texts.append(event)
        if len(times) >= _EVENTS:
            yield Records.of(times, texts)
            times, texts = [], []
    for released, event in buffer.flush():
        times.append(released)
        texts.append(event)
    if times:
        yield Records.of(times, texts)


@dataclass(slots=True)
class Clock:
    """The newest event that was seen, and how many came after newer ones."""

    newest: int = -(2**63)
    late: int = 0

    def split(self, records: Records) -> Iterator[Records]:
        """Events that are not older than one before them, then those that are."""
        reached: Int64Array = np.maximum.accumulate(np.maximum(records.time, self.newest))
        late: BoolArray = records.time < reached
        if len(reached):
            self.newest = int(reached[-1])
        if not late.any():
            yield records
            return
        self.late += int(late.sum())
        yield records.where(~late)
        yield records.where(late)
