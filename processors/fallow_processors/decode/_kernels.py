"""The scanners of metric and log requests, compiled by numba: request bytes → columns.

Wire format. Only what is plain is read here: tags of one byte (field numbers below 16), lengths below 2**28, varints of
at most five bytes, no groups. Anything else answers -1 and the request goes to upb, which then decides.

Metrics. Two tables give ids: entities by a keyed hash of (resource bytes, point attribute bytes), metrics by one of (scope
bytes, header bytes). A scan is a transaction: what it put into the tables is listed and can be taken out again, newest
first, which leaves an open-addressing table exactly as it was.

All that is compiled stands in this one file: numba's cache on disk knows a function by the time stamp of its own file
and would go on using what was inlined from another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # published without type information
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from fallow.batch import Float64Array, Int8Array, Int32Array, Int64Array
from fallow_processors.decode._delta import accumulate as accumulate_plain
from fallow_processors.decode._points import DELTA, DELTA_TEMPORALITY, NO_RECORDED_VALUE, STALE, UInt8Array

# -- wire format and hashing ------------------------------------------------------------------------------------------
F = TypeVar("F", bound=Callable[..., Any])
# To the compiler numpy's type; numba's ``int`` of an unsigned word would stay unsigned, and mixing the two makes floats.
int64: Callable[[Any], int] = cast(Any, np.int64)


def kernel(function: F) -> F:
    """The function compiled without the GIL; cached on disk where numba finds a place to write."""
    try:
        return cast(F, njit(cache=True, nogil=True)(function))
    except RuntimeError:  # "cannot cache function: no locator available": a read-only installation
        return cast(F, njit(nogil=True)(function))


def inlined(function: F) -> F:
    """A small function that is compiled into each of its callers: a call costs more than what it does."""
    return cast(F, njit(nogil=True, forceinline=True)(function))


def _load_codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    address = builder.gep(array.data, [arguments[1]])
    word = builder.load(builder.bitcast(address, ir.IntType(64).as_pointer()))
    word.align = 1
    return word


def _load64(typing_context: Any, buf: Any, at: Any) -> Any:
    return types.uint64(buf, types.int64), _load_codegen


def _double_codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return builder.bitcast(arguments[0], ir.DoubleType())


def _as_double(typing_context: Any, word: Any) -> Any:
    return types.float64(types.uint64), _double_codegen


def _byte_codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    byte = builder.load(builder.gep(array.data, [arguments[1]]))
    return builder.zext(byte, ir.IntType(64))


def _byte_at(typing_context: Any, buf: Any, at: Any) -> Any:
    return types.int64(buf, types.int64), _byte_codegen


def _folded_codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    wide = ir.IntType(128)
    product = builder.mul(builder.zext(arguments[0], wide), builder.zext(arguments[1], wide))
    high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))
    return builder.xor(builder.trunc(product, ir.IntType(64)), high)


def _folded(typing_context: Any, a: Any, b: Any) -> Any:
    return types.uint64(types.uint64, types.uint64), _folded_codegen


# One byte and eight (little endian, unaligned) at an offset, both unchecked: indexing as numpy does costs a third of the
# scan. The float64 that has the bits of a word. The two halves of a 128-bit product, one xor the other.
byte_at: Callable[[UInt8Array, int], int] = cast(Any, intrinsic(_byte_at))
load64: Callable[[UInt8Array, int], np.uint64] = cast(Any, intrinsic(_load64))
as_double: Callable[[np.uint64], float] = cast(Any, intrinsic(_as_double))
folded: Callable[[np.uint64, np.uint64], np.uint64] = cast(Any, intrinsic(_folded))

# An odd number with evenly spread bits: 2**64 divided by the golden ratio.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
ZERO = np.uint64(0)
ONE = np.uint64(1)
EIGHT = np.uint64(8)

Keys = tuple[np.uint64, np.uint64, np.uint64, np.uint64]
"""Secret random words: without them nobody can make two inputs that hash alike."""


@inlined
def hashed(buf: UInt8Array, p: int, end: int, seed: np.uint64, keys: Keys) -> np.uint64:
    """A 64-bit hash of ``buf[p:end]``: keyed 128-bit products, folded, in two lanes of sixteen bytes (as wyhash does)."""
    n = end - p
    h = seed ^ (np.uint64(n) * GOLDEN)
    g = h
    if n >= 16:
        while p + 32 <= end:
            h = folded(load64(buf, p) ^ keys[0], load64(buf, p + 8) ^ h)
            g = folded(load64(buf, p + 16) ^ keys[1], load64(buf, p + 24) ^ g)
            p += 32
        if p + 16 <= end:
            h = folded(load64(buf, p) ^ keys[0], load64(buf, p + 8) ^ h)
            p += 16
        if p < end:  # the last sixteen bytes, some of them once more
            g = folded(load64(buf, end - 16) ^ keys[1], load64(buf, end - 8) ^ g)
    else:
        first, last = ZERO, ZERO
        if n >= 8:
            first, last = load64(buf, p), load64(buf, end - 8)
        else:
            while p < end:
                first = (first << EIGHT) | np.uint64(byte_at(buf, p))
                p += 1
        h = folded(first ^ keys[0], last ^ h)
    return folded(h ^ keys[2], g ^ keys[3])


@kernel
def varint(buf: UInt8Array, p: int, end: int) -> tuple[int, int]:
    """(value, position behind it) of a varint of at most five bytes; position -1 where there is none such."""
    value = 0
    shift = 0
    while p < end and shift < 35:
        b = byte_at(buf, p)
        p += 1
        value |= (b & 127) << shift
        if b < 128:
            return value, p
        shift += 7
    return 0, -1


@inlined
def length(buf: UInt8Array, p: int, end: int) -> tuple[int, int]:
    """(start, stop) of what a length before it delimits; stop -1 where it does not fit or takes five bytes."""
    if p < end:
        n = byte_at(buf, p)
        if n < 128:
            return (p + 1, p + 1 + n) if n < end - p else (0, -1)
        m, q = varint(buf, p, end)
        if 0 < q <= p + 4 and m <= end - q:
            return q, q + m
    return 0, -1


@inlined
def end_of(buf: UInt8Array, p: int, end: int) -> int:
    """The stop of ``length`` alone."""
    if p < end:
        q = p + 1 + byte_at(buf, p)
        if q - p <= 128:
            return q if q <= end else -1
        _, q = length(buf, p, end)
        return q
    return -1


@kernel
def skipped(buf: UInt8Array, tag: int, p: int, end: int) -> int:
    """The position behind a field whose one-byte tag was read; -1 where it is for upb to judge."""
    if tag < 8 or tag >= 128:
        return -1
    wire = tag & 7
    if wire == 0:
        _, q = varint(buf, p, end)
        return q
    if wire == 2:
        _, q = length(buf, p, end)
        return q
    q = p + (8 if wire == 1 else 4)
    if (wire == 1 or wire == 5) and q <= end:
        return q
    return -1


@inlined
def is_ascii(buf: UInt8Array, p: int, end: int) -> bool:
    """Whether ``buf[p:end]`` is ASCII and therefore valid UTF-8."""
    bits = ZERO  # no early exit: nearly everything is ASCII, and a plain loop becomes SIMD
    if end - p >= 8:
        for i in range((end - p) >> 3):
            bits |= load64(buf, p + 8 * i)
        bits |= load64(buf, end - 8)
    else:
        for at in range(p, end):
            bits |= np.uint64(buf[at])
        return bool(bits < np.uint64(128))
    return bool(bits & np.uint64(0x8080808080808080) == ZERO)


@inlined
def slot_of(keys: Any, key: np.uint64) -> int:
    """Where the key is in an open-addressing table, or the empty slot where it belongs; the table is never full."""
    mask = np.uint64(len(keys) - 1)
    i = key & mask
    if keys[i] == key:
        return int64(i)
    while keys[i] != key and keys[i] != ZERO:
        i = (i + ONE) & mask
    return int64(i)


# -- metrics -----------------------------------------------------------------------------------------------------------
UInt64Array = NDArray[np.uint64]

# What a scan answers when it is not the number of points.
TO_UPB = -1  # not plain protobuf: upb decides whether and how it decodes
FULL = -2  # an output, a list or a table is too small: grow it (see NEED) and scan again

# Slots of ``state``: the counters of a scan. The first two outlive it.
ENTITIES, METRICS, NEW_ENTITIES, NEW_METRICS, OTHERS, VERIFY, NO_TIME, NO_VALUE, REFUSED, UNRESOLVED, NEED = range(11)
STATE_SIZE = 11
NEED_OUTPUT, NEED_NEW_ENTITIES, NEED_NEW_METRICS, NEED_OTHERS, NEED_ENTITY_TABLE, NEED_METRIC_TABLE = range(1, 7)

# Columns of the lists of what is new, and of metrics that are not numbers.
E_SLOT, E_RESOURCE, E_RESOURCE_END, E_ATTRIBUTES, E_ATTRIBUTES_END, E_POINT, E_POINT_END = range(7)
M_SLOT, M_START, M_DATA, M_DATA_END, M_END, M_SCOPE, M_SCOPE_END = range(7)
O_START, O_END, O_SCOPE, O_SCOPE_END, O_RESOURCE, O_RESOURCE_END = range(6)
E_WIDTH, M_WIDTH, O_WIDTH = 7, 7, 6

UNKNOWN_SERIES = -1
LOW_WORD = np.uint64(0xFFFFFFFF)
WORD = np.uint64(32)

accumulate = kernel(accumulate_plain)


@inlined
def series_of(base: Int64Array, mask: Int32Array, pool: UInt64Array, entity: int, metric: int) -> int:
    """The series of (entity, metric) from the entity's row: a small table of (metric + 1) << 32 | series."""
    m = int64(mask[entity])
    if m < 0:
        return UNKNOWN_SERIES
    start = base[entity]
    i = metric & m
    while True:
        word = pool[start + i]
        if int64(word >> WORD) == metric + 1:
            return int64(np.int32(word & LOW_WORD))
        if word == ZERO:
            return UNKNOWN_SERIES
        i = (i + 1) & m


