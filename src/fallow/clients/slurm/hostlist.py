"""Slurm's notation for many names."""

from __future__ import annotations

import re
from collections.abc import Iterator

_PART = re.compile(r"\[([^\]]*)\]")
NOBODY = ("", "(null)", "None assigned", "N/A")
LARGEST = 1_000_000  # names of one list: more is no list of nodes


def expand(text: str | None) -> tuple[str, ...]:
    """The names in a host list, in its order; numbers keep their leading zeros.

    >>> expand("gpu[08-10],login1")
    ('gpu08', 'gpu09', 'gpu10', 'login1')
    """
    if text is None or text in NOBODY:
        return ()
    return tuple(name for entry in _entries(text) for name in _names(entry))


def indices(text: str) -> tuple[int, ...]:
    """The numbers in a list such as ``0-2,5``.

    >>> indices("0-2,5")
    (0, 1, 2, 5)
    """
    return tuple(int(number) for number in _numbers(text)) if text[:1].isdigit() else ()


def _entries(text: str) -> Iterator[str]:
    """What commas outside of brackets separate."""
    if text.count("[") != text.count("]"):
        raise ValueError(f"brackets of {text[:100]!r} are not closed")
    depth, begin = 0, 0
    for at, character in enumerate(text):
        depth += (character == "[") - (character == "]")
        if character == "," and not depth:
            yield text[begin:at]
            begin = at + 1
    yield text[begin:]


def _names(entry: str) -> Iterator[str]:
    found = _PART.search(entry)
    if found is None:
        yield entry
        return
    before, behind = entry[: found.start()], entry[found.end() :]
    for number in _numbers(found[1]):
        for rest in _names(behind):
            yield f"{before}{number}{rest}"


def _numbers(text: str) -> Iterator[str]:
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not dash:
            yield first
            continue
        if int(last) - int(first) >= LARGEST:
            raise ValueError(f"{part!r} names more than {LARGEST} hosts")
        for number in range(int(first), int(last) + 1):
            yield f"{number:0{len(first)}}"
