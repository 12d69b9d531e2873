"""Kernels over blocks: append a sample, merge a late one, and sum up a window. See layout for what lies where."""

# numba compiles what it infers; the stubs of numpy know neither the fields of records nor scalars out of arrays.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportReturnType=false, reportUnnecessaryComparison=false, reportOptionalOperand=false

from __future__ import annotations

import math

import numpy as np
from numba import njit

from fallow.series._memory import prefetch
from fallow.series.layout import (
    BELOW,
    CADENCE,
    CARRY,
    CHANGES,
    CLOSED,
    CURRENT,
    CURRENT_SLOT,
    FIRST,
    FIRST_CHANGES,
    FIRST_RESET_SUM,
    FIRST_RESETS,
    FIRST_T,
    FIRST_V,
    GAP_COUNT,
    GAPS,
    GAPS_SEEN,
    HELD,
    HELD_BITS,
    LAST,
    LAST_T,
    LAST_V,
    MAXIMUM,
    MINIMUM,
    NONE,
    OF_BOUNDARY,
    OF_ROW,
    OF_STORE,
    OLDEST,
    OVER,
    PREVIOUS_T,
    PREVIOUS_V,
    RAW_COUNT,
    RAW_LIMIT,
    REFERENCE,
    RESET_SUM,
    RESETS,
    ROW_WORDS,
    SLOPE_T,
    SLOPE_TT,
    SLOPE_TV,
    SLOPE_V,
    SQUARES,
    STALE,
    STATISTICS,
    STORE_WORDS,
    SUM,
    TAIL_CHANGES,
    TAIL_PREVIOUS_T,
    TAIL_PREVIOUS_V,
    TAIL_RESET_SUM,
    TAIL_RESETS,
    TAIL_T,
    TAIL_V,
    UNDER,
    Float64Array,
    Int64Array,
    N,
    Records,
)

SECONDS = 1e-9
LINE_WORDS = 8
part = njit(nogil=True, error_model="numpy", inline="always")
"""What is compiled into the kernels that call it: a call hands over every word of every array's description."""


@njit(cache=True, nogil=True, error_model="numpy")
def clear_block(ints: Int64Array, base: int, words: int, first: int, stop: int, stores: Records) -> None:
    """An empty row: no sample, no pane."""
    for k in range(words):
        ints[base + k] = 0
    ints[base + LAST_T] = NONE
    ints[base + PREVIOUS_T] = NONE
    ints[base + FIRST_T] = NONE
    for s in range(first, stop):
        at = base + stores[s].offset
        ints[at + CURRENT] = NONE
        ints[at + CLOSED + TAIL_T] = NONE
        ints[at + CLOSED + TAIL_PREVIOUS_T] = NONE


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


@part
def _copy_tail(ints: Int64Array, base: int, into: Int64Array, to: int) -> None:
    into[to + TAIL_T] = ints[base + LAST_T]
    into[to + TAIL_V] = ints[base + LAST_V]
    into[to + TAIL_PREVIOUS_T] = ints[base + PREVIOUS_T]
    into[to + TAIL_PREVIOUS_V] = ints[base + PREVIOUS_V]
    into[to + TAIL_CHANGES] = ints[base + CHANGES]
    into[to + TAIL_RESETS] = ints[base + RESETS]
    into[to + TAIL_RESET_SUM] = ints[base + RESET_SUM]


@part
def _open_pane(ints: Int64Array, base: int, at: int, s: int, pane: int, stores: Records) -> None:
    """Make ``pane`` the store's newest; the panes between, and those that it overwrites, are empty."""
    current = ints[at + CURRENT]
    ring, stride = stores[s].ring, stores[s].stride
    if current == NONE:
        skipped = 1
    else:
        _copy_tail(ints, base, ints, at + CLOSED)
        skipped = min(pane - current, ring)
    for k in range(skipped):
        j = at + STORE_WORDS + ((pane - k) % ring) * stride
        for w in range(stride):
            ints[j + w] = 0
    ints[at + CURRENT] = pane
    ints[at + CURRENT_SLOT] = pane % ring


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
    _no_extremes(floats, j, s, stores)


@part
def _no_extremes(floats: Float64Array, j: int, s: int, stores: Records) -> None:
    """Begin a pane's extremes, which give way to any number."""
    if stores[s].low >= 0:
        floats[j + stores[s].low] = np.nan
    if stores[s].high >= 0:
        floats[j + stores[s].high] = np.nan
    if stores[s].below >= 0:
        floats[j + stores[s].below + UNDER - BELOW] = np.nan
        floats[j + stores[s].below + OVER - BELOW] = np.nan