@kernel
def put_series(base: Int64Array, mask: Int32Array, pool: UInt64Array, entity: int, metric: int, series: int) -> bool:
    """Write a series into the entity's row; False where the row is more than three quarters full and must grow first."""
    m = int64(mask[entity])
    if m < 0:
        return False
    start = base[entity]
    used = 0
    for k in range(m + 1):
        used += pool[start + k] != ZERO
    if 4 * (used + 1) > 3 * (m + 1):
        return False
    i = metric & m
    while pool[start + i] != ZERO:
        i = (i + 1) & m
    pool[start + i] = (np.uint64(metric + 1) << WORD) | (np.uint64(series) & LOW_WORD)
    return True


@kernel
def move_row(base: Int64Array, mask: Int32Array, pool: UInt64Array, entity: int, start: int, size: int) -> None:
    """Move an entity's row to ``pool[start : start + size]``, which is empty; size is a power of two."""
    old, m = base[entity], int64(mask[entity])
    base[entity] = start
    mask[entity] = size - 1
    for k in range(m + 1):
        word = pool[old + k]
        if word != ZERO:
            i = (int64(word >> WORD) - 1) & (size - 1)
            while pool[start + i] != ZERO:
                i = (i + 1) & (size - 1)
            pool[start + i] = word


@kernel
def rehash(keys: UInt64Array, ids: Int32Array, new_keys: UInt64Array, new_ids: Int32Array) -> None:
    """Copy a table into a larger one."""
    for i in range(len(keys)):
        if keys[i] != ZERO:
            at = slot_of(new_keys, keys[i])
            new_keys[at] = keys[i]
            new_ids[at] = ids[i]


