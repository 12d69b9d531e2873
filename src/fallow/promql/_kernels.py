"""The kernel that takes units through event time: samples up to an instant, then every slot of the tape, in order."""

# numba compiles what it infers; the stubs of numpy know neither the fields of records nor scalars out of arrays.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportReturnType=false, reportUnnecessaryComparison=false, reportOptionalOperand=false

from __future__ import annotations

import math

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
    with_numbers,
    with_vectors,
    without,
)
from fallow.promql._unseen import allow_for_unseen
from fallow.promql._values import feed, instants, subrange, windows
from fallow.promql.ops import AT_REST, PRESENT, UNKNOWN, WARMING
from fallow.promql.state import (
    BEGAN,
    BEGAN_UNSEEN,
    ENDED,
    KNOWN_AGAIN,
    SAID_UNKNOWN,
    UNKNOWN_FROM,
    Queues,
    Units,
)
from fallow.series._kernels import append_sample, expect_row, forget_gaps, merge_sample
from fallow.series._memory import borrowed, part, uncounted
from fallow.series.layout import FAR, LAST_T, NONE, STALE, Float64Array, Int64Array, Records

SOON = 6
"""Samples ahead of the one that is taken whose state is fetched."""


@uncounted
def take_sample(
    row: int,
    t: int,
    value: float,
    stale: bool,
    ints: Int64Array,
    floats: Float64Array,
    rows: Records,
    stores: Records,
    summary: Float64Array,
) -> None:
    """Take one sample into its row: newer than the row's newest is appended, older is merged where that is possible."""
    base = rows[row].base
    last = ints[base + LAST_T]
    if stale:
        if t > last:
            ints[base + STALE] = 1
    elif t > last:
        append_sample(ints, floats, base, rows[row].first, rows[row].stop, t, value, stores, summary)
        sure = rows[row].sure
        if sure > NONE and last <= sure < t:  # the first after a gap: what came before it says nothing of the cadence
            forget_gaps(ints, base)
            rows[row].sure = t - 1
    elif t < last:
        merge_sample(ints, floats, base, rows[row].first, rows[row].stop, t, value, stores)


@uncounted
def _say(
    kind: np.int64, i: int, t: int, slots: Records, results: Records, facts: Int64Array, values: Float64Array
) -> None:
    """Write a record of the result of slot i; facts[0, 0] counts them, the caller has made room."""
    r = slots[i].b
    n = facts[0, 0] + 1
    facts[0, 0] = n
    facts[n, 0] = kind
    facts[n, 1] = r
    facts[n, 2] = t
    facts[n, 3] = results[r].start
    facts[n, 4] = results[r].end
    facts[n, 5] = results[r].count
    facts[n, 6] = results[r].began
    values[n] = results[r].value


@part
def _see(i: int, t: int, slots: Records, results: Records) -> None:
    """Take the evidence of a result that is true (or would be)."""
    a, r = slots[i].a, slots[i].b
    results[r].end = slots[a].last if slots[a].count > 0 else t
    results[r].count = slots[a].count
    results[r].value = slots[a].value


@uncounted
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
        _say(np.int64(BEGAN_UNSEEN if results[r].unseen else BEGAN), i, t, slots, results, facts, values)
    return FAR


@uncounted
def _is_unknown(
    i: int, t: int, slots: Records, nodes: Records, results: Records, facts: Int64Array, values: Float64Array
) -> int:
    a, r, node = slots[i].a, slots[i].b, slots[i].node
    if results[r].unknown == 0:
        _say(np.int64(UNKNOWN_FROM), i, t, slots, results, facts, values)
        results[r].unknown = 1
    if t < nodes[node].sure and slots[a].flags & WARMING:  # nobody saw whether it went on
        results[r].unseen = 1
        if results[r].state == 1:
            results[r].state = 0
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
    _say(np.int64(SAID_UNKNOWN), i, t, slots, results, facts, values)
    n = facts[0, 0]
    facts[n, 3] = slots[a].first if slots[a].count > 0 else t
    facts[n, 4] = slots[a].last if slots[a].count > 0 else t
    facts[n, 5] = slots[a].count
    facts[n, 6] = t
    values[n] = slots[a].value
    return FAR


