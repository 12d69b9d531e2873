"""Stamp layouts, written as Go writes them: the reference time 2006-01-02 15:04:05 stands for what is to be read.

As there, ``,`` and ``.`` stand for each other before a fraction, a fraction that the layout does not list is accepted
after the seconds, a blank matches a run of blanks, the hour may have one digit, and dates are those of the calendar.
"""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from functools import lru_cache

from fallow.errors import WrongStamp
from fallow.units import SECOND

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LONG_MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONG_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")

_ZONES = ("Z07:00:00", "-07:00:00", "Z070000", "-070000", "Z07:00", "-07:00", "Z0700", "-0700", "Z07", "-07")
_PARTS = re.compile(
    r"January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|002|0[1-6]|15|1|_(?=2006)|__2|_2|2006|2|3|4|5|PM|pm|"
    + "|".join(_ZONES)
    + r"|[.,]0+(?!\d)|[.,]9+(?!\d)"
)
_ABBREVIATION = re.compile(r"GMT[+-]\d{1,2}|ChST|MeST|[A-Z]{3,4}(?![A-Z])|[A-Z]{4}T|[+-]\d{2}")
_EPOCH_DAY = 719_163  # ordinal of 1970-01-01, with 0001-01-01 as day 1


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a layout: a field of the reference time, or text (``field`` empty) that must stand there."""

    field: str
    text: str = ""


@lru_cache(maxsize=256)
def parts(layout: str) -> tuple[Part, ...]:
    """A layout in pieces, in order."""
    found: list[Part] = []
    at = 0
    for match in _PARTS.finditer(layout):
        if match[0] == "_":
            continue
        if match.start() > at:
            found.append(Part("", layout[at : match.start()]))
        found.append(Part(match[0]))
        at = match.end()
    if at < len(layout):
        found.append(Part("", layout[at:]))
    return tuple(found)


@dataclass(slots=True)
class Fields:
    """What a stamp says; -1 where it says nothing."""

    year: int = -1
    month: int = -1
    day: int = -1
    year_day: int = -1
    hour: int = 0
    minute: int = 0
    second: int = 0
    nano: int = 0
    half: str = ""
    offset: int = 0
    """Seconds east of UTC."""

    def ns(self, year: int) -> int:
        """Unix ns, with the year given where the stamp has none.

        Raises:
            WrongStamp: the calendar has no such day.
        """
        month, day = self._date(year)
        if not 1 <= day <= days_in(month, year):
            raise WrongStamp(f"no such day: {year:04}-{month:02}-{day:02}")
        hour = self.hour % 12 + (12 if self.half == "pm" else 0) if self.half and self.hour <= 12 else self.hour
        seconds = (ordinal(year, month, day) - _EPOCH_DAY) * 86_400 + hour * 3600 + self.minute * 60 + self.second
        return (seconds - self.offset) * SECOND + self.nano

    def _date(self, year: int) -> tuple[int, int]:
        month, day = max(self.month, 1), 1 if self.day < 0 else self.day
        if self.year_day < 0:
            return month, day
        left, found = self.year_day, 1
        while found < 12 and left > days_in(found, year):
            left -= days_in(found, year)
            found += 1
        if self.month not in (-1, found) or self.day not in (-1, left):
            raise WrongStamp("day of the year and date differ")
        return found, left


def days_in(month: int, year: int) -> int:
    """Days of a month; the year 0 is a leap year, as it is before a stamp without one gets its own."""
    return monthrange(year or 4, month)[1]


def ordinal(year: int, month: int, day: int) -> int:
    """Days since 0001-01-01, which is day 1."""
    before = year - 1
    start = 365 * before + before // 4 - before // 100 + before // 400
    return start + sum(days_in(m, year) for m in range(1, month)) + day


def read(layout: str, text: str) -> Fields:
    """What a stamp of that layout says.

    Raises:
        WrongStamp: the text does not have the layout.
    """
    cursor = _Cursor(text)
    pieces = parts(layout)
    for i, part in enumerate(pieces):
        if not part.field:
            cursor.skip(part.text)
            continue
        following = pieces[i + 1].field if i + 1 < len(pieces) else ""
        _read_part(part.field, cursor, has_fraction=following[:1] in (".", ","))
    if cursor.rest:
        raise cursor.wrong("nothing more")
    return cursor.fields


class _Cursor:
    """The text that is still to be read, and what was read."""

    def __init__(self, text: str) -> None:
        self.whole = self.rest = text
        self.fields = Fields()

    def wrong(self, expected: str) -> WrongStamp:
        return WrongStamp(f"{self.whole!r}: {self.rest!r} found, expected {expected}")

    def skip(self, text: str) -> None:
        at = 0
        while at < len(text):
            if text[at] == " ":
                if self.rest and self.rest[0] != " ":
                    raise self.wrong("a blank")
                self.rest = self.rest.lstrip(" ")
                at = len(text) - len(text[at:].lstrip(" "))
                continue
            if self.rest[:1] != text[at]:
                raise self.wrong(repr(text[at:]))
            self.rest = self.rest[1:]
            at += 1

    def number(self, low: int, high: int, *, digits: int, least: int) -> int:
        """A number of ``least`` to ``digits`` digits."""
        n = 0
        while n < digits and self.rest[n : n + 1].isdecimal() and self.rest[n].isascii():
            n += 1
        if n < least:
            raise self.wrong(f"{least} digits")
        value = int(self.rest[:n])
        if not low <= value <= high:
            raise self.wrong(f"{low} to {high}")
        self.rest = self.rest[n:]
        return value

    def word(self, *tables: tuple[str, ...]) -> int:
        """Position of the word in the first table that has it."""
        folded = self.rest.lower()
        for table in tables:
            for i, word in enumerate(table):
                if folded.startswith(word):
                    self.rest = self.rest[len(word) :]
                    return i
        raise self.wrong("a name of month or day")

    def fraction(self, digits: int) -> None:
        """``.`` or ``,`` and so many digits; beyond nanoseconds they do not count."""
        taken = self.rest[1 : 1 + digits]
        if self.rest[:1] not in (".", ",") or len(taken) < digits or not (taken.isdecimal() and taken.isascii()):
            raise self.wrong(f"a fraction of {digits} digits")
        self.fields.nano = int(taken[:9].ljust(9, "0"))
        self.rest = self.rest[1 + digits :]

    def fraction_digits(self) -> int:
        """Digits of the fraction that stands here; 0 where there is none."""
        found = re.match(r"[.,]([0-9]+)", self.rest)
        return len(found[1]) if found else 0


def _read_part(field: str, c: _Cursor, *, has_fraction: bool) -> None:
    f = c.fields
    match field:
        case "2006":
            f.year = c.number(0, 9999, digits=4, least=4)
        case "06":
            two = c.number(0, 99, digits=2, least=2)
            f.year = two + (1900 if two >= 69 else 2000)
        case "Jan":
            f.month = c.word(MONTHS) + 1
        case "January":
            f.month = c.word(_LONG_MONTHS) + 1
        case "01" | "1":
            f.month = c.number(1, 12, digits=2, least=len(field))
        case "Mon":
            c.word(DAYS)
        case "Monday":
            c.word(_LONG_DAYS)
        case "_2" | "02" | "2":
            if field == "_2" and c.rest.startswith(" "):
                c.rest = c.rest[1:]
            f.day = c.number(0, 99, digits=2, least=2 if field == "02" else 1)
        case "__2" | "002":
            blanks = 2 - len(c.rest[:2].lstrip(" ")) if field == "__2" else 0
            c.rest = c.rest[blanks:]
            f.year_day = c.number(1, 366, digits=3 - blanks, least=3 - blanks)
        case "15":
            f.hour = c.number(0, 23, digits=2, least=1)
        case "03" | "3":
            f.hour = c.number(0, 12, digits=2, least=len(field))
        case "04" | "4":
            f.minute = c.number(0, 59, digits=2, least=len(field))
        case "05" | "5":
            f.second = c.number(0, 59, digits=2, least=len(field))
            if not has_fraction and (digits := c.fraction_digits()):
                c.fraction(digits)
        case "PM" | "pm":
            half = c.rest[:2]
            if half not in (("PM", "AM") if field == "PM" else ("pm", "am")):
                raise c.wrong("AM or PM")
            f.half, c.rest = half.lower(), c.rest[2:]
        case "MST":
            _abbreviation(c)
        case _ if field[0] in ".,":
            if field[1] == "0":
                c.fraction(len(field) - 1)
            elif digits := c.fraction_digits():
                c.fraction(digits)
        case _:
            _offset(field, c)


def _offset(field: str, c: _Cursor) -> None:
    if field[0] == "Z" and c.rest.startswith("Z"):
        c.rest = c.rest[1:]
        return
    sign = c.rest[:1]
    if sign not in ("+", "-") or not sign:
        raise c.wrong("an offset from UTC")
    c.rest = c.rest[1:]
    seconds, colon = 0, ":" in field
    for i, (size, most) in enumerate(((3600, 24), (60, 60), (1, 60))[: len(re.findall(r"\d\d", field))]):
        if i and colon:
            c.skip(":")
        seconds += size * c.number(0, most, digits=2, least=2)
    c.fields.offset = -seconds if sign == "-" else seconds


def _abbreviation(c: _Cursor) -> None:
    """The name of a zone. What it stands for is local knowledge: all count as UTC, but GMT with a number."""
    found = _ABBREVIATION.match(c.rest)
    if found is None:
        raise c.wrong("the name of a zone")
    c.rest = c.rest[found.end() :]
    if hours := re.fullmatch(r"(?:GMT)?([+-]\d+)", found[0]):
        c.fields.offset = int(hours[1]) * 3600