@kernel
def new_entity(
    key: np.uint64,
    keys: UInt64Array,
    ids: Int32Array,
    state: Int64Array,
    limit: int,
    new: Int64Array,
    resource: int,
    resource_end: int,
    attributes: int,
    attributes_end: int,
    point: int,
    point_end: int,
) -> int:
    """The id given to the entity with this hash; -1 at the limit, FULL where something must grow first."""
    at = slot_of(keys, key)
    if state[ENTITIES] >= limit:
        return -1
    if 2 * (state[ENTITIES] + 1) > len(keys):
        state[NEED] = NEED_ENTITY_TABLE
        return FULL
    i = state[NEW_ENTITIES]
    if i >= len(new):
        state[NEED] = NEED_NEW_ENTITIES
        return FULL
    keys[at] = key
    ids[at] = state[ENTITIES]
    new[i, E_SLOT] = at
    new[i, E_RESOURCE] = resource
    new[i, E_RESOURCE_END] = resource_end
    new[i, E_ATTRIBUTES] = attributes
    new[i, E_ATTRIBUTES_END] = attributes_end
    new[i, E_POINT] = point
    new[i, E_POINT_END] = point_end
    state[NEW_ENTITIES] = i + 1
    state[ENTITIES] += 1
    return int64(ids[at])


