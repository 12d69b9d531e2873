"""The events of a file: its lines with their times, folded where they belong together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from fallow.batch import BoolArray, Int64Array
from fallow.errors import WrongStamp
from fallow.logfile.formats import Format, Taken

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
        self._open: _Open | None = None
        self.lines = 0
        """Lines read so far."""
        self.dropped = 0
        """Lines without a stamp that belong to no event, or are not UTF-8."""
        self.too_long = False
        """Whether an event beyond MAX_RECORD_BYTES ended the file."""

    def __iter__(self) -> Iterator[Records]:
        for lines in self._whole_lines():
            yield from self._of(lines)
            if self.too_long:
                break
        if self._open is not None:
            yield Records.of([self._open.time], [self._open.text()])

    def _whole_lines(self) -> Iterator[list[bytes]]:
        rest = b""
        for block in self._blocks:
            head, newline, tail = block.rpartition(b"\n")
            if not newline:
                rest += block
            else:
                yield _split(rest + head)
                rest = tail
            if len(rest) > MAX_RECORD_BYTES:
                self.too_long = True
                return
        if rest:
            yield _split(rest)

    def _of(self, lines: list[bytes]) -> Iterator[Records]:
        taken = list(map(self._format.take, lines))
        times, stamped = _times(self._format, taken)
        texts: list[bytes] = []
        kept: list[int] = []
        at = 0
        for i, time in zip(stamped, times, strict=True):
            if i > at:
                self._without_stamp(lines[at:i])
            if self.too_long:
                break
            if self._open is not None:
                kept.append(self._open.time)
                texts.append(self._open.text())
            found = taken[i]
            if found is None or len(found[1]) > MAX_RECORD_BYTES:
                self._open, self.too_long = None, True
                break
            self._open = _Open(time, found[1])
            at = i + 1
        else:
            self._without_stamp(lines[at:])
        self.lines += len(lines)
        if kept:
            yield Records.of(kept, texts)

    def _without_stamp(self, lines: list[bytes]) -> None:
        for line in lines:
            if self._open is None or not self._format.folds or not _is_utf8(line):
                self.dropped += 1
            elif not self._open.add(line):
                self.too_long = True
                return


class _Open:
    """The event to which lines may yet be added."""

    __slots__ = ("_parts", "_size", "time")

    def __init__(self, time: int, first: bytes) -> None:
        self.time = time
        self._parts = [first]
        self._size = len(first)

    def add(self, line: bytes) -> bool:
        """False where the event would become too long."""
        self._size += len(line)
        if self._size > MAX_RECORD_BYTES:
            return False
        self._parts.append(line)
        return True

    def text(self) -> bytes:
        return b"".join(self._parts) if len(self._parts) > 1 else self._parts[0]


def _split(block: bytes) -> list[bytes]:
    """Lines; ``\\r`` before a line's end goes."""
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n").removesuffix(b"\r")
    return block.split(b"\n")


def _is_utf8(line: bytes) -> bool:
    if line.isascii():
        return True
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _times(format: Format, taken: list[Taken | None]) -> tuple[list[int], list[int]]:
    """(Unix ns, line) of each line whose stamp can be read, in order."""
    at = [i for i, found in enumerate(taken) if found is not None]
    stamps = [found[0] for found in taken if found is not None]
    if not at:
        return [], []
    if format.columns is None:
        times, ok = [0] * len(at), [False] * len(at)
    else:
        ends = np.cumsum(np.fromiter(map(len, stamps), dtype=np.int64, count=len(stamps)) + 1) - 1
        starts = np.concatenate([[0], ends[:-1] + 1])
        buffer = np.frombuffer(b"\n".join(stamps) + b"\n", dtype=np.uint8)
        found_times, found_ok = format.columns(buffer, starts, ends)
        if found_ok.all():
            return found_times.tolist(), at
        times, ok = found_times.tolist(), found_ok.tolist()
    for i in (i for i, good in enumerate(ok) if not good):
        try:
            times[i] = format.parse(stamps[i].decode(errors="replace"))
            ok[i] = True
        except WrongStamp:
            continue
    return [t for t, good in zip(times, ok, strict=True) if good], [a for a, good in zip(at, ok, strict=True) if good]
