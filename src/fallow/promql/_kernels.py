"""The kernel that takes units through event time: samples up to an instant, then every slot of the tape, in order."""

# numba compiles what it infers; the stubs of numpy know neither the fields of records nor scalars out of arrays.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportReturnType=false, reportUnnecessaryComparison=false, reportOptionalOperand=false

from __future__ import annotations

import numpy as np
from numba import njit

from fallow.batch import BoolArray, Int32Array
from fallow.promql import ops
from fallow.promql._groups import choose, histogram
from fallow.promql._operators import (
    aggregate,
    both,
    either,
    map_slot,
    no_evidence,
    nothing,
    number_of,
    take_evidence,
    with_number,
    with_vector,
    without,
)
from fallow.promql._values import feed, instant, subrange, window
from fallow.promql.ops import PRESENT, UNKNOWN, WARMING
from fallow.promql.state import BEGAN, ENDED, KNOWN_AGAIN, SAID_UNKNOWN, UNKNOWN_FROM, Units
from fallow.series._borrowed import borrowed
from fallow.series._kernels import append_sample, merge_sample
from fallow.series.layout import FAR, LAST_T, NONE, STALE, Float64Array, Int64Array, Records


@njit(cache=True, nogil=True, error_model="numpy")
def take_sample(
    row: int, t: int, value: float, stale: bool, ints: Int64Array, floats: Float64Array, rows: Records, stores: Records
) -> None:
    """Take one sample into its row: newer than the row's newest is appended, older is merged where that is possible."""
    base = rows[row].base
    last = ints[base + LAST_T]
    if stale:
        if t > last:
            ints[base + STALE] = 1
    elif t > last:
        append_sample(ints, floats, base, rows[row].first, rows[row].stop, t, value, stores)
    elif t < last:
        merge_sample(ints, floats, base, rows[row].first, rows[row].stop, t, value, stores)


@njit(cache=True, nogil=True, error_model="numpy")
def _say(kind: int, i: int, t: int, slots: Records, results: Records, facts: Int64Array, values: Float64Array) -> None:
    """Write a record; facts[0, 0] counts them, the caller has made room."""
    r = slots[i].b
    n = facts[0, 0] + 1
    facts[0, 0] = n
    facts[n, 0] = kind
    facts[n, 1] = i
    facts[n, 2] = t
    facts[n, 3] = results[r].start
    facts[n, 4] = results[r].end
    facts[n, 5] = results[r].count
    facts[n, 6] = results[r].began
    values[n] = results[r].value


@njit(cache=True, nogil=True, error_model="numpy")
def _see(i: int, t: int, slots: Records, results: Records) -> None:
    """Take the evidence of a result that is true (or would be)."""
    a, r = slots[i].a, slots[i].b
    results[r].end = slots[a].last if slots[a].count > 0 else t
    results[r].count = slots[a].count
    results[r].value = slots[a].value


@njit(cache=True, nogil=True, error_model="numpy")
def _is_true(
    i: int, t: int, slots: Records, nodes: Records, results: Records, facts: Int64Array, values: Float64Array
) -> int:
    a, r = slots[i].a, slots[i].b
    if results[r].state == 0:
        results[r].state = 1
        results[r].since = t
        results[r].frozen = NONE
        results[r].start = slots[a].first if slots[a].count > 0 else t
    elif results[r].frozen != NONE:
        results[r].since += t - results[r].frozen
        results[r].frozen = NONE
    _see(i, t, slots, results)
    if results[r].state == 1:
        ready = results[r].since + nodes[slots[i].node].ns
        if t < ready:
            return ready
        results[r].state = 2
        results[r].began = t
        _say(BEGAN, i, t, slots, results, facts, values)
    return FAR


