"""Which literals a text has to contain before a pattern can match it: what one scan for all patterns looks for.

An analysis on the safe side: a pattern, or a part of one, that is not understood needs nothing. Each part of a pattern
either stands for a few texts exactly, or every text it matches contains one of a few literals (and perhaps one of a few
others), or nothing is known.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

from fallow_processors.cre.rule import Pattern

Literal = tuple[str, bool]
"""(text, folded): folded texts are in lower case and compared without regard to the case of ASCII letters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Required:
    """A text that the pattern matches contains one literal of each group; ``exact``: and every text that does, matches."""

    groups: tuple[frozenset[Literal], ...]
    exact: bool


def required(pattern: Pattern) -> Required | None:
    """What the pattern needs; None where it may match a text that contains nothing in particular.

    >>> for group in required(Pattern("regex", "disk (full|busy) on .*: retry")).groups:
    ...     print(sorted(text for text, folded in group))
    ['disk busy on ', 'disk full on ']
    [': retry']
    """
    match pattern.kind:
        case "value":
            return Required(groups=(frozenset({(pattern.text, False)}),), exact=True)
        case "regex":
            return _of_regex(pattern.text)
        case "jq":
            return _of_jq(pattern.text)


# -- RE2 ---------------------------------------------------------------------------------------------------------------
_MAX_EXACT: Final = 32  # texts that a part may stand for
_MAX_CLASS: Final = 8  # characters of a class that is spelled out
_MAX_GROUP: Final = 256  # literals
_MAX_GROUPS: Final = 2  # more are looked for, and found, more often than they decide
_LEAST_BESIDE: Final = 4  # bytes of a literal in any group but the best
_MAX_DEPTH: Final = 64
_LONG_ENOUGH: Final = 8  # bytes; beyond this fewer literals are better than longer ones

_REPEAT = re.compile(r"\{(0|[1-9][0-9]*)(?:(,)(0|[1-9][0-9]*)?)?\}")  # a{01} is five letters
_FLAGS = re.compile(r"\(\?([imsU]*)(?:-([imsU]+))?([:)])")
_NAME = re.compile(r"\(\?P?<\w+>")
_UNICODE_CLASS = re.compile(r"\\[pP](?:\{[^}]*\}|[^{])")
_HEX = re.compile(r"\\x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]+)\})")
_CONTROL = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_FOLD_BEYOND_ASCII = {"s": "\u017f", "k": "\u212a"}  # long s and the Kelvin sign: all there are (CaseFolding.txt)


class _NotUnderstoodError(Exception):
    pass


@dataclass(frozen=True, slots=True)
class _Part:
    """``exact``: all it stands for. ``needs``: else what its texts contain. ``plain``: it asks nothing of its place."""

    exact: frozenset[Literal] | None
    needs: tuple[frozenset[Literal], ...] = ()
    plain: bool = True

    @property
    def groups(self) -> tuple[frozenset[Literal], ...]:
        """Every text of the part contains one literal of each; the best group comes first."""
        return self.needs if self.exact is None else _best([self.exact])


_ANYTHING = _Part(None)
_NOTHING: Final[frozenset[Literal]] = frozenset({("", False)})
_PLACE = _Part(_NOTHING, plain=False)


def _of_regex(text: str) -> Required | None:
    try:
        part = _Parser(text).whole()
    except _NotUnderstoodError:
        return None
    if not part.groups:
        return None
    exact = part.exact is not None and part.plain and not any(folded for _, folded in part.exact)
    return Required(groups=tuple(map(_as_looked_for, part.groups)), exact=exact)


def _as_looked_for(group: frozenset[Literal]) -> frozenset[Literal]:
    literals = {(_lower(text) if folded else text, folded) for text, folded in group}
    beyond = {_FOLD_BEYOND_ASCII[c] for text, folded in literals if folded for c in "sk" if c in text}
    return frozenset(literals | {(c, False) for c in beyond})


