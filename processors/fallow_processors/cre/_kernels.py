"""The scan for literals, compiled by numba: one pass over many texts, whatever the number of literals.

A literal is looked up by some of its bytes, its *gram*: four of them, two where it is shorter. At each byte a bit tells
whether the last bytes are a gram of any literal; only where they are, literals are compared. Bytes are folded to lower
case for the lookup, so that literals with and without regard to case are found in the same pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fallow.batch import BoolArray, Int32Array

UInt8Array = NDArray[np.uint8]
UInt64Array = NDArray[np.uint64]

F = TypeVar("F", bound=Callable[..., Any])
# To the compiler numpy's types: what is computed from words with and without sign would be a float.
int64: Callable[[Any], int] = cast(Any, np.int64)
uint64: Callable[[Any], Any] = cast(Any, np.uint64)

GRAM = 4  # bytes
PAIR = 2  # bytes of the gram of a literal that is shorter than GRAM
IS_PAIR = 1 << 8 * GRAM  # tells a pair from a gram of the same number
_GRAM_MASK = (1 << 8 * GRAM) - 1
_PAIR_MASK = (1 << 8 * PAIR) - 1
_HASH = 0x9E3779B97F4A7C15  # 2**64 / golden ratio


class Grams(NamedTuple):
    """Where to look for literals. An entry is a literal with its gram and how many of its bytes come after that."""

    bits: UInt8Array
    """One bit for each of 2**(64 - bit_shift) hashes of a gram."""
    bit_shift: int
    heads: Int32Array
    """First entry for each of 2**(64 - head_shift) hashes; -1: none."""
    head_shift: int
    following: Int32Array
    """Next entry of the same hash."""
    gram: UInt64Array
    literal: Int32Array
    after: Int32Array


class Literals(NamedTuple):
    """Texts to look for, and who wants them: for each literal, patterns and as which group (a bit) of theirs."""

    text: UInt8Array
    start: Int32Array
    folded: BoolArray
    pattern: Int32Array
    group: UInt8Array
    user_start: Int32Array
    groups: UInt8Array
    """(patterns,) the bits of all groups of each."""


def kernel(function: F) -> F:
    """The function compiled without the GIL; cached on disk where numba finds a place to write."""
    try:
        return cast(F, njit(cache=True, nogil=True)(function))
    except RuntimeError:  # "cannot cache function: no locator available": a read-only installation
        return cast(F, njit(nogil=True)(function))


def inlined(function: F) -> F:
    """A small function that is compiled into each of its callers: a call costs more than what it does."""
    return cast(F, njit(nogil=True, forceinline=True)(function))


@inlined
def hashed(gram: Any, shift: int) -> int:
    """One of 2**(64 - shift) numbers."""
    return int64((uint64(gram) * uint64(_HASH)) >> uint64(shift))


@inlined
def as_pair(word: Any) -> Any:
    """The gram of a short literal that ends with the word."""
    return (word & uint64(_PAIR_MASK)) | uint64(IS_PAIR)


@kernel
def enter(grams: Grams) -> None:
    """Enter the grams of all entries into the bits and chains."""
    bits, bit_shift, heads, head_shift, following, gram, _, _ = grams
    for entry in range(len(gram)):
        at = hashed(gram[entry], head_shift)
        following[entry] = heads[at]
        heads[at] = entry
        bit = hashed(gram[entry], bit_shift)
        bits[bit >> 3] |= np.uint8(1 << (bit & 7))


@inlined
def stands(data: UInt8Array, at: int, fold: UInt8Array, folded: Any, text: UInt8Array, start: int, size: Any) -> bool:
    """Whether a literal, ``size`` bytes of ``text``, stands at ``at``."""
    for i in range(size):
        byte = fold[data[at + i]] if folded else data[at + i]
        if byte != text[start + i]:
            return False
    return True


@kernel
def scan(
    data: UInt8Array,
    offsets: Int32Array,
    fold: UInt8Array,
    grams: Grams,
    literals: Literals,
    last: Int32Array,
    seen: UInt8Array,
    places: Int32Array,
    found: Int32Array,
) -> int:
    """Fill the (n, 2) rows (record, pattern), each once, records ascending; answers n, even where fewer fit.

    A record stands there with a pattern if it contains a literal of each of the pattern's groups.

    Args:
        data: the texts, one after the other.
        offsets: (records + 1,) where each begins; the next begins where it ends.
        fold: (256,) the lower case of each byte.
        last: (patterns,) of -1; scratch: the last record with a literal of each.
        seen: (patterns,) scratch: the groups that were found there.
        places: as long as the longest text; scratch.
    """
    # Taken apart once: an array in a tuple would be counted as used, atomically, each time it is looked at.
    bits, bit_shift, heads, head_shift, following, gram, entry_literal, after = grams
    text, text_start, folded, user_pattern, user_group, user_start, groups = literals
    n = 0
    for record in range(len(offsets) - 1):
        start, end = int64(offsets[record]), int64(offsets[record + 1])
        # First where grams may be, without a branch that depends on the text; then what is there.
        count = 0
        word = uint64(0)
        for i in range(start, end):
            word = ((word << uint64(8)) | uint64(fold[data[i]])) & uint64(_GRAM_MASK)
            places[count] = i
            long, short = hashed(word, bit_shift), hashed(as_pair(word), bit_shift)
            count += ((bits[long >> 3] >> (long & 7)) | (bits[short >> 3] >> (short & 7))) & 1
        for place in places[:count]:
            word = uint64(0)
            for i in range(max(start, place + 1 - GRAM), place + 1):
                word = (word << uint64(8)) | uint64(fold[data[i]])
            for key in (word, as_pair(word)):
                entry = heads[hashed(key, head_shift)]
                while entry >= 0:
                    literal = entry_literal[entry]
                    first = int64(text_start[literal])
                    size = text_start[literal + 1] - first
                    stop = place + 1 + after[entry]
                    at = stop - size
                    inside = gram[entry] == key and at >= start and stop <= end
                    if inside and stands(data, at, fold, folded[literal], text, first, size):
                        for user in range(user_start[literal], user_start[literal + 1]):
                            pattern = user_pattern[user]
                            before = seen[pattern] if last[pattern] == record else np.uint8(0)
                            last[pattern] = record
                            seen[pattern] = before | user_group[user]
                            if before != groups[pattern] and seen[pattern] == groups[pattern]:
                                if n < len(found):
                                    found[n, 0] = record
                                    found[n, 1] = pattern
                                n += 1
                    entry = following[entry]
    return n
