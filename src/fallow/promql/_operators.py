"""Kernels of operators on slots: plain PromQL in PRESENT and the value, three-valued logic in UNKNOWN beside it."""

# numba compiles what it infers; the stubs of numpy know neither the fields of records nor scalars out of arrays.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportReturnType=false, reportUnnecessaryComparison=false, reportOptionalOperand=false

from __future__ import annotations

import math

import numpy as np

from fallow.batch import Int32Array
from fallow.promql import ops
from fallow.promql._calendar import calendar
from fallow.promql._samples import quantile_of
from fallow.promql.ops import (
    AT_LEAST,
    AT_MOST,
    BOOL,
    CHANGING_0,
    CHANGING_1,
    EQ,
    GE,
    GT,
    KEEP_A,
    LE,
    LT,
    NE,
    PRESENT,
    SWAPPED,
    UNKNOWN,
    WARMING,
)
from fallow.series._memory import counted, part, uncounted
from fallow.series.layout import FAR, NONE, Records


@uncounted
def arithmetic(fn: int, x: float, y: float) -> float:
    if fn == 0:
        return x + y
    if fn == 1:
        return x - y
    if fn == 2:
        return x * y
    if fn == 3:
        return x / y
    if fn == 4:
        return np.fmod(x, y) if y != 0.0 and not math.isinf(x) else np.nan
    if fn == -1:
        return math.atan2(x, y)
    if fn == -2:
        return np.maximum(x, y)
    if fn == -3:
        return np.minimum(x, y)
    return x**y


@part
def comparison(fn: int, x: float, y: float) -> bool:
    if fn == EQ:
        return x == y
    if fn == NE:
        return x != y
    if fn == LT:
        return x < y
    if fn == GT:
        return x > y
    if fn == LE:
        return x <= y
    return x >= y


@uncounted
def mapped(fn: int, x: float, p0: float, p1: float) -> float:
    """One of ops.MAPS of x."""
    if fn == 0:
        return abs(x)
    if fn == 1:
        return np.ceil(x)
    if fn == 2:
        return np.floor(x)
    if fn == 3:
        return np.floor(x * (1.0 / p0) + 0.5) / (1.0 / p0)
    if fn == 4:
        return np.nan if math.isnan(p0) or math.isnan(p1) else x if math.isnan(x) else max(p0, min(p1, x))
    if fn == 7:
        return np.exp(x)
    if fn == 8:
        return np.log(x)
    if fn == 9:
        return np.log2(x)
    if fn == 10:
        return np.log10(x)
    if fn == 11:
        return np.sqrt(x)
    if fn == 12:
        return np.sign(x)
    if fn == ops.NEGATE:
        return -x
    return _angle(fn, x) if fn <= 28 else calendar(fn, x)


@uncounted
def _angle(fn: int, x: float) -> float:
    """Trigonometric and hyperbolic functions, degrees and radians."""
    if fn == 15:
        return np.sin(x)
    if fn == 16:
        return np.cos(x)
    if fn == 17:
        return np.tan(x)
    if fn == 18:
        return np.arcsin(x)
    if fn == 19:
        return np.arccos(x)
    if fn == 20:
        return np.arctan(x)
    if fn == 21:
        return np.sinh(x)
    if fn == 22:
        return np.cosh(x)
    if fn == 23:
        return np.tanh(x)
    if fn == 24:
        return np.arcsinh(x)
    if fn == 25:
        return np.arccosh(x)
    if fn == 26:
        return np.arctanh(x)
    return x * 180 / math.pi if fn == 27 else x * math.pi / 180


@uncounted
def map_slot(i: int, slots: Records, nodes: Records) -> None:
    """Slot i, whose flags are set, = a function of its operand; a clamp between bounds the wrong way round is nothing."""
    node = slots[i].node
    fn, how, p0, p1 = nodes[node].fn, nodes[node].flags, nodes[node].p0, nodes[node].p1
    if how & CHANGING_0:
        p0 = slots[slots[i].b].value
    if how & CHANGING_1:
        p1 = slots[slots[i].c].value
    if fn == ops.CLAMP and p0 > p1:
        slots[i].flags = 0
        return
    slots[i].value = mapped(fn, slots[slots[i].a].value, p0, p1)


@part
def take_evidence(slots: Records, i: int, other: int) -> None:
    """Let slot i rest on the evidence of ``other`` alone."""
    slots[i].first = slots[other].first
    slots[i].last = slots[other].last
    slots[i].count = slots[other].count


@uncounted
def no_evidence(slots: Records, i: int) -> None:
    slots[i].first = FAR
    slots[i].last = NONE
    slots[i].count = 0


@uncounted
def add_evidence(slots: Records, i: int, other: int) -> None:
    """Let slot i rest on the evidence of ``other`` too."""
    slots[i].first = min(slots[i].first, slots[other].first)
    slots[i].last = max(slots[i].last, slots[other].last)
    slots[i].count += slots[other].count