@kernel
def metric_of(
    key: np.uint64,
    keys: UInt64Array,
    ids: Int32Array,
    state: Int64Array,
    limit: int,
    new: Int64Array,
    start: int,
    data: int,
    data_end: int,
    end: int,
    scope: int,
    scope_end: int,
) -> int:
    """The metric with this hash, new or known; -1 at the limit, FULL where something must grow first."""
    at = slot_of(keys, key)
    if keys[at] == key:
        return int64(ids[at])
    if state[METRICS] >= limit:
        return -1
    if 2 * (state[METRICS] + 1) > len(keys):
        state[NEED] = NEED_METRIC_TABLE
        return FULL
    i = state[NEW_METRICS]
    if i >= len(new):
        state[NEED] = NEED_NEW_METRICS
        return FULL
    keys[at] = key
    ids[at] = state[METRICS]
    new[i, M_SLOT] = at
    new[i, M_START] = start
    new[i, M_DATA] = data
    new[i, M_DATA_END] = data_end
    new[i, M_END] = end
    new[i, M_SCOPE] = scope
    new[i, M_SCOPE_END] = scope_end
    state[NEW_METRICS] = i + 1
    state[METRICS] += 1
    return int64(ids[at])


@kernel
def only_field(buf: UInt8Array, tag: int, p: int, end: int) -> tuple[int, int]:
    """(start, stop) of the one field with this tag in a message; (0, 0) where there is none, stop -1 for upb.

    A singular message that stands there twice is merged by protobuf: that is left to upb, like anything odd.
    """
    found, stop = 0, 0
    while p < end:
        t = byte_at(buf, p)
        if t == tag:
            if found != 0:
                return 0, -1
            found, stop = length(buf, p + 1, end)
            p = stop
        else:
            p = skipped(buf, t, p + 1, end)
        if p < 0:
            return 0, -1
    return found, stop


