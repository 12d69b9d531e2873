"""Samples in order of time through the signals that they are of; see ``processor`` for what is decided."""

# The stubs of numpy do not know the fields of records.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fallow.batch import BoolArray, Float64Array, Int8Array, Int32Array, Int64Array

OK, WARMING_UP, STALE, PROFILER_HELD, CONTRADICTORY, OUT_OF_RANGE = range(6)
"""As in ``fallow.signals.HEALTH_STATES``."""
OTHER, UTILIZATION, WITNESS, COUNTER, ENERGY, BOOT_TIME, UPTIME = range(7)
"""What a signal is to these rules. WITNESS: activity that is never exactly 0 on a busy device; COUNTER: the other
signals that are read from hardware counters."""
UNSEEN, NOT_JUDGED = -1, -2
"""For a row: nothing is known of the series yet; it is of no signal that is judged."""
GAPS = 7
LITTLE = 0.01
"""Utilisation up to this says that nothing runs. It is one whole percent: a busy GPU whose source began to send ratios."""
NONE = np.iinfo(np.int64).min
Records = NDArray[Any]

SIGNAL = np.dtype(
    [
        ("host", np.int32),
        ("device", np.int32),
        ("next", np.int32),  # the next signal of the host that is judged; -1: none
        ("linked", np.bool_),
        ("role", np.int8),
        ("state", np.int8),
        ("ended", np.bool_),  # the source said that the series is over
        ("bad", np.int32),  # samples out of range, in a row
        ("zeros", np.int32),  # samples that say that nothing runs, in a row
        ("busy", np.int32),  # samples above ``busy_above``, in a row
        ("zero_from", np.int64),
        ("busy_from", np.int64),
        ("count", np.int32),  # gaps between samples that were seen
        ("cadence", np.int64),  # how far apart its samples are: the median of the last gaps, at first as expected
        ("last", np.int64),
        ("said", np.int64),
        ("value", np.float64),
        ("gaps", np.int64, (GAPS,)),
    ]
)
HOST = np.dtype([("first", np.int32), ("newest", np.int64), ("judged", np.int64), ("warm_until", np.int64)])
DEVICE = np.dtype(
    [
        ("utilization", np.int32),
        ("witness", np.int32),
        ("sm", np.int32),
        ("whole", np.int32),  # the device that it is an instance of; -1: none
        ("split", np.bool_),  # it has instances
        ("warm_until", np.int64),
    ]
)


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
def take(
    start: int,
    signals: Records,
    hosts: Records,
    devices: Records,
    row_of: Int32Array,
    low: Float64Array,
    high: Float64Array,
    series: Int32Array,
    time: Int64Array,
    value: Float64Array,
    ended: BoolArray,
    withheld: Int8Array,
    said_row: Int32Array,
    said_time: Int64Array,
    said_state: Int8Array,
    said_was: Int8Array,
    limits: Int64Array,
    busy_above: float,
    missed: float,
) -> tuple[int, int, int]:
    """Take samples from ``start`` on; stops where what is to be said might not fit.

    Args:
        row_of, low, high: by series: its place in ``signals`` (negative: it is not judged) and its range.
        series, time, value, ended: (n,) in order of time.
        withheld: (n,) out: the state for which a sample is kept from the rules, else 0.
        said_row, said_time, said_state, said_was: (m,) out: what is to be said, and the state before.
        limits: interval, repeat, warm-up, forget-after (ns), samples.

    Returns:
        (samples taken in all, how much is to be said, how many samples are withheld)
    """
    interval, repeat, warm_up, forget, samples = limits[0], limits[1], limits[2], limits[3], limits[4]
    said = kept_back = 0
    for i in range(start, len(series)):
        row = int(row_of[series[i]])
        least = low[series[i]]
        # NaN is in no range; what is no signal has none.
        bad = bool(not ended[i] and np.isfinite(least) and not least <= value[i] <= high[series[i]])
        if bad:
            withheld[i] = OUT_OF_RANGE
        if row < 0:
            kept_back += 1 if bad else 0
            continue
        one = signals[row]
        at = time[i]
        host = one.host
        if at > hosts[host].newest:
            grid = at // interval * interval
            if hosts[host].newest != NONE and grid > hosts[host].newest:
                needed = _count(signals, hosts[host].first)
                if said + needed > len(said_row):
                    return i, said, kept_back
                said = _judge(
                    host, grid, signals, hosts, devices, said, said_row, said_time, said_state, said_was,
                    repeat, forget, samples, missed, interval,
                )  # fmt: skip
            hosts[host].newest = at
        if not one.linked:
            signals[row].next = hosts[host].first
            signals[row].linked = True
            hosts[host].first = row
        _see(row, at, value[i], ended[i], bad, signals, hosts, devices, warm_up, busy_above)
        if bad or ended[i]:
            kept_back += 1 if bad else 0
            continue
        if one.role == UTILIZATION and at < max(hosts[host].warm_until, devices[one.device].warm_until):
            withheld[i] = WARMING_UP
        elif one.state == CONTRADICTORY and _says_nothing_runs(one.role, value[i]):
            withheld[i] = CONTRADICTORY
        kept_back += 1 if withheld[i] else 0
    return len(series), said, kept_back


