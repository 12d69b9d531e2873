"""Rows: one block of the arena for each series that something is asked of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from fallow.series._kernels import clear_block
from fallow.series.layout import (
    CLOSED_WORDS,
    LAYOUT_VERSION,
    LINE_WORDS,
    NONE,
    RAW,
    RAW_WORDS,
    ROW_WORDS,
    STORE_WORDS,
    Float64Array,
    Int64Array,
    Layouts,
    N,
    Records,
    StoreSpec,
)
from fallow.state import Saved, State

ROW: Final = np.dtype(
    [(name, np.int64) for name in ("base", "first", "stop", "unit", "layout", "sure")],
)
"""A row: its block's first word in the arena, its stores among all, the number of what it is evaluated with, its layout,
and after which time nothing of its series is missing (NONE: nothing is)."""

_AT_ONCE: Final = 4096
"""Rows copied in one go."""


class Rows:
    """Grows by doubling, never beyond ``limit`` rows; a row is never given back."""

    def __init__(self, layouts: Layouts, limit: int) -> None:
        self.layouts = layouts
        self.limit = limit
        self.floats: Float64Array = _zeros(1 << 12)
        self.rows: Records = np.zeros(64, dtype=ROW)
        self._used = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes of state in use."""
        return 8 * self._used

    @property
    def ints(self) -> Int64Array:
        """The arena's words as integers; ``floats`` are the same words."""
        return self.floats.view(np.int64)

    def add(self, layout: int) -> int:
        """A new, empty row of this layout; -1 where the limit is reached."""
        if self._count >= self.limit:
            return -1
        words = self.layouts.words[layout]
        self._reserve(words)
        row, base = self._count, self._used
        first, stop = self.layouts.first[layout], self.layouts.stop[layout]
        self.rows[row] = (base, first, stop, 0, layout, NONE)
        self._used += words
        self._count += 1
        clear_block(self.ints, self.floats, base, words, first, stop, self.layouts.stores)
        return row

    def _reserve(self, words: int) -> None:
        if self._count == len(self.rows):
            self.rows = np.concatenate((self.rows, np.zeros_like(self.rows)))
        need = self._used + words
        if need > len(self.floats):
            size = max(need, 2 * len(self.floats))  # pages that nothing has touched yet take no memory
            grown = _zeros(size)
            grown[: self._used] = self.floats[: self._used]
            self.floats = grown

    # -- across a restart ----------------------------------------------------------------------------------------------
    def save(self) -> Saved:
        """Every row's words, and what lies where in them."""
        words, rows = self.ints[: self._used].copy(), self.rows[: self._count].copy()
        layouts = [
            [
                [_plain(spec), *(int(store[place]) for place in ("offset", "closed", "rings", "sure"))]
                for spec, store in zip(self.layouts.specs[first:stop], self.layouts.stores[first:stop], strict=True)
            ]
            for first, stop in zip(self.layouts.first, self.layouts.stop, strict=True)
        ]
        return lambda: State(
            version=LAYOUT_VERSION, document={"layouts": layouts}, arrays={"words": words, "rows": rows}
        )

    def restore(self, state: State, old: Int64Array, new: Int64Array) -> set[int]:
        """Fill the rows ``new`` with what the state has in the rows ``old``; returns the stores that it does not have."""
        words, rows = state.of(LAYOUT_VERSION).arrays["words"], state.arrays["rows"]
        layouts = np.stack((rows["layout"][old], self.rows["layout"][new]))
        cold: set[int] = set()
        for before, now in np.unique(layouts, axis=1).T.tolist():
            chosen = np.flatnonzero((layouts[0] == before) & (layouts[1] == now))
            source, target = rows["base"][old[chosen]], self.rows["base"][new[chosen]]
            _copy(words, source, self.ints, target, ROW_WORDS)
            self.rows["sure"][new[chosen]] = rows["sure"][old[chosen]]
            there = _stores(state, before)
            for s in range(self.layouts.first[now], self.layouts.stop[now]):
                spec = self.layouts.specs[s]
                found = next((one for one in there if _has(one[0], spec)), None)
                if found is None:
                    cold.add(s)
                    continue
                known, *places, self.layouts.stores[s]["sure"] = found
                parts = ("offset", _open_words), ("closed", _closed_words), ("rings", _ring_words)
                for (name, of), was in zip(parts, places, strict=True):
                    at = target + int(self.layouts.stores[s][name])
                    for word, place, count in of(known, spec):
                        _copy(words, source + was + word, self.ints, at + place, count)
        return cold


def _zeros(words: int) -> Float64Array:
    """An array that begins with a line of the cache."""
    wide = np.zeros(words + LINE_WORDS, dtype=np.float64)
    skipped = -wide.ctypes.data // 8 % LINE_WORDS
    return wide[skipped : skipped + words]


def _plain(spec: StoreSpec) -> list[object]:
    """A store's specification as JSON says it."""
    return [spec.window, spec.width, sorted(spec.statistics), spec.limit, spec.includes]


def _stores(state: State, layout: int) -> list[tuple[StoreSpec, int, int, int, int]]:
    """The stores of a saved layout, where their three parts begin, and since when they are sure."""
    return [
        (
            StoreSpec(window=window, width=width, statistics=frozenset(kept), limit=limit, includes=includes),
            offset,
            closed,
            rings,
            sure,
        )
        for (window, width, kept, limit, includes), offset, closed, rings, sure in state.document["layouts"][layout]
    ]


def _has(known: StoreSpec, wanted: StoreSpec) -> bool:
    """Whether a store has all that another one wants."""
    alike = (known.window, known.width) == (wanted.window, wanted.width) and known.statistics >= wanted.statistics
    return alike and (wanted.limit is None or (known.limit, known.includes) == (wanted.limit, wanted.includes))


def _open_words(known: StoreSpec, wanted: StoreSpec) -> Iterator[tuple[int, int, int]]:
    """The open pane of a store that may have more, and its number: (from, to, how many)."""
    return _pane_words(STORE_WORDS, known, wanted)


def _closed_words(known: StoreSpec, wanted: StoreSpec) -> Iterator[tuple[int, int, int]]:
    """What it says of its closed panes likewise."""
    return _pane_words(CLOSED_WORDS, known, wanted)


def _pane_words(head: int, known: StoreSpec, wanted: StoreSpec) -> Iterator[tuple[int, int, int]]:
    """A pane after so many words that every store has."""
    yield 0, 0, head
    for statistic in sorted((wanted.statistics | {N}) - {RAW}):
        yield head + known.position(statistic), head + wanted.position(statistic), 1


def _ring_words(known: StoreSpec, wanted: StoreSpec) -> Iterator[tuple[int, int, int]]:
    """Its rings likewise."""
    ring = wanted.ring
    for statistic in sorted((wanted.statistics | {N}) - {RAW}):
        yield known.position(statistic) * ring, wanted.position(statistic) * ring, ring
    if RAW in wanted.statistics:
        yield ring * known.stride, ring * wanted.stride, RAW_WORDS


def _copy(words: Int64Array, source: Int64Array, to: Int64Array, target: Int64Array, count: int) -> None:
    """Copy ``count`` words from each source to each target."""
    each = np.arange(count)
    for at in range(0, len(source), _AT_ONCE):
        part = slice(at, at + _AT_ONCE)
        to[target[part, None] + each] = words[source[part, None] + each]
