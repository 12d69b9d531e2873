"""Kernels over blocks: append a sample, merge a late one. See layout for what lies where."""

# min and max of what may be NaN: which of both is taken matters.

# numba compiles what it infers; the stubs of numpy know neither the fields of records nor scalars out of arrays.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportReturnType=false, reportUnnecessaryComparison=false, reportOptionalOperand=false

from __future__ import annotations

import math

import numpy as np
from numba import njit

from fallow.series._memory import part, prefetch, uncounted
from fallow.series._windows import copy_tail, follow, sum_closed
from fallow.series.layout import (
    BELOW,
    CADENCE,
    CHANGES,
    CLOSED_TAIL,
    CURRENT,
    ENDS,
    FIRST_T,
    GAP_COUNT,
    GAPS,
    GAPS_SEEN,
    HELD,
    HELD_BITS,
    LAST_T,
    LAST_V,
    LINE_WORDS,
    NONE,
    OVER,
    PREVIOUS_T,
    PREVIOUS_V,
    RAW_LIMIT,
    REFERENCE,
    RESET_SUM,
    RESETS,
    ROW_WORDS,
    STALE,
    STORE_WORDS,
    TAIL_PREVIOUS_T,
    TAIL_T,
    UNDER,
    Float64Array,
    Int64Array,
    Records,
)

SECONDS = 1e-9


@njit(cache=True, nogil=True, error_model="numpy")
def clear_block(
    ints: Int64Array, floats: Float64Array, base: int, words: int, first: int, stop: int, stores: Records
) -> None:
    """An empty row: no sample, no pane."""
    for k in range(words):
        ints[base + k] = 0
    ints[base + LAST_T] = NONE
    ints[base + PREVIOUS_T] = NONE
    ints[base + FIRST_T] = NONE
    for s in range(first, stop):
        at = base + stores[s].offset
        closed = base + stores[s].closed
        ints[at + CURRENT] = NONE
        ints[closed + ENDS] = NONE
        ints[closed + CLOSED_TAIL + TAIL_T] = NONE
        ints[closed + CLOSED_TAIL + TAIL_PREVIOUS_T] = NONE
        for k in range(stores[s].ring):
            _no_extremes(floats, base + stores[s].rings + k, stores[s].ring, s, stores)


@part
def _remember_gap(ints: Int64Array, base: int, gap: int) -> None:
    """Take the gap into the last eight and set the cadence to their (lower) median."""
    seen = ints[base + GAPS_SEEN]
    at = base + GAPS + (seen & (GAP_COUNT - 1))
    ints[base + GAPS_SEEN] = seen + 1
    if ints[at] == gap and seen >= GAP_COUNT:
        return  # the same gap leaves as comes, as it mostly does
    ints[at] = gap
    count = min(seen + 1, GAP_COUNT)
    # The cadence is the value with at most (count-1)//2 gaps below it and enough not above it: no sort, no memory.
    middle = (count - 1) // 2
    for i in range(count):
        candidate = ints[base + GAPS + i]
        below = 0
        same = 0
        for k in range(count):
            other = ints[base + GAPS + k]
            below += other < candidate
            same += other == candidate
        if below <= middle < below + same:
            ints[base + CADENCE] = candidate
            return


@part
def forget_gaps(ints: Int64Array, base: int) -> None:
    """Let the cadence be learnt anew from the samples to come."""
    ints[base + GAPS_SEEN] = 0
    ints[base + CADENCE] = 0


@uncounted
def _open_pane(
    ints: Int64Array, floats: Float64Array, base: int, s: int, t: int, stores: Records, summary: Float64Array
) -> None:
    """Close the store's open pane and open that of time t; the panes between, and those that they overwrite, are empty."""
    at, rings = base + stores[s].offset, base + stores[s].rings
    current = ints[at + CURRENT]
    ring, stride = stores[s].ring, stores[s].stride
    pane = (t - 1) // stores[s].width
    followed = False
    if current != NONE:
        copy_tail(ints, base, ints, base + stores[s].closed + CLOSED_TAIL)
        followed = follow(ints, floats, base, s, pane + 1, True, stores, summary)
        j = rings + current % ring
        for w in range(stride):
            ints[j + w * ring] = ints[at + STORE_WORDS + w]
        for k in range(1, min(pane - current, ring + 1)):
            j = rings + (current + k) % ring
            for w in range(stride):
                ints[j + w * ring] = 0
            _no_extremes(floats, j, ring, s, stores)
    for w in range(stride):
        ints[at + STORE_WORDS + w] = 0
    ints[at + CURRENT] = pane
    if not followed:
        sum_closed(ints, floats, base, s, pane, stores, summary)