@njit(cache=True)
def _count(signals: Records, first: int) -> int:
    count = 0
    while first >= 0:
        count += 1
        first = signals[first].next
    return count


@njit(cache=True)
def _says_nothing_runs(role: int, value: float) -> bool:
    return bool(value <= LITTLE) if role == UTILIZATION else bool(value == 0)


@njit(cache=True)
def _see(
    row: int,
    at: int,
    value: float,
    ended: bool,
    bad: bool,
    signals: Records,
    hosts: Records,
    devices: Records,
    warm_up: int,
    busy_above: float,
) -> None:
    """Note a sample. One that is not newer than the last says nothing new of the source."""
    one = signals[row]
    if one.last != NONE and at <= one.last:
        return
    if ended:
        signals[row].ended = True
        return
    if one.last != NONE and not one.ended:
        _note_gap(one, at - one.last)
    signals[row].last = at
    signals[row].ended = False
    if bad:
        signals[row].bad = one.bad + 1
        return
    signals[row].bad = 0
    nothing = _says_nothing_runs(one.role, value)
    if nothing and one.zeros == 0:
        signals[row].zero_from = at
    if value > busy_above and one.busy == 0:
        signals[row].busy_from = at
    signals[row].zeros = one.zeros + 1 if nothing else 0
    signals[row].busy = one.busy + 1 if value > busy_above else 0
    if one.role == ENERGY and value < one.value:
        # Energy is counted from when the driver was loaded: it was loaded anew.
        devices[one.device].warm_until = at + warm_up
    elif one.role == BOOT_TIME:
        hosts[one.host].warm_until = int(value * 1e9) + warm_up
    elif one.role == UPTIME:
        hosts[one.host].warm_until = at - int(value * 1e9) + warm_up
    signals[row].value = value


@njit(cache=True)
def _judge(
    host: int,
    grid: int,
    signals: Records,
    hosts: Records,
    devices: Records,
    said: int,
    said_row: Int32Array,
    said_time: Int64Array,
    said_state: Int8Array,
    said_was: Int8Array,
    repeat: int,
    forget: int,
    samples: int,
    missed: float,
    interval: int,
) -> int:
    """Judge each signal of a host by what it said before ``grid``."""
    before, row = -1, hosts[host].first
    while row >= 0:
        one = signals[row]
        after = one.next
        gone = one.last == NONE or grid - one.last > forget
        state = _state(row, grid, signals, hosts, devices, samples, missed, interval)
        if state != one.state or one.said == NONE or grid - one.said >= repeat:
            said_row[said], said_time[said], said_state[said], said_was[said] = row, grid, state, one.state
            said += 1
            signals[row].state = state
            signals[row].said = grid
        if gone:
            signals[row].linked = False
            signals[row].next = -1
            if before < 0:
                hosts[host].first = after
            else:
                signals[before].next = after
        else:
            before = row
        row = after
    hosts[host].judged = grid
    return said


