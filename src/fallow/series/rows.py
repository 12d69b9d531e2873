"""Rows: one block of the arena for each series that something is asked of."""

from __future__ import annotations

from typing import Final

import numpy as np

from fallow.series._kernels import clear_block
from fallow.series.layout import Float64Array, Int64Array, Layouts, Records

ROW: Final = np.dtype([("base", np.int64), ("first", np.int64), ("stop", np.int64), ("unit", np.int64)])
"""A row: its block's first word in the arena, its stores among all, and the number of what it is evaluated with."""


class Rows:
    """Grows by doubling, never beyond ``limit`` rows; a row is never given back."""

    def __init__(self, layouts: Layouts, limit: int) -> None:
        self.layouts = layouts
        self.limit = limit
        self.floats: Float64Array = np.zeros(1 << 12, dtype=np.float64)
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
        self.rows[row] = (base, first, stop, 0)
        self._used += words
        self._count += 1
        clear_block(self.ints, base, words, first, stop, self.layouts.stores)
        return row

    def _reserve(self, words: int) -> None:
        if self._count == len(self.rows):
            self.rows = np.concatenate((self.rows, np.zeros_like(self.rows)))
        need = self._used + words
        if need > len(self.floats):
            size = max(need, 2 * len(self.floats))  # pages that nothing has touched yet take no memory
            grown = np.zeros(size, dtype=np.float64)
            grown[: self._used] = self.floats[: self._used]
            self.floats = grown
