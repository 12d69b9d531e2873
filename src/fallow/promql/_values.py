"""Kernels that give a leaf its value: the newest sample of a row, or a function of a window of it."""

# numba compiles what it infers; the stubs of numpy know neither the fields of records nor scalars out of arrays.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportReturnType=false, reportUnnecessaryComparison=false, reportOptionalOperand=false

from __future__ import annotations

import math

import numpy as np
from numba import njit

from fallow.promql import ops
from fallow.promql.ops import EVENTS, PRESENT, UNKNOWN, WARMING
from fallow.series._kernels import raw_window, sum_up
from fallow.series.layout import (
    CACHED,
    CACHED_LAST,
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
    LAST_T,
    LAST_V,
    MAXIMUM,
    MINIMUM,
    NONE,
    OLDEST,
    REFERENCE,
    SLOPE_T,
    SLOPE_TT,
    SLOPE_TV,
    SLOPE_V,
    SQUARES,
    STALE,
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
    Records,
)

STALE_GAPS = 5
"""An instant selector looks back over so many of the series' gaps, where the lookback is longer."""
STALE_AT_LEAST = 15_000_000_000
"""ns: but over this at least, so that a jitter at 1 s does not end a series."""


@njit(cache=True, nogil=True, error_model="numpy")
def instant(
    i: int,
    t: int,
    slots: Records,
    nodes: Records,
    ints: Int64Array,
    floats: Float64Array,
    rows: Records,
    setting: Records,
) -> int:
    """Set slot i to its row's newest sample; returns when that goes stale."""
    n = slots[i].node
    base = rows[slots[i].a].base
    last = ints[base + LAST_T]
    slots[i].flags = 0
    if last == NONE or ints[base + STALE] != 0:
        return FAR
    lookback = nodes[n].ns
    cadence = ints[base + CADENCE]
    if not setting[0].plain and cadence > 0:
        lookback = min(lookback, max(STALE_GAPS * cadence, STALE_AT_LEAST))
    if last <= t - lookback:
        return FAR
    slots[i].flags = PRESENT
    if nodes[n].fn == ops.TIMESTAMP:
        slots[i].value = (last + setting[0].origin) / 1e9 - nodes[n].p0
    else:
        slots[i].value = floats[base + LAST_V]
    slots[i].first = last
    slots[i].last = last
    slots[i].count = 1
    return last + lookback


@njit(cache=True, nogil=True, error_model="numpy")
def quantile_of(values: Float64Array, q: float) -> float:
    """The q-quantile as Prometheus interpolates it, NaN below every number; sorts ``values`` in place."""
    n = len(values)
    if n == 0 or math.isnan(q):
        return np.nan
    if q < 0:
        return -np.inf
    if q > 1:
        return np.inf
    values.sort()
    missing = 0
    while missing < n and math.isnan(values[n - 1 - missing]):
        missing += 1
    if missing:
        values[missing:] = values[: n - missing].copy()
        values[:missing] = np.nan
    rank = q * (n - 1)
    low = math.floor(rank)
    high = min(n - 1, low + 1)
    weight = rank - low
    return values[low] * (1 - weight) + values[high] * weight


@njit(cache=True, nogil=True, error_model="numpy")
def _extrapolated(
    fn: int, n: int, raw: float, first_t: int, first_v: float, last_t: int, end: int, window: int
) -> float:
    """rate, increase and delta: the raw difference carried to the window's ends, as Prometheus 3 does it."""
    sampled = (last_t - first_t) / 1e9
    average = sampled / (n - 1)
    to_start = (first_t - (end - window)) / 1e9
    to_end = (end - last_t) / 1e9
    if to_start >= average * 1.1:
        to_start = average / 2
    if fn != ops.DELTA:
        to_zero = to_start
        if raw > 0 and first_v >= 0:
            to_zero = sampled * (first_v / raw)
        to_start = min(to_start, to_zero)
    if to_end >= average * 1.1:
        to_end = average / 2
    found = raw * ((sampled + to_start + to_end) / sampled)
    return found / (window / 1e9) if fn == ops.RATE else found