@part
def _holds(r: int, t: int, hold: int, results: Records) -> bool:
    """Whether a result that is true at t has been so for long enough."""
    if results[r].state != 1:
        return results[r].state == 2 or hold == 0
    frozen = results[r].frozen
    return t >= results[r].since + hold + (0 if frozen == NONE else t - frozen)


@uncounted
def _awake(
    i: int, t: int, slots: Records, nodes: Records, results: Records, facts: Int64Array, values: Float64Array
) -> int:
    """Step a result of a condition to instant t; returns when it has to be looked at again."""
    r = slots[i].b
    flags = slots[slots[i].a].flags
    slots[i].flags = 0
    if flags & UNKNOWN:
        return _is_unknown(i, t, slots, nodes, results, facts, values)
    if results[r].unseen != 0 and flags & PRESENT and not _holds(r, t, nodes[slots[i].node].ns, results):
        if results[r].unknown == 0:  # it may have held for long enough: nobody saw it begin
            _say(np.int64(UNKNOWN_FROM), i, t, slots, results, facts, values)
            results[r].unknown = 1
        return _is_true(i, t, slots, nodes, results, facts, values)
    if results[r].unknown != 0:
        results[r].unknown = 0
        _say(np.int64(KNOWN_AGAIN), i, t, slots, results, facts, values)
    if flags & PRESENT:
        return _is_true(i, t, slots, nodes, results, facts, values)
    if results[r].state == 2:
        _say(np.int64(ENDED), i, t, slots, results, facts, values)
    results[r].state = 0
    results[r].unseen = 0
    results[r].frozen = NONE
    slots[i].flags = AT_REST
    return FAR


@uncounted
def _roots(
    first: int,
    last: int,
    t: int,
    slots: Records,
    nodes: Records,
    results: Records,
    facts: Int64Array,
    values: Float64Array,
) -> int:
    """Step results, of slots first:last, to instant t; those at rest, whose condition is false still, stay as they are."""
    following = FAR
    for i in range(first, last):
        if slots[i].flags != AT_REST or slots[slots[i].a].flags != 0:
            following = min(following, _awake(i, t, slots, nodes, results, facts, values))
    return following


@uncounted
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


@uncounted
def _play(
    start: int,
    stop: int,
    t: int,
    tape: Records,
    slots: Records,
    nodes: Records,
    groups: Records,
    members: Int32Array,
    results: Records,
    ints: Int64Array,
    floats: Float64Array,
    rows: Records,
    stores: Records,
    setting: Records,
    summary: Float64Array,
    facts: Int64Array,
    values: Float64Array,
) -> int:
    """Evaluate runs of the tape at instant t; returns the earliest time after t at which anything may differ by itself."""
    following = FAR
    for k in range(start, stop):
        node, first = tape[k].node, tape[k].start
        last = first + tape[k].count
        op = nodes[node].op
        if op == ops.RANGE:
            again = windows(first, last, t, slots, nodes, ints, floats, rows, stores, setting, summary)
            following = min(following, again)
        elif op == ops.INSTANT:
            following = min(following, instants(first, last, t, slots, nodes, ints, floats, rows, setting))
        elif op == ops.WITH_NUMBER:
            with_numbers(first, last, slots, nodes)
        elif op == ops.ROOT:
            following = min(following, _roots(first, last, t, slots, nodes, results, facts, values))
        elif op == ops.AND:
            both(first, last, slots, groups, members)
        elif op == ops.UNLESS:
            without(first, last, slots, groups, members)
        elif op == ops.WITH_VECTOR:
            with_vectors(first, last, slots, nodes, groups, members)
        elif op == ops.OR:
            either(first, last, slots, groups, members)
        elif op == ops.FEED:
            for i in range(first, last):
                following = min(following, feed(i, t, slots, nodes, ints, floats, rows, stores, setting, summary))
        elif op == ops.SUBRANGE:
            for i in range(first, last):
                following = min(following, subrange(i, t, slots, nodes, ints, floats, rows, stores, setting))
        elif op != ops.MEMBER:
            for i in range(first, last):
                _seldom(i, op, t, slots, nodes, groups, members)
            if op == ops.TIME or op == ops.STAMP:
                following = t + 1
        if t < nodes[node].sure and op != ops.ROOT:
            for i in range(first, last):
                allow_for_unseen(i, op, slots, groups, members)
            following = min(following, nodes[node].sure)
    return following


