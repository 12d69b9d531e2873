"""Samples in order of time through what is learnt of each series; docs/baselines.md says by what reasoning."""

# The stubs of numpy do not know the fields of records.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fallow.batch import BoolArray, Float64Array, Int8Array, Int32Array, Int64Array

UNSEEN, NOT_LEARNT, REFUSED = -1, -2, -3
NONE = np.iinfo(np.int64).min
SECOND = 1_000_000_000
HOUR = 3600 * SECOND
WEEK = 168
MONDAY = 96
"""Hours from the Unix epoch, a Thursday, to the Monday after it."""

POWER, MEMORY, UTILIZATION, RATE, COUNT = range(5)
"""What a series is to this: power and memory have idle levels, a rate or a count of requests has hours."""
IDLE, RUNNING, PERIOD, EXPECTED = range(4)
"""What is said of a series."""

RING = 32
"""Devices whose own levels make their model's: the last so many."""
GAPS = 16
STEPS_ALIKE, ALIKE = 13, 0.2
"""So many of the last steps have to be within a fifth of their median for there to be a period."""
STEP_MEMORY_S = 30.0
"""Over how long the middle and the swing of power are taken, against which steps are told."""
LEAST_SWING = 0.05
COVERED = HOUR // 2
"""An hour counts for its place in the week when so much of it was seen."""
NEW_WEEK = 0.3
"""Weight of a new week against those before."""

Records = NDArray[Any]

LEVEL = np.dtype(
    [
        ("kind", np.int8),
        ("device", np.int32),
        ("model", np.int32),  # -1: it names none
        ("slot", np.int32),  # its place among the levels of its model
        ("series", np.int32),  # under which the last sample came
        ("last", np.int64),
        # The span that is being seen.
        ("start", np.int64),
        ("count", np.int32),
        ("least", np.float64),
        ("most", np.float64),
        ("sum", np.float64),
        # The idle level.
        ("low", np.float64),  # NaN: none is known
        ("candidate", np.float64),  # a lower level that was met once; NaN: none
        ("met", np.int64),  # when the idle level was last met
        ("watched", np.bool_),  # it was met while utilisation said that nothing runs
        ("top", np.float64, (2,)),  # the highest means of spans, descending
        # The level at which it runs.
        ("second", np.int64),
        ("second_sum", np.float64),
        ("second_count", np.int32),
        ("before", np.float64),  # mean of the second before
        ("running", np.float64),
        ("running_at", np.int64),
        # Its steps.
        ("middle", np.float64),
        ("swing", np.float64),
        ("above", np.bool_),
        ("rose", np.int64),
        ("cadence", np.float64),  # s
        ("steps", np.int32),
        ("gaps", np.float64, (GAPS,)),  # s
        ("said_at", np.int64, (3,)),  # by IDLE, RUNNING, PERIOD
    ]
)
DEVICE = np.dtype([("busy_at", np.int64), ("idle_at", np.int64)])
"""When utilisation last said that it works, and that it does not."""
MODEL = np.dtype([("count", np.int32), ("prior", np.float64), ("ring", np.float64, (RING,))])
ENDPOINT = np.dtype(
    [
        ("last", np.int64),
        ("value", np.float64),
        ("hour", np.int64),
        ("requests", np.float64),
        ("covered", np.int64),
        ("said_at", np.int64),
        ("hours", np.float32, (WEEK,)),  # {request}/s by hour of the week; NaN: not known
    ]
)

# Parameters, by place in an array.
SPAN, BUSY_ABOVE, CONTRAST, RESERVED_MAX, HALF_LIFE, FORGET, MAX_GAP, REPEAT, REPEAT_RUNNING = range(9)

# By POWER, MEMORY: how far apart samples of an even span may lie and what is still the same level.
EVEN_SHARE, EVEN_BYTES = 0.2, 64.0 * 2**20
SAME_SHARE, SAME_BYTES = 0.1, 16.0 * 2**20


@njit(cache=True)
def all_known(series: Int32Array, row: Int32Array) -> bool:
    """Whether it is known of each series what it is."""
    for one in series:  # noqa: SIM110 — numba has no all()
        if one >= len(row) or row[one] == UNSEEN:
            return False
    return True


@njit(cache=True)
def in_order(time: Int64Array) -> bool:
    """Whether no time is before the one that stands before it."""
    for i in range(1, len(time)):  # noqa: SIM110 — numba has no all()
        if time[i] < time[i - 1]:
            return False
    return True


