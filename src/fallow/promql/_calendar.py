"""Kernels of the calendar, in UTC, proleptic Gregorian."""

# numba compiles what it infers; the stubs of numpy do not know scalars out of its functions.
# pyright: reportReturnType=false

from __future__ import annotations

import math

import numpy as np
from numba import njit

DAY = 86_400


@njit(cache=True, nogil=True, error_model="numpy")
def date_of(day: int) -> tuple[int, int, int]:
    """(year, month, day of the month) of a day counted from 1970-01-01.

    Source: H. Hinnant, chrono-compatible low-level date algorithms (2013), civil_from_days.
    """
    day += 719_468
    era = day // 146_097
    of_era = day - era * 146_097
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    return year + era * 400 + (1 if month <= 2 else 0), month, of_year - (153 * shifted + 2) // 5 + 1


@njit(cache=True, nogil=True, error_model="numpy")
def _leaps(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


@njit(cache=True, nogil=True, error_model="numpy")
def _length(year: int, month: int) -> int:
    if month == 2:
        return 29 if _leaps(year) else 28
    return 30 if month in (4, 6, 9, 11) else 31


@njit(cache=True, nogil=True, error_model="numpy")
def calendar(fn: int, seconds: float) -> float:
    """A function of ops.CALENDAR, by its number, of seconds since 1970."""
    if not abs(seconds) < 9e15:
        return np.nan
    whole = math.trunc(seconds)
    day = whole // DAY
    if fn == 29:
        return float(whole % 3600 // 60)
    if fn == 30:
        return float(whole % DAY // 3600)
    if fn == 31:
        return float((day + 4) % 7)
    year, month, of_month = date_of(day)
    if fn == 32:
        return float(of_month)
    if fn == 33:
        before = 0
        for m in range(1, month):
            before += _length(year, m)
        return float(before + of_month)
    if fn == 34:
        return float(_length(year, month))
    return float(month if fn == 35 else year)