@njit(cache=True, nogil=True, error_model="numpy")
def _is_unknown(
    i: int, t: int, slots: Records, nodes: Records, results: Records, facts: Int64Array, values: Float64Array
) -> int:
    a, r, node = slots[i].a, slots[i].b, slots[i].node
    if results[r].unknown == 0:
        _say(UNKNOWN_FROM, i, t, slots, results, facts, values)
        results[r].unknown = 1
    if results[r].state == 1 and results[r].frozen == NONE:
        results[r].frozen = t
    if results[r].unknown == 3:
        return FAR
    if results[r].state == 2:  # it goes on holding: nothing is held back
        results[r].unknown = 1
        return FAR
    if not slots[a].flags & PRESENT or slots[a].flags & WARMING:
        results[r].unknown = 1
        return FAR
    if results[r].unknown == 1:
        results[r].unknown = 2
        results[r].unknown_since = t
    ready = results[r].unknown_since + max(nodes[node].ns, int(nodes[node].p0))
    if t < ready:
        return ready
    results[r].unknown = 3
    _say(SAID_UNKNOWN, i, t, slots, results, facts, values)
    n = facts[0, 0]
    facts[n, 3] = slots[a].first if slots[a].count > 0 else t
    facts[n, 4] = slots[a].last if slots[a].count > 0 else t
    facts[n, 5] = slots[a].count
    facts[n, 6] = t
    values[n] = slots[a].value
    return FAR


@njit(cache=True, nogil=True, error_model="numpy")
def _root(
    i: int, t: int, slots: Records, nodes: Records, results: Records, facts: Int64Array, values: Float64Array
) -> int:
    """Step a result of a condition to instant t; returns when it has to be looked at again."""
    r = slots[i].b
    flags = slots[slots[i].a].flags
    if flags & UNKNOWN:
        return _is_unknown(i, t, slots, nodes, results, facts, values)
    if results[r].unknown != 0:
        results[r].unknown = 0
        _say(KNOWN_AGAIN, i, t, slots, results, facts, values)
    if flags & PRESENT:
        return _is_true(i, t, slots, nodes, results, facts, values)
    if results[r].state == 2:
        _say(ENDED, i, t, slots, results, facts, values)
    results[r].state = 0
    results[r].frozen = NONE
    return FAR


@njit(cache=True, nogil=True, error_model="numpy")
def _simple(i: int, op: int, t: int, slots: Records, nodes: Records) -> None:
    """The operations without group, row or state."""
    node, a = slots[i].node, slots[i].a
    if op == ops.CONSTANT or op == ops.TIME:
        no_evidence(slots, i)
        slots[i].flags = PRESENT
        slots[i].value = nodes[node].p0 if op == ops.CONSTANT else (t - nodes[node].ns) / 1e9
        return
    slots[i].flags = slots[a].flags
    if slots[a].flags != 0:
        take_evidence(slots, i, a)
        if op == ops.MAP:
            map_slot(i, slots, nodes)
        else:
            slots[i].value = (t - nodes[node].ns) / 1e9 if op == ops.STAMP else slots[a].value


@njit(cache=True, nogil=True, error_model="numpy")
def _play(
    start: int,
    stop: int,
    t: int,
    tape: Int32Array,
    slots: Records,
    nodes: Records,
    heads: Int32Array,
    links: Records,
    results: Records,
    ints: Int64Array,
    floats: Float64Array,
    rows: Records,
    stores: Records,
    setting: Records,
    facts: Int64Array,
    values: Float64Array,
) -> int:
    """Evaluate the tape at instant t; returns the earliest time after t at which anything may differ by itself."""
    following = FAR
    for k in range(start, stop):
        i = tape[k]
        op = nodes[slots[i].node].op
        if op == ops.RANGE:
            following = min(following, window(i, t, slots, nodes, ints, floats, rows, stores, setting))
        elif op == ops.INSTANT:
            following = min(following, instant(i, t, slots, nodes, ints, floats, rows, setting))
        elif op == ops.WITH_NUMBER:
            with_number(i, slots, nodes)
        elif op == ops.ROOT:
            following = min(following, _root(i, t, slots, nodes, results, facts, values))
        elif op == ops.AND:
            both(i, slots, heads, links)
        elif op == ops.UNLESS:
            without(i, slots, heads, links)
        elif op == ops.WITH_VECTOR:
            with_vector(i, slots, nodes, heads, links)
        elif op == ops.OR:
            either(i, slots, heads, links)
        elif op == ops.AGGREGATE:
            aggregate(i, slots, nodes, heads, links)
        elif op == ops.ABSENT:
            nothing(i, slots, heads, links)
        elif op == ops.SCALAR:
            number_of(i, slots, heads, links)
        elif op == ops.TOP:
            choose(i, slots, nodes, heads, links)
        elif op == ops.HISTOGRAM:
            histogram(i, slots, nodes, heads, links)
        elif op == ops.FEED:
            following = min(following, feed(i, t, slots, nodes, ints, floats, rows, stores, setting))
        elif op == ops.SUBRANGE:
            following = min(following, subrange(i, t, slots, nodes, ints, floats, rows, stores, setting))
        elif op != ops.MEMBER:
            _simple(i, op, t, slots, nodes)
            if op == ops.TIME or op == ops.STAMP:
                following = t + 1
    return following


