"""How the state of one series lies in memory: a header, then for each window that is asked of it a store of panes: first
what changes with every sample, of all stores, then what they say of their closed panes together, then those panes.

A window (B−W, B] is a union of whole panes of width P where P divides W and B; panes are right-closed on the absolute
grid k·P, so that every statistic that merges is exact at B whatever the jitter. All state is 8-byte words of one flat
arena, read as int64 or as float64, so that one kernel serves every signal whatever windows it has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fallow.units import SECOND

Int64Array = NDArray[np.int64]
Float64Array = NDArray[np.float64]
Records = NDArray[Any]
"""Structured arrays: one element after the other in memory, which is what kernels that take one at a time want. (Many
arrays side by side cost numba two atomic reference counts for each at every use.)"""

LAYOUT_VERSION: Final = 4
"""Of everything below: rows that were saved under another one are not read."""

LINE_WORDS: Final = 8
"""A line of the cache. Every row begins with one."""
NONE: Final = -(1 << 62)
"""A time or pane number before every other: nothing there."""
FAR: Final = 1 << 62
"""A time after every other: never."""

# -- header of a row, words -------------------------------------------------------------------------------------------
LAST_T: Final = 0
LAST_V: Final = 1
PREVIOUS_T: Final = 2
PREVIOUS_V: Final = 3
FIRST_T: Final = 4
STALE: Final = 5
CADENCE: Final = 6
GAPS_SEEN: Final = 7
CHANGES: Final = 8
RESETS: Final = 9
RESET_SUM: Final = 10
REFERENCE: Final = 11
GAPS: Final = 12
GAP_COUNT: Final = 8
ROW_WORDS: Final = GAPS + GAP_COUNT

# -- what changes with every sample of a store, words: all stores of a row lie side by side ------------------------------
CURRENT: Final = 0  # number of the open pane, the newest that has a sample
STORE_WORDS: Final = 1  # and then that pane

# The same seven words in a row's header, in CLOSED_TAIL and in a summary's LAST, in this order.
TAIL: Final = (LAST_T, LAST_V, PREVIOUS_T, PREVIOUS_V, CHANGES, RESETS, RESET_SUM)
TAIL_T: Final = 0
TAIL_V: Final = 1
TAIL_PREVIOUS_T: Final = 2
TAIL_PREVIOUS_V: Final = 3
TAIL_CHANGES: Final = 4
TAIL_RESETS: Final = 5
TAIL_RESET_SUM: Final = 6

# -- what changes when a pane closes, words: the part that closed panes have in the window whose last pane is the open one ---
ENDS: Final = 0  # the pane after that window, NONE: not summed up
CLOSED_FIRST: Final = 1  # as in a summary
CLOSED_CARRY: Final = 2
CLOSED_LARGEST: Final = 3
CLOSED_TAIL: Final = 4  # what the row's header said when the pane before the open one got its last sample
CLOSED_WORDS: Final = CLOSED_TAIL + len(TAIL)  # and then as a pane has them, but the first: how many samples

# -- a pane: its first word, then one for each statistic that its store keeps, as they are numbered below. Of the panes that
# are closed each word has a ring of its own, so that a window is summed up over words that lie side by side. --------------
HELD_BITS: Final = 17
HELD: Final = (1 << HELD_BITS) - 1
"""The first word's low bits: how many samples, at most so many; above them the time of the first from the pane's start."""

# -- statistics of a pane and of a window -----------------------------------------------------------------------------
N: Final = 0
FIRST: Final = 1  # time of the first sample (of a pane: in its first word)
SUM: Final = 2
SQUARES: Final = 3  # sum of squared distances from the mean (needs SUM)
MINIMUM: Final = 4
MAXIMUM: Final = 5
FIRST_V: Final = 6
FIRST_CHANGES: Final = 7  # the running counts as they were at the pane's first sample
FIRST_RESETS: Final = 8
FIRST_RESET_SUM: Final = 9
SLOPE_V: Final = 10  # Σv, Σt, Σtt, Σtv with v from the row's REFERENCE and t in seconds from the pane's start
SLOPE_T: Final = 11
SLOPE_TT: Final = 12
SLOPE_TV: Final = 13
BELOW: Final = 14  # how many samples lie below the store's limit, and in the high half how many of those are NaN
UNDER: Final = 15  # the largest that does
OVER: Final = 16  # the smallest that does not
STATISTICS: Final = 17
RAW: Final = 17
"""Not a statistic: asks for a ring of the newest RAW_LIMIT samples beside the panes."""
RAW_LIMIT: Final = 512
RAW_WORDS: Final = 2 * RAW_LIMIT + 1
"""The ring of samples: times, values, and how many were ever written into it."""

# -- a summary of a window, words: its statistics, then ---------------------------------------------------------------
CARRY: Final = STATISTICS  # what adding up SUM rounded away
LARGEST: Final = CARRY + 1  # how large its largest term is
LAST: Final = LARGEST + 1  # the row's header as it was at the window's end
SUMMARY_WORDS: Final = LAST + len(TAIL)

SLOPE: Final = frozenset({SLOPE_V, SLOPE_T, SLOPE_TT, SLOPE_TV})
SIDES: Final = frozenset({BELOW, UNDER, OVER})

_FEW: Final = 40
_NICE_S: Final = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


def pane_width(window: int) -> int:
    """The pane width, in ns, for a window in ns: up to 40 panes, and it divides the window.

    >>> pane_width(1800 * SECOND) // SECOND, pane_width(60 * SECOND) // SECOND, pane_width(600 * SECOND) // SECOND
    (60, 2, 15)
    """
    if window % SECOND:
        # A window with a fraction of a second: the widest divisor of both, halved down to at least a few panes.
        return int(np.gcd(window, SECOND)) if window // int(np.gcd(window, SECOND)) <= 40 * _FEW else window
    seconds = window // SECOND
    if seconds <= _FEW:
        return SECOND
    for nice in _NICE_S:
        if nice * _FEW >= seconds and seconds % nice == 0 and nice * 10 <= seconds:
            return nice * SECOND
    divisors = [d for d in range(1, seconds // 10 + 1) if seconds % d == 0]
    wide = [d for d in divisors if d * _FEW >= seconds]
    return (wide[0] if wide else divisors[-1]) * SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSpec:
    """One window of one signal and the statistics its panes keep; of which number SIDES are kept, if they are."""

    window: int
    width: int
    statistics: frozenset[int]
    limit: float | None = None
    includes: bool = False
    """The number itself counts as below it."""

    @property
    def ring(self) -> int:
        """Closed panes kept."""
        return self.window // self.width

    @property
    def stride(self) -> int:
        """Words per pane."""
        return len(self._kept())

    def position(self, statistic: int) -> int:
        """Where the statistic lies within a pane; -1 where it is not kept."""
        kept = self._kept()
        return kept.index(statistic) if statistic in kept else -1

    @property
    def open_words(self) -> int:
        """What changes with every sample."""
        return STORE_WORDS + self.stride

    @property
    def closed_words(self) -> int:
        """What changes when a pane closes."""
        return CLOSED_WORDS + self.stride

    @property
    def ring_words(self) -> int:
        """The closed panes, and the newest samples as they are where they are wanted."""
        return self.ring * self.stride + (RAW_WORDS if RAW in self.statistics else 0)

    @property
    def words(self) -> int:
        return self.open_words + self.closed_words + self.ring_words

    def _kept(self) -> list[int]:
        return sorted((self.statistics | {N}) - {RAW})


_PLACES: Final = {
    "total": SUM,
    "squares": SQUARES,
    "low": MINIMUM,
    "high": MAXIMUM,
    "first_v": FIRST_V,
    "first_changes": FIRST_CHANGES,
    "first_resets": FIRST_RESETS,
    "first_reset_sum": FIRST_RESET_SUM,
    "slope": SLOPE_V,
    "below": BELOW,
}
STORE: Final = np.dtype(
    [
        (name, np.int64)
        for name in (
            *("offset", "closed", "rings", "window", "width", "ring", "stride", "kept"),
            *("raw", *_PLACES, "includes", "sure"),
        )
    ]
    + [("limit", np.float64)]
)
"""A store as the kernels read it: where what changes with every sample, what changes when a pane closes, and its rings begin
in the block; window and width in ns; ring in panes; words of a pane; a bit for each statistic that it keeps; where the ring of
samples begins in the block; the place of each statistic among the words of a pane (-1: not
kept); and after which time it has every sample that its rows have (NONE: it always had)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layouts:
    """Every layout: layout l has the stores first[l]:stop[l] and blocks of words[l] words; stores as STORE records."""

    first: tuple[int, ...]
    stop: tuple[int, ...]
    words: tuple[int, ...]
    stores: Records
    specs: tuple[StoreSpec, ...]


