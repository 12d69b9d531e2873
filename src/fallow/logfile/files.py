"""Files and streams: opened, their format told from their start, read block by block."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import pyarrow as pa

from fallow.batch import LogBatch
from fallow.errors import DocumentError, Problem, WrongStamp
from fallow.logfile.formats import SAMPLE_BYTES, Format, detect_format
from fallow.logfile.lines import LogReader, Records

BLOCK_BYTES = 1 << 20
STDIN = Path("-")
"""Stands for standard input."""


class _Stream(Protocol):
    def read1(self, size: int = ..., /) -> bytes: ...


@contextmanager
def open_log(path: Path, now: int, *, format: Format | None = None, published: bool = False) -> Generator[LogReader]:
    """The events of a log file (gzip by its suffix) or of standard input, ``-``.

    Args:
        now: Unix ns; decides the year where stamps have none.
        format: how lines are read; None: told from the start of the file.
        published: read stamps as published engines do.

    Raises:
        DocumentError: the file cannot be read, is empty, or no format fits; also while its events are read.
    """
    with _stream(path) as stream:
        start = b"".join(_start(path, stream))
        try:
            if format is None:
                format = detect_format(start, now, published=published)
            elif not start:
                raise WrongStamp("is empty")
        except WrongStamp as error:
            raise unreadable(path, f"{error}{_shown(start)}") from error
        yield LogReader(_blocks(path, start, stream), format)


def first_time(path: Path, now: int, *, format: Format | None = None, published: bool = False) -> int:
    """The first stamp of a log file; raises DocumentError as ``open_log`` does, and where no line has a stamp."""
    with open_log(path, now, format=format, published=published) as reader:
        for records in reader:
            return int(records.time[0])
    raise unreadable(path, "no line has a stamp of the form given for it")


def read_log(path: Path, now: int) -> LogBatch:
    """All of a small log file; raises DocumentError."""
    with open_log(path, now) as reader:
        found = list(reader)
    time = np.concatenate([records.time for records in found])
    return log_batch(Records(time, pa.concat_arrays([records.text for records in found])), {})


def log_batch(records: Records, resource: Mapping[str, str]) -> LogBatch:
    """Events of one resource as the rule engine takes them."""
    n = len(records)
    return LogBatch(
        time=records.time,
        observed=records.time,
        severity=np.zeros(n, dtype=np.int8),
        source=np.zeros(n, dtype=np.int32),
        resources=(resource,),
        body=records.text,
        event_name=("",) * n,
        attributes=lambda _: {},
        having=lambda _: (),
    )


def unreadable(path: Path, message: str, line: int = 0) -> DocumentError:
    """A file that cannot be used, for one reason."""
    return DocumentError([Problem(file="<stdin>" if path == STDIN else str(path), line=line, message=message)])


@contextmanager
def _stream(path: Path) -> Generator[_Stream]:
    if path == STDIN:
        yield cast(_Stream, sys.stdin.buffer)
        return
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        stream = opened(path, "rb")
    except OSError as error:
        raise unreadable(path, f"cannot be read: {error.strerror or error}") from error
    with stream:
        yield cast(_Stream, stream)


def _start(path: Path, stream: _Stream) -> Iterator[bytes]:
    """The sample that decides the format, however little each read of it brings."""
    size = 0
    while size < SAMPLE_BYTES and (block := _read(path, stream)):
        size += len(block)
        yield block


def _blocks(path: Path, start: bytes, stream: _Stream) -> Iterator[bytes]:
    yield start
    while block := _read(path, stream):
        yield block


def _read(path: Path, stream: _Stream) -> bytes:
    try:
        return stream.read1(BLOCK_BYTES)
    except EOFError as error:
        raise unreadable(path, "the gzip stream ends before its end: the file is truncated") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise unreadable(path, f"not a readable gzip stream: {error}") from error
    except OSError as error:
        raise unreadable(path, f"cannot be read: {error.strerror or error}") from error


def _shown(start: bytes) -> str:
    """What a file without a known stamp has instead."""
    if start.startswith(b"\x1f\x8b"):
        return ": it is compressed; gzip is read where the name ends in .gz"
    first = next((line for line in start.split(b"\n") if line.strip()), b"")
    return f": the first is {first[:60].decode(errors='replace')!r}" if first else ""