@kernel
def scan(
    buf: UInt8Array,
    keys: Keys,
    entity_limit: int,
    metric_limit: int,
    state: Int64Array,
    entity_keys: UInt64Array,
    entity_ids: Int32Array,
    metric_keys: UInt64Array,
    metric_ids: Int32Array,
    row_base: Int64Array,
    row_mask: Int32Array,
    pool: UInt64Array,
    entity: Int32Array,
    metric: Int32Array,
    series: Int32Array,
    time: Int64Array,
    value: Float64Array,
    flags: UInt8Array,
    new_entities: Int64Array,
    new_metrics: Int64Array,
    others: Int64Array,
) -> int:
    """Fill the (n,) output columns from a request and answer n, or TO_UPB or FULL.

    ``state[VERIFY]`` is set where the framing is good but some bytes that upb checks (UTF-8, exemplars, a resource
    without points) were not looked at by anyone.
    """
    for i in range(NEW_ENTITIES, STATE_SIZE):
        state[i] = 0
    n = 0
    p = 0
    size = len(buf)
    while p < size:
        t = byte_at(buf, p)
        if t != 0x0A:  # ExportMetricsServiceRequest.resource_metrics
            p = skipped(buf, t, p + 1, size)
            if p < 0:
                return TO_UPB
            continue
        q, rm_end = length(buf, p + 1, size)
        if rm_end < 0:
            return TO_UPB
        p = rm_end
        r0, r1 = only_field(buf, 0x0A, q, rm_end)  # ResourceMetrics.resource
        if r1 < 0:
            return TO_UPB
        resource_hash = hashed(buf, r0, r1, ZERO, keys)
        resource_seen = r1 == r0
        while q < rm_end:
            t = byte_at(buf, q)
            if t != 0x12:  # ResourceMetrics.scope_metrics
                if t == 0x1A:  # schema_url
                    state[VERIFY] |= 1
                q = skipped(buf, t, q + 1, rm_end)
                continue
            s, sm_end = length(buf, q + 1, rm_end)
            q = sm_end
            c0, c1 = only_field(buf, 0x0A, s, sm_end)  # ScopeMetrics.scope
            if c1 < 0:
                return TO_UPB
            scope_hash = hashed(buf, c0, c1, ONE, keys)
            scope_seen = c1 == c0
            while s < sm_end:
                t = byte_at(buf, s)
                if t != 0x12:  # ScopeMetrics.metrics
                    if t == 0x1A:
                        state[VERIFY] |= 1
                    s = skipped(buf, t, s + 1, sm_end)
                    continue
                m0, m1 = length(buf, s + 1, sm_end)
                s = m1
                scope_seen = True
                # The one field of the oneof ``data``: gauge 5, sum 7, histogram 9, exponential histogram 10, summary 11.
                tag_at, d0, d1, kind = m1, m1, m1, 0
                m = m0
                while m < m1:
                    t = byte_at(buf, m)
                    if t == 0x2A or t == 0x3A or t == 0x4A or t == 0x52 or t == 0x5A:
                        if kind != 0:
                            return TO_UPB
                        kind = t
                        tag_at = m
                        d0, d1 = length(buf, m + 1, m1)
                        m = d1
                    else:
                        m = skipped(buf, t, m + 1, m1)
                    if m < 0:
                        return TO_UPB
                if kind == 0x4A or kind == 0x52 or kind == 0x5A:
                    i = state[OTHERS]
                    if i >= len(others):
                        state[NEED] = NEED_OTHERS
                        return FULL
                    others[i, O_START] = m0
                    others[i, O_END] = m1
                    others[i, O_SCOPE] = c0
                    others[i, O_SCOPE_END] = c1
                    others[i, O_RESOURCE] = r0
                    others[i, O_RESOURCE_END] = r1
                    state[OTHERS] = i + 1
                    resource_seen = True
                    continue
                temporality = 0
                first = n
                d = d0
                while d < d1:
                    t = byte_at(buf, d)
                    if t != 0x0A:  # Gauge.data_points, Sum.data_points
                        if t == 0x10 and kind == 0x3A:
                            temporality, d = varint(buf, d + 1, d1)
                        else:
                            d = skipped(buf, t, d + 1, d1)
                        if d < 0:
                            return TO_UPB
                        continue
                    x, y = length(buf, d + 1, d1)
                    if y < 0:
                        return TO_UPB
                    d = y
                    k = x
                    when = ZERO
                    v = 0.0
                    valued = False
                    marks = 0
                    a0, a1, runs = -1, -1, 0
                    h = resource_hash
                    while k < y:  # NumberDataPoint
                        t = byte_at(buf, k)
                        if t == 0x3A:  # attributes: hashed in runs of neighbours
                            if a1 != k:
                                if a0 >= 0:
                                    h = hashed(buf, a0, a1, h, keys)
                                a0 = k
                                runs += 1
                            k = end_of(buf, k + 1, y)
                            if k < 0:
                                return TO_UPB
                            a1 = k
                        elif t == 0x19 or t == 0x21 or t == 0x31:
                            if k + 9 > y:
                                return TO_UPB
                            word = load64(buf, k + 1)
                            k += 9
                            if t == 0x19:  # time_unix_nano
                                when = word
                            elif t == 0x21:  # as_double
                                v = as_double(word)
                                valued = True
                            else:  # as_int
                                v = np.float64(int64(word))
                                valued = True
                        elif t == 0x40:  # flags
                            marks, k = varint(buf, k + 1, y)
                            if k < 0:
                                return TO_UPB
                        else:
                            if t == 0x2A:  # exemplars
                                state[VERIFY] |= 1
                            k = skipped(buf, t, k + 1, y)
                            if k < 0:
                                return TO_UPB
                    stamp = int64(when)
                    if stamp <= 0:
                        state[NO_TIME] += 1
                        state[VERIFY] |= 1
                        continue
                    if a0 >= 0:
                        h = hashed(buf, a0, a1, h, keys)
                    if runs != 1:
                        a0, a1 = -1, -1
                    if h == ZERO:
                        h = ONE
                    at = slot_of(entity_keys, h)
                    e = int64(entity_ids[at])
                    if entity_keys[at] != h:
                        e = new_entity(
                            h,
                            entity_keys,
                            entity_ids,
                            state,
                            entity_limit,
                            new_entities,
                            r0,
                            r1,
                            a0,
                            a1,
                            x,
                            y,
                        )
                    if e == FULL:
                        return FULL
                    if e < 0:
                        state[REFUSED] += 1
                        state[VERIFY] |= 1
                        continue
                    resource_seen = True
                    stale = marks & NO_RECORDED_VALUE != 0
                    if not (valued or stale):
                        state[NO_VALUE] += 1
                        continue
                    if n >= len(time):
                        state[NEED] = NEED_OUTPUT
                        return FULL
                    entity[n] = e
                    time[n] = stamp
                    value[n] = np.nan if stale else v
                    flags[n] = STALE if stale else 0
                    n += 1
                kind_flags = DELTA if temporality == DELTA_TEMPORALITY else 0
                h = hashed(buf, m0, tag_at, scope_hash, keys)
                if d1 < m1:
                    h = hashed(buf, d1, m1, h, keys)
                mid = metric_of(
                    h if h != ZERO else ONE,
                    metric_keys,
                    metric_ids,
                    state,
                    metric_limit,
                    new_metrics,
                    m0,
                    tag_at,
                    d1,
                    m1,
                    c0,
                    c1,
                )
                if mid == FULL:
                    return FULL
                if mid < 0:
                    state[REFUSED] += n - first
                    state[VERIFY] |= 1
                    n = first
                    continue
                for i in range(first, n):
                    metric[i] = mid
                    flags[i] |= kind_flags
                    series[i] = series_of(row_base, row_mask, pool, entity[i], mid)
                    state[UNRESOLVED] += series[i] == UNKNOWN_SERIES
            if not scope_seen:
                state[VERIFY] |= 1
        if not resource_seen:
            state[VERIFY] |= 1
    return n