@part
def _first_in_pane(
    floats: Float64Array,
    j: int,
    s: int,
    v: float,
    changes: float,
    resets: float,
    reset_sum: float,
    stores: Records,
) -> None:
    """Begin a pane with its first sample and the running counts as they are with it."""
    if stores[s].first_v >= 0:
        floats[j + stores[s].first_v] = v
    if stores[s].first_changes >= 0:
        floats[j + stores[s].first_changes] = changes
    if stores[s].first_resets >= 0:
        floats[j + stores[s].first_resets] = resets
    if stores[s].first_reset_sum >= 0:
        floats[j + stores[s].first_reset_sum] = reset_sum
    _no_extremes(floats, j, 1, s, stores)


@part
def _no_extremes(floats: Float64Array, j: int, step: int, s: int, stores: Records) -> None:
    """Begin a pane's extremes, which give way to any number; its words lie ``step`` apart, as in all that follows."""
    if stores[s].low >= 0:
        floats[j + stores[s].low * step] = np.nan
    if stores[s].high >= 0:
        floats[j + stores[s].high * step] = np.nan
    if stores[s].below >= 0:
        floats[j + (stores[s].below + UNDER - BELOW) * step] = np.nan
        floats[j + (stores[s].below + OVER - BELOW) * step] = np.nan


@part
def _to_side(ints: Int64Array, floats: Float64Array, j: int, step: int, s: int, v: float, stores: Records) -> None:
    """Count a sample on its side of the store's limit; NaN lies below every number."""
    k = j + stores[s].below * step
    if math.isnan(v):
        ints[k] += 1 + (1 << 32)
    elif v < stores[s].limit or (stores[s].includes and v == stores[s].limit):
        ints[k] += 1
        k += (UNDER - BELOW) * step
        if not v <= floats[k]:
            floats[k] = v
    else:
        k += (OVER - BELOW) * step
        if not v >= floats[k]:
            floats[k] = v


@uncounted
def _count_in(
    ints: Int64Array,
    floats: Float64Array,
    base: int,
    j: int,
    step: int,
    s: int,
    start: int,
    t: int,
    v: float,
    stores: Records,
) -> None:
    """Take a sample into the statistics of its pane that do not depend on order."""
    held = ints[j]
    n = (held & HELD) + 1
    offset = t - start if n == 1 else min(held >> HELD_BITS, t - start)
    ints[j] = (offset << HELD_BITS) | min(n, HELD)
    if stores[s].total >= 0:
        where = j + stores[s].total * step
        if stores[s].squares >= 0:
            squares = j + stores[s].squares * step
            if n > 1:
                d = v - floats[where] / (n - 1)
                floats[squares] += d * d * (n - 1) / n
            else:
                floats[squares] = v - v  # NaN where v is not finite, as in Prometheus
        floats[where] += v
    if stores[s].low >= 0:
        where = j + stores[s].low * step
        if v < floats[where] or math.isnan(floats[where]):
            floats[where] = v
    if stores[s].high >= 0:
        where = j + stores[s].high * step
        if v > floats[where] or math.isnan(floats[where]):
            floats[where] = v
    if stores[s].slope >= 0:
        where = j + stores[s].slope * step
        x = v - floats[base + REFERENCE]
        seconds = (t - start) * SECONDS
        floats[where] += x
        floats[where + step] += seconds
        floats[where + 2 * step] += seconds * seconds
        floats[where + 3 * step] += seconds * x
    if stores[s].below >= 0:
        _to_side(ints, floats, j, step, s, v, stores)


