"""Kernels that give a leaf its value: the newest sample of a row, or a function of a window of it."""

# numba compiles what it infers; the stubs of numpy know neither the fields of records nor scalars out of arrays.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportReturnType=false, reportUnnecessaryComparison=false, reportOptionalOperand=false

from __future__ import annotations

import math

import numpy as np

from fallow.promql import ops
from fallow.promql._samples import deviation, extrapolated, over, quantile_of, samples_between, wants_two
from fallow.promql.ops import EVENTS, PRESENT, STEADY, TRUNCATED, UNKNOWN, WARMING
from fallow.series._kernels import append_sample
from fallow.series._memory import counted, part, uncounted
from fallow.series._windows import raw_window, sum_up
from fallow.series.layout import (
    BELOW,
    CADENCE,
    CARRY,
    CURRENT,
    FAR,
    FIRST,
    FIRST_CHANGES,
    FIRST_RESET_SUM,
    FIRST_RESETS,
    FIRST_T,
    FIRST_V,
    GAP_COUNT,
    GAPS_SEEN,
    LAST,
    LAST_T,
    LAST_V,
    MAXIMUM,
    MINIMUM,
    NONE,
    OVER,
    RAW_LIMIT,
    REFERENCE,
    SLOPE_T,
    SLOPE_TT,
    SLOPE_TV,
    SLOPE_V,
    SQUARES,
    STALE,
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
    Records,
)

STALE_GAPS = 5
"""An instant selector looks back over so many of the series' gaps, where the lookback is longer."""
STALE_AT_LEAST = 15_000_000_000
"""ns: but over this at least, so that a jitter at 1 s does not end a series."""


@part
def _after_gap(last: int, t: int, lookback: int, sure: int, ints: Int64Array, base: int) -> tuple[int, int]:
    """(UNKNOWN where a sample that a gap swallowed could be the newest or change the cadence, until when)."""
    if last <= sure:
        return (UNKNOWN | WARMING, sure + lookback) if t - lookback < sure else (0, FAR)
    if ints[base + GAPS_SEEN] >= GAP_COUNT or ints[base + STALE] != 0:
        return 0, FAR
    if last > t - min(lookback, STALE_AT_LEAST):
        return 0, last + min(lookback, STALE_AT_LEAST)
    return (UNKNOWN | WARMING, last + lookback) if last > t - lookback else (0, FAR)


@uncounted
def instants(
    first: int,
    last: int,
    t: int,
    slots: Records,
    nodes: Records,
    ints: Int64Array,
    floats: Float64Array,
    rows: Records,
    setting: Records,
) -> int:
    """Set slots first:last to their row's newest sample; returns when one of those goes stale."""
    n = slots[first].node
    if t > nodes[n].held:
        return FAR
    longest, plain, stamp, shift = nodes[n].ns, setting[0].plain, nodes[n].fn == ops.TIMESTAMP, nodes[n].p0
    following = FAR
    for i in range(first, last):
        base = rows[slots[i].a].base
        sure = rows[slots[i].a].sure
        newest = ints[base + LAST_T]
        lookback = longest
        cadence = ints[base + CADENCE]
        if not plain and cadence > 0:
            lookback = min(lookback, max(STALE_GAPS * cadence, STALE_AT_LEAST))
        flags = 0
        if sure > NONE:
            flags, again = _after_gap(newest, t, longest, sure, ints, base)
            following = min(following, again)
        if newest != NONE and ints[base + STALE] == 0 and newest > t - lookback:
            flags |= PRESENT
            slots[i].value = newest / 1e9 - shift if stamp else floats[base + LAST_V]
            slots[i].first = newest
            slots[i].last = newest
            slots[i].count = 1
            following = min(following, newest + lookback)
        slots[i].flags = flags
    return following


@uncounted
def _mean_of_panes(
    ints: Int64Array, floats: Float64Array, base: int, s: int, stop: int, n: int, stores: Records
) -> float:
    """The mean of a window of n samples whose sum is more than a float64 holds."""
    at, rings, ring = base + stores[s].offset, base + stores[s].rings, stores[s].ring
    current = ints[at + CURRENT]
    mean = 0.0
    for pane in range(max(stop, current) - ring, min(stop, current)):  # an empty pane's sum is 0
        mean += floats[rings + stores[s].total * ring + pane % ring] / n
    if current < stop:
        mean += floats[at + STORE_WORDS + stores[s].total] / n
    return mean