@njit(cache=True, nogil=True, error_model="numpy")
def _room(facts: Int64Array, values: Float64Array, more: int) -> tuple[Int64Array, Float64Array]:
    need = facts[0, 0] + 1 + more
    if need <= len(values):
        return facts, values
    wide = np.zeros((2 * need, facts.shape[1]), dtype=np.int64)
    wide[: len(facts)] = facts
    more_values = np.zeros(2 * need, dtype=np.float64)
    more_values[: len(values)] = values
    return wide, more_values


@njit(cache=True, nogil=True, error_model="numpy")
def _grid(t: int, interval: int) -> int:
    """The first instant of the grid that is not before t."""
    return -((-t) // interval) * interval


@njit(cache=True, nogil=True, error_model="numpy")
def last_instant(u: int, final: bool, units: Units, intervals: Int64Array) -> int:
    """The newest instant of any class that the unit may be evaluated at."""
    newest = NONE
    if units.limit[u] == NONE:
        return newest
    for k in range(len(intervals)):
        if units.tape_stop[u, k] > units.tape_start[u, k]:
            interval = intervals[k]
            limit = units.limit[u]
            newest = max(newest, _grid(limit, interval) if final else (limit // interval) * interval)
    return newest


@njit(cache=True, nogil=True, error_model="numpy")
def run_units(
    chosen: Int64Array,
    begins: Int64Array,
    ends: Int64Array,
    row: Int64Array,
    time: Int64Array,
    value: Float64Array,
    stale: BoolArray,
    final: bool,
    units: Units,
    slots: Records,
    nodes: Records,
    heads: Int32Array,
    links: Records,
    results: Records,
    ints: Int64Array,
    floats: Float64Array,
    rows: Records,
    stores: Records,
    setting: Records,
    intervals: Int64Array,
) -> tuple[Int64Array, Float64Array]:
    """Take each chosen unit through all instants it may see, with its samples begins:ends in order of time.

    Returns:
        Records: (n + 1, 7) integers (kind, slot, instant, start, end, count, began), row 0 counting them, and their
        (n + 1,) values. In each unit they are in order of time.
    """
    facts = np.zeros((64, 7), dtype=np.int64)
    values = np.zeros(64, dtype=np.float64)
    classes = len(intervals)
    slots, nodes, heads, links, results = (
        borrowed(slots),
        borrowed(nodes),
        borrowed(heads),
        borrowed(links),
        borrowed(results),
    )
    ints, floats, rows, stores, setting = (
        borrowed(ints),
        borrowed(floats),
        borrowed(rows),
        borrowed(stores),
        borrowed(setting),
    )
    for c in range(len(chosen)):
        u = chosen[c]
        at = begins[c]
        limit = units.limit[u]
        while True:
            arrival = time[at] if at < ends[c] else FAR
            t = FAR
            for k in range(classes):
                if units.tape_stop[u, k] == units.tape_start[u, k]:
                    continue
                interval = intervals[k]
                if arrival < FAR:
                    units.due[u, k] = min(units.due[u, k], _grid(arrival, interval))
                if units.due[u, k] <= (_grid(limit, interval) if final else limit):
                    t = min(t, units.due[u, k])
            if t == FAR:
                break
            while at < ends[c] and time[at] <= t:
                again = at + 1 < ends[c] and time[at + 1] == time[at] and row[at + 1] == row[at]
                if not again:  # of several samples at one time the last in order, the largest, counts
                    take_sample(row[at], time[at], value[at], stale[at], ints, floats, rows, stores)
                at += 1
            for k in range(classes):
                interval = intervals[k]
                if units.due[u, k] > t:
                    if arrival <= t:
                        units.due[u, k] = min(units.due[u, k], _grid(t, interval))
                    continue
                start, stop = units.tape_start[u, k], units.tape_stop[u, k]
                if start == stop:
                    continue
                facts, values = _room(facts, values, 2 * (stop - start))
                following = _play(
                    start,
                    stop,
                    t,
                    units.tape,
                    slots,
                    nodes,
                    heads,
                    links,
                    results,
                    ints,
                    floats,
                    rows,
                    stores,
                    setting,
                    facts,
                    values,
                )
                units.due[u, k] = FAR if following >= FAR else _grid(max(following, t + 1), interval)
    return facts, values


@njit(cache=True, nogil=True, error_model="numpy")
def _reached(newest: Int64Array, sampled: BoolArray) -> int:
    """The newest time that enough clocks have come to, so that one whose clock is set wrong does not carry the others off.

    Enough are one of up to two, two of up to nine, else three.
    """
    first, second, third, count = NONE, NONE, NONE, 0
    for c in range(len(newest)):
        if not sampled[c] or newest[c] == NONE:
            continue
        count += 1
        if newest[c] > first:
            first, second, third = newest[c], first, second
        elif newest[c] > second:
            second, third = newest[c], second
        elif newest[c] > third:
            third = newest[c]
    return first if count < 3 else second if count < 10 else third


@njit(cache=True, nogil=True, error_model="numpy")
def set_limits(
    first: Int64Array,
    stop: Int64Array,
    clock: Int64Array,
    everywhere: Int64Array,
    newest: Int64Array,
    sampled: BoolArray,
    ticked: int,
    lateness: int,
    idle_after: int,
    units: Units,
) -> int:
    """How far each unit may go: to before the watermark of the slowest of its clocks that is still heard of.

    Returns how far all of them may: no instant up to there will be evaluated any more.

    ``clock[first[u]:stop[u]]`` are the clocks of unit u; where ``everywhere`` is set, or none of them has samples but
    events, all clocks are.
    """
    latest = max(ticked, _reached(newest, sampled))
    if latest == NONE:
        return NONE
    heard = latest - idle_after
    slowest = FAR
    for c in range(len(newest)):
        if sampled[c] and newest[c] >= heard:
            slowest = min(slowest, newest[c] - lateness)
    slowest = max(latest - lateness if slowest == FAR else slowest, heard)
    for u in range(len(first)):
        watermark = FAR
        any_sampled = False
        for k in range(first[u], stop[u]):
            c = clock[k]
            any_sampled |= sampled[c]
            if sampled[c] and newest[c] >= heard:
                watermark = min(watermark, newest[c] - lateness)
        if everywhere[u] or not any_sampled:
            watermark = slowest
        elif watermark == FAR:
            watermark = heard
        units.limit[u] = max(units.limit[u], max(watermark, heard) - 1)
    return slowest - 1


@njit(cache=True, nogil=True, error_model="numpy")
def sort_out(
    count: int,
    row: Int64Array,
    time: Int64Array,
    rows: Records,
    reach: Int64Array,
    done: Int64Array,
    fate: Int64Array,
) -> tuple[int, int]:
    """Say of each pending sample whether it waits (0), is released (1) or late (2); (how many are, how many are)."""
    released = 0
    late = 0
    for i in range(count):
        u = rows[row[i]].unit
        if time[i] <= done[u]:
            fate[i] = 2
            late += 1
        elif time[i] <= reach[u]:
            fate[i] = 1
            released += 1
        else:
            fate[i] = 0
    return released, late


@njit(cache=True, nogil=True, error_model="numpy")
def last_instants(final: bool, units: Units, intervals: Int64Array) -> Int64Array:
    """(units,) the newest instant that each may be evaluated at."""
    reach = np.empty(len(units.limit), dtype=np.int64)
    for u in range(len(reach)):
        reach[u] = last_instant(u, final, units, intervals)
    return reach


@njit(cache=True, nogil=True, error_model="numpy")
def take_late(
    row: Int64Array,
    time: Int64Array,
    value: Float64Array,
    stale: BoolArray,
    units: Units,
    ints: Int64Array,
    floats: Float64Array,
    rows: Records,
    stores: Records,
    intervals: Int64Array,
) -> None:
    """Take late samples, in order of arrival, for the instants to come."""
    for i in range(len(row)):
        take_sample(row[i], time[i], value[i], stale[i], ints, floats, rows, stores)
        u = rows[row[i]].unit
        for k in range(len(intervals)):
            interval = intervals[k]
            units.due[u, k] = min(units.due[u, k], (units.done[u] // interval + 1) * interval)
