"""Which metric points a jq program selects, as far as that can be read off the program.

A *selection* is a conjunction of comparisons between a part of the point and a constant, written as ``select(…)``, as a
pipe of them, or bare:

    select(.name == "hw.gpu.utilization" and .value < 0.05 and .attributes["gpu"] == "0") | select(.resource.zone != "a")

What a program says beyond that is left to jq; the comparisons that are there must hold all the same.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fallow_processors.cre.rule import Pattern

Path = tuple[str, ...]
"""``("name",)``, ``("unit",)``, ``("value",)``, or ``("resource", key)`` and ``("attributes", key)``."""
Constant = str | float | bool | None

SLOW_TERM = "the text of every point that it could be about is made and looked at, one after the other"

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)
      | (?P<field>\.[A-Za-z_]\w*)
      | (?P<word>[A-Za-z_]\w*)
      | (?P<sign>==|!=|<=|>=|\?//=?|//=?|\|=|[-+*/%]=|[<>|,()\[\].;:?=+*/%{}$@-])
    )""",
    re.VERBOSE | re.ASCII,
)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_WORDS: dict[str, Constant] = {"null": None, "true": True, "false": False}
_BINDING = frozenset(("as", "def", "reduce", "foreach", "label", "try", "if", "import", "include"))
"""Words after which the parts of a program are no longer what they look like."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """``part op constant``."""

    path: Path
    op: str
    constant: Constant

    def holds(self, found: Constant) -> bool:
        """Whether it holds for what the point has there; None where it has nothing."""
        return _OPERATORS[self.op](_rank(found), _rank(self.constant))


@dataclass(frozen=True, slots=True)
class Selection:
    """What a program demands of a point: of its series, of its value, and (not ``exact``) something else as well."""

    series: tuple[Comparison, ...] = ()
    value: tuple[Comparison, ...] = ()
    exact: bool = False

    def could_be(self, name: str, unit: str, resource: Mapping[str, str], attributes: Mapping[str, str]) -> bool:
        """Whether points of such a series may be selected."""
        parts: dict[str, Any] = {"name": name, "unit": unit, "resource": resource, "attributes": attributes}
        for one in self.series:
            found = parts[one.path[0]]
            if not one.holds(found.get(one.path[1]) if len(one.path) > 1 else found):
                return False
        return True


def _rank(value: Constant) -> tuple[int, Any]:
    """jq's order of values of different types."""
    if value is None:
        return 0, 0
    if isinstance(value, bool):
        return 1 + value, 0
    return (4, value) if isinstance(value, str) else (3, value)


def selection(program: str) -> Selection:
    """What can be read off a jq program.

    >>> selection('select(.name == "a" and 3 > .value)').exact
    True
    >>> selection('select(.name == "a" and (.value | floor) > 3)').exact
    False
    """
    tokens = _tokens(program)
    if tokens is None or any(kind == "word" and text in _BINDING for kind, text in tokens):
        return Selection()
    found: list[Comparison] = []
    exact = True
    parts = _split(tokens, ("sign", "|"))
    for number, part in enumerate(parts):
        inside = _selected(part)
        if inside is None and number < len(parts) - 1:
            exact = False  # what comes after sees something else than the point
            break
        comparisons, whole = _conjunction(part if inside is None else inside)
        found += comparisons
        exact &= whole
    return Selection(
        tuple(one for one in found if one.path != ("value",)),
        tuple(one for one in found if one.path == ("value",)),
        exact,
    )


def is_columnar(pattern: Pattern) -> bool:
    """Whether points are compared with a term as columns, without their text."""
    return pattern.kind == "jq" and not pattern.field and selection(pattern.text).exact


Token = tuple[str, str]


def _tokens(program: str) -> list[Token] | None:
    """The tokens; None where there is something else, a comment for example."""
    found: list[Token] = []
    at, text = 0, program.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            return None
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


def _split(tokens: Sequence[Token], at: Token) -> list[list[Token]]:
    """The parts between separators that stand in no bracket."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += token[0] == "sign" and token[1] in "([{"
        depth -= token[0] == "sign" and token[1] in ")]}"
        if depth == 0 and token == at:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _selected(part: Sequence[Token]) -> Sequence[Token] | None:
    """What stands in ``select( )``; None where the part is something else."""
    if len(part) < 3 or part[0] != ("word", "select"):
        return None
    return _unwrapped(part[1:])


def _unwrapped(part: Sequence[Token]) -> Sequence[Token] | None:
    """What stands in the one pair of parentheses around the part; None where there is none."""
    if len(part) < 2 or part[0] != ("sign", "("):
        return None
    depth = 0
    for number, (kind, text) in enumerate(part):
        depth += kind == "sign" and text == "("
        depth -= kind == "sign" and text == ")"
        if depth == 0:
            return part[1:-1] if number == len(part) - 1 else None
    return None


def _conjunction(tokens: Sequence[Token]) -> tuple[list[Comparison], bool]:
    """The comparisons that must hold, and whether they are all that is asked."""
    for separator in (("sign", "|"), ("sign", ","), ("sign", "//"), ("word", "or")):
        if len(_split(tokens, separator)) > 1:
            return [], False
    found: list[Comparison] = []
    whole = True
    for part in _split(tokens, ("word", "and")):
        inside = _unwrapped(part)
        if inside is not None:
            comparisons, all_of_it = _conjunction(inside)
        else:
            one = _comparison(part)
            comparisons, all_of_it = ([one], True) if one is not None else ([], False)
        found += comparisons
        whole &= all_of_it
    return found, whole


def _comparison(part: Sequence[Token]) -> Comparison | None:
    signs = [i for i, (kind, text) in enumerate(part) if kind == "sign" and text in _OPERATORS]
    if len(signs) != 1:
        return None
    left, sign, right = part[: signs[0]], part[signs[0]][1], part[signs[0] + 1 :]
    path, constant = _path(left), _constant(right)
    if path is None or constant is None:
        path, constant, sign = _path(right), _constant(left), _MIRRORED[sign]
    if path is None or constant is None:
        return None
    return Comparison(path, sign, constant[0])


def _constant(part: Sequence[Token]) -> tuple[Constant] | None:
    if len(part) != 1:
        return None
    kind, text = part[0]
    if kind == "number":
        return (float(text),)
    if kind == "word" and text in _WORDS:
        return (_WORDS[text],)
    literal = _string(part[0])
    return None if literal is None else (literal,)


def _string(token: Token) -> str | None:
    """The text of a string literal; None where it is none, or something is put into it."""
    if token[0] != "string" or "\\(" in token[1]:
        return None
    try:
        return str(json.loads(token[1]))
    except ValueError:
        return None


def _path(part: Sequence[Token]) -> Path | None:
    if not part or part[0][0] != "field":
        return None
    first, rest = part[0][1][1:], list(part[1:])
    if first in ("name", "unit", "value"):
        return None if rest else (first,)
    if first not in ("resource", "attributes"):
        return None
    if len(rest) == 1:
        kind, text = rest[0]
        return (first, text[1:]) if kind == "field" else None
    if rest[:1] == [("sign", ".")]:
        rest = rest[1:]
    if len(rest) != 3 or rest[0] != ("sign", "[") or rest[2] != ("sign", "]"):
        key = _string(rest[0]) if len(rest) == 1 else None
    else:
        key = _string(rest[1])
    return None if key is None else (first, key)