# -- logs --------------------------------------------------------------------------------------------------------------
# Slots of ``state`` of a log scan.
L_GROUPS, L_VERIFY, L_NO_TIME, L_COMPLEX, L_NEED = range(5)
L_STATE_SIZE = 5
NEED_RECORDS, NEED_GROUPS = 1, 2

# Columns of a record's offsets into the request, and of the list of (resource, scope) groups.
L_START, L_END, L_BODY, L_BODY_END, L_EVENT, L_EVENT_END = range(6)
RECORD_WIDTH = 6
G_RESOURCE, G_RESOURCE_END, G_SCOPE, G_SCOPE_END = range(4)
GROUP_WIDTH = 4

NO_BODY, STRING_BODY, COMPLEX_BODY = 0, 1, 2
MAX_SEVERITY = 24

EVENT_NA = np.uint64(int.from_bytes(b"event.na", "little"))
LETTER_M, LETTER_E = ord("m"), ord("e")


@inlined
def is_event_name(buf: UInt8Array, p: int, end: int) -> bool:
    """Whether ``buf[p:end]`` is ``event.name``."""
    return (
        end - p == 10
        and load64(buf, p) == EVENT_NA
        and byte_at(buf, p + 8) == LETTER_M
        and byte_at(buf, p + 9) == LETTER_E
    )


