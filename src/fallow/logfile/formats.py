"""Formats of log files: how a line says when it was written and what, and how a file's format is told from its start."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from fallow.errors import WrongStamp
from fallow.logfile.columns import Reader, beginning_reader, reader
from fallow.logfile.stamp import Parser, parser
from fallow.logfile.table import PUBLISHED, TABLE
from fallow.regex import compiled

SAMPLE_BYTES = 16 * 1024
TRIES = 50
"""Lines after the first that may lack a stamp before a pair of the table is given up."""

FormatKind = Literal["json", "cri", "rfc3339Nano", "regex"]
Lines = Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Taken:
    """The lines that have a stamp, (n,) each."""

    at: Sequence[int]
    """Which lines they are, ascending."""
    stamps: Sequence[bytes]
    texts: Sequence[bytes]


Taker = Callable[[Lines], Taken]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How the lines of a file are read."""

    kind: FormatKind
    take: Taker
    """Finds the stamps of lines, which come without their ends, and their texts."""
    parse: Parser
    """A stamp → Unix ns."""
    columns: Reader | None
    """Many stamps at once; what it does not take, ``parse`` decides."""
    beginning: Reader | None = None
    """The same for stamps at the beginning of lines; what it does not take, ``take`` decides. The text is the line."""
    folds: bool
    """Whether a line without a stamp belongs to the event before it; else it is skipped."""

    def read(self, line: bytes) -> tuple[int, bytes]:
        """(Unix ns, text) of a line; raises WrongStamp."""
        taken = self.take([line])
        if not taken.at:
            raise WrongStamp("no stamp", kind="MatchTimestamp")
        return self.parse(taken.stamps[0].decode(errors="replace")), taken.texts[0]


@dataclass(frozen=True, slots=True)
class CriLine:
    """A line as container runtimes write it."""

    time: int
    stream: str
    tag: str
    text: bytes


def detect_format(sample: bytes, now: int, *, published: bool = False) -> Format:
    """The format of a file that begins with ``sample`` (16 KiB are looked at).

    Args:
        now: Unix ns; decides the year where stamps have none.
        published: read stamps as published engines do, without most fractions and zones.

    Raises:
        WrongStamp: no line has a stamp that is known.
    """
    sample = sample[:SAMPLE_BYTES]
    if not sample:
        raise WrongStamp("is empty", kind="Empty")
    first, newline, _ = sample.partition(b"\n")
    if newline:
        first = first.removesuffix(b"\r")
        for made in (DOCKER, CRI, RFC3339):
            if _reads(made, first):
                return made
    last = WrongStamp("no line has a stamp of a known form", kind="InvalidTimestampFormat")
    for pair in PUBLISHED if published else TABLE:
        made = _pattern_format(_own(pair.pattern), pair.layout, now)
        try:
            first_stamp(made, sample)
        except WrongStamp as error:
            last = WrongStamp(str(last), kind=error.kind)
            continue
        return replace(made, beginning=beginning_reader(pair.layout, now)) if pair.plain else made
    raise last


def pattern_format(pattern: str, layout: str, now: int) -> Format:
    """The format of lines in which ``pattern`` (RE2, one group) finds a stamp of a layout or a named format.

    Raises:
        WrongStamp: the pattern is none, or has not one group; the layout is empty.
    """
    try:
        made = compiled(pattern)
    except ValueError as error:
        raise WrongStamp(f"not a valid RE2 pattern: {error}", kind="Other") from None
    if made.groups > 1:
        raise WrongStamp(f"{made.groups} groups found, expected one: the stamp", kind="Other")
    return _pattern_format(_matching(made.search, made.groups), layout, now)


def first_stamp(format: Format, sample: bytes, tries: int = TRIES) -> int:
    """The first stamp that is not 0 in the first ``tries + 1`` lines; raises WrongStamp where there is none."""
    lines = sample.split(b"\n")
    for line in lines[:-1] if not lines[-1] else lines:
        try:
            time, _ = format.read(line.removesuffix(b"\r"))
        except WrongStamp:
            if tries <= 0:
                raise
        else:
            if time:
                return time
        tries -= 1
        if tries < 0:
            break
    raise WrongStamp("no line has such a stamp", kind="InvalidTimestampFormat")