class _Parser:
    """Reads RE2's syntax. Patterns are known to be valid; what is rare is not understood instead of guessed."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def whole(self) -> _Part:
        """The whole pattern."""
        part = self._alternatives(folded=False, depth=0)
        if self._at < len(self._text):
            raise _NotUnderstoodError
        return part

    def _alternatives(self, *, folded: bool, depth: int) -> _Part:
        if depth > _MAX_DEPTH:
            raise _NotUnderstoodError
        branches: list[_Part] = []
        parts: list[_Part] = []
        while (c := self._peek()) and c != ")":
            if c == "|":
                self._at += 1
                branches.append(_sequence(parts))
                parts = []
            elif c == "(":
                folded, group = self._group(folded=folded, depth=depth)
                parts += group
            elif c in "*+?{":
                self._repeated(parts, folded=folded)
            elif self._text.startswith(r"\Q", self._at):
                parts += (_character(quoted, folded=folded) for quoted in self._quoted())
            else:
                parts.append(self._atom(folded=folded))
        branches.append(_sequence(parts))
        return _either(branches)

    def _group(self, *, folded: bool, depth: int) -> tuple[bool, list[_Part]]:
        """(whether letters fold from here on, the group: none where it only sets flags)."""
        inner = folded
        if flags := _FLAGS.match(self._text, self._at):
            self._at = flags.end()
            inner = (folded or "i" in flags[1]) and "i" not in (flags[2] or "")
            if flags[3] == ")":
                return inner, []
        elif name := _NAME.match(self._text, self._at):
            self._at = name.end()
        elif self._text.startswith("(?", self._at):
            raise _NotUnderstoodError
        else:
            self._at += 1
        part = self._alternatives(folded=inner, depth=depth + 1)
        if self._peek() != ")":
            raise _NotUnderstoodError
        self._at += 1
        return folded, [part]

    def _repeated(self, parts: list[_Part], *, folded: bool) -> None:
        c = self._peek()
        if c == "{":
            found = _REPEAT.match(self._text, self._at)
            if found is None:
                self._at += 1
                parts.append(_character("{", folded=folded))
                return
            self._at = found.end()
            least = int(found[1])
            most = (int(found[3]) if found[3] else None) if found[2] else least
        else:
            self._at += 1
            least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[c]
        if self._peek() == "?":  # lazy: the same texts
            self._at += 1
        if not parts:
            raise _NotUnderstoodError
        parts.append(_repeat(parts.pop(), least, most))

    def _quoted(self) -> str:
        start = self._at + 2
        end = self._text.find(r"\E", start)
        self._at = len(self._text) if end < 0 else end + 2
        return self._text[start:] if end < 0 else self._text[start:end]

    def _atom(self, *, folded: bool) -> _Part:
        c = self._peek()
        if c == "\\":
            if self._text[self._at + 1 : self._at + 2] in set("bBAz"):
                self._at += 2
                return _PLACE
            escaped = self._escaped()
            return _ANYTHING if escaped is None else _character(escaped, folded=folded)
        if c == "[":
            return self._class(folded=folded)
        self._at += 1
        if c == ".":
            return _ANYTHING
        return _PLACE if c in "^$" else _character(c, folded=folded)

    def _escaped(self) -> str | None:
        """The character that an escape stands for; None for a class."""
        c = self._text[self._at + 1 : self._at + 2]
        if c and c in "dDsSwW":
            self._at += 2
            return None
        if found := _UNICODE_CLASS.match(self._text, self._at):
            self._at = found.end()
            return None
        if found := _HEX.match(self._text, self._at):
            self._at = found.end()
            return _scalar(int(found[1] or found[2], 16))
        self._at += 2
        if c in _CONTROL:
            return _CONTROL[c]
        if c and c.isascii() and not c.isalnum():
            return c
        raise _NotUnderstoodError  # octal numbers are; the rest is no RE2

    def _class(self, *, folded: bool) -> _Part:
        self._at += 1
        small = self._peek() != "^"
        if not small:
            self._at += 1
        characters: set[str] = set()
        first = True
        while first or self._peek() != "]":
            first = False
            named = self._text.find(":]", self._at) if self._text.startswith("[:", self._at) else -1
            if named >= 0:
                self._at = named + 2
                small = False
                continue
            low = self._class_character()
            if low is None:
                small = False
                continue
            high = low
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] != "]":
                self._at += 1
                high = self._class_character() or "\U0010ffff"
            small = small and ord(high) - ord(low) < _MAX_CLASS
            if small:
                characters.update(map(chr, range(ord(low), ord(high) + 1)))
        self._at += 1
        if not small or not 0 < len(characters) <= _MAX_CLASS:
            return _ANYTHING
        return _either([_character(c, folded=folded) for c in sorted(characters)])

    def _class_character(self) -> str | None:
        c = self._peek()
        if c == "\\":
            return self._escaped()
        if not c:
            raise _NotUnderstoodError
        self._at += 1
        return c

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]


def _scalar(code: int) -> str:
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise _NotUnderstoodError
    return chr(code)


def _character(c: str, *, folded: bool) -> _Part:
    if not folded:
        return _Part(frozenset({(c, False)}))
    if not c.isascii():
        return _ANYTHING
    return _Part(frozenset({(c.lower(), c.isalpha())}))


def _sequence(parts: Sequence[_Part]) -> _Part:
    run = _NOTHING  # what the parts since the last break stand for
    groups: list[frozenset[Literal]] = []
    whole = True
    for part in parts:
        if part.exact is not None and len(run) * len(part.exact) <= _MAX_EXACT:
            run = _joined(run, part.exact)
            continue
        whole = False
        groups += (run, *part.needs)
        run = _NOTHING if part.exact is None else part.exact
    plain = all(part.plain for part in parts)
    return _Part(run, plain=plain) if whole else _Part(None, _best([*groups, run]))


def _either(branches: Sequence[_Part]) -> _Part:
    if len(branches) == 1:
        return branches[0]
    exact = [branch.exact for branch in branches if branch.exact is not None]
    if len(exact) == len(branches) and sum(map(len, exact)) <= _MAX_EXACT:
        return _Part(frozenset().union(*exact), plain=all(branch.plain for branch in branches))
    groups = [branch.groups for branch in branches]
    if not all(groups):
        return _ANYTHING
    # One group of each branch makes a group of all; a branch that has fewer gives its last again.
    count = max(map(len, groups))
    return _Part(None, _best([frozenset().union(*(g[min(i, len(g) - 1)] for g in groups)) for i in range(count)]))


def _repeat(part: _Part, least: int, most: int | None) -> _Part:
    if least == most == 1:
        return part
    if least > 0:
        return _Part(None, part.groups)
    return _Part(part.exact | _NOTHING, plain=part.plain) if most == 1 and part.exact is not None else _ANYTHING


def _joined(left: frozenset[Literal], right: frozenset[Literal]) -> frozenset[Literal]:
    return frozenset((a + b, f or g) for (a, f), (b, g) in product(left, right))


def _best(groups: Sequence[frozenset[Literal]]) -> tuple[frozenset[Literal], ...]:
    useful = [g for g in dict.fromkeys(groups) if len(g) <= _MAX_GROUP and _shortest(g) > 0]
    ranked = sorted(useful, key=_worth, reverse=True)[:_MAX_GROUPS]
    return tuple(g for i, g in enumerate(ranked) if i == 0 or _shortest(g) >= _LEAST_BESIDE)


def _worth(group: frozenset[Literal]) -> tuple[int, int, int]:
    return min(_shortest(group), _LONG_ENOUGH), -len(group), _shortest(group)


def _shortest(group: frozenset[Literal]) -> int:
    return min((len(text.encode()) for text, _ in group), default=0)


def _lower(text: str) -> str:
    """Lower case of ASCII letters alone: that of others may be of other length."""
    return text.encode().lower().decode()


# -- jq ----------------------------------------------------------------------------------------------------------------
# `.a.b == "text"`, also with `and …`, and the same inside select(): true only of documents that have the text.
_JQ_EQUAL = r'\s*(?:\.[A-Za-z_]\w*)+\s*==\s*"([^"\\/\x00-\x1f\x7f-\U0010ffff]+)"\s*'
_JQ_ALL = rf"{_JQ_EQUAL}(?:and{_JQ_EQUAL})*"
_JQ = re.compile(rf"(?:{_JQ_ALL}|\s*select\({_JQ_ALL}\)\s*)", re.ASCII)
_JQ_TEXT = re.compile(r'"([^"]+)"')


def _of_jq(text: str) -> Required | None:
    if _JQ.fullmatch(text) is None:
        return None
    groups = [frozenset({(found, False), ("\\", False)}) for found in _JQ_TEXT.findall(text)]  # or as \u0041
    return Required(groups=tuple(groups[:_MAX_GROUPS]), exact=False)
