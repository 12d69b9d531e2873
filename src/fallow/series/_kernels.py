"""Kernels over blocks: append a sample, merge a late one, and sum up a window. See layout for what lies where."""

# numba compiles what it infers; the stubs of numpy know neither the fields of records nor scalars out of arrays.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportReturnType=false, reportUnnecessaryComparison=false, reportOptionalOperand=false

from __future__ import annotations

import math

import numpy as np
from numba import njit

from fallow.series.layout import (
    CACHED,
    CACHED_AT,
    CACHED_LAST,
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
    LAST_T,
    LAST_V,
    MAXIMUM,
    MINIMUM,
    NONE,
    OLDEST,
    PREVIOUS_T,
    PREVIOUS_V,
    RAW_COUNT,
    RAW_LIMIT,
    REFERENCE,
    RESET_SUM,
    RESETS,
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
    Float64Array,
    Int64Array,
    N,
    Records,
)

SECONDS = 1e-9


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
        ints[at + CACHED_AT] = NONE
        ints[at + CLOSED + TAIL_T] = NONE
        ints[at + CLOSED + TAIL_PREVIOUS_T] = NONE


@njit(cache=True, nogil=True, error_model="numpy")
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


@njit(cache=True, nogil=True, error_model="numpy")
def _copy_tail(ints: Int64Array, base: int, to: int) -> None:
    ints[to + TAIL_T] = ints[base + LAST_T]
    ints[to + TAIL_V] = ints[base + LAST_V]
    ints[to + TAIL_PREVIOUS_T] = ints[base + PREVIOUS_T]
    ints[to + TAIL_PREVIOUS_V] = ints[base + PREVIOUS_V]
    ints[to + TAIL_CHANGES] = ints[base + CHANGES]
    ints[to + TAIL_RESETS] = ints[base + RESETS]
    ints[to + TAIL_RESET_SUM] = ints[base + RESET_SUM]


@njit(cache=True, nogil=True, error_model="numpy")
def _open_pane(ints: Int64Array, base: int, at: int, s: int, pane: int, stores: Records) -> None:
    """Make ``pane`` the store's newest; the panes between, and those that it overwrites, are empty."""
    current = ints[at + CURRENT]
    ring, stride = stores[s].ring, stores[s].stride
    if current == NONE:
        skipped = 1
    else:
        _copy_tail(ints, base, at + CLOSED)
        skipped = min(pane - current, ring)
    for k in range(skipped):
        j = at + STORE_WORDS + ((pane - k) % ring) * stride
        for w in range(stride):
            ints[j + w] = 0
    ints[at + CURRENT] = pane
    ints[at + CURRENT_SLOT] = pane % ring


@njit(cache=True, nogil=True, error_model="numpy")
def _two_sum(total: float, carry: float, x: float) -> tuple[float, float]:
    """Neumaier's sum: (total + x, what was rounded away so far)."""
    t = total + x
    if math.isinf(t):
        carry = 0.0
    elif abs(total) >= abs(x):
        carry += (total - t) + x
    else:
        carry += (x - t) + total
    return t, carry


@njit(cache=True, nogil=True, error_model="numpy")
def _first_in_pane(
    ints: Int64Array,
    floats: Float64Array,
    j: int,
    s: int,
    t: int,
    v: float,
    changes: float,
    resets: float,
    reset_sum: float,
    stores: Records,
) -> None:
    """Begin a pane with its first sample and the running counts as they are with it."""
    ints[j + FIRST] = t
    if stores[s].first_v >= 0:
        floats[j + stores[s].first_v] = v
    if stores[s].first_changes >= 0:
        floats[j + stores[s].first_changes] = changes
    if stores[s].first_resets >= 0:
        floats[j + stores[s].first_resets] = resets
    if stores[s].first_reset_sum >= 0:
        floats[j + stores[s].first_reset_sum] = reset_sum
    if stores[s].low >= 0:
        floats[j + stores[s].low] = v
    if stores[s].high >= 0:
        floats[j + stores[s].high] = v