@inlined
def string_value(buf: UInt8Array, p: int, end: int) -> tuple[int, int]:
    """(start, stop) of an AnyValue that is one string and nothing else; stop -1 where it is anything else."""
    if p < end and buf[p] == 0x0A:
        start, stop = length(buf, p + 1, end)
        if stop == end:
            return start, stop
    return 0, -1


@inlined
def is_plain(buf: UInt8Array, p: int, end: int) -> bool:
    """Whether an AnyValue is one ASCII string, bool, int or double: nothing in it that upb could refuse."""
    if p == end:
        return True
    t = byte_at(buf, p)
    if t == 0x0A:
        start, stop = length(buf, p + 1, end)
        return stop == end and is_ascii(buf, start, stop)
    if t == 0x10 or t == 0x18:
        _, q = varint(buf, p + 1, end)
        return q == end
    return t == 0x21 and p + 9 == end


@inlined
def attribute(buf: UInt8Array, p: int, end: int) -> tuple[int, int, bool]:
    """(start, stop, plain) of a KeyValue: the offsets of its value where it is a string named ``event.name``, else (0, 0).

    stop is -1 where upb has to look: bad framing, a field that stands there twice, an event name that is no string.
    """
    key, key_end, value, value_end = 0, -1, 0, -1
    if p < end and buf[p] == 0x0A:  # nearly always: a key, a value, and that is all
        key, key_end = length(buf, p + 1, end)
        if 0 <= key_end < end and buf[key_end] == 0x12:
            value, value_end = length(buf, key_end + 1, end)
    if value_end != end:
        key, key_end = only_field(buf, 0x0A, p, end)
        value, value_end = only_field(buf, 0x12, p, end)
        if key_end < 0 or value_end < 0:
            return 0, -1, False
    plain = is_ascii(buf, key, key_end) and is_plain(buf, value, value_end)
    if not is_event_name(buf, key, key_end):
        return 0, 0, plain
    start, stop = string_value(buf, value, value_end)
    return start, stop, plain


