"""Finds in one pass over many texts which patterns' literals they contain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from fallow.batch import Int32Array
from fallow_processors.cre import _kernels as k
from fallow_processors.cre.columns import text_columns
from fallow_processors.cre.literals import Literal

_FOLD: Final = np.frombuffer(bytes(range(256)).lower(), dtype=np.uint8)
_LEAST_BITS: Final = 15  # 4 kB
_BITS_PER_GRAM: Final = 32  # up to three bytes in a hundred of any text seem to be a gram
_FIRST_ROOM: Final = 1024  # rows of the result; it grows


class Scanner:
    """Looks for literals.

    Args:
        groups: for each pattern the literals it needs: one of each group.
    """

    def __init__(self, groups: Sequence[Sequence[Iterable[Literal]]]) -> None:
        wanted: dict[Literal, list[tuple[int, int]]] = {}
        for pattern, needed in enumerate(groups):
            for number, group in enumerate(needed):
                for literal in group:
                    wanted.setdefault(literal, []).append((pattern, 1 << number))
        texts = [text.encode() for text, _ in wanted]
        users = [user for found in wanted.values() for user in found]
        self._literals = k.Literals(
            text=np.frombuffer(b"".join(texts), dtype=np.uint8),
            start=_starts(map(len, texts)),
            folded=np.array([folded for _, folded in wanted], dtype=np.bool_),
            pattern=np.array([pattern for pattern, _ in users], dtype=np.int32),
            group=np.array([group for _, group in users], dtype=np.uint8),
            user_start=_starts(map(len, wanted.values())),
            groups=np.array([(1 << len(needed)) - 1 for needed in groups], dtype=np.uint8),
        )
        lower = [text.lower() for text in texts]
        self._grams = _entered([*_long_entries(lower), *_short_entries(lower)])
        self._last = np.empty(len(groups), dtype=np.int32)
        self._seen = np.empty(len(groups), dtype=np.uint8)
        self._places = np.empty(_FIRST_ROOM, dtype=np.int32)
        self._found = np.empty((_FIRST_ROOM, 2), dtype=np.int32)
        self.scan(*text_columns(pa.array([""], pa.string())))  # compiles now, not while a batch waits

    def scan(self, data: k.UInt8Array, offsets: Int32Array) -> Int32Array:
        """(n, 2) rows (record, pattern whose literals it contains), each once, records ascending.

        Args:
            data: the texts' bytes, one after the other.
            offsets: (records + 1,) where each begins; the next begins where it ends.
        """
        if not len(self._literals.folded):
            return self._found[:0]
        longest = int(np.diff(offsets).max(initial=0))
        if longest > len(self._places):
            self._places = np.empty(longest, dtype=np.int32)
        scratch = (self._last, self._seen, self._places)
        while True:
            self._last.fill(-1)
            n = k.scan(data, offsets, _FOLD, self._grams, self._literals, *scratch, self._found)
            if n <= len(self._found):
                return self._found[:n]
            self._found = np.empty((2 * n, 2), dtype=np.int32)


_Entry = tuple[int, int, int]
"""(gram, literal, bytes of it after the gram)"""


def _long_entries(texts: Sequence[bytes]) -> list[_Entry]:
    """For each literal the gram that stands in the fewest of them: what is common here is common in logs."""
    grams = Counter(g for text in texts for g in {text[i : i + k.GRAM] for i in range(len(text) - k.GRAM + 1)})
    letters = Counter(b"".join(texts))
    entries: list[_Entry] = []
    for literal, text in enumerate(texts):
        ends = range(k.GRAM, len(text) + 1)
        if ends:
            end = min(ends, key=lambda end: _rarity(text[end - k.GRAM : end], grams, letters))
            entries.append((int.from_bytes(text[end - k.GRAM : end]), literal, len(text) - end))
    return entries


def _rarity(gram: bytes, grams: Counter[bytes], letters: Counter[int]) -> tuple[int, int]:
    return grams[gram], sum(letters[c] for c in gram)


def _short_entries(texts: Sequence[bytes]) -> list[_Entry]:
    entries: list[_Entry] = []
    for literal, text in enumerate(texts):
        if k.PAIR <= len(text) < k.GRAM:
            entries.append((k.IS_PAIR | int.from_bytes(text[-k.PAIR :]), literal, 0))
        elif len(text) == 1:
            entries += ((k.IS_PAIR | before << 8 | text[0], literal, 0) for before in range(256))
    return entries


def _entered(entries: Sequence[_Entry]) -> k.Grams:
    bits = max(_LEAST_BITS, (_BITS_PER_GRAM * len(entries)).bit_length())
    heads = (2 * len(entries) + 1).bit_length()
    gram, literal, after = np.array(entries, dtype=np.int64).reshape(-1, 3).T
    grams = k.Grams(
        bits=np.zeros((1 << bits) // 8, dtype=np.uint8),
        bit_shift=64 - bits,
        heads=np.full(1 << heads, -1, dtype=np.int32),
        head_shift=64 - heads,
        following=np.empty(len(entries), dtype=np.int32),
        gram=gram.astype(np.uint64),
        literal=literal.astype(np.int32),
        after=after.astype(np.int32),
    )
    k.enter(grams)
    return grams


def _starts(lengths: Iterable[int]) -> Int32Array:
    return np.cumsum([0, *lengths], dtype=np.int32)