@part
def _to_side(ints: Int64Array, floats: Float64Array, j: int, s: int, v: float, stores: Records) -> None:
    """Count a sample on its side of the store's limit; NaN lies below every number."""
    k = j + stores[s].below
    if math.isnan(v):
        ints[k] += 1 + (1 << 32)
    elif v < stores[s].limit or (stores[s].includes and v == stores[s].limit):
        ints[k] += 1
        k += UNDER - BELOW
        if not v <= floats[k]:
            floats[k] = v
    else:
        k += OVER - BELOW
        if not v >= floats[k]:
            floats[k] = v


@part
def _count_in(
    ints: Int64Array, floats: Float64Array, base: int, j: int, s: int, start: int, t: int, v: float, stores: Records
) -> None:
    """Take a sample into the statistics of its pane that do not depend on order."""
    held = ints[j]
    n = (held & HELD) + 1
    offset = t - start if n == 1 else min(held >> HELD_BITS, t - start)
    ints[j] = (offset << HELD_BITS) | min(n, HELD)
    where = stores[s].total
    if where >= 0:
        squares = stores[s].squares
        if squares >= 0 and n > 1:
            d = v - floats[j + where] / (n - 1)
            floats[j + squares] += d * d * (n - 1) / n
        elif squares >= 0:
            floats[j + squares] = v - v  # NaN where v is not finite, as in Prometheus
        floats[j + where] += v
    where = stores[s].low
    if where >= 0 and (v < floats[j + where] or math.isnan(floats[j + where])):
        floats[j + where] = v
    where = stores[s].high
    if where >= 0 and (v > floats[j + where] or math.isnan(floats[j + where])):
        floats[j + where] = v
    where = stores[s].slope
    if where >= 0:
        x = v - floats[base + REFERENCE]
        seconds = (t - start) * SECONDS
        floats[j + where] += x
        floats[j + where + 1] += seconds
        floats[j + where + 2] += seconds * seconds
        floats[j + where + 3] += seconds * x
    if stores[s].below >= 0:
        _to_side(ints, floats, j, s, v, stores)