@uncounted
def _seldom(i: int, op: int, t: int, slots: Records, nodes: Records, groups: Records, members: Int32Array) -> None:
    """The operations of which there are few slots."""
    if op == ops.AGGREGATE:
        aggregate(i, slots, nodes, groups, members)
    elif op == ops.ABSENT:
        nothing(i, slots, groups, members)
    elif op == ops.SCALAR:
        number_of(i, slots, groups, members)
    elif op == ops.TOP:
        choose(i, slots, nodes, groups, members)
    elif op == ops.HISTOGRAM:
        histogram(i, slots, nodes, groups, members)
    else:
        _simple(i, op, t, slots, nodes)


@njit(cache=True, nogil=True, error_model="numpy")
def _room(facts: Int64Array, values: Float64Array, more: int) -> tuple[Int64Array, Float64Array]:
    need = facts[0, 0] + 1 + more
    if need <= len(values):
        return facts, values
    count = facts[0, 0] + 1
    wide = np.empty((2 * need, facts.shape[1]), dtype=np.int64)
    wide[:count] = facts[:count]
    more_values = np.empty(2 * need, dtype=np.float64)
    more_values[:count] = values[:count]
    return wide, more_values


@uncounted
def _grid(t: int, interval: int) -> int:
    """The first instant of the grid that is not before t."""
    return -((-t) // interval) * interval


@uncounted
def last_instant(u: int, final: bool, units: Units, intervals: Int64Array) -> int:
    """The newest instant of any class that the unit may be evaluated at."""
    newest = NONE
    limit = units.limit[u]
    if limit == NONE:
        return newest
    interval = 0
    for k in range(len(intervals)):
        if units.tape_stop[u, k] > units.tape_start[u, k] and intervals[k] != interval:
            interval = intervals[k]
            newest = max(newest, _grid(limit, interval) if final else (limit // interval) * interval)
    return newest


@uncounted
def _before(a: int, b: int, samples: Records) -> bool:
    """Whether sample a comes before b: by time and row; of several of one row at one time the one that counts is last.

    That is a number before NaN before a stale mark, and of numbers the largest: no order of arrival can change it.
    """
    if samples[a].time != samples[b].time:
        return samples[a].time < samples[b].time
    if samples[a].row != samples[b].row:
        return samples[a].row < samples[b].row
    rank_a = 0 if samples[a].stale else 1 if math.isnan(samples[a].value) else 2
    rank_b = 0 if samples[b].stale else 1 if math.isnan(samples[b].value) else 2
    if rank_a != rank_b:
        return rank_a < rank_b
    return samples[a].value < samples[b].value


@njit(cache=True, nogil=True, error_model="numpy")
def _put_in_order(samples: Records, n: int) -> Records:
    """The first n samples by time: merged, run by run, as they mostly are in order already."""
    width = 1
    while width < n and not _before(width, width - 1, samples):
        width += 1
    if width >= n:
        return samples
    other = np.empty_like(samples)
    width = 1
    while width < n:
        for start in range(0, n, 2 * width):
            middle, stop = min(start + width, n), min(start + 2 * width, n)
            a, b = start, middle
            for k in range(start, stop):
                if a < middle and (b >= stop or not _before(b, a, samples)):
                    other[k] = samples[a]
                    a += 1
                else:
                    other[k] = samples[b]
                    b += 1
        samples, other = other, samples
        width *= 2
    return samples


@njit(cache=True, nogil=True, error_model="numpy")
def _released(u: int, reach: int, pool: Records, stretches: Records, queues: Queues, free: Int32Array) -> Records:
    """Take what is not newer than ``reach`` out of the unit's queue, in order of arrival."""
    count = 0
    s = queues.head[u]
    while s >= 0:
        if stretches[s].least <= reach:
            count += stretches[s].count
        s = stretches[s].next
    taken = np.empty(count, dtype=pool.dtype)
    count = 0
    first, last, least = -1, -1, FAR
    s = queues.head[u]
    while s >= 0:
        following = stretches[s].next
        if stretches[s].least <= reach:
            start, n = stretches[s].start, 0
            stretches[s].least = FAR
            for k in range(start, start + stretches[s].count):
                time = pool[k].time
                if time <= reach:
                    taken[count] = pool[k]
                    count += 1
                else:
                    pool[start + n] = pool[k]
                    n += 1
                    stretches[s].least = min(stretches[s].least, time)
            stretches[s].count = n
        if stretches[s].count == 0:
            stretches[s].next = free[0]
            free[0] = s
            free[1] += 1
        else:
            if last >= 0:
                stretches[last].next = s
            else:
                first = s
            last = s
            least = min(least, stretches[s].least)
        s = following
    if last >= 0:
        stretches[last].next = -1
    queues.head[u], queues.tail[u], queues.first[u] = first, last, least
    return taken[:count]


@uncounted
def _take_late(
    u: int,
    taken: Records,
    primary: BoolArray,
    units: Units,
    intervals: Int64Array,
    ints: Int64Array,
    floats: Float64Array,
    rows: Records,
    stores: Records,
    summary: Float64Array,
) -> tuple[int, int]:
    """Take the late samples among these, in order of arrival, for the instants to come, and move the others together.

    Returns how many others there are, and how many late samples of different series.
    """
    others, late = 0, 0
    done = units.done[u]
    for i in range(len(taken)):
        if taken[i].time > done:
            if others < i:
                taken[others] = taken[i]
            others += 1
            continue
        row = taken[i].row
        late += primary[row]
        take_sample(row, taken[i].time, taken[i].value, taken[i].stale != 0, ints, floats, rows, stores, summary)
    if others < len(taken):
        for k in range(len(intervals)):
            interval = intervals[k]
            units.due[u, k] = min(units.due[u, k], (done // interval + 1) * interval)
    return others, late


@uncounted
def _take_until(
    t: int,
    at: int,
    count: int,
    samples: Records,
    ints: Int64Array,
    floats: Float64Array,
    rows: Records,
    stores: Records,
    summary: Float64Array,
) -> int:
    """Take the samples from ``at`` on that are not newer than t; returns how far that is."""
    while at < count and samples[at].time <= t:
        now = at
        if at + SOON < count:
            row = samples[at + SOON].row
            expect_row(ints, rows[row].base, rows[row].first, rows[row].stop, stores)
        at += 1
        again = at < count and samples[at].time == samples[now].time and samples[at].row == samples[now].row
        if not again:  # of several samples at one time the last in order, the largest, counts
            row, value, stale = samples[now].row, samples[now].value, samples[now].stale != 0
            take_sample(row, samples[now].time, value, stale, ints, floats, rows, stores, summary)
    return at


@njit(cache=True, nogil=True, error_model="numpy")
def run_units(
    living: Int64Array,
    local: int,
    turn: int,
    budget: int,
    pool: Records,
    stretches: Records,
    queues: Queues,
    free: Int32Array,
    primary: BoolArray,
    final: bool,
    units: Units,
    slots: Records,
    nodes: Records,
    groups: Records,
    members: Int32Array,
    results: Records,
    ints: Int64Array,
    floats: Float64Array,
    rows: Records,
    stores: Records,
    setting: Records,
    intervals: Int64Array,
    rhythms: Int64Array,
    summary: Float64Array,
) -> tuple[Int64Array, Float64Array, int, int, int]:
    """Take each unit through all instants that it may see, with the samples that wait for it, in order of time.

    The first ``local`` units are taken at once; of the others, beginning at ``turn``, as many as fit a budget of slots
    and samples, so that what waits for the slowest clock does not hold up what came with a batch.

    Returns:
        Records: (n + 1, 7) integers (kind, slot, instant, start, end, count, began), row 0 counting them, and their
        (n + 1,) values, in each unit in order of time; how many samples were late; whose turn is next; and how far those
        have come that did not fit, FAR where all did.
    """
    facts = np.zeros((64, 7), dtype=np.int64)
    values = np.zeros(64, dtype=np.float64)
    classes = len(intervals)
    slots, nodes, results = borrowed(slots), borrowed(nodes), borrowed(results)
    groups, members, tape = borrowed(groups), borrowed(members), borrowed(units.tape)
    ints, floats, rows = borrowed(ints), borrowed(floats), borrowed(rows)
    stores, setting, summary = borrowed(stores), borrowed(setting), borrowed(summary)
    pool, stretches = borrowed(pool), borrowed(stretches)
    late, spent, behind, last = 0, 0, FAR, -1
    others = len(living) - local
    for c in range(len(living)):
        u = living[c if c < local else local + (c - local + turn) % others]
        limit = units.limit[u]
        if limit < units.wake[u] and not final:
            if limit != units.heeded[u]:
                units.heeded[u] = limit
                units.done[u] = max(units.done[u], last_instant(u, final, units, intervals))
            continue
        reach = last_instant(u, final, units, intervals)
        waits = queues.head[u] >= 0 and queues.first[u] <= reach
        due = FAR
        for k in range(classes):
            due = min(due, units.due[u, k])
        if not waits and due > reach:
            units.heeded[u], units.wake[u] = limit, min(due, queues.first[u] if queues.head[u] >= 0 else FAR)
            units.done[u] = max(units.done[u], reach)
            continue
        if c >= local:
            if spent > budget:
                behind = min(behind, units.done[u])
                continue
            last = c - local
        samples = _released(u, reach, pool, stretches, queues, free)
        count = len(samples)
        spent += count if c >= local else 0
        if waits:
            count, missed = _take_late(u, samples, primary, units, intervals, ints, floats, rows, stores, summary)
            late += missed
            samples = _put_in_order(samples, count)
        at = 0
        while True:
            arrival = samples[at].time if at < count else FAR
            t = int(np.int64(FAR))  # of the constant as it is numba would make a variant of everything below
            for k in range(classes):
                if units.tape_stop[u, k] == units.tape_start[u, k]:
                    continue
                if arrival < FAR:
                    units.due[u, k] = min(units.due[u, k], _grid(arrival, rhythms[k]))
                if units.due[u, k] <= (_grid(limit, intervals[k]) if final else limit):
                    t = min(t, units.due[u, k])
            at = _take_until(t, at, count, samples, ints, floats, rows, stores, summary)
            if t == FAR:
                break
            played = 0  # what a slower class of this interval has changed, the faster ones read
            for k in range(classes):
                interval = intervals[k]
                if final and t > _grid(limit, interval):
                    continue  # the stream ends for it before the others
                start, stop = units.tape_start[u, k], units.tape_stop[u, k]
                if start == stop:
                    continue
                if units.due[u, k] > t and played != interval:
                    if arrival <= t:
                        units.due[u, k] = min(units.due[u, k], _grid(t, rhythms[k]))
                    continue
                played = interval
                length = units.tape_slots[u, k]
                spent += length if c >= local else 0
                facts, values = _room(facts, values, 2 * length)
                following = _play(
                    start,
                    stop,
                    t,
                    tape,
                    slots,
                    nodes,
                    groups,
                    members,
                    results,
                    ints,
                    floats,
                    rows,
                    stores,
                    setting,
                    summary,
                    borrowed(facts),
                    borrowed(values),
                )
                units.due[u, k] = FAR if following >= FAR else _grid(max(following, t + 1), interval)
        units.done[u] = max(units.done[u], reach)
        due = queues.first[u] if queues.head[u] >= 0 else FAR
        for k in range(classes):
            due = min(due, units.due[u, k])
        units.heeded[u], units.wake[u] = limit, due
    return facts, values, late, (turn + last + 1) % max(others, 1), behind


@njit(cache=True, nogil=True, error_model="numpy")
def reached(newest: Int64Array, sampled: BoolArray) -> int:
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
    living: Int64Array,
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

    ``clock[first[i]:stop[i]]`` are the clocks of unit living[i]; where ``everywhere`` is set, or none of them has samples but
    events, all clocks are.
    """
    latest = max(ticked, reached(newest, sampled))
    if latest == NONE:
        return NONE
    heard = latest - idle_after
    slowest = FAR
    for c in range(len(newest)):
        if sampled[c] and newest[c] >= heard:
            slowest = min(slowest, newest[c] - lateness)
    slowest = max(latest - lateness if slowest == FAR else slowest, heard)
    for i in range(len(living)):
        u = living[i]
        watermark = FAR
        any_sampled = False
        for k in range(first[i], stop[i]):
            c = clock[k]
            any_sampled |= sampled[c]
            if sampled[c] and newest[c] >= heard:
                watermark = min(watermark, newest[c] - lateness)
        if everywhere[i] or not any_sampled:
            watermark = slowest
        elif watermark == FAR:
            watermark = heard
        units.limit[u] = max(units.limit[u], max(watermark, heard) - 1)
    return slowest - 1
