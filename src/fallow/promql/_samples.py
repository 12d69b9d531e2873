"""Kernels over the samples of one window as they are, in order of time: every function of a range, from its definition."""

# numba compiles what it infers; the stubs of numpy know neither the fields of records nor scalars out of arrays.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportReturnType=false, reportUnnecessaryComparison=false, reportOptionalOperand=false

from __future__ import annotations

import math

import numpy as np
from numba import njit

from fallow.promql import ops
from fallow.series.layout import RAW_LIMIT, Float64Array, Int64Array, Records


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
def extrapolated(
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
def deviation(values: Float64Array) -> float:
    """The median distance from the median; NaN where a value is."""
    if np.isnan(values).any():
        return np.nan
    middle = quantile_of(values.copy(), 0.5)
    return quantile_of(np.abs(values - middle), 0.5)


@njit(cache=True, nogil=True, error_model="numpy")
def sum_of(values: Float64Array) -> float:
    """Neumaier's sum."""
    total = carry = 0.0
    for x in values:
        t = total + x
        if math.isinf(t):
            carry = 0.0
        elif abs(total) >= abs(x):
            carry += (total - t) + x
        else:
            carry += (x - t) + total
        total = t
    return total + carry


@njit(cache=True, nogil=True, error_model="numpy")
def mean_of(values: Float64Array) -> float:
    """The mean, also where the sum is more than a float64 holds."""
    n = len(values)
    total = sum_of(values)
    return sum_of(values / n) if math.isinf(total) else total / n


@njit(cache=True, nogil=True, error_model="numpy")
def _extreme(values: Float64Array, sign: float) -> int:
    """Index of the largest (sign 1) or smallest (−1) value, of several the last; NaN gives way to any number."""
    best = 0
    for i in range(1, len(values)):
        if sign * values[i] >= sign * values[best] or math.isnan(values[best]):
            best = i
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def _smoothed(values: Float64Array, level: float, trend: float) -> float:
    """Holt's double exponential smoothing."""
    smooth, before = values[0], 0.0
    slope = values[1] - values[0]
    for i in range(1, len(values)):
        if i > 1:
            slope = trend * (smooth - before) + (1 - trend) * slope
        before, smooth = smooth, level * values[i] + (1 - level) * (smooth + slope)
    return smooth


@njit(cache=True, nogil=True, error_model="numpy")
def _line(times: Int64Array, values: Float64Array, at: int) -> tuple[float, float]:
    """(slope per second, value at ``at``) of the line through the samples."""
    n = len(times)
    x = (times - at) / 1e9
    first = values[0]
    y = values - first
    mx, my = sum_of(x) / n, sum_of(y) / n
    slope = sum_of((x - mx) * (y - my)) / sum_of((x - mx) * (x - mx))
    if math.isinf(first) or math.isnan(slope):
        return np.nan, np.nan
    return slope, first + my - slope * mx


@njit(cache=True, nogil=True, error_model="numpy")
def _in_order(fn: int, times: Int64Array, values: Float64Array, end: int, span: int) -> float:
    """Functions of neighbouring samples."""
    n = len(values)
    if fn == ops.IRATE or fn == ops.IDELTA:
        last, before = values[n - 1], values[n - 2]
        if fn == ops.IDELTA:
            return last - before
        return (last if last < before else last - before) / ((times[n - 1] - times[n - 2]) / 1e9)
    changes = resets = 0
    lost = 0.0
    for i in range(1, n):
        a, b = values[i - 1], values[i]
        if a != b and not (math.isnan(a) and math.isnan(b)):
            changes += 1
        if b < a:
            resets += 1
            lost += a
    if fn == ops.CHANGES_OVER:
        return float(changes)
    if fn == ops.RESETS_OVER:
        return float(resets)
    raw = values[n - 1] - values[0] + (0.0 if fn == ops.DELTA else lost)
    return extrapolated(fn, n, raw, times[0], values[0], times[n - 1], end, span)


@njit(cache=True, nogil=True, error_model="numpy")
def _spread(values: Float64Array) -> float:
    """The mean squared distance from the mean."""
    d = values - mean_of(values)
    return sum_of(d * d) / len(values)


@njit(cache=True, nogil=True, error_model="numpy")
def wants_two(fn: int) -> bool:
    """Whether the function is of two samples or more."""
    return ops.RATE <= fn <= ops.DERIV or fn == ops.PREDICT or fn == ops.SMOOTHING


@njit(cache=True, nogil=True, error_model="numpy")
def over(fn: int, times: Int64Array, values: Float64Array, end: int, span: int, p0: float, p1: float) -> float:
    """One of ops.RANGE_FUNCTIONS of the samples in (end−span, end], as many as it wants."""
    n = len(values)
    if fn == ops.AVG:
        return mean_of(values)
    if fn == ops.SUM_OF:
        return sum_of(values)
    if fn == ops.COUNT:
        return float(n)
    if fn == ops.MIN:
        return values[_extreme(values, -1.0)]
    if fn == ops.MAX:
        return values[_extreme(values, 1.0)]
    if fn == ops.TS_OF_MIN:
        return times[_extreme(values, -1.0)] / 1e9
    if fn == ops.TS_OF_MAX:
        return times[_extreme(values, 1.0)] / 1e9
    if fn == ops.STDVAR:
        return _spread(values)
    if fn == ops.STDDEV:
        return math.sqrt(_spread(values))
    if fn == ops.LAST:
        return values[n - 1]
    if fn == ops.FIRST_OVER:
        return values[0]
    if fn == ops.TS_OF_FIRST:
        return times[0] / 1e9
    if fn == ops.TS_OF_LAST:
        return times[n - 1] / 1e9
    if fn == ops.QUANTILE:
        return quantile_of(values.copy(), p0)
    if fn == ops.MAD:
        return deviation(values)
    if fn == ops.SMOOTHING:
        return _smoothed(values, p0, p1)
    if fn == ops.DERIV or fn == ops.PREDICT:
        slope, value = _line(times, values, end)
        return slope if fn == ops.DERIV else value + slope * (p0 + p1)
    if fn == ops.PRESENT_OVER:
        return 1.0
    return _in_order(fn, times, values, end, span)


@njit(cache=True, nogil=True, error_model="numpy")
def samples_between(
    ints: Int64Array, floats: Float64Array, base: int, s: int, start: int, end: int, stores: Records
) -> tuple[Int64Array, Float64Array]:
    """(times, values) in (start, end] of the newest RAW_LIMIT samples that store s keeps as they are, oldest first."""
    raw = base + stores[s].raw
    count = ints[raw + 2 * RAW_LIMIT]
    kept = min(count, RAW_LIMIT)
    times = np.empty(kept, dtype=np.int64)
    values = np.empty(kept, dtype=np.float64)
    n = 0
    for k in range(count - kept, count):
        i = k % RAW_LIMIT
        if start < ints[raw + i] <= end:
            times[n] = ints[raw + i]
            values[n] = floats[raw + RAW_LIMIT + i]
            n += 1
    return times[:n], values[:n]