def read_cri(line: bytes) -> CriLine:
    """``time stdout|stderr tag text``; raises WrongStamp."""
    stamp, blank, rest = line.partition(b" ")
    if not blank:
        raise WrongStamp("no stamp", kind="NoTimestamp")
    time = _rfc3339(stamp.decode(errors="replace"))
    stream, blank, rest = rest.partition(b" ")
    if not blank:
        raise WrongStamp("no stream", kind="NoStreamType")
    if stream not in (b"stdout", b"stderr"):
        raise WrongStamp(f"{stream!r} found, expected stdout or stderr", kind="UnknownStream")
    tag, blank, text = rest.partition(b" ")
    if not blank:
        raise WrongStamp("no tag", kind="NoTag")
    return CriLine(time, stream.decode(), tag.decode(errors="replace"), text)


# As Docker writes it, with nothing in it to unescape but the end of the line.
_DOCKER = re.compile(
    rb'\{"log":"([^"\\\x00-\x1f\x80-\xff]+)(\\n)?","stream":"(?:stdout|stderr)","time":"([^"\\\x00-\x1f\x80-\xff]*)"\}'
)


def _take_docker(lines: Lines) -> Taken:
    plain = map(_DOCKER.fullmatch, lines)
    found = [
        _unescaped(line) if match is None else (match[3], match[1] + b"\n" if match[2] else match[1])
        for line, match in zip(lines, plain, strict=True)
    ]
    at = [i for i, pair in enumerate(found) if pair is not None]
    return Taken(at, [pair[0] for pair in found if pair], [pair[1] for pair in found if pair])


def _unescaped(line: bytes) -> tuple[bytes, bytes] | None:
    """The stamp and the text of an object with ``log``, ``stream`` and ``time``; None where it is none."""
    try:
        found = json.loads(line)
        text, stream, time = found["log"], found["stream"], found["time"]
    except (ValueError, RecursionError, TypeError, LookupError):
        return None
    if not isinstance(text, str) or not isinstance(time, str) or not text or stream not in ("stdout", "stderr"):
        return None
    return time.encode(errors="replace"), text.encode(errors="replace")


# Stamps that carry their year do not ask what time it is now.
_rfc3339: Parser = parser("rfc3339nano", 0)
_rfc3339_columns = reader("rfc3339nano", 0)
_CRI = re.compile(rb"([^ ]*) (?:stdout|stderr) [^ ]* ")


def _take_cri(lines: Lines) -> Taken:
    matches = list(map(_CRI.match, lines))
    at = [i for i, match in enumerate(matches) if match]
    return Taken(
        at,
        [match[1] for match in matches if match],
        [line[match.end() :] for line, match in zip(lines, matches, strict=True) if match],
    )


def _take_first_word(lines: Lines) -> Taken:
    words = [line.partition(b" ") for line in lines]
    at = [i for i, word in enumerate(words) if word[1]]
    return Taken(at, [word[0] for word in words if word[1]], [word[2] for word in words if word[1]])


DOCKER = Format(kind="json", take=_take_docker, parse=_rfc3339, columns=_rfc3339_columns, folds=False)
CRI = Format(kind="cri", take=_take_cri, parse=_rfc3339, columns=_rfc3339_columns, folds=False)
RFC3339 = Format(kind="rfc3339Nano", take=_take_first_word, parse=_rfc3339, columns=_rfc3339_columns, folds=True)


def _pattern_format(take: Taker, layout: str, now: int) -> Format:
    if not layout:
        raise WrongStamp("no layout", kind="InvalidTimestampFormat")
    return Format(kind="regex", take=take, parse=parser(layout, now), columns=reader(layout, now), folds=True)


@cache
def _own(pattern: str) -> Taker:
    own = re.compile(pattern.encode())
    return _matching(own.match if pattern.startswith("^") else own.search, 1)


def _matching(search: Callable[[bytes], Any], group: int) -> Taker:
    """Takes the lines that a pattern matches: its group is the stamp, the whole line the text."""

    def take(lines: Lines) -> Taken:
        matches = list(map(search, lines))
        if None not in matches:
            return Taken(range(len(lines)), [match[group] for match in matches], lines)
        at = [i for i, match in enumerate(matches) if match]
        return Taken(at, [matches[i][group] for i in at], [lines[i] for i in at])

    return take


def _reads(format: Format, line: bytes) -> bool:
    try:
        format.read(line)
    except WrongStamp:
        return False
    return True