@njit(cache=True)
def count_learnt(levels: Records, models: Records, contrast: float, kinds: int) -> tuple[Int64Array, Int64Array]:
    """By kind: how many idle levels are the device's own, and how many are known at all."""
    own, known = np.zeros(kinds, dtype=np.int64), np.zeros(kinds, dtype=np.int64)
    for row in range(len(levels)):
        own[levels[row].kind] += not np.isnan(own_level(levels, row, models, contrast))
        known[levels[row].kind] += not np.isnan(idle_level(levels, row, models, contrast))
    return own, known


@njit(cache=True)
def take(
    row_of: Int32Array,
    kind_of: Int8Array,
    levels: Records,
    devices: Records,
    models: Records,
    endpoints: Records,
    series: Int32Array,
    time: Int64Array,
    value: Float64Array,
    ended: BoolArray,
    limits: Float64Array,
    said_series: Int32Array,
    said_what: Int8Array,
    said_time: Int64Array,
    said_value: Float64Array,
) -> tuple[int, int]:
    """Learn from samples in order of time.

    Args:
        row_of, kind_of: by series: its row, in the table of its kind.
        series, time, value, ended: (n,).
        limits: see SPAN and those that follow; times in ns.
        said_series, said_what, said_time, said_value: (3n,) out: the series it is about, what is said, when.

    Returns:
        (how much is said, samples that came late)
    """
    said = late = 0
    for i in range(len(series)):
        row = int(row_of[series[i]])
        if row < 0 or ended[i] or not np.isfinite(value[i]):
            continue
        kind, at = int(kind_of[series[i]]), time[i]
        if kind == UTILIZATION:
            if value[i] > limits[BUSY_ABOVE]:
                devices[row].busy_at = max(devices[row].busy_at, at)
            else:
                devices[row].idle_at = max(devices[row].idle_at, at)
        elif kind in (RATE, COUNT):
            if at <= endpoints[row].last:
                late += 1
                continue
            expected = _request(endpoints, row, kind, at, value[i], limits)
            if not np.isnan(expected):
                said = _say(said, series[i], EXPECTED, at, expected, said_series, said_what, said_time, said_value)
        elif value[i] > 0 or kind == MEMORY:  # 0 W is a sensor that says nothing
            if at <= levels[row].last:
                late += 1
                continue
            if levels[row].series != series[i]:
                _taken_over(levels, row, series[i])
            gap = levels[row].last == NONE or at - levels[row].last > limits[MAX_GAP]
            if gap or (levels[row].count >= 3 and at - levels[row].start >= limits[SPAN]):
                if not gap:
                    _close(levels, row, devices, models, limits)
                levels[row].start, levels[row].count = at, 0
            _add(levels, row, value[i])
            if kind == POWER:
                _run(levels, row, at, value[i], gap, limits)
                _step(levels, row, at, value[i], gap)
            levels[row].last = at
            said = _say_level(levels, row, models, limits, said, said_series, said_what, said_time, said_value)
    return said, late


@njit(cache=True)
def _say(
    said: int,
    series: int,
    what: int,
    at: int,
    value: float,
    said_series: Int32Array,
    said_what: Int8Array,
    said_time: Int64Array,
    said_value: Float64Array,
) -> int:
    said_series[said], said_what[said], said_time[said], said_value[said] = series, what, at, value
    return said + 1


@njit(cache=True)
def _say_level(
    levels: Records,
    row: int,
    models: Records,
    limits: Float64Array,
    said: int,
    said_series: Int32Array,
    said_what: Int8Array,
    said_time: Int64Array,
    said_value: Float64Array,
) -> int:
    """What is known, at even intervals: an instant selector takes a series for ended by the rhythm that it has."""
    at, series = levels[row].last, levels[row].series
    for what in range(3 if levels[row].kind == POWER else 1):
        again = limits[REPEAT_RUNNING] if what == RUNNING else limits[REPEAT]
        if levels[row].said_at[what] != NONE and at - levels[row].said_at[what] < again:
            continue
        if what == IDLE:
            value = idle_level(levels, row, models, limits[CONTRAST])
        elif what == RUNNING:
            value = levels[row].running if levels[row].running > 0 else np.nan
        else:
            value = _period(levels, row)
            levels[row].said_at[what] = at  # whether there is one is looked at no more often than it is said
        if not np.isnan(value):
            levels[row].said_at[what] = at
            said = _say(said, series, what, at, value, said_series, said_what, said_time, said_value)
    return said


@njit(cache=True)
def _taken_over(levels: Records, row: int, series: int) -> None:
    """The device goes on under other labels, such as those of another job: what it runs is new."""
    levels[row].series = series
    levels[row].running = levels[row].before = 0.0
    levels[row].second = levels[row].rose = NONE
    levels[row].steps = 0
    for what in range(3):
        levels[row].said_at[what] = NONE