@njit(cache=True, nogil=True, error_model="numpy")
def _moment(fn: int, floats: Float64Array, c: int, n: int) -> float:
    if fn == ops.AVG:
        return (floats[c + SUM] + floats[c + CARRY]) / n
    if fn == ops.SUM_OF:
        return floats[c + SUM] + floats[c + CARRY]
    if fn == ops.MIN:
        return floats[c + MINIMUM]
    if fn == ops.MAX:
        return floats[c + MAXIMUM]
    if fn == ops.STDVAR:
        return floats[c + SQUARES] / n
    if fn == ops.STDDEV:
        return math.sqrt(floats[c + SQUARES] / n)
    if fn == ops.COUNT:
        return float(n)
    return 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _slope(floats: Float64Array, c: int, n: int) -> float:
    """Change per second of the line through the window's samples."""
    sv, st = floats[c + SLOPE_V], floats[c + SLOPE_T]
    return (floats[c + SLOPE_TV] - st * sv / n) / (floats[c + SLOPE_TT] - st * st / n)


@njit(cache=True, nogil=True, error_model="numpy")
def _predicted(floats: Float64Array, c: int, n: int, reference: float, seconds: float) -> float:
    """The line's value so many seconds after the window's start."""
    return reference + floats[c + SLOPE_V] / n + _slope(floats, c, n) * (seconds - floats[c + SLOPE_T] / n)


@njit(cache=True, nogil=True, error_model="numpy")
def _deviation(values: Float64Array) -> float:
    """The median distance from the median; NaN where a value is."""
    if np.isnan(values).any():
        return np.nan
    middle = quantile_of(values.copy(), 0.5)
    return quantile_of(np.abs(values - middle), 0.5)


@njit(cache=True, nogil=True, error_model="numpy")
def _ordered(fn: int, ints: Int64Array, floats: Float64Array, at: int, n: int, end: int, window: int) -> float:
    """Functions of two samples or more that depend on their order."""
    c, tail = at + CACHED, at + CACHED_LAST
    if fn == ops.CHANGES_OVER:
        return floats[tail + TAIL_CHANGES] - floats[c + FIRST_CHANGES]
    if fn == ops.RESETS_OVER:
        return floats[tail + TAIL_RESETS] - floats[c + FIRST_RESETS]
    if fn == ops.IRATE or fn == ops.IDELTA:
        last, before = floats[tail + TAIL_V], floats[tail + TAIL_PREVIOUS_V]
        if fn == ops.IDELTA:
            return last - before
        seconds = (ints[tail + TAIL_T] - ints[tail + TAIL_PREVIOUS_T]) / 1e9
        return (last if last < before else last - before) / seconds
    if fn == ops.DERIV:
        return _slope(floats, c, n)
    raw = floats[tail + TAIL_V] - floats[c + FIRST_V]
    if fn != ops.DELTA:
        raw += floats[tail + TAIL_RESET_SUM] - floats[c + FIRST_RESET_SUM]
    return _extrapolated(fn, n, raw, ints[c + FIRST], floats[c + FIRST_V], ints[tail + TAIL_T], end, window)


@njit(cache=True, nogil=True, error_model="numpy")
def window(
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
    """Set slot i to a function of its row's window at the newest boundary; returns when it may next differ."""
    node = slots[i].node
    fn, s = nodes[node].fn, nodes[node].store
    base = rows[slots[i].a].base
    at = base + stores[s].offset
    width, span = stores[s].width, stores[s].window
    end = (t // width) * width
    n = sum_up(ints, floats, base, s, end, stores)
    following = FAR
    current = ints[at + CURRENT]
    if current != NONE and (current + 1) * width > end:
        following = (current + 1) * width
    slots[i].flags = 0
    if n == 0:
        return following
    following = min(following, (ints[at + OLDEST] + 1) * width + span)
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
    two = ops.RATE <= fn <= ops.DERIV or fn == ops.PREDICT
    if n >= 2 or not two:
        flags |= PRESENT
        if fn == ops.QUANTILE:
            slots[i].value = quantile_of(raw_window(ints, floats, base, s, end, stores), nodes[node].p0)
        elif fn == ops.MAD:
            slots[i].value = _deviation(raw_window(ints, floats, base, s, end, stores))
        elif fn == ops.PREDICT:
            ahead = span / 1e9 + nodes[node].p0
            slots[i].value = _predicted(floats, at + CACHED, n, floats[base + REFERENCE], ahead)
        elif fn == ops.LAST:
            slots[i].value = floats[at + CACHED_LAST + TAIL_V]
        elif two or fn == ops.CHANGES_OVER or fn == ops.RESETS_OVER:
            slots[i].value = _ordered(fn, ints, floats, at, n, end, span)
        else:
            slots[i].value = _moment(fn, floats, at + CACHED, n)
    slots[i].flags = flags
    slots[i].first = ints[at + CACHED + FIRST]
    slots[i].last = ints[at + CACHED_LAST + TAIL_T]
    slots[i].count = n
    return following


__all__ = ["instant", "quantile_of", "window"]