@njit(cache=True, nogil=True, error_model="numpy")
def append_sample(
    ints: Int64Array, floats: Float64Array, base: int, first: int, stop: int, t: int, v: float, stores: Records
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
        pane = (t - 1) // width
        if pane != ints[at + CURRENT]:
            _open_pane(ints, base, at, s, pane, stores)
        j = at + STORE_WORDS + ints[at + CURRENT_SLOT] * stores[s].stride
        if ints[j] == 0:
            _first_in_pane(floats, j, s, v, changes, resets, reset_sum, stores)
        _count_in(ints, floats, base, j, s, pane * width, t, v, stores)
        if stores[s].raw >= 0:
            count = ints[at + RAW_COUNT]
            ints[at + stores[s].raw + count % RAW_LIMIT] = t
            floats[at + stores[s].raw + RAW_LIMIT + count % RAW_LIMIT] = v
            ints[at + RAW_COUNT] = count + 1
    floats[base + CHANGES], floats[base + RESETS], floats[base + RESET_SUM] = changes, resets, reset_sum
    ints[base + PREVIOUS_T], ints[base + PREVIOUS_V] = last, ints[base + LAST_V]
    ints[base + LAST_T], floats[base + LAST_V], ints[base + STALE] = t, v, 0


@njit(cache=True, nogil=True, error_model="numpy")
def expect_row(ints: Int64Array, base: int, first: int, stop: int, stores: Records) -> None:
    """A sample of this row comes soon."""
    for k in range(0, ROW_WORDS, LINE_WORDS):
        prefetch(ints, base + k)
    for s in range(first, stop):
        prefetch(ints, base + stores[s].offset)


@njit(cache=True, nogil=True, error_model="numpy")
def expect_panes(ints: Int64Array, base: int, first: int, stop: int, stores: Records) -> None:
    """It comes sooner: its panes."""
    for s in range(first, stop):
        at = base + stores[s].offset
        j = at + STORE_WORDS + ints[at + CURRENT_SLOT] * stores[s].stride
        prefetch(ints, j)
        prefetch(ints, j + stores[s].stride - 1)


@njit(cache=True, nogil=True, error_model="numpy")
def merge_sample(
    ints: Int64Array, floats: Float64Array, base: int, first: int, stop: int, t: int, v: float, stores: Records
) -> None:
    """Merge a sample that came out of order into the panes still held; what depends on order leaves it out."""
    for s in range(first, stop):
        at = base + stores[s].offset
        width, ring = stores[s].width, stores[s].ring
        pane = (t - 1) // width
        if ints[at + CURRENT] - pane >= ring:
            continue
        j = at + STORE_WORDS + (pane % ring) * stores[s].stride
        if ints[j] == 0:
            for k in range(ring):  # order-dependent words of a pane that was empty: as of the next one that is not
                later = at + STORE_WORDS + ((pane + 1 + k) % ring) * stores[s].stride
                if ints[later] != 0:
                    for w in range(stores[s].stride):
                        ints[j + w] = 0
                    for where in (
                        stores[s].first_v,
                        stores[s].first_changes,
                        stores[s].first_resets,
                        stores[s].first_reset_sum,
                    ):
                        if where >= 0:
                            ints[j + where] = ints[later + where]
                    break
            _no_extremes(floats, j, s, stores)
        _count_in(ints, floats, base, j, s, pane * width, t, v, stores)


@part
def _sum_total(floats: Float64Array, first: int, panes: int, s: int, stores: Records, summary: Float64Array) -> None:
    """SUM of ``panes`` panes from word ``first`` on, taken into the window's, with what is rounded away (Knuth)."""
    stride = stores[s].stride
    j = first + stores[s].total
    total, carry = summary[SUM], summary[CARRY]
    for _ in range(panes):  # an empty pane's is 0
        x = floats[j]
        j += stride
        t = total + x
        back = t - total
        carry += (total - (t - back)) + (x - back)
        total = t
    summary[SUM], summary[CARRY] = total, carry if math.isfinite(total) else 0.0


@part
def _sum_squares(
    ints: Int64Array,
    floats: Float64Array,
    first: int,
    panes: int,
    s: int,
    stores: Records,
    summary: Float64Array,
    n: int,
) -> None:
    """SQUARES likewise, before SUM is: the window has n samples so far."""
    stride, where, squares = stores[s].stride, stores[s].total, stores[s].squares
    total, spread = summary[SUM] + summary[CARRY], summary[SQUARES]
    count = n
    for k in range(panes):
        j = first + k * stride
        n0 = ints[j] & HELD
        if n0 == 0:
            continue
        spread += floats[j + squares]
        if count > 0:
            d = floats[j + where] / n0 - total / count
            spread += d * d * n0 * count / (n0 + count)
        count += n0
        total += floats[j + where]
    summary[SQUARES] = spread


@part
def _sum_slope(
    ints: Int64Array,
    floats: Float64Array,
    first: int,
    panes: int,
    lag: int,
    s: int,
    stores: Records,
    summary: Float64Array,
) -> None:
    """Σv, Σt, Σtt, Σtv likewise, with t from the window's start, which is ``lag`` panes before the first."""
    stride, where = stores[s].stride, stores[s].slope
    for k in range(panes):
        j = first + k * stride
        n0 = ints[j] & HELD
        if n0 == 0:
            continue
        shift = (lag + k) * stores[s].width * SECONDS
        j += where  # the four lie side by side
        summary[SLOPE_V] += floats[j]
        summary[SLOPE_T] += floats[j + 1] + n0 * shift
        summary[SLOPE_TT] += floats[j + 2] + 2 * shift * floats[j + 1] + n0 * shift * shift
        summary[SLOPE_TV] += floats[j + 3] + shift * floats[j]


@part
def _lowest(
    ints: Int64Array, floats: Float64Array, first: int, panes: int, stride: int, where: int, low: float
) -> float:
    """The least of a statistic of the panes that hold something; NaN gives way to any number."""
    for k in range(panes):
        j = first + k * stride
        x = floats[j + where]
        if not low <= x and not math.isnan(x) and ints[j] != 0:
            low = x
    return low


@part
def _highest(
    ints: Int64Array, floats: Float64Array, first: int, panes: int, stride: int, where: int, high: float
) -> float:
    """The greatest likewise."""
    for k in range(panes):
        j = first + k * stride
        x = floats[j + where]
        if not high >= x and not math.isnan(x) and ints[j] != 0:
            high = x
    return high


@part
def _sum_extremes(
    ints: Int64Array, floats: Float64Array, first: int, panes: int, s: int, stores: Records, summary: Float64Array
) -> None:
    """MINIMUM, MAXIMUM and both sides of the store's limit likewise."""
    stride = stores[s].stride
    where = stores[s].low
    if where >= 0:
        summary[MINIMUM] = _lowest(ints, floats, first, panes, stride, where, summary[MINIMUM])
    where = stores[s].high
    if where >= 0:
        summary[MAXIMUM] = _highest(ints, floats, first, panes, stride, where, summary[MAXIMUM])
    where = stores[s].below
    if where >= 0:
        sides = summary.view(np.int64)
        for k in range(panes):
            sides[BELOW] += ints[first + k * stride + where]
        summary[UNDER] = _highest(ints, floats, first, panes, stride, where + UNDER - BELOW, summary[UNDER])
        summary[OVER] = _lowest(ints, floats, first, panes, stride, where + OVER - BELOW, summary[OVER])


@part
def _begin_summary(
    ints: Int64Array, floats: Float64Array, j: int, pane: int, s: int, stores: Records, summary: Float64Array
) -> None:
    """What the window's oldest pane that holds something says alone."""
    words = summary.view(np.int64)
    words[OLDEST] = pane
    words[FIRST] = pane * stores[s].width + (ints[j] >> HELD_BITS)
    if stores[s].first_v >= 0:
        summary[FIRST_V] = floats[j + stores[s].first_v]
    if stores[s].first_changes >= 0:
        summary[FIRST_CHANGES] = floats[j + stores[s].first_changes]
    if stores[s].first_resets >= 0:
        summary[FIRST_RESETS] = floats[j + stores[s].first_resets]
    if stores[s].first_reset_sum >= 0:
        summary[FIRST_RESET_SUM] = floats[j + stores[s].first_reset_sum]


@part
def _sum_run(
    ints: Int64Array,
    floats: Float64Array,
    at: int,
    pane: int,
    slot: int,
    panes: int,
    begin: int,
    s: int,
    stores: Records,
    summary: Float64Array,
) -> None:
    """Take ``panes`` panes from ``pane`` on, which lie side by side from ``slot`` of the ring on, into the window."""
    words = summary.view(np.int64)
    stride = stores[s].stride
    first = at + STORE_WORDS + slot * stride
    n = 0
    for k in range(panes):
        n += ints[first + k * stride] & HELD
    if n == 0:
        return
    if words[N] == 0:
        k = 0
        while ints[first + k * stride] == 0:
            k += 1
        _begin_summary(ints, floats, first + k * stride, pane + k, s, stores, summary)
    if stores[s].squares >= 0:
        _sum_squares(ints, floats, first, panes, s, stores, summary, words[N])
    if stores[s].total >= 0:
        _sum_total(floats, first, panes, s, stores, summary)
    _sum_extremes(ints, floats, first, panes, s, stores, summary)
    if stores[s].slope >= 0:
        _sum_slope(ints, floats, first, panes, pane - begin, s, stores, summary)
    words[N] += n


@part
def sum_up(
    ints: Int64Array, floats: Float64Array, base: int, s: int, boundary: int, stores: Records, summary: Float64Array
) -> int:
    """Sum up the window (boundary−W, boundary] of store s; returns how many samples it holds.

    ``summary`` may be that of the call before: of the same window it is not computed again.
    """
    words = summary.view(np.int64)
    if words[OF_BOUNDARY] == boundary and words[OF_ROW] == base and words[OF_STORE] == s:
        return words[N]
    words[OF_BOUNDARY], words[OF_ROW], words[OF_STORE] = boundary, base, s
    at = base + stores[s].offset
    ring = stores[s].ring
    current = ints[at + CURRENT]
    stop = boundary // stores[s].width
    begin = stop - (ring - 1)
    for k in range(STATISTICS + 1):
        words[k] = 0
    summary[MINIMUM] = summary[MAXIMUM] = summary[UNDER] = summary[OVER] = np.nan
    pane, last = max(begin, current - ring + 1), min(stop, current + 1)
    for _ in range(2):  # from its oldest pane to the ring's end, and on from the ring's beginning
        if pane < last:
            slot = pane % ring
            panes = min(last - pane, ring - slot)
            _sum_run(ints, floats, at, pane, slot, panes, begin, s, stores, summary)
            pane += panes
    if current < stop:
        _copy_tail(ints, base, words, LAST)
    else:
        for k in range(7):
            words[LAST + k] = ints[at + CLOSED + k]
    return words[N]


@njit(cache=True, nogil=True, error_model="numpy")
def raw_window(
    ints: Int64Array, floats: Float64Array, base: int, s: int, boundary: int, stores: Records
) -> Float64Array:
    """The values of the newest RAW_LIMIT samples in (boundary−W, boundary], oldest last."""
    at = base + stores[s].offset
    raw = at + stores[s].raw
    count = ints[at + RAW_COUNT]
    values = np.empty(min(count, RAW_LIMIT), dtype=np.float64)
    n = 0
    for k in range(min(count, RAW_LIMIT)):
        i = (count - 1 - k) % RAW_LIMIT
        if boundary - stores[s].window < ints[raw + i] <= boundary:
            values[n] = floats[raw + RAW_LIMIT + i]
            n += 1
    return values[:n]