@part
def _moment(fn: int, summary: Float64Array, n: int) -> float:
    if fn == ops.AVG:
        return (summary[SUM] + summary[CARRY]) / n
    if fn == ops.SUM_OF:
        return summary[SUM] + summary[CARRY]
    if fn == ops.MIN:
        return summary[MINIMUM]
    if fn == ops.MAX:
        return summary[MAXIMUM]
    if fn == ops.STDVAR:
        return summary[SQUARES] / n
    if fn == ops.STDDEV:
        return math.sqrt(summary[SQUARES] / n)
    if fn == ops.COUNT:
        return float(n)
    return 1.0


@part
def _side(summary: Float64Array, n: int, q: float) -> float:
    """A value on the same side of the store's limit as the q-quantile; where that lies between both sides, itself."""
    both = summary.view(np.int64)[BELOW]
    below, missing = both & 0xFFFFFFFF, both >> 32
    rank = q * (n - 1)
    low = math.floor(rank)
    if low < missing:
        return np.nan
    if low >= below:
        return summary[OVER]
    if min(n - 1, low + 1) < below:
        return summary[UNDER]
    weight = rank - low
    return summary[UNDER] * (1 - weight) + summary[OVER] * weight


@part
def _slope(summary: Float64Array, n: int) -> float:
    """Change per second of the line through the window's samples."""
    sv, st = summary[SLOPE_V], summary[SLOPE_T]
    return (summary[SLOPE_TV] - st * sv / n) / (summary[SLOPE_TT] - st * st / n)


@part
def _predicted(summary: Float64Array, n: int, reference: float, seconds: float) -> float:
    """The line's value so many seconds after the window's start."""
    return reference + summary[SLOPE_V] / n + _slope(summary, n) * (seconds - summary[SLOPE_T] / n)


@part
def _ordered(fn: int, summary: Float64Array, n: int, end: int, window: int) -> float:
    """Functions of two samples or more that depend on their order."""
    times = summary.view(np.int64)
    if fn == ops.CHANGES_OVER:
        return summary[LAST + TAIL_CHANGES] - summary[FIRST_CHANGES]
    if fn == ops.RESETS_OVER:
        return summary[LAST + TAIL_RESETS] - summary[FIRST_RESETS]
    if fn == ops.IRATE or fn == ops.IDELTA:
        last, before = summary[LAST + TAIL_V], summary[LAST + TAIL_PREVIOUS_V]
        if fn == ops.IDELTA:
            return last - before
        seconds = (times[LAST + TAIL_T] - times[LAST + TAIL_PREVIOUS_T]) / 1e9
        return (last if last < before else last - before) / seconds
    if fn == ops.DERIV:
        return _slope(summary, n)
    raw = summary[LAST + TAIL_V] - summary[FIRST_V]
    if fn != ops.DELTA:
        raw += summary[LAST + TAIL_RESET_SUM] - summary[FIRST_RESET_SUM]
    return extrapolated(fn, n, raw, times[FIRST], summary[FIRST_V], times[LAST + TAIL_T], end, window)


@counted
def _raw(
    i: int,
    fn: int,
    p0: float,
    end: int,
    slots: Records,
    nodes: Records,
    ints: Int64Array,
    floats: Float64Array,
    rows: Records,
    stores: Records,
    s: int,
    span: int,
) -> float:
    """A function that panes do not keep, of the samples that are kept as they are."""
    base = rows[slots[i].a].base
    if fn == ops.QUANTILE:
        return quantile_of(raw_window(ints, floats, base, s, end, stores), p0)
    if fn == ops.MAD:
        return deviation(raw_window(ints, floats, base, s, end, stores))
    times, values = samples_between(ints, floats, base, s, end - span, end, stores)
    p1 = nodes[slots[i].node].p1
    value = over(fn, times, values, end, span, p0, p1)
    return value if fn == ops.SMOOTHING else value - p1  # a time: the sample's own


