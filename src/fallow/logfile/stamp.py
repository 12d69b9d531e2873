"""Stamps as Unix nanoseconds: named formats, layouts, and the year of a stamp that has none."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from fallow.errors import WrongStamp
from fallow.logfile.layout import Fields, read
from fallow.units import NANOSECONDS, SECOND

YEAR_SLOP = 7 * NANOSECONDS["d"]
"""How far ahead of now a stamp without a year may lie."""

LAYOUTS = {
    "rfc3339": "2006-01-02T15:04:05Z07:00",
    "rfc3339nano": "2006-01-02T15:04:05.999999999Z07:00",
    "unix": "Mon Jan _2 15:04:05 MST 2006",
}
"""Named formats that are layouts."""

EPOCHS = {"epochseconds": SECOND, "epochmillis": 1_000_000, "epochmicros": 1000, "epochnanos": 1}
"""Named formats that count from 1970, and their unit in ns."""

_MOST = 2**63 - 1
_INTEGER = re.compile(r"[+-]?[0-9]+")

Parser = Callable[[str], int]
"""Text → Unix ns; raises WrongStamp."""


def parser(format: str, now: int) -> Parser:
    """How stamps of a named format, or of a layout, are read.

    Args:
        format: a named format, else a layout.
        now: Unix ns; decides the year where the stamp has none.
    """
    if format in EPOCHS:
        unit = EPOCHS[format]
        return lambda text: _fits(_integer(text) * unit)
    if format == "epochany":
        return lambda text: epoch_any(_integer(text))
    if format == "dotnotation":
        return dot_notation
    layout = LAYOUTS.get(format, format)
    return lambda text: moment(read(layout, text), now)


def moment(fields: Fields, now: int) -> int:
    """Unix ns of what a stamp says."""
    if fields.year > 0:
        return _fits(fields.ns(fields.year))
    return in_latest_year(fields, now)


def in_latest_year(fields: Fields, now: int, slop: int = YEAR_SLOP) -> int:
    """The stamp in the latest year in which it is not more than ``slop`` ahead of ``now``."""
    last = (datetime.fromtimestamp(0, UTC) + timedelta(seconds=(now + slop) // SECOND)).year + 1
    fields.ns(0)  # a day that no year has is wrong
    for year in range(last, last - 12, -1):  # 29 February may be eight years back
        try:
            found = fields.ns(year)
        except WrongStamp:
            continue
        if found <= now + slop:
            return found
    raise WrongStamp("no year near now has this day")


def epoch_any(value: int) -> int:
    """Unix ns of a count of s, ms, µs or ns since 1970: the coarsest unit in which it still fits.

    >>> epoch_any(1_700_000_000_000)
    1700000000000000000
    """
    for unit in (SECOND, 1_000_000, 1000):
        if abs(value) <= _MOST // unit:
            return value * unit
    return _fits(value)


def dot_notation(text: str) -> int:
    """Unix ns of seconds with a fraction: ``1234.5``; digits beyond nanoseconds do not count."""
    seconds, _, fraction = text.partition(".")
    return _fits(_integer(seconds) * SECOND + _integer(fraction[:9].ljust(9, "0")))


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise WrongStamp(f"{text!r} found, expected a whole number", kind="InvalidTimestampFormat")
    return _fits(int(text))


def _fits(ns: int) -> int:
    if not -_MOST - 1 <= ns <= _MOST:
        raise WrongStamp(f"{ns} is beyond what 64 bits hold", kind="InvalidTimestampFormat")
    return ns
