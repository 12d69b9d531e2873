"""Whether bytes can be an Export request at all: the outermost protobuf framing, without a parse."""

from __future__ import annotations

from fallow.errors import MalformedRequest

_RESOURCES = 0x0A  # tag of field 1, length-delimited: resource_metrics, resource_logs and resource_spans alike
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}


def check_framing(body: bytes) -> None:
    """Pass over the top-level fields of an Export request; unknown fields are allowed.

    Requests whose outermost frames are whole can be joined and split without harm to their neighbours; what is
    undecodable further in is for those who decode.

    Raises:
        MalformedRequest: the frames do not add up; the message says at which byte.
    """
    at, start, end = 0, 0, len(body)
    try:
        while at < end:
            start = at
            if body[at] == _RESOURCES:
                at += 1
                size = body[at]
                if size < 0x80:
                    at += 1
                else:
                    size, at = _varint(body, at)
                at += size
            else:
                at = _skipped(body, at)
            if at > end:
                raise MalformedRequest(f"not OTLP: the field at byte {start} goes beyond the end of {end} bytes")
    except IndexError as error:
        raise MalformedRequest(f"not OTLP: the field at byte {start} is cut off") from error


def _skipped(body: bytes, at: int) -> int:
    """Where the field ends that is unknown, or has its tag written in more bytes than it needs."""
    tag, after = _varint(body, at)
    number, wire = tag >> 3, tag & 7
    if number == 0 or number >= 1 << 29:
        raise MalformedRequest(f"not OTLP: no field has the number {number} found at byte {at}")
    if number == 1 and wire != _LENGTH:
        raise MalformedRequest(f"not OTLP: field 1 at byte {at} has wire type {wire}, {_LENGTH} expected")
    if wire in _FIXED:
        return after + _FIXED[wire]
    if wire not in (_VARINT, _LENGTH):
        raise MalformedRequest(f"not OTLP: wire type {wire} at byte {at} is not used by protobuf 3")
    value, after = _varint(body, after)
    return after + value if wire == _LENGTH else after


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """A varint and where it ends; IndexError where the bytes end first."""
    value = 0
    for shift in range(0, 70, 7):
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise MalformedRequest(f"not OTLP: no varint ends at byte {at}")
