"""OTLP JSON lines, as the Collector's file exporter writes them: one request a line."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from fallow.batch import Batch, OtlpKind, OtlpRequest
from fallow.errors import DocumentError, MalformedRequest, Problem
from fallow.otlp_json import json_to_protobuf

_KINDS: dict[str, OtlpKind] = {
    "resourceMetrics": "metrics",
    "resource_metrics": "metrics",
    "resourceLogs": "logs",
    "resource_logs": "logs",
    "resourceSpans": "traces",
    "resource_spans": "traces",
}
_ONLY_KEY = re.compile(rb'\s*\{\s*"(resource_?(?:Metrics|Logs|Spans|metrics|logs|spans))"')
# A quote with a backslash before it belongs to a text; what stands in startTimeUnixNano is not a point's time.
_TIME = re.compile(rb'(?<!\\)"(?:timeUnixNano|time_unix_nano)"\s*:\s*"?([1-9]\d*)')
_OTHER_TIME = re.compile(
    rb'(?<!\\)"(?:observedTimeUnixNano|observed_time_unix_nano|startTimeUnixNano|start_time_unix_nano)"\s*:\s*"?([1-9]\d*)'
)


def read_lines(path: Path) -> Iterator[tuple[int, Batch]]:
    """(earliest time in the line, its request), in the file's order; a line without a time has that of the one before.

    Raises:
        DocumentError: a line is not an OTLP request, the gzip stream is broken, or there is no request at all.
    """
    time, any_found = 0, False
    for number, line in _numbered(path):
        kind = _kind(path, number, line)
        try:
            body = json_to_protobuf(kind, line)
        except MalformedRequest as error:
            raise _wrong(path, str(error), number) from error
        any_found = True
        time = _earliest(line) or time
        yield time, Batch(request=OtlpRequest(kind=kind, body=body))
    if not any_found:
        raise _wrong(path, "is empty: no OTLP request in it")


def _numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        with _opened(path) as file:
            for line in file:
                number += 1
                if line.strip():
                    yield number, line
    except EOFError as error:
        raise _wrong(path, "the gzip stream ends before its end: the file is truncated", number + 1) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise _wrong(path, f"not a readable gzip stream: {error}", number + 1) from error
    except OSError as error:
        raise _wrong(path, f"cannot be read: {error.strerror or error}") from error


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


def _kind(path: Path, number: int, line: bytes) -> OtlpKind:
    if found := _ONLY_KEY.match(line):
        return _KINDS[found[1].decode()]
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _wrong(path, f"not OTLP JSON: {error}", number) from error
    kinds: list[OtlpKind] = [kind for key, kind in _KINDS.items() if isinstance(data, dict) and key in data]
    if not kinds:
        shown = f"keys {', '.join(data) or 'none'}" if isinstance(data, dict) else type(data).__name__
        raise _wrong(path, f"{shown} found, expected resourceMetrics, resourceLogs or resourceSpans", number)
    return kinds[0]


def _earliest(line: bytes) -> int:
    found = _TIME.findall(line) or _OTHER_TIME.findall(line)
    return min(map(int, found), default=0)


def _wrong(path: Path, message: str, line: int = 0) -> DocumentError:
    return DocumentError([Problem(file=str(path), line=line, message=message)])
