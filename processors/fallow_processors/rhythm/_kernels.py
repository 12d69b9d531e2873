"""Samples in order of time through the GPUs and pools that they are of; ``processor`` says what is estimated."""

# The stubs of numpy do not know the fields of records.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fallow.batch import BoolArray, Float64Array, Int8Array, Int32Array, Int64Array

Records = NDArray[Any]
NONE = np.iinfo(np.int64).min
UNSEEN, IGNORED = -1, -2
OTHER, UTILIZATION, COUNTER, LEVEL = range(4)
"""What a series is here. COUNTER: it moved, so the workload lives; LEVEL: above 0 it does."""
PARTS = 64
"""Parts of time that a pool keeps apart: how late a sample may be and still be counted, in ``PART``."""
PART = 15_000_000_000
MICRO = 1e6
"""Exposure is summed in whole GPU-µs, so that the order of hosts within a part does not matter."""

GPU = np.dtype(
    [
        ("pool", np.int32),
        ("workload", np.int32),
        ("last", np.int64),  # its newest sample; NONE: the series ended or was never seen
        ("active", np.int64),  # when it was last seen working, or idle for the first time
        ("worked", np.bool_),
        ("said", np.int64),  # the part of time in which its outlook was last said; NONE: it is not idle
        ("faded", np.int64),  # the time up to which what follows is discounted
        ("returns", np.float64),
        ("expected", np.float64),  # returns that the pool's demand would have made likely
        ("peak", np.float64),
    ]
)
POOL = np.dtype(
    [
        ("folded", np.int64),  # the newest part of time that is in the estimates; NONE: there is none yet
        ("open_returns", np.int64, (PARTS,)),
        ("open_exposure", np.int64, (PARTS,)),  # GPU-µs
        # As of the end of each of the last parts: returns and GPU-seconds idle, of late and usually.
        ("returns", np.float64, (PARTS,)),
        ("exposure", np.float64, (PARTS,)),
        ("usual_returns", np.float64, (PARTS,)),
        ("usual_exposure", np.float64, (PARTS,)),
    ]
)
WORKLOAD = np.dtype([("newest", np.int64), ("before", np.int64)])
"""Signs of life: the newest, and the newest that is older than that."""
SETTINGS = np.dtype(
    [
        ("horizon", np.int64),
        ("settle", np.int64),
        ("gap", np.int64),
        ("lateness", np.int64),
        ("busy_above", np.float64),
        ("keep", np.float64),  # of the demand of late, from part to part
        ("keep_usual", np.float64),
        ("memory", np.float64),  # ns, half-life
        ("min_returns", np.float64),
    ]
)

# Weights of what is assumed before anything was seen.
USUAL_GAP_S = 1800.0  # one return in half an hour: the weight of a single one
PRESENT_WEIGHT_S = 600.0  # the usual demand counts like ten minutes of one idle GPU
OWN_WEIGHT = 1.0  # a GPU is like its pool: the weight of one return


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
def _fold(pool: Any, part: int, keep: float, keep_usual: float) -> None:
    """Bring a pool's estimates up to the end of a part of time."""
    if pool.folded == NONE:
        pool.folded = part - 1
    first = pool.folded + 1
    if part - first >= PARTS:  # long silence: what is open is old, and fades at once
        far = part - PARTS - pool.folded
        at = pool.folded % PARTS
        for i in range(PARTS):
            returns, exposure = pool.open_returns[i], pool.open_exposure[i] / MICRO
            pool.returns[at] += returns
            pool.exposure[at] += exposure
            pool.usual_returns[at] += returns
            pool.usual_exposure[at] += exposure
            pool.open_returns[i] = 0
            pool.open_exposure[i] = 0
        first = part - PARTS + 1
        to = (first - 1) % PARTS
        pool.returns[to] = pool.returns[at] * keep**far
        pool.exposure[to] = pool.exposure[at] * keep**far
        pool.usual_returns[to] = pool.usual_returns[at] * keep_usual**far
        pool.usual_exposure[to] = pool.usual_exposure[at] * keep_usual**far
    for one in range(first, part + 1):
        at, before = one % PARTS, (one - 1) % PARTS
        returns, exposure = pool.open_returns[at], pool.open_exposure[at] / MICRO
        pool.open_returns[at] = 0
        pool.open_exposure[at] = 0
        pool.returns[at] = pool.returns[before] * keep + returns
        pool.exposure[at] = pool.exposure[before] * keep + exposure
        pool.usual_returns[at] = pool.usual_returns[before] * keep_usual + returns
        pool.usual_exposure[at] = pool.usual_exposure[before] * keep_usual + exposure
    pool.folded = part


