"""gzip with a bound on what comes out."""

from __future__ import annotations

import zlib

from fallow.errors import MalformedRequest

_GZIP = 16 + zlib.MAX_WBITS


def gunzip(data: bytes, limit: int) -> bytes | None:
    """The content of all members; None where it is more than ``limit`` bytes (no more than that is ever unpacked).

    Raises:
        MalformedRequest: it is not gzip, or cut off.
    """
    parts: list[bytes] = []
    room = limit
    while data:
        member = zlib.decompressobj(_GZIP)
        try:
            part = member.decompress(data, room + 1)
        except zlib.error as error:
            raise MalformedRequest(f"not gzip: {str(error).partition(': ')[2] or error}") from error
        room -= len(part)
        if room < 0:
            return None
        if not member.eof:
            raise MalformedRequest("not gzip: the end is missing")
        parts.append(part)
        data = member.unused_data
    return b"".join(parts)
