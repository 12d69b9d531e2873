"""Patterns as they are matched: substrings, RE2, jq."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import jq

from fallow import regex as re2_patterns

_MAX_MEMORY = 64 << 20  # long alternations of rules need more than RE2 takes by itself


class WrongPattern(ValueError):
    """A pattern that cannot be compiled."""

    def __init__(self, message: str, kind: str = "TermCompile") -> None:
        super().__init__(message)
        self.kind = kind


Test = Callable[[str], bool]


@lru_cache(maxsize=16384)
def regex(pattern: str) -> Any:
    """The compiled RE2; raises WrongPattern."""
    if _any_byte(pattern):
        raise WrongPattern(r"\C is not supported")
    try:
        return re2_patterns.compiled(pattern, _MAX_MEMORY)
    except ValueError as error:
        raise WrongPattern(f"{pattern!r} is not an RE2 pattern: {error}") from error


def _any_byte(pattern: str) -> bool:
    r"""Whether ``\C`` stands in the pattern, which Go does not know."""
    at = pattern.find("\\")
    while at >= 0 and at + 1 < len(pattern):
        if pattern[at + 1] == "Q":
            end = pattern.find("\\E", at)
            if end < 0:
                return False
            at = pattern.find("\\", end + 2)
            continue
        if pattern[at + 1] == "C":
            return True
        at = pattern.find("\\", at + 2)
    return False


@lru_cache(maxsize=4096)
def program(text: str) -> Any:
    """The compiled jq program; raises WrongPattern."""
    try:
        return jq.compile(text)
    except ValueError as error:
        raise WrongPattern(f"{text!r} is not a jq program: {str(error).splitlines()[0]}") from error


def is_json(text: str) -> bool:
    """Whether the whole text is one JSON value."""
    try:
        json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return False
    return True


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def jq_outputs(text: str, line: str) -> list[Any]:
    """What the program makes of the line; nothing where the line is no JSON or the program fails on it."""
    if not is_json(line):
        return []
    try:
        return list(program(text).input_text(line))
    except ValueError:
        return []


def compiled(kind: Literal["value", "regex", "jq"], text: str) -> Test:
    """A test of one text; raises WrongPattern."""
    if not text:
        raise WrongPattern("an empty term matches nothing", "TermEmpty")
    match kind:
        case "value":
            return lambda line: text in line
        case "regex":
            pattern = regex(text)
            return lambda line: pattern.search(line) is not None
        case "jq":
            program(text)
            return lambda line: any(out is not None and out is not False for out in jq_outputs(text, line))
