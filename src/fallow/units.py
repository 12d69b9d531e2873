"""Durations as configuration and rules spell them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BeforeValidator

NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
SECOND = NANOSECONDS["s"]

_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d)")


def duration_ns(text: object) -> int:
    """Nanoseconds of a duration such as ``15s``, ``1h30m`` or ``250ms``; a bare ``0`` is allowed.

    Raises:
        ValueError: the text is no such duration.

    >>> duration_ns("1m30s")
    90000000000
    """
    found = str(text).strip()
    if found == "0":
        return 0
    sign, rest = (-1, found[1:]) if found.startswith("-") else (1, found.removeprefix("+"))
    total, at = 0.0, 0
    while at < len(rest):
        part = _PART.match(rest, at)
        if part is None:
            break
        total += float(part[1]) * NANOSECONDS[part[2]]
        at = part.end()
    if not rest or at != len(rest):
        raise ValueError(f"{found!r} is not a duration; write it like 15s, 1h30m or 250ms")
    return sign * round(total)


def duration_text(ns: int) -> str:
    """A duration as people write it, exact to the second.

    >>> duration_text(5_400_000_000_000)
    '1h30m'
    """
    seconds, text = abs(ns) // SECOND, ""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        if seconds >= size:
            text += f"{seconds // size}{unit}"
            seconds %= size
    return ("-" if ns < 0 else "") + (text or "0s")


def moment_text(unix_ns: int) -> str:
    """A time for people, UTC to the second.

    >>> moment_text(1_767_600_000_500_000_000)
    '2026-01-05 08:00:00'
    """
    return datetime.fromtimestamp(unix_ns // SECOND, UTC).strftime("%Y-%m-%d %H:%M:%S")


DurationNs = Annotated[int, BeforeValidator(lambda value: duration_ns(value))]
"""A configuration field: written as a duration with its unit, held as int nanoseconds."""


def host_port(endpoint: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[v6]:port``.

    Raises:
        ValueError: it is not of that form, or the port is not 0 to 65535.

    >>> host_port("[::1]:4317")
    ('::1', 4317)
    """
    host, colon, port = endpoint.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{endpoint!r} is not host:port; write it like 127.0.0.1:4317")
    return host, int(port)
