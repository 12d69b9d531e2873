"""The parser's front: ``promql_parser`` builds the tree, the tokens here say where in the text a part of it stands.

The parser reports neither positions nor where a text ceases to be PromQL. Tokens are cut with Prometheus' lexical
rules; the place of a syntax error is the first token after which no continuation is accepted any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import promql_parser
import re2

from fallow.promql.errors import PromqlError

_TOKEN: Final = re2.compile(
    r"(?P<space>\s+|#[^\n]*)"
    r"""|(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)"""
    r"|(?P<number>0[xX][0-9a-fA-F]+|(?:\d+(?:ms|[smhdwy]))+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_:][A-Za-z0-9_:]*)"
    r"|(?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^=<>(){}\[\],@:])"
    r"|(?P<wrong>.)"
)
_CLOSING: Final = {"(": ")", "{": "}", "[": "]"}
# What may follow a text that is right so far; with the brackets closed after it, one of these makes it whole.
_CONTINUATIONS: Final = (
    "",
    " x",
    "x",
    " 1",
    "(x)",
    "(x[5m])",
    "(1,x)",
    " (x)",
    " x[5m]",
    ",x",
    ",x[5m]",
    ",1",
    ' ="v"',
    '"v"',
    "5m",
    "[5m]",
    " (a)(x)",
    " (a) x",
    " 5m",
)


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    position: int


def tokens_of(expr: str) -> list[Token]:
    """The tokens without blanks and comments; a character that starts none is a token of kind ``wrong``."""
    return list(_tokens(expr))


def _tokens(expr: str) -> Iterator[Token]:
    at = 0
    while at < len(expr):
        match = _TOKEN.match(expr, at)
        text = str(match.group(0)) if match else expr[at]
        kind = (match.lastgroup if match else None) or "wrong"
        if kind != "space":
            yield Token(kind, text, at)
        at += len(text)


def parse(expr: str) -> Any:
    """The syntax tree.

    Raises:
        PromqlError: the text is not PromQL, at its position.
    """
    try:
        return promql_parser.parse(expr)
    except ValueError as error:
        message = str(error)
        raise PromqlError(_plain(message), _position(expr, message)) from error


def find(expr: str, text: str, *, called: bool = False, nth: int = 0) -> int:
    """Offset of the nth token of this text (of those that a ``(`` or a modifier follows); 0 where there is none."""
    tokens = tokens_of(expr)
    found = [
        token.position
        for i, token in enumerate(tokens)
        if token.text.lower() == text.lower()
        and (not called or (i + 1 < len(tokens) and tokens[i + 1].text.lower() in ("(", "by", "without")))
    ]
    return found[min(nth, len(found) - 1)] if found else 0


def _plain(message: str) -> str:
    return "is not valid PromQL" if message == "invalid promql query" else message


def _position(expr: str, message: str) -> int:
    """Where the text goes wrong."""
    tokens = tokens_of(expr)
    wrong = next((t.position for t in tokens if t.kind == "wrong"), None)
    if wrong is not None:
        return wrong
    quoted = re2.search(r"(?:function(?: with name)?|set operator) '(\w+)'", message)
    if quoted:
        return find(expr, str(quoted.group(1)))
    if message.startswith("unclosed") or "unexpected end" in message:
        return len(expr)
    for i in range(1, len(tokens) + 1):
        end = tokens[i - 1].position + len(tokens[i - 1].text)
        if not _may_continue(expr[:end], tokens[:i]):
            return tokens[i - 1].position
    return len(expr)


def _may_continue(text: str, tokens: list[Token]) -> bool:
    opened: list[str] = []
    for token in tokens:
        if token.kind == "sign" and token.text in _CLOSING:
            opened.append(_CLOSING[token.text])
        elif opened and token.text == opened[-1]:
            opened.pop()
    closing = "".join(reversed(opened))
    return any(_parses(f"{text}{more}{closing}{rest}") for more in _CONTINUATIONS for rest in ("", "(x)"))


def _parses(text: str) -> bool:
    try:
        promql_parser.parse(text)
    except ValueError as error:
        # Wrong types and counts of arguments mean that the grammar accepted the text.
        return any(word in str(error) for word in ("expected type", "number of arguments", "expected", "not allowed"))
    return True