@uncounted
def append_sample(
    ints: Int64Array,
    floats: Float64Array,
    base: int,
    first: int,
    stop: int,
    t: int,
    v: float,
    stores: Records,
    summary: Float64Array,
) -> None:
    """Append a sample that is newer than every other of its row."""
    last = ints[base + LAST_T]
    known = last != NONE
    if known:
        _remember_gap(ints, base, t - last)
        before = floats[base + LAST_V]
        moved = before != v and not (math.isnan(before) and math.isnan(v))
        changes = floats[base + CHANGES] + moved
        resets = floats[base + RESETS] + (v < before)
        reset_sum = floats[base + RESET_SUM] + (before if v < before else 0.0)
    else:
        ints[base + FIRST_T] = t
        floats[base + REFERENCE] = v
        changes = resets = reset_sum = 0.0
    for s in range(first, stop):
        at = base + stores[s].offset
        width = stores[s].width
        current = ints[at + CURRENT]
        if current == NONE or t > (current + 1) * width:
            _open_pane(ints, floats, base, s, t, stores, summary)
            current = ints[at + CURRENT]
        j = at + STORE_WORDS
        if ints[j] == 0:
            _first_in_pane(floats, j, s, v, changes, resets, reset_sum, stores)
        _count_in(ints, floats, base, j, 1, s, current * width, t, v, stores)
        if stores[s].raw >= 0:
            raw = base + stores[s].raw
            count = ints[raw + 2 * RAW_LIMIT]
            ints[raw + count % RAW_LIMIT] = t
            floats[raw + RAW_LIMIT + count % RAW_LIMIT] = v
            ints[raw + 2 * RAW_LIMIT] = count + 1
    floats[base + CHANGES], floats[base + RESETS], floats[base + RESET_SUM] = changes, resets, reset_sum
    ints[base + PREVIOUS_T], ints[base + PREVIOUS_V] = last, ints[base + LAST_V]
    ints[base + LAST_T], floats[base + LAST_V], ints[base + STALE] = t, v, 0


@uncounted
def expect_row(ints: Int64Array, base: int, first: int, stop: int, stores: Records) -> None:
    """A sample of this row comes soon."""
    end = base + ROW_WORDS
    if stop > first:
        end = base + stores[stop - 1].offset + STORE_WORDS + stores[stop - 1].stride
    for k in range(base, end, LINE_WORDS):
        prefetch(ints, k)


@uncounted
def _place(ints: Int64Array, base: int, s: int, pane: int, stores: Records) -> tuple[int, int]:
    """(the first word of a pane that is held, how far apart its words lie)."""
    at = base + stores[s].offset
    if pane == ints[at + CURRENT]:
        return at + STORE_WORDS, 1
    return base + stores[s].rings + pane % stores[s].ring, stores[s].ring


@uncounted
def merge_sample(
    ints: Int64Array, floats: Float64Array, base: int, first: int, stop: int, t: int, v: float, stores: Records
) -> None:
    """Merge a sample that came out of order into the panes still held; what depends on order leaves it out."""
    for s in range(first, stop):
        width = stores[s].width
        current = ints[base + stores[s].offset + CURRENT]
        pane = (t - 1) // width
        if current - pane > stores[s].ring:
            continue
        j, step = _place(ints, base, s, pane, stores)
        if pane != current:
            ints[base + stores[s].closed + ENDS] = NONE
        if ints[j] == 0:
            later = pane + 1
            source, apart = _place(ints, base, s, later, stores)
            while ints[source] == 0:  # the open pane holds something
                later += 1
                source, apart = _place(ints, base, s, later, stores)
            for w in range(stores[s].stride):
                ints[j + w * step] = 0
            # Order-dependent words of a pane that was empty: as of the next one that is not.
            for where in (
                stores[s].first_v,
                stores[s].first_changes,
                stores[s].first_resets,
                stores[s].first_reset_sum,
            ):
                if where >= 0:
                    ints[j + where * step] = ints[source + where * apart]
            _no_extremes(floats, j, step, s, stores)
        _count_in(ints, floats, base, j, step, s, pane * width, t, v, stores)