@njit(cache=True, nogil=True, error_model="numpy")
def _count_in(
    ints: Int64Array, floats: Float64Array, base: int, j: int, s: int, start: int, t: int, v: float, stores: Records
) -> None:
    """Take a sample into the statistics of its pane that do not depend on order."""
    n = ints[j] + 1
    ints[j] = n
    where = stores[s].total
    if where >= 0:
        k = j + stores[s].carry
        squares = stores[s].squares
        if squares >= 0 and n > 1:
            d = v - floats[j + where] / (n - 1)
            floats[j + squares] += d * d * (n - 1) / n
        elif squares >= 0:
            floats[j + squares] = v - v  # NaN where v is not finite, as in Prometheus
        floats[j + where], floats[k] = _two_sum(floats[j + where], floats[k], v)
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
        if ints[at + CACHED_AT] >= t:
            ints[at + CACHED_AT] = NONE
        j = at + STORE_WORDS + ints[at + CURRENT_SLOT] * stores[s].stride
        if ints[j] == 0:
            _first_in_pane(ints, floats, j, s, t, v, changes, resets, reset_sum, stores)
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
        ints[at + CACHED_AT] = NONE
        if ints[j] == 0:
            for k in range(ring):  # order-dependent words of a pane that was empty: as of the next one that is not
                later = at + STORE_WORDS + ((pane + 1 + k) % ring) * stores[s].stride
                if ints[later] > 0:
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
            for where in (stores[s].low, stores[s].high):
                if where >= 0:
                    floats[j + where] = v
            ints[j + FIRST] = t
        ints[j + FIRST] = min(ints[j + FIRST], t)
        _count_in(ints, floats, base, j, s, pane * width, t, v, stores)


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_total(ints: Int64Array, floats: Float64Array, c: int, first: int, panes: int, s: int, stores: Records) -> None:
    """SUM, CARRY and SQUARES of ``panes`` panes from word ``first`` on, taken into the window's."""
    stride, where, carried, squares = stores[s].stride, stores[s].total, stores[s].carry, stores[s].squares
    n = ints[c + N]
    total, carry, spread = floats[c + SUM], floats[c + CARRY], floats[c + SQUARES]
    for k in range(panes):
        j = first + k * stride
        n0 = ints[j]
        if n0 == 0:
            continue
        if squares >= 0:
            spread += floats[j + squares]
            if n > 0:
                d = (floats[j + where] + floats[j + carried]) / n0 - (total + carry) / n
                spread += d * d * n0 * n / (n0 + n)
        total, carry = _two_sum(total, carry, floats[j + where])
        carry += floats[j + carried]
        n += n0
    floats[c + SUM], floats[c + CARRY], floats[c + SQUARES] = total, carry, spread


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_slope(
    ints: Int64Array, floats: Float64Array, c: int, first: int, panes: int, lag: int, s: int, stores: Records
) -> None:
    """Σv, Σt, Σtt, Σtv likewise, with t from the window's start, which is ``lag`` panes before the first."""
    stride, where = stores[s].stride, stores[s].slope
    for k in range(panes):
        j = first + k * stride
        n0 = ints[j]
        shift = (lag + k) * stores[s].width * SECONDS
        j += where  # the four lie side by side
        floats[c + SLOPE_V] += floats[j]
        floats[c + SLOPE_T] += floats[j + 1] + n0 * shift
        floats[c + SLOPE_TT] += floats[j + 2] + 2 * shift * floats[j + 1] + n0 * shift * shift
        floats[c + SLOPE_TV] += floats[j + 3] + shift * floats[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_extremes(
    ints: Int64Array, floats: Float64Array, c: int, first: int, panes: int, s: int, stores: Records
) -> None:
    """MINIMUM and MAXIMUM likewise; NaN gives way to any number."""
    stride = stores[s].stride
    where = stores[s].low
    if where >= 0:
        low = floats[c + MINIMUM]
        for k in range(panes):
            x = floats[first + k * stride + where]
            if ints[first + k * stride] > 0 and not low <= x and not math.isnan(x):
                low = x
        floats[c + MINIMUM] = low
    where = stores[s].high
    if where >= 0:
        high = floats[c + MAXIMUM]
        for k in range(panes):
            x = floats[first + k * stride + where]
            if ints[first + k * stride] > 0 and not high >= x and not math.isnan(x):
                high = x
        floats[c + MAXIMUM] = high


@njit(cache=True, nogil=True, error_model="numpy")
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
) -> None:
    """Take ``panes`` panes from ``pane`` on, which lie side by side from ``slot`` of the ring on, into the window."""
    c, stride = at + CACHED, stores[s].stride
    first = at + STORE_WORDS + slot * stride
    n = 0
    for k in range(panes):
        n += ints[first + k * stride]
    if n == 0:
        return
    if ints[c + N] == 0:
        k = 0
        while ints[first + k * stride] == 0:
            k += 1
        ints[at + OLDEST] = pane + k
        j = first + k * stride
        ints[c + FIRST] = ints[j + FIRST]
        if stores[s].first_v >= 0:
            ints[c + FIRST_V] = ints[j + stores[s].first_v]
        if stores[s].first_changes >= 0:
            ints[c + FIRST_CHANGES] = ints[j + stores[s].first_changes]
        if stores[s].first_resets >= 0:
            ints[c + FIRST_RESETS] = ints[j + stores[s].first_resets]
        if stores[s].first_reset_sum >= 0:
            ints[c + FIRST_RESET_SUM] = ints[j + stores[s].first_reset_sum]
    if stores[s].total >= 0:
        _sum_total(ints, floats, c, first, panes, s, stores)
    _sum_extremes(ints, floats, c, first, panes, s, stores)
    if stores[s].slope >= 0:
        _sum_slope(ints, floats, c, first, panes, pane - begin, s, stores)
    ints[c + N] += n


@njit(cache=True, nogil=True, error_model="numpy")
def sum_up(ints: Int64Array, floats: Float64Array, base: int, s: int, boundary: int, stores: Records) -> int:
    """Sum up the window (boundary−W, boundary] of store s into its cache; returns how many samples it holds."""
    at = base + stores[s].offset
    c = at + CACHED
    if ints[at + CACHED_AT] == boundary:
        return ints[c + N]
    ints[at + CACHED_AT] = boundary
    ring = stores[s].ring
    current = ints[at + CURRENT]
    stop = boundary // stores[s].width
    begin = stop - (ring - 1)
    for k in range(STATISTICS):
        ints[c + k] = 0
    floats[c + MINIMUM] = floats[c + MAXIMUM] = np.nan
    pane, last = max(begin, current - ring + 1), min(stop, current + 1)
    if pane < last:
        slot = pane % ring
        straight = min(last - pane, ring - slot)
        _sum_run(ints, floats, at, pane, slot, straight, begin, s, stores)
        if pane + straight < last:
            _sum_run(ints, floats, at, pane + straight, 0, last - pane - straight, begin, s, stores)
    if current < stop:
        _copy_tail(ints, base, at + CACHED_LAST)
    else:
        for k in range(7):
            ints[at + CACHED_LAST + k] = ints[at + CLOSED + k]
    return ints[c + N]


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
