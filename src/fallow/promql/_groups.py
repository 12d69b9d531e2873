"""Kernels that look at a group's elements side by side: the k largest, and a quantile of a histogram's buckets."""

# numba compiles what it infers; the stubs of numpy know neither the fields of records nor scalars out of arrays.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportReturnType=false, reportUnnecessaryComparison=false, reportOptionalOperand=false

from __future__ import annotations

import math

import numpy as np
from numba import njit

from fallow.batch import Float64Array, Int32Array, Int64Array
from fallow.promql._operators import add_evidence, no_evidence, parameter, take_evidence
from fallow.promql.ops import PRESENT, UNKNOWN, WARMING
from fallow.series._memory import counted
from fallow.series.layout import Records

SMALL_DELTA = 1e-12
"""A count that falls by less than this share of both is taken for rounding, as in Prometheus."""
MOST = 1 << 53
"""No group has so many elements."""


@njit(cache=True, nogil=True, error_model="numpy")
def _members(group: int, slots: Records, groups: Records, members: Int32Array) -> Int64Array:
    """The group's slots whose operand is not absent, by their labels."""
    by_rank = np.full(groups[group].stop - groups[group].start, -1, dtype=np.int64)
    for k in range(groups[group].start, groups[group].stop):
        slot = members[k]
        if slots[slots[slot].a].flags != 0:
            by_rank[int(slots[slot].key)] = slot
    return by_rank[by_rank >= 0]


@njit(cache=True, nogil=True, error_model="numpy")
def _best_first(members: Int64Array, choice: int, slots: Records) -> Int64Array:
    """The members in the order in which they are chosen: NaN last, of equal ones the first by labels first."""
    if choice == 2:
        return members
    value = np.empty(len(members), dtype=np.float64)
    for k in range(len(members)):
        x = slots[slots[members[k]].a].value
        value[k] = -x if choice == 0 else x
    return members[np.argsort(value, kind="mergesort")]


@njit(cache=True, nogil=True, error_model="numpy")
def _clear(group: int, slots: Records, groups: Records, members: Int32Array) -> None:
    for k in range(groups[group].start, groups[group].stop):
        slots[members[k]].flags = 0


@counted
def choose(i: int, slots: Records, nodes: Records, groups: Records, members: Int32Array) -> None:
    """Write the MEMBER slots of slot i's group: which of their operands are among the first k.

    One that is known is in for certain where fewer than k others can come before it, the unknown ones all counted, and
    out for certain where k known ones do. What is neither is unknown, and present as what was seen says.
    """
    group = slots[i].b
    number = parameter(i, slots, nodes)
    most = 0 if not number >= 1 else int(min(number, float(MOST)))
    _clear(group, slots, groups, members)
    ordered = _best_first(_members(group, slots, groups, members), nodes[slots[i].node].fn, slots)
    unknown = 0
    for m in ordered:
        unknown += slots[slots[m].a].flags & UNKNOWN != 0
    seen = known = 0
    for m in ordered:
        a = slots[m].a
        flags = slots[a].flags
        chosen = flags & PRESENT and seen < most
        seen += flags & PRESENT != 0
        if flags & UNKNOWN:
            doubtful = most > 0
        else:
            doubtful = known < most and known + unknown >= most
            known += 1
        if chosen or doubtful:
            take_evidence(slots, m, a)
            slots[m].value = slots[a].value
            slots[m].flags = (PRESENT if chosen else 0) | (UNKNOWN if doubtful else 0) | (flags & WARMING)


@njit(cache=True, nogil=True, error_model="numpy")
def _same(a: float, b: float) -> bool:
    return a == b or abs(a - b) < SMALL_DELTA * min(abs(a) + abs(b), 1.7976931348623157e308)


