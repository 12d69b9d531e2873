"""Stamps of many lines at once: a layout read column by column.

Takes only what is written plainly (two-digit fields, one blank for a blank) and leaves the rest to be read one by one,
so that whatever it takes it reads exactly as :mod:`fallow.logfile.layout` does.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from fallow.batch import BoolArray, Int64Array
from fallow.logfile.layout import MONTHS, Part, parts
from fallow.logfile.stamp import EPOCHS, LAYOUTS, YEAR_SLOP
from fallow.units import SECOND

Bytes = NDArray[np.uint8]
Reader = Callable[[Bytes, Int64Array, Int64Array], tuple[Int64Array, BoolArray]]
"""(bytes, first and end position of each stamp) → (Unix ns, which were read); positions end before the bytes do."""

_LENGTH = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], dtype=np.int64)
_BEFORE = np.concatenate([[0, 0], np.cumsum(_LENGTH[1:-1])])
_MONTH_OF = {int.from_bytes(name.encode()): i + 1 for i, name in enumerate(MONTHS)}
_MONTH_CODES = np.array(sorted(_MONTH_OF), dtype=np.int64)
_MONTH_NUMBERS = np.array([_MONTH_OF[code] for code in sorted(_MONTH_OF)], dtype=np.int64)
_EPOCH_DAYS = 719_162  # days from 0001-01-01 to 1970-01-01
_MOST_DIGITS = 18


def reader(format: str, now: int) -> Reader | None:
    """How stamps of a named format or layout are read at once; None where only one by one will do."""
    if format in EPOCHS:
        return lambda buffer, start, end: _epoch(buffer, start, end, EPOCHS[format])
    if format == "epochany":
        return _epoch_any
    pieces = parts(LAYOUTS.get(format, format))
    if not all(part.field in _FIELDS or not part.field for part in pieces):
        return None

    def read(buffer: Bytes, start: Int64Array, end: Int64Array) -> tuple[Int64Array, BoolArray]:
        columns = _Columns(buffer, start, end)
        columns.read(pieces)
        columns.ok &= columns.at == end
        return columns.times(now), columns.ok

    return read


def beginning_reader(format: str, now: int) -> Reader:
    """How stamps of a layout are read that stand at the beginning of lines: what follows them does not matter."""
    pieces = parts(LAYOUTS.get(format, format))

    def read(buffer: Bytes, start: Int64Array, end: Int64Array) -> tuple[Int64Array, BoolArray]:
        columns = _Columns(buffer, start, end)
        columns.read(pieces)
        return columns.times(now), columns.ok

    return read


def _epoch(buffer: Bytes, start: Int64Array, end: Int64Array, unit: int) -> tuple[Int64Array, BoolArray]:
    value, ok = _whole(buffer, start, end)
    return value * unit, ok & (value < (2**63 - 1) // unit)


def _epoch_any(buffer: Bytes, start: Int64Array, end: Int64Array) -> tuple[Int64Array, BoolArray]:
    value, ok = _whole(buffer, start, end)
    units = np.ones(len(value), dtype=np.int64)
    for unit in (1000, 1_000_000, SECOND):
        units[value <= (2**63 - 1) // unit] = unit
    return value * units, ok


def _whole(buffer: Bytes, start: Int64Array, end: Int64Array) -> tuple[Int64Array, BoolArray]:
    """Unsigned numbers of up to 18 digits."""
    length = end - start
    ok = (length > 0) & (length <= _MOST_DIGITS)
    value = np.zeros(len(start), dtype=np.int64)
    for k in range(int(length[ok].max(initial=0))):
        inside = ok & (k < length)
        digit = buffer[np.where(inside, start + k, 0)].astype(np.int64) - 48
        ok &= ~inside | ((digit >= 0) & (digit <= 9))
        value = np.where(inside, value * 10 + digit, value)
    return value, ok


class _Columns:
    """The fields of n stamps. ``at`` is how far each has been read, ``ok`` which of them still can be."""

    def __init__(self, buffer: Bytes, start: Int64Array, end: Int64Array) -> None:
        self._buffer, self._end, self._last = buffer, end, len(buffer) - 1
        self.at = start.copy()
        n = len(start)
        self.ok = np.ones(n, dtype=np.bool_)
        self.year: Int64Array | None = None
        self.month, self.day = np.ones(n, dtype=np.int64), np.ones(n, dtype=np.int64)
        self.hour = self.minute = self.second = self.nano = self.offset = np.zeros(n, dtype=np.int64)
        self.afternoon: BoolArray | None = None

    def read(self, pieces: tuple[Part, ...]) -> None:
        for part, following in zip(pieces, (*pieces[1:], Part("")), strict=True):
            if part.field:
                _FIELDS[part.field](self, part.field)
                if part.field == "05" and following.field[:1] not in (".", ","):
                    self.fraction("9")
            else:
                self.text(part.text, then=following.field)

    # -- reading -------------------------------------------------------------------------------------------------------
    def byte(self, k: int = 0) -> NDArray[np.int64]:
        """The byte ``k`` after each position."""
        return self._buffer[np.minimum(self.at + k, self._last)].astype(np.int64)

    def text(self, text: str, then: str = "") -> None:
        for k, char in enumerate(text.encode()):
            self.ok &= self.byte(k) == char
        self.at = self.at + len(text.encode())
        if text.endswith(" ") and then != "_2":
            self.ok &= self.byte() != ord(" ")

    def number(self, digits: int, low: int, high: int) -> Int64Array:
        value = np.zeros(len(self.at), dtype=np.int64)
        for k in range(digits):
            digit = self.byte(k) - 48
            self.ok &= (digit >= 0) & (digit <= 9)
            value = value * 10 + digit
        self.ok &= (value >= low) & (value <= high)
        self.at = self.at + digits
        return value

    def name(self) -> Int64Array:
        """Three letters as one number, in lower case."""
        code: Int64Array = (self.byte() << 16) | (self.byte(1) << 8) | self.byte(2) | 0x202020
        self.at = self.at + 3
        return code

    def fraction(self, field: str) -> None:
        """A fraction of as many digits as there are (layouts of nines, and none), or of exactly as many as zeros."""
        exact = len(field) - 1 if field[-1] == "0" else 0
        mark = self.byte()
        there = ((mark == ord(".")) | (mark == ord(","))) & (self.at < self._end)
        first = self.byte(1) - 48
        there &= (first >= 0) & (first <= 9) & (self.at + 1 < self._end)
        if exact:
            self.ok &= there
        nano, scale, length = (np.zeros(len(self.at), dtype=np.int64) for _ in range(3))
        scale += SECOND
        k, running = 1, there.copy()
        while running.any():
            digit = self.byte(k) - 48
            running &= (digit >= 0) & (digit <= 9) & (self.at + k < self._end)
            if exact and k > exact:
                break
            if k <= 9:
                scale = np.where(running, scale // 10, scale)
                nano = np.where(running, nano + digit * scale, nano)
            length += running
            k += 1
        if exact:
            self.ok &= length == exact
        self.nano = nano
        self.at = self.at + np.where(length > 0, length + 1, 0)

    def zone(self, field: str) -> None:
        colon = ":" in field
        mark = self.byte()
        utc = (mark == ord("Z")) if field[0] == "Z" else np.zeros(len(mark), dtype=np.bool_)
        utc &= self.at < self._end
        ok, at, self.ok = self.ok, self.at, np.ones(len(mark), dtype=np.bool_)
        self.ok &= (mark == ord("+")) | (mark == ord("-"))
        self.at = at + 1
        hours = self.number(2, 0, 24)
        if colon:
            self.text(":")
        minutes = self.number(2, 0, 60)
        self.ok = ok & (utc | self.ok)
        self.at = np.where(utc, at + 1, self.at)
        offset = (hours * 60 + minutes) * 60
        self.offset = np.where(utc, 0, np.where(mark == ord("-"), -offset, offset))

    # -- the calendar --------------------------------------------------------------------------------------------------
    def times(self, now: int) -> Int64Array:
        hour = self.hour
        if self.afternoon is not None:
            hour = hour % 12 + np.where(self.afternoon, 12, 0)
        in_day = hour * 3600 + self.minute * 60 + self.second - self.offset
        if self.year is not None:
            # Years that int64 nanoseconds hold in full; outside them the reading one by one says what is wrong.
            self.ok &= (self.year >= 1678) & (self.year <= 2261)
            return self._days(self.year) * (86_400 * SECOND) + in_day * SECOND + self.nano
        self.ok &= (self.month != 2) | (self.day < 29)
        newest = now + YEAR_SLOP
        last = (datetime.fromtimestamp(0, UTC) + timedelta(seconds=newest // SECOND)).year + 1
        times = np.zeros(len(self.ok), dtype=np.int64)
        for year in (last - 2, last - 1, last):
            found = (
                self._days(np.full(len(self.ok), year, dtype=np.int64)) * (86_400 * SECOND)
                + in_day * SECOND
                + self.nano
            )
            times = np.where(found <= newest, found, times)
        return times

    def _days(self, year: Int64Array) -> Int64Array:
        """Days since 1970; what the calendar does not have is not ok."""
        year = np.where(self.ok, year, 1970)
        month = np.where(self.ok, self.month, 1)
        leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
        self.ok &= (self.day >= 1) & (self.day <= _LENGTH[month] + (leap & (month == 2)))
        before = year - 1
        days: Int64Array = 365 * before + before // 4 - before // 100 + before // 400 - _EPOCH_DAYS
        days += _BEFORE[month] + (leap & (month > 2)) + self.day - 1
        return days


def _year(c: _Columns, _: str) -> None:
    c.year = c.number(4, 1, 9999)


def _short_year(c: _Columns, _: str) -> None:
    two = c.number(2, 0, 99)
    c.year = two + np.where(two >= 69, 1900, 2000)


def _month(c: _Columns, _: str) -> None:
    c.month = c.number(2, 1, 12)


def _month_name(c: _Columns, _: str) -> None:
    code = c.name()
    at = np.minimum(np.searchsorted(_MONTH_CODES, code), len(_MONTH_CODES) - 1)
    c.ok &= _MONTH_CODES[at] == code
    c.month = _MONTH_NUMBERS[at]


def _day(c: _Columns, field: str) -> None:
    if field != "_2":
        c.day = c.number(2, 1, 31)
        return
    blank = c.byte() == ord(" ")
    tens, ones = np.where(blank, 0, c.byte() - 48), c.byte(1) - 48
    c.ok &= (tens >= 0) & (tens <= 9) & (ones >= 0) & (ones <= 9)
    c.day = tens * 10 + ones
    c.at = c.at + 2


def _hour(c: _Columns, field: str) -> None:
    c.hour = c.number(2, 0, 23 if field == "15" else 12)


def _minute(c: _Columns, _: str) -> None:
    c.minute = c.number(2, 0, 59)


def _second(c: _Columns, _: str) -> None:
    c.second = c.number(2, 0, 59)


def _half(c: _Columns, _: str) -> None:
    first = c.byte()
    c.ok &= ((first == ord("A")) | (first == ord("P"))) & (c.byte(1) == ord("M"))
    c.afternoon = first == ord("P")
    c.at = c.at + 2


_FIELDS: dict[str, Callable[[_Columns, str], None]] = {
    "2006": _year,
    "06": _short_year,
    "01": _month,
    "Jan": _month_name,
    "02": _day,
    "_2": _day,
    "15": _hour,
    "03": _hour,
    "04": _minute,
    "05": _second,
    "PM": _half,
    **{"." + digit * n: _Columns.fraction for digit in "09" for n in range(1, 10)},
    **{"," + digit * n: _Columns.fraction for digit in "09" for n in range(1, 10)},
    **dict.fromkeys(("Z07:00", "-07:00", "Z0700", "-0700"), _Columns.zone),
}