@part
def _decided(fn: int, flags: int, x: float, c: float, swapped: bool) -> bool:
    """Whether comparing the observed x with c decides the comparison for every value x may truly have."""
    if swapped and fn >= LT:
        fn = (GT, LT, GE, LE)[fn - LT]
    if flags & AT_LEAST:
        if fn in (GE, LT):
            return x >= c
        return x > c
    if flags & AT_MOST:
        if fn in (LE, GT):
            return x <= c
        return x < c
    return False


@uncounted
def with_numbers(first: int, last: int, slots: Records, nodes: Records) -> None:
    """Slots first:last = their operand, an operator, and the node's number."""
    node = slots[first].node
    fn, how, number = nodes[node].fn, nodes[node].flags, nodes[node].p0
    swapped = how & SWAPPED != 0
    for i in range(first, last):
        a = slots[i].a
        flags = slots[a].flags
        if flags & PRESENT:
            value = slots[a].value
            x, y = (number, value) if swapped else (value, number)
            if fn < ops.FIRST_COMPARISON:
                slots[i].value = arithmetic(fn, x, y)
            else:
                true = comparison(fn, x, y)
                if flags & UNKNOWN and _decided(fn, how, value, number, swapped):
                    flags = PRESENT
                if how & BOOL:
                    slots[i].value = 1.0 if true else 0.0
                else:
                    slots[i].value = value
                    if not true:
                        flags = flags & ~PRESENT if flags & UNKNOWN else 0
        if flags != 0:
            take_evidence(slots, i, a)
        slots[i].flags = flags


@uncounted
def _the_one(group: int, slots: Records, groups: Records, members: Int32Array) -> tuple[int, int]:
    """(the last slot of the group that is not absent, how many are not)."""
    found = -1
    count = 0
    for k in range(groups[group].start, groups[group].stop):
        slot = members[k]
        if slots[slot].flags != 0:
            found = slot
            count += 1
    return found, count


@uncounted
def with_vectors(first: int, last: int, slots: Records, nodes: Records, groups: Records, members: Int32Array) -> None:
    """Slots first:last = their operand, an operator, and the one element that matches; several that match leave it unknown."""
    for i in range(first, last):
        node, a = slots[i].node, slots[i].a
        fn, how = nodes[node].fn, nodes[node].flags
        slots[i].flags = 0
        if slots[a].flags == 0:
            continue
        b, count = _the_one(slots[i].b, slots, groups, members)
        if count == 0:
            continue
        take_evidence(slots, i, a)
        add_evidence(slots, i, b)
        if count > 1 or (slots[i].c >= 0 and _the_one(slots[i].c, slots, groups, members)[1] > 1):
            slots[i].flags = UNKNOWN
            continue
        flags = (slots[a].flags & slots[b].flags & PRESENT) | ((slots[a].flags | slots[b].flags) & (UNKNOWN | WARMING))
        if flags & PRESENT:
            va, vb = slots[a].value, slots[b].value
            x, y = (vb, va) if how & SWAPPED else (va, vb)
            if fn < ops.FIRST_COMPARISON:
                slots[i].value = arithmetic(fn, x, y)
            else:
                true = comparison(fn, x, y)
                if how & BOOL:
                    slots[i].value = 1.0 if true else 0.0
                else:
                    slots[i].value = va if how & KEEP_A else x
                    if not true:
                        flags = flags & ~PRESENT if flags & UNKNOWN else 0
        slots[i].flags = flags


@uncounted
def _any(group: int, slots: Records, groups: Records, members: Int32Array) -> tuple[int, int]:
    """(a slot that makes the group present, the group's flags): PRESENT alone where one is known to be there."""
    found = -1
    flags = 0
    for k in range(groups[group].start, groups[group].stop):
        slot = members[k]
        here = slots[slot].flags
        if here & PRESENT and not here & UNKNOWN:
            return slot, PRESENT
        if here != 0:
            found = slot if found < 0 or here & PRESENT else found
            flags |= here
    return found, flags


@uncounted
def both(first: int, last: int, slots: Records, groups: Records, members: Int32Array) -> None:
    """Slots first:last = a and b: the element on the left, with its evidence, where there is one on the right."""
    for i in range(first, last):
        a = slots[i].a
        slots[i].flags = 0
        if slots[a].flags == 0:
            continue
        _, flags = _any(slots[i].b, slots, groups, members)
        if flags == 0:
            continue
        take_evidence(slots, i, a)
        slots[i].value = slots[a].value
        slots[i].flags = (slots[a].flags & flags & PRESENT) | ((slots[a].flags | flags) & (UNKNOWN | WARMING))


@uncounted
def without(first: int, last: int, slots: Records, groups: Records, members: Int32Array) -> None:
    """Slots first:last = a unless b."""
    for i in range(first, last):
        a = slots[i].a
        slots[i].flags = 0
        if slots[a].flags == 0:
            continue
        _, flags = _any(slots[i].b, slots, groups, members)
        if flags == PRESENT:
            continue
        take_evidence(slots, i, a)
        slots[i].value = slots[a].value
        present = PRESENT if slots[a].flags & PRESENT and not flags & PRESENT else 0
        slots[i].flags = present | ((slots[a].flags | flags) & (UNKNOWN | WARMING))