@njit(cache=True)
def _note_gap(one: Any, gap: int) -> None:
    """Keep the last gaps, and their median without a copy or a sort."""
    place = one.count % GAPS
    known = min(one.count + 1, GAPS)
    one.count += 1
    if known == GAPS and one.gaps[place] == gap:
        return
    one.gaps[place] = gap
    if known < 2:
        return
    for i in range(known):
        below = equal = 0
        for j in range(known):
            below += one.gaps[j] < one.gaps[i]
            equal += one.gaps[j] == one.gaps[i]
        if below <= (known - 1) // 2 < below + equal:
            one.cadence = one.gaps[i]
            return


@njit(cache=True)
def _fresh(row: int, grid: int, signals: Records, missed: float, interval: int) -> bool:
    one = signals[row]
    if one.ended or one.last == NONE:
        return False
    return bool(grid - one.last <= max(missed * one.cadence, float(interval)))


@njit(cache=True)
def _state(
    row: int, grid: int, signals: Records, hosts: Records, devices: Records, samples: int, missed: float, interval: int
) -> int:
    one = signals[row]
    device = devices[one.device]
    if not _fresh(row, grid, signals, missed, interval):
        counts = one.role == WITNESS or one.role == COUNTER
        util = device.utilization
        held = counts and not one.ended and util >= 0 and _fresh(util, grid, signals, missed, interval)
        return PROFILER_HELD if held else STALE
    if one.bad >= samples:
        return OUT_OF_RANGE
    if _contradicted(row, grid, signals, hosts, devices, samples, missed, interval):
        return CONTRADICTORY
    if one.role == UTILIZATION and grid < max(hosts[one.host].warm_until, device.warm_until):
        return WARMING_UP
    return WARMING_UP if one.count < 2 else OK


@njit(cache=True)
def _contradicted(
    row: int, grid: int, signals: Records, hosts: Records, devices: Records, samples: int, missed: float, interval: int
) -> bool:
    """Counters that stand at zero beside a device that works, or utilisation at zero beside counters that run."""
    one = signals[row]
    device = devices[one.device]
    util = device.utilization
    if one.zeros < samples:
        return False
    if (
        one.role == UTILIZATION
        and device.split
        and _instance_works(row, grid, signals, hosts, devices, samples, missed, interval)
    ):
        return True
    if util < 0:
        return False
    for witness in (device.sm, device.witness):
        if witness < 0 or not _fresh(witness, grid, signals, missed, interval):
            continue
        if one.role == UTILIZATION:
            if _together(row, witness, signals, samples):
                return True
        elif (
            (one.role == WITNESS or one.role == COUNTER)
            and _fresh(util, grid, signals, missed, interval)
            and _together(witness, util, signals, samples)
        ):
            return True
    return False


@njit(cache=True)
def _instance_works(
    row: int, grid: int, signals: Records, hosts: Records, devices: Records, samples: int, missed: float, interval: int
) -> bool:
    """Whether an instance of a split device is busy: of the whole device NVML knows nothing."""
    other = hosts[signals[row].host].first
    while other >= 0:
        one = signals[other]
        if (
            one.role == WITNESS
            and devices[one.device].whole == signals[row].device
            and _fresh(other, grid, signals, missed, interval)
            and _together(row, other, signals, samples)
        ):
            return True
        other = one.next
    return False


@njit(cache=True)
def _together(zero: int, busy: int, signals: Records, samples: int) -> bool:
    """Whether one stood at zero while the other was busy, for so many samples of each."""
    if signals[zero].zeros < samples or signals[busy].busy < samples:
        return False
    begin = max(signals[zero].zero_from, signals[busy].busy_from)
    # Half an interval is left to jitter: it must not make the last sample count as missing.
    both = signals[zero].last - begin >= (samples - 1.5) * signals[zero].cadence
    return bool(both and signals[busy].last - begin >= (samples - 1.5) * signals[busy].cadence)