@part
def _window(
    i: int,
    node: int,
    stop: int,
    slots: Records,
    nodes: Records,
    ints: Int64Array,
    floats: Float64Array,
    rows: Records,
    stores: Records,
    setting: Records,
    summary: Float64Array,
) -> int:
    """Set slot i to a function of its row's window that ends where pane ``stop`` begins; when may it next differ?"""
    fn, s = nodes[node].fn, nodes[node].store
    base = rows[slots[i].a].base
    at = base + stores[s].offset
    width, span = stores[s].width, stores[s].window
    end = stop * width
    n = sum_up(ints, floats, base, s, stop, nodes[node].wanted, stores, summary)
    words = summary.view(np.int64)
    following = FAR
    current = ints[at + CURRENT]
    if current != NONE and (current + 1) * width > end:
        following = (current + 1) * width
    slots[i].flags = 0
    sure = max(rows[slots[i].a].sure, stores[s].sure)
    missing = sure > NONE and end - span < sure
    if missing:
        following = min(following, ((sure + span + width - 1) // width) * width)
    if n == 0:
        slots[i].flags = UNKNOWN | WARMING if missing else 0
        return following
    leaves = words[FIRST] + span  # the oldest sample: with its pane
    following = min(following, end + width if leaves <= end + width else ((leaves + width - 1) // width) * width)
    if n >= 2 and (ops.RATE <= fn <= ops.DELTA or fn == ops.PREDICT):  # these depend on where the window ends
        following = min(following, end + width)
    flags = 0
    if not setting[0].plain and fn != ops.PRESENT_OVER and not nodes[node].flags & EVENTS:
        cadence = ints[base + CADENCE]
        complete = ints[base + FIRST_T] - cadence + span
        if end < complete:
            flags = UNKNOWN | WARMING
            following = min(following, ((complete + width - 1) // width) * width)
        elif n * cadence < setting[0].coverage * span:
            flags = UNKNOWN
        if rows[slots[i].a].sure > NONE and ints[base + GAPS_SEEN] < GAP_COUNT:
            flags |= UNKNOWN | WARMING
    if missing and fn != ops.PRESENT_OVER:
        flags |= UNKNOWN | WARMING
    two = wants_two(fn)
    raw = fn == ops.QUANTILE or fn == ops.MAD or ops.TS_OF_MIN <= fn <= ops.SMOOTHING
    if raw and setting[0].plain and n > RAW_LIMIT:
        slots[i].flags = UNKNOWN | TRUNCATED
        return following
    if n >= 2 or not two:
        flags |= PRESENT
        p0 = nodes[node].p0 if slots[i].c < 0 else slots[slots[i].c].value
        if fn == ops.QUANTILE_SIDE:
            slots[i].value = _side(summary, n, p0)
        elif raw:
            slots[i].value = _raw(i, fn, p0, end, slots, nodes, ints, floats, rows, stores, s, span)
        elif fn == ops.PREDICT:
            ahead = span / 1e9 + p0 + nodes[node].p1
            slots[i].value = _predicted(summary, n, floats[base + REFERENCE], ahead)
        elif fn == ops.LAST:
            slots[i].value = summary[LAST + TAIL_V]
        elif fn == ops.FIRST_OVER:
            slots[i].value = summary[FIRST_V]
        elif fn == ops.TS_OF_FIRST:
            slots[i].value = words[FIRST] / 1e9 - nodes[node].p1
        elif fn == ops.TS_OF_LAST:
            slots[i].value = words[LAST + TAIL_T] / 1e9 - nodes[node].p1
        elif two or fn == ops.CHANGES_OVER or fn == ops.RESETS_OVER:
            slots[i].value = _ordered(fn, summary, n, end, span)
        else:
            slots[i].value = _moment(fn, summary, n)
            if fn == ops.AVG and math.isinf(slots[i].value):
                slots[i].value = _mean_of_panes(ints, floats, base, s, stop, n, stores)
    slots[i].flags = flags
    slots[i].first = words[FIRST]
    slots[i].last = words[LAST + TAIL_T]
    slots[i].count = n
    return following


@uncounted
def windows(
    first: int,
    last: int,
    t: int,
    slots: Records,
    nodes: Records,
    ints: Int64Array,
    floats: Float64Array,
    rows: Records,
    stores: Records,
    setting: Records,
    summary: Float64Array,
) -> int:
    """Set slots first:last to a function of their row's window at the newest boundary; when may one next differ?"""
    node = slots[first].node
    if t > nodes[node].held:
        return FAR
    width = stores[nodes[node].store].width
    stop = t // width
    following = FAR
    # Before ``sure`` others write flags too.
    steady = nodes[node].flags & STEADY and t >= nodes[node].sure
    for i in range(first, last):
        if steady:  # where a deadline of its class lies within a pane, what it said holds until that ends
            if slots[i].key == stop + 0.5:
                following = min(following, (stop + 1) * width)
                continue
            slots[i].key = stop + 0.5
        again = _window(i, node, stop, slots, nodes, ints, floats, rows, stores, setting, summary)
        following = min(following, again)
    return following


@uncounted
def feed(
    i: int,
    t: int,
    slots: Records,
    nodes: Records,
    ints: Int64Array,
    floats: Float64Array,
    rows: Records,
    stores: Records,
    setting: Records,
    summary: Float64Array,
) -> int:
    """Append slot a to the row, at an instant of the subquery; returns when to look again.

    Slot c says whether there is data for it: what is absent although there is, is known to be absent. An instant that
    is unknown, or has no data, gives no sample, and makes the windows over it unknown: ``last`` is the newest such
    instant, FAR while data is missing, which it is since ``key``.
    """
    node, a, row = slots[i].node, slots[i].a, slots[i].b
    flags = slots[a].flags
    step, phase = nodes[node].ns, int(nodes[node].p0)
    if (t - phase) % step == 0:
        there = slots[slots[i].c].flags != 0 or setting[0].plain
        if slots[i].count == 0 and there:
            slots[i].count = 1
            slots[i].first = t
            slots[i].last = NONE
        if not there:
            if slots[i].last != FAR:
                slots[i].key = t
            slots[i].last = FAR
        else:
            if slots[i].last == FAR:
                slots[i].last = t - step
            if flags & UNKNOWN:
                slots[i].last = t
            elif flags & PRESENT and ints[rows[row].base + LAST_T] < t:
                base = rows[row].base
                first, stop = rows[row].first, rows[row].stop
                append_sample(ints, floats, base, first, stop, t, slots[a].value, stores, summary)
    return t + 1 if flags else FAR


@counted
def subrange(
    i: int,
    t: int,
    slots: Records,
    nodes: Records,
    ints: Int64Array,
    floats: Float64Array,
    rows: Records,
    stores: Records,
    setting: Records,
) -> int:
    """Set slot i to a function of a subquery's results in (t−span, t]; returns the subquery's next instant."""
    node, row, fed = slots[i].node, slots[i].a, slots[i].b
    if t > nodes[node].held:
        return FAR
    fn, span = nodes[node].fn, nodes[node].ns
    of = slots[fed].node
    step, phase = nodes[of].ns, int(nodes[of].p0)
    following = min(t + span, t + step - (t - phase) % step)
    slots[i].flags = 0
    if slots[fed].count == 0:
        return following
    flags = 0
    if not setting[0].plain:
        if slots[fed].first - step > t - span:
            flags = UNKNOWN | WARMING
        elif slots[fed].last > t - span:
            flags = UNKNOWN
    times, values = samples_between(ints, floats, rows[row].base, rows[row].first, t - span, t, stores)
    n = len(times)
    slots[i].flags = flags
    slots[i].count = n
    if n == 0:
        slots[i].first = t
        slots[i].last = t
        if slots[fed].last == FAR and slots[fed].key <= t - span:
            slots[i].flags = 0
        return following
    slots[i].first = times[0]
    slots[i].last = times[n - 1]
    if n >= 2 or not wants_two(fn):
        p0 = nodes[node].p0 if slots[i].c < 0 else slots[slots[i].c].value
        value = over(fn, times, values, t, span, p0, nodes[node].p1)
        slots[i].value = value - nodes[node].p1 if ops.TS_OF_FIRST <= fn <= ops.TS_OF_MAX else value
        slots[i].flags = flags | PRESENT
    return following


__all__ = ["feed", "instants", "subrange", "windows"]