def layouts_of(signals: Iterable[Iterable[StoreSpec]]) -> Layouts:
    """The layouts of some signals, each given as its stores."""
    first: list[int] = []
    stop: list[int] = []
    words: list[int] = []
    stores: list[StoreSpec] = []
    places: list[tuple[int, int, int]] = []
    for signal in signals:
        own = list(signal)
        first.append(len(stores))
        at = ROW_WORDS
        closed = at + sum(store.open_words for store in own)
        ring = closed + sum(store.closed_words for store in own)
        for store in own:
            places.append((at, closed, ring))
            at, closed, ring = at + store.open_words, closed + store.closed_words, ring + store.ring_words
        stores += own
        stop.append(len(stores))
        words.append(-(-ring // LINE_WORDS) * LINE_WORDS)
    columns = np.zeros(len(stores), dtype=STORE)
    for i, (store, (at, closed, ring)) in enumerate(zip(stores, places, strict=True)):
        columns[i]["offset"], columns[i]["closed"], columns[i]["rings"] = at, closed, ring
        columns[i]["kept"] = sum(1 << statistic for statistic in store.statistics if statistic < STATISTICS)
        columns[i]["window"], columns[i]["width"] = store.window, store.width
        columns[i]["ring"], columns[i]["stride"] = store.ring, store.stride
        columns[i]["sure"] = NONE
        columns[i]["raw"] = ring + store.ring * store.stride if RAW in store.statistics else -1
        columns[i]["limit"], columns[i]["includes"] = store.limit or 0.0, store.includes
        for name, statistic in _PLACES.items():
            columns[i][name] = store.position(statistic)
    return Layouts(first=tuple(first), stop=tuple(stop), words=tuple(words), stores=columns, specs=tuple(stores))