# -- what it is when nothing runs ----------------------------------------------------------------------------------------
@njit(cache=True)
def _add(levels: Records, row: int, value: float) -> None:
    if levels[row].count == 0:
        levels[row].least = levels[row].most = value
        levels[row].sum = 0.0
    levels[row].least = min(levels[row].least, value)
    levels[row].most = max(levels[row].most, value)
    levels[row].sum += value
    levels[row].count += 1


@njit(cache=True)
def _close(levels: Records, row: int, devices: Records, models: Records, limits: Float64Array) -> None:
    """Take what the span that is over says of the levels."""
    one = levels[row]
    mean = one.sum / one.count
    if one.kind == POWER:
        if mean > one.top[0]:
            levels[row].top[1] = one.top[0]
            levels[row].top[0] = mean
        elif mean > one.top[1]:
            levels[row].top[1] = mean
    if one.met != NONE and one.last - one.met > limits[FORGET]:
        levels[row].low = levels[row].candidate = np.nan
        levels[row].met, levels[row].watched = NONE, False
        levels[row].top[0] = levels[row].top[1] = mean
    even = one.most - one.least <= (EVEN_BYTES if one.kind == MEMORY else EVEN_SHARE * mean)
    busy = devices[one.device].busy_at >= one.start
    if even and not busy and (one.kind == POWER or mean <= limits[RESERVED_MAX]):
        _meet(levels, row, mean)
        if levels[row].met == one.last and devices[one.device].idle_at >= one.start:
            levels[row].watched = True
    _tell_model(levels, row, models, limits[CONTRAST])


@njit(cache=True)
def _meet(levels: Records, row: int, mean: float) -> None:
    """An even span: at the idle level, at a lower one (met twice, it counts), or above it."""
    one = levels[row]
    if not np.isnan(one.low) and _same(one.kind, mean, one.low):
        # Down at once, up slowly: what a program adds is not to be taken for the device.
        levels[row].low += (0.3 if mean < one.low else 0.05) * (mean - one.low)
        levels[row].met = one.last
        levels[row].candidate = np.nan
    elif np.isnan(one.low) or mean < one.low:
        if not np.isnan(one.candidate) and _same(one.kind, mean, one.candidate):
            levels[row].low = min(mean, one.candidate)
            levels[row].met = one.last
            levels[row].watched = False
            levels[row].candidate = np.nan
        elif np.isnan(one.low) and not np.isnan(one.candidate):
            levels[row].candidate = min(mean, one.candidate)
        else:
            levels[row].candidate = mean


@njit(cache=True)
def _same(kind: int, a: float, b: float) -> bool:
    return abs(a - b) <= max(SAME_SHARE * b, SAME_BYTES if kind == MEMORY else 0.0)


@njit(cache=True)
def own_level(levels: Records, row: int, models: Records, contrast: float) -> float:
    """The idle level that the device has shown itself; NaN: none that can be told from that of work."""
    one = levels[row]
    if np.isnan(one.low):
        return np.nan
    prior = models[one.model].prior if one.model >= 0 else np.nan
    slack = EVEN_BYTES if one.kind == MEMORY else 0.0
    if not np.isnan(prior) and one.low > contrast * prior + slack:
        return np.nan
    seen = one.kind == MEMORY or one.watched or one.top[1] >= contrast * one.low
    return one.low if seen else np.nan


@njit(cache=True)
def idle_level(levels: Records, row: int, models: Records, contrast: float) -> float:
    """The device's own idle level, else that of its model, else NaN."""
    own = own_level(levels, row, models, contrast)
    if not np.isnan(own):
        return own
    return models[levels[row].model].prior if levels[row].model >= 0 else np.nan


@njit(cache=True)
def _tell_model(levels: Records, row: int, models: Records, contrast: float) -> None:
    """The level of a model is the median of those of its devices."""
    model = levels[row].model
    own = own_level(levels, row, models, contrast)
    if model < 0 or np.isnan(own):
        return
    slot = levels[row].slot
    if slot < 0:
        slot = levels[row].slot = models[model].count
        models[model].count += 1
    ring = models[model].ring
    if ring[slot % RING] != own:
        ring[slot % RING] = own
        models[model].prior = np.median(ring[: min(models[model].count, RING)])