@njit(cache=True, nogil=True, error_model="numpy")
def _coalesced(bounds: Float64Array, counts: Float64Array) -> tuple[Float64Array, Float64Array]:
    """The buckets by their bounds, those of one bound added up."""
    bound = np.empty(len(bounds), dtype=np.float64)
    count = np.empty(len(bounds), dtype=np.float64)
    n = 0
    for k in range(len(bounds)):
        at = n
        while at > 0 and bound[at - 1] > bounds[k]:
            at -= 1
        if at > 0 and bound[at - 1] == bounds[k]:
            count[at - 1] += counts[k]
            continue
        for j in range(n, at, -1):
            bound[j] = bound[j - 1]
            count[j] = count[j - 1]
        bound[at] = bounds[k]
        count[at] = counts[k]
        n += 1
    return bound[:n], count[:n]


@njit(cache=True, nogil=True, error_model="numpy")
def quantile_of_buckets(q: float, bounds: Float64Array, counts: Float64Array) -> float:
    """The q-quantile of a classic histogram, its cumulative counts up to each bound; as Prometheus interpolates it."""
    if math.isnan(q):
        return np.nan
    if q < 0:
        return -np.inf
    if q > 1:
        return np.inf
    bound, count = _coalesced(bounds, counts)
    n = len(bound)
    if n < 2 or bound[n - 1] != np.inf:
        return np.nan
    for k in range(1, n):
        if count[k] < count[k - 1] or _same(count[k - 1], count[k]):
            count[k] = count[k - 1]
    if count[n - 1] == 0 or math.isnan(count[n - 1]):
        return np.nan
    rank = q * count[n - 1]
    b = 0
    while b < n - 1 and not count[b] >= rank:
        b += 1
    if b == n - 1:
        return bound[n - 2]
    if b == 0 and bound[0] <= 0:
        return bound[0]
    start, below = (0.0, 0.0) if b == 0 else (bound[b - 1], count[b - 1])
    return start + (bound[b] - start) * ((rank - below) / (count[b] - below))


@njit(cache=True, nogil=True, error_model="numpy")
def fraction_of_buckets(lower: float, upper: float, bounds: Float64Array, counts: Float64Array) -> float:
    """The share of a classic histogram's observations between two values, as Prometheus interpolates it."""
    bound, count = _coalesced(bounds, counts)
    n = len(bound)
    whole = count[n - 1]
    if bound[n - 1] != np.inf or whole == 0 or math.isnan(lower) or math.isnan(upper):
        return np.nan
    if lower >= upper:
        return 0.0
    return (_rank_of(upper, bound, count) - _rank_of(lower, bound, count)) / whole


@njit(cache=True, nogil=True, error_model="numpy")
def _rank_of(value: float, bound: Float64Array, count: Float64Array) -> float:
    """How many observations lie below a value."""
    rank = 0.0
    start = 0.0 if bound[0] > 0 else -np.inf
    for k in range(len(bound)):
        if start >= value:
            break
        if bound[k] > value:
            if math.isinf(bound[k]) or math.isinf(start):
                return min(rank, count[len(count) - 1])
            rank += (count[k] - rank) * (value - start) / (bound[k] - start)
            break
        rank = count[k]
        start = bound[k]
    return min(rank, count[len(count) - 1])


@counted
def histogram(i: int, slots: Records, nodes: Records, groups: Records, members: Int32Array) -> None:
    """Slot i = a quantile (fn 0) or share (1) of the buckets in its group; one unknown bucket makes it unknown."""
    no_evidence(slots, i)
    flags = 0
    n = groups[slots[i].b].stop - groups[slots[i].b].start
    bounds = np.empty(n, dtype=np.float64)
    counts = np.empty(n, dtype=np.float64)
    n = 0
    group = slots[i].b
    for k in range(groups[group].start, groups[group].stop):
        slot = members[k]
        here = slots[slot].flags
        flags |= here
        if here:
            add_evidence(slots, i, slot)
        if here & PRESENT:
            bounds[n] = slots[slot].key
            counts[n] = slots[slot].value
            n += 1
    slots[i].flags = flags & (PRESENT | UNKNOWN | WARMING)
    if n == 0:
        return
    node = slots[i].node
    if nodes[node].fn == 0:
        slots[i].value = quantile_of_buckets(parameter(i, slots, nodes), bounds[:n], counts[:n])
    else:
        slots[i].value = fraction_of_buckets(nodes[node].p0, nodes[node].p1, bounds[:n], counts[:n])
