"""Kernels over blocks: append a sample, merge a late one, and sum up a window. See layout for what lies where."""

# min and max of what may be NaN: which of both is taken matters.
# ruff: noqa: FURB136

# numba compiles what it infers; the stubs of numpy know neither the fields of records nor scalars out of arrays.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportReturnType=false, reportUnnecessaryComparison=false, reportOptionalOperand=false

from __future__ import annotations

import math

import numpy as np
from numba import njit

from fallow.series._memory import prefetch, uncounted
from fallow.series.layout import (
    BELOW,
    CADENCE,
    CARRY,
    CHANGES,
    CLOSED,
    CURRENT,
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
    LARGEST,
    LAST,
    LAST_T,
    LAST_V,
    MAXIMUM,
    MINIMUM,
    NONE,
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
# Loops over panes count in unsigned numbers: a signed index may be negative, which keeps numba from taking several at once.
LINE_WORDS = 8
CANCELLED = 1e-6
"""A sum that is less than this share of its largest term is what is left where terms cancel each other out."""
part = njit(nogil=True, error_model="numpy", inline="always")
"""What is compiled into the kernels that call it: a call hands over every word of every array's description."""


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
        ints[at + CURRENT] = NONE
        ints[at + CLOSED + TAIL_T] = NONE
        ints[at + CLOSED + TAIL_PREVIOUS_T] = NONE
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


@part
def _copy_tail(ints: Int64Array, base: int, into: Int64Array, to: int) -> None:
    into[to + TAIL_T] = ints[base + LAST_T]
    into[to + TAIL_V] = ints[base + LAST_V]
    into[to + TAIL_PREVIOUS_T] = ints[base + PREVIOUS_T]
    into[to + TAIL_PREVIOUS_V] = ints[base + PREVIOUS_V]
    into[to + TAIL_CHANGES] = ints[base + CHANGES]
    into[to + TAIL_RESETS] = ints[base + RESETS]
    into[to + TAIL_RESET_SUM] = ints[base + RESET_SUM]


@uncounted
def _open_pane(ints: Int64Array, floats: Float64Array, base: int, s: int, t: int, stores: Records) -> None:
    """Close the store's open pane and open that of time t; the panes between, and those that they overwrite, are empty."""
    at, rings = base + stores[s].offset, base + stores[s].rings
    current = ints[at + CURRENT]
    ring, stride = stores[s].ring, stores[s].stride
    pane = (t - 1) // stores[s].width
    if current != NONE:
        _copy_tail(ints, base, ints, at + CLOSED)
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
        current = ints[at + CURRENT]
        if current == NONE or t > (current + 1) * width:
            _open_pane(ints, floats, base, s, t, stores)
            current = ints[at + CURRENT]
        j = at + STORE_WORDS
        if ints[j] == 0:
            _first_in_pane(floats, j, s, v, changes, resets, reset_sum, stores)
        _count_in(ints, floats, base, j, 1, s, current * width, t, v, stores)
        if stores[s].raw >= 0:
            count = ints[at + RAW_COUNT]
            raw = base + stores[s].raw + count % RAW_LIMIT
            ints[raw] = t
            floats[raw + RAW_LIMIT] = v
            ints[at + RAW_COUNT] = count + 1
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


@part
def _two_sum(total: float, carry: float, x: float) -> tuple[float, float]:
    """Add x, and what is rounded away to the carry (Knuth)."""
    t = total + x
    back = t - total
    return t, carry + ((total - (t - back)) + (x - back))


@uncounted
def _sum_total(floats: Float64Array, first: int, panes: int, summary: Float64Array) -> None:
    """SUM of ``panes`` words from ``first`` on, taken into the window's: four sums at a time, as none waits for another."""
    a = b = c = 0.0
    ca = cb = cc = 0.0
    d, cd, big = summary[SUM], summary[CARRY], summary[LARGEST]
    k = np.uint64(first)
    end = k + np.uint64(panes)
    one, two, three, four = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
    while k + four <= end:  # an empty pane's is 0
        a, ca = _two_sum(a, ca, floats[k])
        b, cb = _two_sum(b, cb, floats[k + one])
        c, cc = _two_sum(c, cc, floats[k + two])
        d, cd = _two_sum(d, cd, floats[k + three])
        high = max(max(abs(floats[k]), abs(floats[k + one])), max(abs(floats[k + two]), abs(floats[k + three])))
        big = high if high > big else big
        k += four
    while k < end:
        d, cd = _two_sum(d, cd, floats[k])
        big = abs(floats[k]) if abs(floats[k]) > big else big
        k += one
    a, ca = _two_sum(a, ca + cb, b)
    c, cc = _two_sum(c, cc + cd, d)
    a, ca = _two_sum(a, ca + cc, c)
    summary[SUM], summary[CARRY], summary[LARGEST] = a, ca, big


@uncounted
def _least(floats: Float64Array, first: int, panes: int, low: float) -> float:
    """The least of ``panes`` words from ``first`` on and ``low``; NaN, as an empty pane's is, gives way to any number."""
    a = b = c = d = np.inf
    k = np.uint64(first)
    end = k + np.uint64(panes)
    one, two, three, four = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
    while k + four <= end:
        a = floats[k] if floats[k] < a else a
        b = floats[k + one] if floats[k + one] < b else b
        c = floats[k + two] if floats[k + two] < c else c
        d = floats[k + three] if floats[k + three] < d else d
        k += four
    while k < end:
        d = floats[k] if floats[k] < d else d
        k += one
    a = b if b < a else a
    c = d if d < c else c
    a = c if c < a else a
    if a == np.inf:
        for i in range(first, first + panes):
            if not math.isnan(floats[i]):
                return low if low < a else a
        return low
    return low if low < a else a


@uncounted
def _most(floats: Float64Array, first: int, panes: int, high: float) -> float:
    """The greatest likewise."""
    a = b = c = d = -np.inf
    k = np.uint64(first)
    end = k + np.uint64(panes)
    one, two, three, four = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
    while k + four <= end:
        a = floats[k] if floats[k] > a else a
        b = floats[k + one] if floats[k + one] > b else b
        c = floats[k + two] if floats[k + two] > c else c
        d = floats[k + three] if floats[k + three] > d else d
        k += four
    while k < end:
        d = floats[k] if floats[k] > d else d
        k += one
    a = b if b > a else a
    c = d if d > c else c
    a = c if c > a else a
    if a == -np.inf:
        for i in range(first, first + panes):
            if not math.isnan(floats[i]):
                return high if high > a else a
        return high
    return high if high > a else a


@uncounted
def _sum_in_order(floats: Float64Array, first: int, panes: int, summary: Float64Array) -> None:
    """The same, one after the other."""
    total, carry = summary[SUM], summary[CARRY]
    for k in range(first, first + panes):  # seldom
        total, carry = _two_sum(total, carry, floats[k])
    summary[SUM], summary[CARRY] = total, carry


@uncounted
def _sum_squares(
    ints: Int64Array, floats: Float64Array, j: int, step: int, panes: int, center: float, s: int, stores: Records
) -> tuple[float, float]:
    """Sums of squared distances from a center and of distances, of ``panes`` panes of which the first begins at word j."""
    spread = moved = 0.0
    held, where, squares = np.uint64(j), np.uint64(j + stores[s].total * step), np.uint64(j + stores[s].squares * step)
    for k in range(np.uint64(panes)):
        n = ints[held + k] & HELD
        if n != 0:
            d = floats[where + k] / n - center
            spread += floats[squares + k] + d * d * n
            moved += d * n
    return spread, moved


@uncounted
def _sum_slope(
    ints: Int64Array,
    floats: Float64Array,
    j: int,
    step: int,
    panes: int,
    lag: int,
    s: int,
    stores: Records,
    summary: Float64Array,
) -> None:
    """Σv, Σt, Σtt, Σtv likewise, with t from the window's start, which is ``lag`` panes before the first."""
    held, v_at = np.uint64(j), np.uint64(j + stores[s].slope * step)
    t_at, tt_at, tv_at = v_at + np.uint64(step), v_at + np.uint64(2 * step), v_at + np.uint64(3 * step)
    sv, st, stt, stv = summary[SLOPE_V], summary[SLOPE_T], summary[SLOPE_TT], summary[SLOPE_TV]
    wide, shift = stores[s].width * SECONDS, lag * (stores[s].width * SECONDS)
    for k in range(np.uint64(panes)):
        n = ints[held + k] & HELD
        v, t = floats[v_at + k], floats[t_at + k]
        sv += v
        st += t + n * shift
        stt += floats[tt_at + k] + 2 * shift * t + n * shift * shift
        stv += floats[tv_at + k] + shift * v
        shift += wide
    summary[SLOPE_V], summary[SLOPE_T], summary[SLOPE_TT], summary[SLOPE_TV] = sv, st, stt, stv


@uncounted
def _sum_sides(
    ints: Int64Array,
    floats: Float64Array,
    j: int,
    step: int,
    panes: int,
    s: int,
    stores: Records,
    summary: Float64Array,
) -> None:
    """Both sides of the store's limit likewise."""
    where = j + stores[s].below * step
    sides = summary.view(np.int64)
    below, first = sides[BELOW], np.uint64(where)
    for k in range(np.uint64(panes)):
        below += ints[first + k]
    sides[BELOW] = below
    where += (UNDER - BELOW) * step
    summary[UNDER] = _most(floats, where, panes, summary[UNDER])
    where += (OVER - UNDER) * step
    summary[OVER] = _least(floats, where, panes, summary[OVER])


@uncounted
def _begin_summary(
    ints: Int64Array,
    floats: Float64Array,
    j: int,
    step: int,
    pane: int,
    s: int,
    stores: Records,
    summary: Float64Array,
) -> None:
    """What the window's oldest pane that holds something says alone."""
    words = summary.view(np.int64)
    words[OLDEST] = pane
    words[FIRST] = pane * stores[s].width + (ints[j] >> HELD_BITS)
    if stores[s].first_v >= 0:
        summary[FIRST_V] = floats[j + stores[s].first_v * step]
    if stores[s].first_changes >= 0:
        summary[FIRST_CHANGES] = floats[j + stores[s].first_changes * step]
    if stores[s].first_resets >= 0:
        summary[FIRST_RESETS] = floats[j + stores[s].first_resets * step]
    if stores[s].first_reset_sum >= 0:
        summary[FIRST_RESET_SUM] = floats[j + stores[s].first_reset_sum * step]


@uncounted
def _sum_run(
    ints: Int64Array,
    floats: Float64Array,
    j: int,
    step: int,
    pane: int,
    panes: int,
    begin: int,
    s: int,
    wanted: int,
    stores: Records,
    summary: Float64Array,
) -> None:
    """Take ``panes`` panes from ``pane`` on, of which the first begins at word j, into the window."""
    words = summary.view(np.int64)
    n = 0
    held = np.uint64(j)
    for k in range(np.uint64(panes)):
        n += ints[held + k] & HELD
    if n == 0:
        return
    if words[N] == 0:
        k = 0
        while ints[j + k] == 0:
            k += 1
        _begin_summary(ints, floats, j + k, step, pane + k, s, stores, summary)
    if wanted & (1 << SUM):
        _sum_total(floats, j + stores[s].total * step, panes, summary)
    if wanted & (1 << MINIMUM):
        summary[MINIMUM] = _least(floats, j + stores[s].low * step, panes, summary[MINIMUM])
    if wanted & (1 << MAXIMUM):
        summary[MAXIMUM] = _most(floats, j + stores[s].high * step, panes, summary[MAXIMUM])
    if wanted & (1 << BELOW):
        _sum_sides(ints, floats, j, step, panes, s, stores, summary)
    if wanted & (1 << SLOPE_V):
        _sum_slope(ints, floats, j, step, panes, pane - begin, s, stores, summary)
    words[N] += n


@uncounted
def sum_up(
    ints: Int64Array,
    floats: Float64Array,
    base: int,
    s: int,
    stop: int,
    wanted: int,
    stores: Records,
    summary: Float64Array,
) -> int:
    """Sum up the window of store s that ends where pane ``stop`` begins; returns how many samples it holds.

    ``wanted`` has a bit for each statistic to be summed up, of those that are not of the window's ends alone.
    """
    words = summary.view(np.int64)
    at, rings = base + stores[s].offset, base + stores[s].rings
    ring = stores[s].ring
    current = ints[at + CURRENT]
    begin = stop - ring
    for k in range(STATISTICS + 2):
        words[k] = 0
    summary[MINIMUM] = summary[MAXIMUM] = summary[UNDER] = summary[OVER] = np.nan
    pane = max(begin, current - ring)
    last = min(stop, current)
    slot = pane % ring
    closed = max(last - pane, 0)
    until_end = min(closed, ring - slot)  # from its oldest pane to the rings' end, and on from their beginning
    opened = 1 if begin <= current < stop else 0
    if closed > 0:
        _sum_run(ints, floats, rings + slot, ring, pane, until_end, begin, s, wanted, stores, summary)
    if closed > until_end:
        rest = closed - until_end
        _sum_run(ints, floats, rings, ring, pane + until_end, rest, begin, s, wanted, stores, summary)
    if opened:
        _sum_run(ints, floats, at + STORE_WORDS, 1, current, 1, begin, s, wanted, stores, summary)
    if wanted & (1 << SUM) and not CANCELLED * summary[LARGEST] <= abs(summary[SUM]) < np.inf:
        # So much has cancelled out that the order matters, or there is no number: added up as Prometheus does it.
        where = stores[s].total
        summary[SUM] = summary[CARRY] = 0.0
        _sum_in_order(floats, rings + where * ring + slot, until_end, summary)
        _sum_in_order(floats, rings + where * ring, closed - until_end, summary)
        _sum_in_order(floats, at + STORE_WORDS + where, opened, summary)
        if not math.isfinite(summary[SUM]):
            summary[CARRY] = 0.0
    if wanted & (1 << SQUARES) and words[N] > 0:
        oldest = words[OLDEST]
        j, step = (at + STORE_WORDS, 1) if oldest == current else (rings + oldest % ring, ring)
        center = floats[j + stores[s].total * step] / (ints[j] & HELD)
        spread, moved = _sum_squares(ints, floats, rings + slot, ring, until_end, center, s, stores)
        more, further = _sum_squares(ints, floats, rings, ring, closed - until_end, center, s, stores)
        last, least = _sum_squares(ints, floats, at + STORE_WORDS, 1, opened, center, s, stores)
        moved += further + least
        found = spread + more + last - moved * moved / words[N]
        summary[SQUARES] = 0.0 if found < 0.0 else found
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
    raw = base + stores[s].raw
    count = ints[base + stores[s].offset + RAW_COUNT]
    values = np.empty(min(count, RAW_LIMIT), dtype=np.float64)
    n = 0
    for k in range(min(count, RAW_LIMIT)):
        i = (count - 1 - k) % RAW_LIMIT
        if boundary - stores[s].window < ints[raw + i] <= boundary:
            values[n] = floats[raw + RAW_LIMIT + i]
            n += 1
    return values[:n]
