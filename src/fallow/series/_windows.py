"""Kernels over the panes of a block: what a window holds, and what its closed panes do. See layout for what lies where."""

# min and max of what may be NaN: which of both is taken matters.
# ruff: noqa: FURB136

# numba compiles what it infers; the stubs of numpy know neither the fields of records nor scalars out of arrays.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportReturnType=false, reportUnnecessaryComparison=false, reportOptionalOperand=false

from __future__ import annotations

import math

import numpy as np
from numba import njit

from fallow.series._memory import part, uncounted
from fallow.series.layout import (
    BELOW,
    CARRY,
    CHANGES,
    CLOSED_CARRY,
    CLOSED_FIRST,
    CLOSED_LARGEST,
    CLOSED_TAIL,
    CLOSED_WORDS,
    CURRENT,
    ENDS,
    FIRST,
    FIRST_CHANGES,
    FIRST_RESET_SUM,
    FIRST_RESETS,
    FIRST_V,
    HELD,
    HELD_BITS,
    LARGEST,
    LAST,
    LAST_T,
    LAST_V,
    MAXIMUM,
    MINIMUM,
    OVER,
    PREVIOUS_T,
    PREVIOUS_V,
    RAW_LIMIT,
    RESET_SUM,
    RESETS,
    SLOPE_T,
    SLOPE_TT,
    SLOPE_TV,
    SLOPE_V,
    SQUARES,
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
CANCELLED = 1e-6
"""A sum that is less than this share of its largest term is what is left where terms cancel each other out."""


@part
def copy_tail(ints: Int64Array, base: int, into: Int64Array, to: int) -> None:
    """What the row's header says of its newest samples."""
    into[to + TAIL_T] = ints[base + LAST_T]
    into[to + TAIL_V] = ints[base + LAST_V]
    into[to + TAIL_PREVIOUS_T] = ints[base + PREVIOUS_T]
    into[to + TAIL_PREVIOUS_V] = ints[base + PREVIOUS_V]
    into[to + TAIL_CHANGES] = ints[base + CHANGES]
    into[to + TAIL_RESETS] = ints[base + RESETS]
    into[to + TAIL_RESET_SUM] = ints[base + RESET_SUM]


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


@part
def _firsts(
    floats: Float64Array,
    j: int,
    step: int,
    into: Float64Array,
    v: int,
    changes: int,
    resets: int,
    reset_sum: int,
    s: int,
    stores: Records,
) -> None:
    """Copy what a pane says of its first sample to where the last arguments but two say."""
    if stores[s].first_v >= 0:
        into[v] = floats[j + stores[s].first_v * step]
    if stores[s].first_changes >= 0:
        into[changes] = floats[j + stores[s].first_changes * step]
    if stores[s].first_resets >= 0:
        into[resets] = floats[j + stores[s].first_resets * step]
    if stores[s].first_reset_sum >= 0:
        into[reset_sum] = floats[j + stores[s].first_reset_sum * step]


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
        words[FIRST] = (pane + k) * stores[s].width + (ints[j + k] >> HELD_BITS)
        _firsts(floats, j + k, step, summary, FIRST_V, FIRST_CHANGES, FIRST_RESETS, FIRST_RESET_SUM, s, stores)
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


@part
def _runs(pane: int, stop: int, ring: int) -> tuple[int, int, int]:
    """(slot of the first of the panes pane:stop, how many lie from there to the rings' end, how many at their beginning)."""
    slot = pane % ring
    panes = max(stop - pane, 0)
    until_end = min(panes, ring - slot)
    return slot, until_end, panes - until_end


@uncounted
def _sum_panes(
    ints: Int64Array,
    floats: Float64Array,
    base: int,
    s: int,
    pane: int,
    stop: int,
    begin: int,
    wanted: int,
    stores: Records,
    summary: Float64Array,
) -> None:
    """Sum up the closed panes pane:stop of a window that begins with pane ``begin``; all but SQUARES."""
    words = summary.view(np.int64)
    rings, ring = base + stores[s].rings, stores[s].ring
    for k in range(STATISTICS + 2):
        words[k] = 0
    summary[MINIMUM] = summary[MAXIMUM] = summary[UNDER] = summary[OVER] = np.nan
    slot, until_end, rest = _runs(pane, stop, ring)
    if until_end > 0:
        _sum_run(ints, floats, rings + slot, ring, pane, until_end, begin, s, wanted, stores, summary)
    if rest > 0:
        _sum_run(ints, floats, rings, ring, pane + until_end, rest, begin, s, wanted, stores, summary)


@uncounted
def _spread(
    ints: Int64Array,
    floats: Float64Array,
    base: int,
    s: int,
    pane: int,
    stop: int,
    opened: int,
    stores: Records,
    summary: Float64Array,
) -> None:
    """SQUARES of the panes pane:stop, and of the open one too where ``opened`` is 1, whose other statistics are there."""
    words = summary.view(np.int64)
    n = words[N]
    if n == 0:
        return
    rings, ring, open_pane = base + stores[s].rings, stores[s].ring, base + stores[s].offset + STORE_WORDS
    oldest = (words[FIRST] - 1) // stores[s].width
    j, step = (rings + oldest % ring, ring) if pane <= oldest < stop else (open_pane, 1)
    center = floats[j + stores[s].total * step] / (ints[j] & HELD)
    slot, until_end, rest = _runs(pane, stop, ring)
    spread, moved = _sum_squares(ints, floats, rings + slot, ring, until_end, center, s, stores)
    more, further = _sum_squares(ints, floats, rings, ring, rest, center, s, stores)
    last, least = _sum_squares(ints, floats, open_pane, 1, opened, center, s, stores)
    moved += further + least
    found = spread + more + last - moved * moved / n
    summary[SQUARES] = 0.0 if found < 0.0 else found


@uncounted
def sum_closed(
    ints: Int64Array, floats: Float64Array, base: int, s: int, pane: int, stores: Records, summary: Float64Array
) -> None:
    """Sum up anew what the window whose last pane is the open one, ``pane``, holds of closed panes."""
    words = summary.view(np.int64)
    at, kept = base + stores[s].closed, stores[s].kept
    begin = pane + 1 - stores[s].ring
    _sum_panes(ints, floats, base, s, begin, pane, begin, kept, stores, summary)
    if kept & (1 << SQUARES):
        _spread(ints, floats, base, s, begin, pane, 0, stores, summary)
    ints[at + ENDS], ints[at + CLOSED_FIRST] = pane + 1, words[FIRST]
    floats[at + CLOSED_CARRY], floats[at + CLOSED_LARGEST] = summary[CARRY], summary[LARGEST]
    at += CLOSED_WORDS
    ints[at] = words[N]
    if stores[s].total >= 0:
        floats[at + stores[s].total] = summary[SUM]
    if stores[s].squares >= 0:
        floats[at + stores[s].squares] = summary[SQUARES]
    if stores[s].low >= 0:
        floats[at + stores[s].low] = summary[MINIMUM]
    if stores[s].high >= 0:
        floats[at + stores[s].high] = summary[MAXIMUM]
    for k in range(4 if stores[s].slope >= 0 else 0):
        floats[at + stores[s].slope + k] = summary[SLOPE_V + k]
    for k in range(3 if stores[s].below >= 0 else 0):
        ints[at + stores[s].below + k] = words[BELOW + k]
    for first, where in (
        (FIRST_V, stores[s].first_v),
        (FIRST_CHANGES, stores[s].first_changes),
        (FIRST_RESETS, stores[s].first_resets),
        (FIRST_RESET_SUM, stores[s].first_reset_sum),
    ):
        if where >= 0:
            floats[at + where] = summary[first]


@part
def _less(a: float, b: float) -> bool:
    """Whether a number comes before another, and any before NaN."""
    return a < b or (math.isnan(b) and not math.isnan(a))


@part
def _follow_extreme(
    floats: Float64Array,
    rings: int,
    ring: int,
    at: int,
    where: int,
    first: int,
    last: int,
    current: int,
    came: float,
    sign: float,
) -> None:
    """Let the least (``sign`` 1) or greatest (-1) follow where the panes first:last left and one with ``came`` closed."""
    column = rings + where * ring
    held = floats[at + where]
    if sign * came <= sign * held or math.isnan(held):
        floats[at + where] = came
        return
    lost = False
    for pane in range(first, last):
        lost |= floats[column + pane % ring] == held
    if lost:
        slot, until_end, rest = _runs(last, current, ring)
        if sign > 0:
            floats[at + where] = _least(floats, column, rest, _least(floats, column + slot, until_end, came))
        else:
            floats[at + where] = _most(floats, column, rest, _most(floats, column + slot, until_end, came))


@uncounted
def _follow_total(
    floats: Float64Array,
    rings: int,
    ring: int,
    at: int,
    where: int,
    first: int,
    last: int,
    current: int,
    came: float,
    summary: Float64Array,
) -> None:
    """Let the sum follow likewise."""
    words, column = at + CLOSED_WORDS + where, rings + where * ring
    total, carry, big = floats[words], floats[at + CLOSED_CARRY], floats[at + CLOSED_LARGEST]
    for pane in range(first, last):
        total, carry = _two_sum(total, carry, -floats[column + pane % ring])
    total, carry = _two_sum(total, carry, came)
    big = max(big, abs(came))
    if not CANCELLED * big <= abs(total) < np.inf:
        summary[SUM], summary[CARRY], summary[LARGEST] = 0.0, 0.0, 0.0
        slot, until_end, rest = _runs(last, current, ring)
        _sum_total(floats, column + slot, until_end, summary)
        _sum_total(floats, column, rest, summary)
        total, carry = _two_sum(summary[SUM], summary[CARRY], came)
        big = max(summary[LARGEST], abs(came))
    floats[words], floats[at + CLOSED_CARRY], floats[at + CLOSED_LARGEST] = total, carry, big


@uncounted
def follow(
    ints: Int64Array,
    floats: Float64Array,
    base: int,
    s: int,
    ends: int,
    closes: bool,
    stores: Records,
    summary: Float64Array,
) -> bool:
    """Let the sum of closed panes follow to the window that ends where pane ``ends`` begins; the open one ``closes``, or not.

    Returns whether it could: a sum of squares, for one, has to be made anew. No pane that leaves has been cleared.
    """
    at, rings, ring = base + stores[s].closed, base + stores[s].rings, stores[s].ring
    current, j = ints[base + stores[s].offset + CURRENT], base + stores[s].offset + STORE_WORDS
    first, last = ints[at + ENDS] - ring, ends - ring
    if first < current - ring or last < first or last > current or stores[s].squares >= 0 or stores[s].slope >= 0:
        return False
    words, left = at + CLOSED_WORDS, 0
    for pane in range(first, last):
        left += ints[rings + pane % ring] & HELD
    before = ints[words]
    n = before - left + (ints[j] & HELD if closes else 0)
    ints[at + ENDS], ints[words] = ends, n
    if n > 0 and (left > 0 or before == 0):
        oldest, k, step = current, j, 1
        for pane in range(last, current):
            if ints[rings + pane % ring] != 0:
                oldest, k, step = pane, rings + pane % ring, ring
                break
        ints[at + CLOSED_FIRST] = oldest * stores[s].width + (ints[k] >> HELD_BITS)
        v, changes = words + stores[s].first_v, words + stores[s].first_changes
        resets, reset_sum = words + stores[s].first_resets, words + stores[s].first_reset_sum
        _firsts(floats, k, step, floats, v, changes, resets, reset_sum, s, stores)
    where = stores[s].total
    if where >= 0:
        came = floats[j + where] if closes else 0.0
        _follow_total(floats, rings, ring, at, where, first, last, current, came, summary)
    where = stores[s].low
    if where >= 0:
        came = floats[j + where] if closes else np.nan
        _follow_extreme(floats, rings, ring, words, where, first, last, current, came, 1.0)
    where = stores[s].high
    if where >= 0:
        came = floats[j + where] if closes else np.nan
        _follow_extreme(floats, rings, ring, words, where, first, last, current, came, -1.0)
    where = stores[s].below
    if where >= 0:
        for pane in range(first, last):
            ints[words + where] -= ints[rings + where * ring + pane % ring]
        ints[words + where] += ints[j + where] if closes else 0
        where += UNDER - BELOW
        came = floats[j + where] if closes else np.nan
        _follow_extreme(floats, rings, ring, words, where, first, last, current, came, -1.0)
        where += OVER - UNDER
        came = floats[j + where] if closes else np.nan
        _follow_extreme(floats, rings, ring, words, where, first, last, current, came, 1.0)
    return True


@uncounted
def _sum_ready(
    ints: Int64Array,
    floats: Float64Array,
    base: int,
    s: int,
    wanted: int,
    stores: Records,
    summary: Float64Array,
) -> bool:
    """Sum up the window that ends with or after the open pane from that and the sum of closed ones; False: that does not do."""
    words = summary.view(np.int64)
    at, j = base + stores[s].closed, base + stores[s].offset + STORE_WORDS
    c = at + CLOSED_WORDS
    n, more = ints[c], ints[j] & HELD
    words[N] = n + more
    if n > 0:
        words[FIRST] = ints[at + CLOSED_FIRST]
        _firsts(floats, c, 1, summary, FIRST_V, FIRST_CHANGES, FIRST_RESETS, FIRST_RESET_SUM, s, stores)
    else:
        words[FIRST] = ints[base + stores[s].offset + CURRENT] * stores[s].width + (ints[j] >> HELD_BITS)
        _firsts(floats, j, 1, summary, FIRST_V, FIRST_CHANGES, FIRST_RESETS, FIRST_RESET_SUM, s, stores)
    if wanted & (1 << SUM):
        closed, opened = floats[c + stores[s].total], floats[j + stores[s].total]
        total, carry = _two_sum(closed, floats[at + CLOSED_CARRY], opened)
        if not CANCELLED * max(floats[at + CLOSED_LARGEST], abs(opened)) <= abs(total) < np.inf:
            return False
        summary[SUM], summary[CARRY] = total, carry
        if wanted & (1 << SQUARES):
            spread = floats[j + stores[s].squares]
            if n > 0:
                apart = opened / more - (closed + floats[at + CLOSED_CARRY]) / n
                spread += floats[c + stores[s].squares] + apart * apart * (n * more / (n + more))
            summary[SQUARES] = spread
    if wanted & (1 << MINIMUM):
        low, other = floats[c + stores[s].low], floats[j + stores[s].low]
        summary[MINIMUM] = other if _less(other, low) else low
    if wanted & (1 << MAXIMUM):
        high, other = floats[c + stores[s].high], floats[j + stores[s].high]
        summary[MAXIMUM] = other if _less(-other, -high) else high
    if wanted & (1 << BELOW):
        where = stores[s].below
        words[BELOW] = ints[c + where] + ints[j + where]
        under, other = floats[c + where + UNDER - BELOW], floats[j + where + UNDER - BELOW]
        summary[UNDER] = other if _less(-other, -under) else under
        over, other = floats[c + where + OVER - BELOW], floats[j + where + OVER - BELOW]
        summary[OVER] = other if _less(other, over) else over
    if wanted & (1 << SLOPE_V):
        for k in range(4):
            summary[SLOPE_V + k] = floats[c + stores[s].slope + k]
        lag = ints[base + stores[s].offset + CURRENT] - (ints[at + ENDS] - stores[s].ring)
        _sum_slope(ints, floats, j, 1, 1, lag, s, stores, summary)
    copy_tail(ints, base, words, LAST)
    return True


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
    at, closed = base + stores[s].offset, base + stores[s].closed
    current = ints[at + CURRENT]
    ends = ints[closed + ENDS]
    there = ends == stop or (current < ends < stop and follow(ints, floats, base, s, stop, False, stores, summary))
    if there and _sum_ready(ints, floats, base, s, wanted, stores, summary):
        return int(words[N])
    ring = stores[s].ring
    begin = stop - ring
    pane, last = max(begin, current - ring), min(stop, current)
    _sum_panes(ints, floats, base, s, pane, last, begin, wanted, stores, summary)
    opened = 1 if begin <= current < stop else 0
    if opened:
        _sum_run(ints, floats, at + STORE_WORDS, 1, current, 1, begin, s, wanted, stores, summary)
    if wanted & (1 << SUM) and not CANCELLED * summary[LARGEST] <= abs(summary[SUM]) < np.inf:
        # So much has cancelled out that the order matters, or there is no number: added up as Prometheus does it.
        where, rings = stores[s].total, base + stores[s].rings
        slot, until_end, rest = _runs(pane, last, ring)
        summary[SUM] = summary[CARRY] = 0.0
        _sum_in_order(floats, rings + where * ring + slot, until_end, summary)
        _sum_in_order(floats, rings + where * ring, rest, summary)
        _sum_in_order(floats, at + STORE_WORDS + where, opened, summary)
        if not math.isfinite(summary[SUM]):
            summary[CARRY] = 0.0
    if wanted & (1 << SQUARES):
        _spread(ints, floats, base, s, pane, last, opened, stores, summary)
    if current < stop:
        copy_tail(ints, base, words, LAST)
    else:
        for k in range(7):
            words[LAST + k] = ints[closed + CLOSED_TAIL + k]
    return int(words[N])


@njit(cache=True, nogil=True, error_model="numpy")
def raw_window(
    ints: Int64Array, floats: Float64Array, base: int, s: int, boundary: int, stores: Records
) -> Float64Array:
    """The values of the newest RAW_LIMIT samples in (boundary−W, boundary], oldest last."""
    raw = base + stores[s].raw
    count = ints[raw + 2 * RAW_LIMIT]
    values = np.empty(min(count, RAW_LIMIT), dtype=np.float64)
    n = 0
    for k in range(min(count, RAW_LIMIT)):
        i = (count - 1 - k) % RAW_LIMIT
        if boundary - stores[s].window < ints[raw + i] <= boundary:
            values[n] = floats[raw + RAW_LIMIT + i]
            n += 1
    return values[:n]