@njit(cache=True)
def _rate(pool: Any, part: int) -> tuple[float, float]:
    """(returns a second of an idle GPU, as of a part of time, and how many returns that rests on)."""
    at = max(part, pool.folded - PARTS + 1) % PARTS
    usual = (pool.usual_returns[at] + 1) / (pool.usual_exposure[at] + USUAL_GAP_S)
    rate = (pool.returns[at] + PRESENT_WEIGHT_S * usual) / (pool.exposure[at] + PRESENT_WEIGHT_S)
    return rate, pool.usual_returns[at]


@njit(cache=True)
def _life(workload: Any, time: int, live: bool) -> None:
    if live and time > workload.newest:
        workload.before = workload.newest
        workload.newest = time
    elif live and time < workload.newest:
        workload.before = max(workload.before, time)


@njit(cache=True)
def take(
    gpus: Records,
    pools: Records,
    workloads: Records,
    role: Int8Array,
    row: Int32Array,
    count: Float64Array,
    series: Int32Array,
    time: Int64Array,
    value: Float64Array,
    stale: BoolArray,
    said: Int32Array,
    said_at: Int64Array,
    said_value: Float64Array,
    said_peak: Float64Array,
    settings: Records,
) -> int:
    """Learn from samples; returns how many outlooks were written to ``said…``; 0 is said of what works again."""
    s = settings[0]
    n = 0
    for i in range(len(series)):
        one, t = series[i], time[i]
        if row[one] < 0:
            continue
        if role[one] != UTILIZATION:
            w = workloads[row[one]]
            if stale[i] or math.isnan(value[i]):
                continue
            if role[one] == COUNTER:
                _life(w, t, value[i] > 0 and not math.isnan(count[one]) and value[i] != count[one])
                count[one] = value[i]
            else:
                _life(w, t, value[i] > 0)
            continue
        g = gpus[row[one]]
        if stale[i]:
            g.last = NONE
            continue
        if math.isnan(value[i]) or (g.last != NONE and t <= g.last):
            continue
        busy = value[i] >= s.busy_above
        if g.last == NONE or t - g.last > s.gap:
            g.active, g.peak, g.said = t, 0.0, NONE
            g.worked |= busy
            g.last = t
            continue
        alive = NONE
        if g.workload >= 0:
            w = workloads[g.workload]
            alive = w.newest if w.newest < t else w.before
        active = busy or alive >= g.last
        pool = pools[g.pool]
        part = (t - s.lateness) // PART - 1
        if pool.folded == NONE or part > pool.folded:
            _fold(pool, part, s.keep, s.keep_usual)
        rate, rests_on = _rate(pool, part)
        if g.faded != NONE:
            fade = 0.5 ** ((t - g.faded) / s.memory)
            g.returns *= fade
            g.expected *= fade
        g.faded = t
        idle_s = (t - max(g.last, g.active + s.settle)) / 1e9
        if idle_s > 0 and not (active and g.active == g.last):
            here = t // PART
            if here > pool.folded:
                own = (g.returns + OWN_WEIGHT) / (g.expected + OWN_WEIGHT)
                pool.open_exposure[here % PARTS] += np.int64(own * idle_s * MICRO)
                pool.open_returns[here % PARTS] += active
            g.expected += rate * idle_s
            g.returns += active
        g.last = t
        if active:
            g.worked |= busy
            g.active = t if busy else alive
            g.peak = 0.0
            if g.said != NONE:
                said[n], said_at[n], said_value[n], said_peak[n] = row[one], t, 0.0, 0.0
                n += 1
                g.said = NONE
        elif t - g.active >= s.settle and g.worked and rests_on >= s.min_returns and t // PART != g.said:
            own = (g.returns + OWN_WEIGHT) / (g.expected + OWN_WEIGHT)
            stays = math.exp(-rate * own * s.horizon / 1e9)
            g.peak = max(g.peak, stays)
            g.said = t // PART
            said[n], said_at[n], said_value[n], said_peak[n] = row[one], t, stays, g.peak
            n += 1
    return n