# -- how it runs ---------------------------------------------------------------------------------------------------------
@njit(cache=True)
def _run(levels: Records, row: int, at: int, value: float, gap: bool, limits: Float64Array) -> None:
    """The highest level of two seconds in a row, slowly forgotten."""
    one = levels[row]
    if gap or one.second == NONE:
        levels[row].second, levels[row].second_sum, levels[row].second_count = at, value, 1
        levels[row].before = 0.0
        return
    if at - one.second < SECOND:
        levels[row].second_sum += value
        levels[row].second_count += 1
        return
    mean = one.second_sum / one.second_count
    sustained = min(mean, one.before)
    faded = 0.0
    if one.running > 0:
        faded = one.running * 0.5 ** ((at - one.running_at) / limits[HALF_LIFE])
    levels[row].running = max(sustained, faded)
    levels[row].running_at = at
    levels[row].before = mean
    levels[row].second, levels[row].second_sum, levels[row].second_count = at, value, 1


@njit(cache=True)
def _step(levels: Records, row: int, at: int, value: float, gap: bool) -> None:
    """Note when power rises through its middle by half of its swing, after it fell as far below."""
    one = levels[row]
    if gap or one.last == NONE:
        levels[row].middle, levels[row].swing = value, 0.0
        levels[row].above, levels[row].rose, levels[row].steps = False, NONE, 0
        return
    since = (at - one.last) / SECOND
    weight = since / (STEP_MEMORY_S + since)
    levels[row].cadence = since if one.cadence == 0 else one.cadence + 0.1 * (since - one.cadence)
    levels[row].middle += weight * (value - one.middle)
    middle = levels[row].middle
    levels[row].swing += weight * (abs(value - middle) - one.swing)
    half = 0.5 * levels[row].swing
    if levels[row].swing < LEAST_SWING * middle:
        return
    if not one.above and value > middle + half:
        levels[row].above = True
        if one.rose != NONE:
            levels[row].gaps[one.steps % GAPS] = (at - one.rose) / SECOND
            levels[row].steps += 1
        levels[row].rose = at
    elif one.above and value < middle - half:
        levels[row].above = False


@njit(cache=True)
def _period(levels: Records, row: int) -> float:
    """s between steps; NaN where they are not alike, too quick to be seen at this cadence, or have ceased."""
    one = levels[row]
    if one.steps < GAPS:
        return np.nan
    gaps = np.sort(one.gaps)
    period = 0.5 * (gaps[GAPS // 2 - 1] + gaps[GAPS // 2])
    alike = np.sum(np.abs(gaps - period) <= ALIKE * period)
    ceased = (one.last - one.rose) / SECOND > 3 * period
    return np.nan if alike < STEPS_ALIKE or period < 4 * one.cadence or ceased else period


# -- what an hour of the week brings --------------------------------------------------------------------------------------
@njit(cache=True)
def _request(endpoints: Records, row: int, kind: int, at: int, value: float, limits: Float64Array) -> float:
    """Add a reading to its hour; returns what is expected of this hour where it is due to be said, else NaN."""
    one = endpoints[row]
    hour = at // HOUR
    if one.last != NONE and at - one.last <= limits[MAX_GAP]:
        since = at - one.last
        # A count that falls has begun anew.
        brought = value * (since / SECOND) if kind == RATE else value - one.value if value >= one.value else value
        if hour != one.hour:
            _end_hour(endpoints, row)
        endpoints[row].requests += brought
        endpoints[row].covered += since
    elif one.last != NONE and hour != one.hour:
        _end_hour(endpoints, row)
    endpoints[row].last, endpoints[row].value, endpoints[row].hour = at, value, hour
    if one.said_at != NONE and at - one.said_at < limits[REPEAT]:
        return np.nan
    expected = _expected(endpoints[row].hours, hour)
    if not np.isnan(expected):
        endpoints[row].said_at = at
    return expected


@njit(cache=True)
def _end_hour(endpoints: Records, row: int) -> None:
    one = endpoints[row]
    if one.covered >= COVERED:
        rate = one.requests / (one.covered / SECOND)
        place = (one.hour - MONDAY) % WEEK
        known = one.hours[place]
        endpoints[row].hours[place] = rate if np.isnan(known) else known + NEW_WEEK * (rate - known)
    endpoints[row].requests, endpoints[row].covered = 0.0, 0


@njit(cache=True)
def _expected(hours: Any, hour: int) -> float:
    """{request}/s of this hour of the week, before a week is over the mean of the days seen; NaN: neither is known."""
    place = (hour - MONDAY) % WEEK
    if not np.isnan(hours[place]):
        return float(hours[place])
    total, days = 0.0, 0
    for other in range(place % 24, WEEK, 24):
        if not np.isnan(hours[other]):
            total += hours[other]
            days += 1
    return total / days if days else np.nan