@kernel
def scan_logs(
    buf: UInt8Array,
    state: Int64Array,
    time: Int64Array,
    observed: Int64Array,
    severity: Int8Array,
    group: Int32Array,
    body_kind: Int8Array,
    offsets: Int64Array,
    groups: Int64Array,
) -> int:
    """Fill the (n,) columns and the (n, 6) offsets of the records that have a time; answers n, TO_UPB or FULL."""
    for i in range(L_STATE_SIZE):
        state[i] = 0
    n = 0
    p = 0
    size = len(buf)
    while p < size:
        t = byte_at(buf, p)
        if t != 0x0A:  # ExportLogsServiceRequest.resource_logs
            p = skipped(buf, t, p + 1, size)
            if p < 0:
                return TO_UPB
            continue
        q, rl_end = length(buf, p + 1, size)
        if rl_end < 0:
            return TO_UPB
        p = rl_end
        r0, r1 = only_field(buf, 0x0A, q, rl_end)  # ResourceLogs.resource
        if r1 < 0:
            return TO_UPB
        resource_seen = r1 == r0
        while q < rl_end:
            t = byte_at(buf, q)
            if t != 0x12:  # ResourceLogs.scope_logs
                if t == 0x1A:  # schema_url
                    state[L_VERIFY] |= 1
                q = skipped(buf, t, q + 1, rl_end)
                continue
            s, sl_end = length(buf, q + 1, rl_end)
            q = sl_end
            c0, c1 = only_field(buf, 0x0A, s, sl_end)  # ScopeLogs.scope
            if c1 < 0:
                return TO_UPB
            g = -1
            while s < sl_end:
                t = byte_at(buf, s)
                if t != 0x12:  # ScopeLogs.log_records
                    if t == 0x1A:
                        state[L_VERIFY] |= 1
                    s = skipped(buf, t, s + 1, sl_end)
                    continue
                if g < 0:
                    g = state[L_GROUPS]
                    if g >= len(groups):
                        state[L_NEED] = NEED_GROUPS
                        return FULL
                    groups[g, G_RESOURCE] = r0
                    groups[g, G_RESOURCE_END] = r1
                    groups[g, G_SCOPE] = c0
                    groups[g, G_SCOPE_END] = c1
                    state[L_GROUPS] = g + 1
                    resource_seen = True
                x, y = length(buf, s + 1, sl_end)
                s = y
                k = x
                when, seen = 0, 0
                level = 0
                kind, b0, b1 = NO_BODY, 0, 0
                bodies = 0
                e0, e1 = 0, 0  # event_name
                f0, f1 = 0, 0  # the attribute event.name
                while k < y:  # LogRecord
                    t = byte_at(buf, k)
                    if t == 0x32:  # attributes
                        a0, a1 = length(buf, k + 1, y)
                        if a1 < 0:
                            return TO_UPB
                        k = a1
                        v0, v1, plain = attribute(buf, a0, a1)
                        if v1 < 0:
                            return TO_UPB
                        if not plain:
                            state[L_VERIFY] |= 1
                        if v0 > 0:
                            f0, f1 = v0, v1
                    elif t == 0x09 or t == 0x59:  # time_unix_nano, observed_time_unix_nano
                        if k + 9 > y:
                            return TO_UPB
                        if t == 0x09:
                            when = int64(load64(buf, k + 1))
                        else:
                            seen = int64(load64(buf, k + 1))
                        k += 9
                    elif t == 0x10:  # severity_number
                        level, k = varint(buf, k + 1, y)
                        if k < 0:
                            return TO_UPB
                    elif t == 0x2A:  # body
                        bodies += 1
                        b0, b1 = length(buf, k + 1, y)
                        if b1 < 0 or bodies > 1:
                            return TO_UPB
                        k = b1
                        if b0 < b1:
                            v0, v1 = string_value(buf, b0, b1)
                            kind = COMPLEX_BODY
                            if v1 >= 0:
                                kind, b0, b1 = STRING_BODY, v0, v1
                                if not is_ascii(buf, v0, v1):
                                    state[L_VERIFY] |= 1
                    elif t == 0x1A or t == 0x62:  # severity_text, event_name
                        v0, v1 = length(buf, k + 1, y)
                        if v1 < 0:
                            return TO_UPB
                        k = v1
                        if not is_ascii(buf, v0, v1):
                            state[L_VERIFY] |= 1
                        if t == 0x62:
                            e0, e1 = v0, v1
                    else:
                        k = skipped(buf, t, k + 1, y)
                        if k < 0:
                            return TO_UPB
                if when <= 0 and seen <= 0:
                    state[L_NO_TIME] += 1
                    if kind == COMPLEX_BODY:
                        state[L_VERIFY] |= 1
                    continue
                if n >= len(time):
                    state[L_NEED] = NEED_RECORDS
                    return FULL
                level = int64(np.int32(level))
                time[n] = when if when > 0 else seen
                observed[n] = max(seen, 0)
                severity[n] = level if 0 <= level <= MAX_SEVERITY else 0
                group[n] = g
                body_kind[n] = kind
                offsets[n, L_START] = x
                offsets[n, L_END] = y
                offsets[n, L_BODY] = b0
                offsets[n, L_BODY_END] = b1
                offsets[n, L_EVENT] = e0 if e1 > e0 else f0
                offsets[n, L_EVENT_END] = e1 if e1 > e0 else f1
                state[L_COMPLEX] += kind == COMPLEX_BODY
                n += 1
            if g < 0 and c1 > c0:  # a scope without records: nothing else decodes it
                state[L_VERIFY] |= 1
        if not resource_seen:
            state[L_VERIFY] |= 1
    return n


@kernel
def gathered(
    buf: UInt8Array, n: int, body_kind: Int8Array, offsets: Int64Array, out: UInt8Array, ends: Int32Array
) -> int:
    """Copy the string bodies one behind the other, as Arrow wants them; answers the bytes written. ``ends`` is (n + 1,)."""
    at = 0
    ends[0] = 0
    for i in range(n):
        if body_kind[i] == STRING_BODY:
            start, stop = offsets[i, L_BODY], offsets[i, L_BODY_END]
            out[at : at + stop - start] = buf[start:stop]
            at += stop - start
        ends[i + 1] = at
    return at
