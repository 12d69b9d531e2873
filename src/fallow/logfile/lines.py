"""The events of a file: its lines with their times, folded where they belong together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from fallow.batch import BoolArray, Int64Array
from fallow.errors import WrongStamp
from fallow.logfile.formats import Format

MAX_RECORD_BYTES = 4 << 20
"""A longer event, or line, ends its file."""


@dataclass(frozen=True, slots=True)
class Records:
    """Events in the order of their file, (n,) each."""

    time: Int64Array
    """Unix ns."""
    text: pa.Array[Any]
    """Arrow strings."""

    @classmethod
    def of(cls, times: Sequence[int], texts: Sequence[bytes]) -> Records:
        """From plain sequences; bytes that are not UTF-8 are replaced."""
        try:
            column = pa.array(texts, pa.string())
        except (pa.ArrowInvalid, UnicodeDecodeError):
            column = pa.array([text.decode(errors="replace") for text in texts], pa.string())
        return cls(np.asarray(times, dtype=np.int64), column)

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, which: slice) -> Records:
        return Records(self.time[which], self.text[which])

    def where(self, which: BoolArray) -> Records:
        """The events for which ``which`` is true."""
        return Records(self.time[which], self.text.filter(pa.array(which)))

    def texts(self) -> list[bytes]:
        """Their texts as UTF-8."""
        found: list[Any] = self.text.cast(pa.binary()).to_pylist()
        return found


class LogReader:
    """Iterates over the events of a file, some thousands at a time, in memory that does not grow with the file.

    Args:
        blocks: the file's bytes, cut anywhere.
    """

    def __init__(self, blocks: Iterable[bytes], format: Format) -> None:
        self._blocks = blocks
        self._format = format
        self._open: tuple[int, bytes] | None = None
        """The event to which lines may yet be added."""
        self.lines = 0
        """Lines read so far."""
        self.dropped = 0
        """Lines without a stamp that belong to no event, or are not UTF-8."""
        self.too_long = False
        """Whether an event beyond MAX_RECORD_BYTES ended the file."""

    def __iter__(self) -> Iterator[Records]:
        for block in self._whole_lines():
            times, texts = self._events(block)
            if self.too_long:
                self._open = None
            elif times:
                self._open = times.pop(), texts.pop()
            if times:
                yield Records.of(times, texts)
            if self.too_long:
                return
        if self._open is not None:
            yield Records.of([self._open[0]], [self._open[1]])

    def _whole_lines(self) -> Iterator[bytes]:
        """Blocks of lines, the end of the last left out."""
        rest = b""
        for block in self._blocks:
            head, newline, tail = block.rpartition(b"\n")
            if not newline:
                rest += block
            else:
                yield _without_returns(rest + head)
                rest = tail
            if len(rest) > MAX_RECORD_BYTES:
                break
        if rest:
            yield _without_returns(rest)

    def _events(self, block: bytes) -> tuple[list[int], list[bytes]]:
        """Times and texts of the events that begin before these lines or in them."""
        lines = block.split(b"\n")
        self.lines += len(lines)
        at, times, texts = _stamped(self._format, block, lines)
        if self._open is not None:
            times.insert(0, self._open[0])
            texts.insert(0, self._open[1])
            at.insert(0, -1)
        if len(at) < len(lines) + (self._open is not None):
            self._fold(lines, at, texts)
        if max(map(len, texts), default=0) > MAX_RECORD_BYTES:
            first = next(k for k, text in enumerate(texts) if len(text) > MAX_RECORD_BYTES)
            self.too_long = True
            return times[:first], texts[:first]
        return times, texts

    def _fold(self, lines: list[bytes], at: list[int], texts: list[bytes]) -> None:
        """Lines between those that have a stamp, ``at``, belong to the event before them, or to none."""
        if not self._format.folds:
            self.dropped += len(lines) - sum(i >= 0 for i in at)
            return
        self.dropped += at[0] if at and at[0] > 0 else 0 if at else len(lines)
        bounds = np.array([*at, len(lines)], dtype=np.int64)
        for k in np.flatnonzero(np.diff(bounds) > 1).tolist():
            between = lines[at[k] + 1 : bounds[k + 1]]
            valid = [line for line in between if _is_utf8(line)]
            self.dropped += len(between) - len(valid)
            texts[k] = b"".join((texts[k], *valid))


def _without_returns(block: bytes) -> bytes:
    """``\\r`` before a line's end goes."""
    return block.replace(b"\r\n", b"\n").removesuffix(b"\r") if b"\r" in block else block


def _is_utf8(line: bytes) -> bool:
    if line.isascii():
        return True
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


_Stamped = tuple[list[int], list[int], list[bytes]]
"""(which lines have a stamp that can be read, their Unix ns, their texts)"""


def _stamped(format: Format, block: bytes, lines: list[bytes]) -> _Stamped:
    if format.beginning is None:
        return _taken(format, lines)
    buffer = np.frombuffer(block + b"\n", dtype=np.uint8)
    ends = np.flatnonzero(buffer == ord("\n"))
    times, ok = format.beginning(buffer, np.concatenate([[0], ends[:-1] + 1]), ends)
    if ok.all():
        return list(range(len(lines))), times.tolist(), list(lines)
    others = np.flatnonzero(~ok).tolist()
    at, found, _ = _taken(format, [lines[i] for i in others])
    which = [others[k] for k in at]
    times[which], ok[which] = found, True
    kept = np.flatnonzero(ok).tolist()
    return kept, times[ok].tolist(), [lines[i] for i in kept]


def _taken(format: Format, lines: list[bytes]) -> _Stamped:
    taken = format.take(lines)
    if not taken.stamps:
        return [], [], []
    times, ok = _times(format, taken.stamps)
    if all(ok):
        return list(taken.at), times, list(taken.texts)
    kept = [k for k, good in enumerate(ok) if good]
    return [taken.at[k] for k in kept], [times[k] for k in kept], [taken.texts[k] for k in kept]


def _times(format: Format, stamps: Sequence[bytes]) -> tuple[list[int], list[bool]]:
    """Unix ns of stamps, and which of them can be read."""
    times, ok = [0] * len(stamps), [False] * len(stamps)
    if format.columns is not None:
        ends = np.cumsum(np.fromiter(map(len, stamps), dtype=np.int64, count=len(stamps)) + 1) - 1
        starts = np.concatenate([[0], ends[:-1] + 1])
        found, read = format.columns(np.frombuffer(b"\n".join(stamps) + b"\n", dtype=np.uint8), starts, ends)
        times, ok = found.tolist(), read.tolist()
    for i in [i for i, good in enumerate(ok) if not good]:
        try:
            times[i] = format.parse(stamps[i].decode(errors="replace"))
        except WrongStamp:
            continue
        ok[i] = True
    return times, ok
