"""Samples in order of time past the devices that they are of; see ``processor`` for what is decided."""

# The stubs of numpy do not know the fields of records.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fallow.batch import BoolArray, Float64Array, Int32Array, Int64Array

Records = NDArray[Any]
NONE = np.iinfo(np.int64).min
FAR = np.iinfo(np.int64).max
UNSEEN, AS_IT_IS = -1, -2
"""For a series: nothing is known of it yet; nothing is put on it."""
DONE, EVIDENCE, GRID, SWITCH, ACTIVITY = range(5)
"""Why the kernel stops: it is through; somebody is newly named; a host's time to be told of has come; a series has to be
looked up; a device works for the first time in its run."""

SERIES = np.dtype(
    [
        ("gpu", np.int32),  # the number of its device
        ("proof", np.int32),  # the evidence that it is; -1: none
        ("version", np.int32),  # of the device, when ``out`` was looked up
        ("out", np.int32),  # what its samples become; -1: not looked up yet
        ("activity", np.bool_),
    ]
)
DEVICE = np.dtype(
    [
        ("host", np.int32),
        ("version", np.int32),  # changes with whose it is
        ("active", np.bool_),  # nothing is to be learned from its activity
        ("since", np.int64),
        ("until", np.int64),  # what is known of it holds in between; NONE: to be looked up
    ]
)
PROOF = np.dtype(
    [
        ("device", np.int32),
        ("member", np.bool_),  # it is among what the device's owner was decided from
        ("seen", np.int64),
        ("gap", np.int64),  # the longest from one time to the next; 0: not known
    ]
)


@njit(cache=True)
def all_known(series: Int32Array, of: Records) -> bool:
    """Whether it is known of each series what it is."""
    for one in series:  # noqa: SIM110 — numba has no all()
        if one >= len(of) or of[one].gpu == UNSEEN:
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
    at: int,
    proved: int,
    of: Records,
    devices: Records,
    proofs: Records,
    due: Int64Array,
    series: Int32Array,
    time: Int64Array,
    value: Float64Array,
    ended: BoolArray,
    active_above: float,
    out: Int32Array,
) -> tuple[int, int, int]:
    """Look up samples from ``at`` on, until something has to be decided.

    What names somebody is taken first among samples of one time.

    Args:
        at, proved: samples looked up so far; samples of which the evidence was taken so far.
        due: by host the time from which on it has to be told of.
        series, time, value, ended: (n,) in order of time.
        out: (n,) out: what each sample's series becomes.

    Returns:
        (why it stops, ``at``, ``proved``); it stops before the sample that it is about.
    """
    n = len(series)
    while at < n:
        now = time[at]
        while proved < n and time[proved] <= now:
            proof = of[series[proved]].proof
            if proof >= 0 and not ended[proved]:
                seen = proofs[proof].seen
                # How often it is named tells how long it may be silent: the second time is as new as the first.
                if not proofs[proof].member or (proofs[proof].gap == 0 and time[proved] > seen):
                    return EVIDENCE, at, proved
                if time[proved] > seen:
                    proofs[proof].gap = max(proofs[proof].gap, time[proved] - seen)
                    proofs[proof].seen = time[proved]
            proved += 1
        one = of[series[at]]
        if one.gpu < 0:
            out[at] = series[at]
            at += 1
            continue
        device = devices[one.gpu]
        if now >= due[device.host]:
            return GRID, at, proved
        if one.version != device.version or one.out < 0 or now < device.since or now >= device.until:
            return SWITCH, at, proved
        if one.activity and not device.active and not ended[at] and value[at] > active_above:
            return ACTIVITY, at, proved
        out[at] = one.out
        at += 1
    return DONE, at, proved