@uncounted
def either(first: int, last: int, slots: Records, groups: Records, members: Int32Array) -> None:
    """Slots first:last = a or, where there is no such element on the left, c."""
    for i in range(first, last):
        a, c = slots[i].a, slots[i].c
        left = slots[a].flags if a >= 0 else 0
        right = slots[c].flags if c >= 0 else 0
        if right != 0:
            _, matching = _any(slots[i].b, slots, groups, members)
            if matching == PRESENT:
                right = 0
            elif matching & UNKNOWN:
                right = (right & PRESENT if not matching & PRESENT else 0) | UNKNOWN | ((right | matching) & WARMING)
        chosen = a
        flags = left
        if not left & PRESENT and right != 0 and (right & PRESENT or left == 0):
            chosen = c
            flags = right | (left & (UNKNOWN | WARMING))
        slots[i].flags = flags
        if flags != 0:
            take_evidence(slots, i, chosen)
            slots[i].value = slots[chosen].value


@uncounted
def aggregate(i: int, slots: Records, nodes: Records, groups: Records, members: Int32Array) -> None:
    """Slot i = an aggregation over its group; one unknown member makes it unknown."""
    fn = nodes[slots[i].node].fn
    no_evidence(slots, i)
    flags = 0
    n = 0
    total = carry = mean = squares = 0.0
    low = high = np.nan
    group = slots[i].b
    for k in range(groups[group].start, groups[group].stop):
        slot = members[k]
        here = slots[slot].flags
        if here == 0:
            continue
        flags |= here
        add_evidence(slots, i, slot)
        if not here & PRESENT:
            continue
        x = slots[slot].value
        n += 1
        t = total + x
        if not math.isinf(t):
            carry += (total - t) + x if abs(total) >= abs(x) else (x - t) + total
        total = t
        d = x - mean
        mean += d / n
        squares += d * (x - mean)
        low = x if x < low or math.isnan(low) else low
        high = x if x > high or math.isnan(high) else high
    slots[i].flags = flags
    if n == 0:
        return
    if fn == 0:
        slots[i].value = total + carry
    elif fn == 1:
        slots[i].value = (total + carry) / n
        if math.isinf(slots[i].value):
            slots[i].value = _mean(i, n, slots, groups, members)
    elif fn == 2:
        slots[i].value = low
    elif fn == 3:
        slots[i].value = high
    elif fn == 4:
        slots[i].value = n
    elif fn == 5:
        slots[i].value = 1.0
    elif fn == 6:
        slots[i].value = math.sqrt(squares / n)
    elif fn == 7:
        slots[i].value = squares / n
    else:
        slots[i].value = _quantile(i, n, slots, nodes, groups, members)


@counted
def _mean(i: int, n: int, slots: Records, groups: Records, members: Int32Array) -> float:
    """The mean of a group whose sum is more than a float64 holds."""
    mean = 0.0
    group = slots[i].b
    for k in range(groups[group].start, groups[group].stop):
        slot = members[k]
        if slots[slot].flags & PRESENT:
            mean += slots[slot].value / n
    return mean


@uncounted
def parameter(i: int, slots: Records, nodes: Records) -> float:
    """The number that an aggregation has: of slot a where it changes."""
    return nodes[slots[i].node].p0 if slots[i].a < 0 else slots[slots[i].a].value


@counted
def _quantile(i: int, n: int, slots: Records, nodes: Records, groups: Records, members: Int32Array) -> float:
    values = np.empty(n, dtype=np.float64)
    n = 0
    group = slots[i].b
    for k in range(groups[group].start, groups[group].stop):
        slot = members[k]
        if slots[slot].flags & PRESENT:
            values[n] = slots[slot].value
            n += 1
    return quantile_of(values, parameter(i, slots, nodes))


@uncounted
def nothing(i: int, slots: Records, groups: Records, members: Int32Array) -> None:
    """Slot i = 1 where its group has no present element."""
    _, flags = _any(slots[i].b, slots, groups, members)
    no_evidence(slots, i)
    slots[i].value = 1.0
    if flags & PRESENT:
        slots[i].flags = 0 if not flags & UNKNOWN else UNKNOWN | (flags & WARMING)
    else:
        slots[i].flags = PRESENT | (flags & (UNKNOWN | WARMING))


@uncounted
def number_of(i: int, slots: Records, groups: Records, members: Int32Array) -> None:
    """Slot i = the value of the one element of its group, else NaN; a number is always present."""
    b, count = _the_one(slots[i].b, slots, groups, members)
    no_evidence(slots, i)
    slots[i].flags = PRESENT
    slots[i].value = np.nan
    if count == 1:
        take_evidence(slots, i, b)
        slots[i].flags = slots[b].flags | PRESENT
        if slots[b].flags & PRESENT:
            slots[i].value = slots[b].value
