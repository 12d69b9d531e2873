"""The notation of Prometheus' PromQL test scripts: commands, series, points and durations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

Labels = tuple[tuple[str, str], ...]
Point = float | Literal["stale", "histogram"] | None
"""None: there is no sample."""

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0, "y": 31_536_000.0}
NUMBER: Final = r"[-+]?(?:inf|nan|0x[0-9a-f]+|(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)"
_REPEATED = re.compile(rf"({NUMBER})([-+](?:{NUMBER[5:]}))?x(\d+)", re.IGNORECASE)
_HISTOGRAM = re.compile(r"\{\{.*?\}\}(?:[-+]\{\{.*?\}\})?(?:x(\d+))?")
_LABEL = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|[\w.:]+)\s*(?:=\s*("(?:[^"\\]|\\.)*"|'[^']*'|`[^`]*`))?\s*,?""")


class NotationError(Exception):
    """Something that this notation does not have, or that is not known here."""


@dataclass(slots=True)
class Command:
    """A line that is not indented, with the indented ones below it."""

    line: int
    head: str
    body: list[str] = field(default_factory=list[str])


def commands(text: str) -> Iterator[Command]:
    """The commands of a script, without comments and blank lines."""
    current: Command | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        if line[0] in " \t" and current is not None:
            current.body.append(content)
            continue
        if current is not None:
            yield current
        current = Command(number, content)
    if current is not None:
        yield current


def seconds(text: str) -> float:
    """A duration such as ``5m`` or ``1h30m``, or a number of seconds."""
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(r"-?(\d+(?:\.\d+)?(ms|[smhdwy]))+", text):
        raise NotationError(f"{text[:40]!r} is no duration")
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|[smhdwy])", text)
    return sum(float(n) * _SECONDS[unit] for n, unit in parts) * (-1 if text.startswith("-") else 1)


def metric(text: str) -> tuple[str, Labels, str]:
    """(name, sorted labels, what stands behind) of ``name{label="value"} rest``."""
    found = re.match(r"([A-Za-z_:][\w:]*)?\s*", text)
    name = (found[1] or "") if found else ""
    rest = text[found.end() :] if found else text
    labels: dict[str, str] = {}
    if rest.startswith("{") and not rest.startswith("{{"):
        at = 1
        while at < len(rest) and rest[at] != "}":
            pair = _LABEL.match(rest, at)
            if pair is None or pair.end() == at:
                raise NotationError(f"labels {rest[:40]!r}")
            key = unquoted(pair[1]) if pair[1].startswith('"') else pair[1]
            if pair[2] is None:
                name = key
            else:
                labels[key] = unquoted(pair[2])
            at = pair.end()
        rest = rest[at + 1 :]
    name = labels.pop("__name__", name)
    return name, tuple(sorted((k, v) for k, v in labels.items() if v)), rest.strip()


def unquoted(text: str) -> str:
    """What a quoted text says."""
    if not text.startswith('"'):
        return text[1:-1]
    try:
        return str(json.loads(text))
    except ValueError as error:
        raise NotationError(f"text {text[:40]}") from error


def points(text: str) -> list[Point]:
    """The points of the expanding notation.

    >>> points("1+2x3 _ 5x1 stale {{count:1}}x1")
    [1.0, 3.0, 5.0, 7.0, None, 5.0, 5.0, 'stale', 'histogram', 'histogram']
    """
    found: list[Point] = []
    for word in _words(text):
        if word.startswith("{{"):
            match = _HISTOGRAM.fullmatch(word)
            if match is None:
                raise NotationError(f"points {word[:40]!r}")
            found.extend("histogram" for _ in range(int(match[1]) + 1 if match[1] else 1))
        elif blank := re.fullmatch(r"_(?:x(\d+))?", word):
            found += [None] * int(blank[1] or 1)
        elif ended := re.fullmatch(r"stale(?:x(\d+))?", word):
            found.extend("stale" for _ in range(int(ended[1]) + 1 if ended[1] else 1))
        elif repeated := _REPEATED.fullmatch(word):
            first, step = number(repeated[1]), number(repeated[2]) if repeated[2] else 0.0
            found += [first + step * i if repeated[2] else first for i in range(int(repeated[3]) + 1)]
        else:
            found.append(number(word))
    return found


def _words(text: str) -> list[str]:
    """Split at blanks outside of ``{{…}}``."""
    return re.findall(r"\{\{.*?\}\}(?:[-+]\{\{.*?\}\})?(?:x\d+)?|[^\s{]+", text)


def number(text: str) -> float:
    """A number as scripts write it."""
    plain = text.lower().replace("_", "")
    try:
        return float(int(plain, 16)) if "0x" in plain else float(plain)
    except ValueError as error:
        raise NotationError(f"{text[:40]!r} is no number") from error
