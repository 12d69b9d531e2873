"""All patterns over a batch at once tell what each pattern tells of each text alone."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import re2
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fallow_processors.cre.literals import required
from fallow_processors.cre.patterns import WrongPattern, compiled
from fallow_processors.cre.rule import Pattern
from fallow_processors.cre.terms import TermIndex
from helpers.texts import found, found_one_by_one, text_batch

# -- patterns ----------------------------------------------------------------------------------------------------------
LETTERS = "abksKS1. é\u017f\u212a\t-"
PIECES = [
    *(re2.escape(c) for c in LETTERS),
    *("ab", "kiss", "Ask", r"\Qa.b\E", r"\Qa\Qs", r"\x61", r"\x{212a}", r"\t", r"\-", "é"),
    *(
        ".",
        r"\d",
        r"\W",
        r"\pL",
        r"\p{Greek}",
        r"\PN",
        "[ab]",
        "[^a]",
        "[a-d]",
        "[a-]",
        "[]a]",
        "[[:alpha:]]",
        r"[\dk]",
    ),
    *(r"[\x61\]]", r"[\-s]", "[^]s]", "[a[:digit:]]", "[k-s]", "{", "a{,2}", "a{01}"),
    *("^", "$", r"\b", r"\B", r"\A", r"\z", "(?i)", "(?-i)", "(?s)", "(?m)^", "()", "(?:)"),
]
GROUPS = ["(%s)", "(?:%s)", "(?i:%s)", "(?P<n>%s)", "(?i)%s", "(?-i:%s)", "(?sm:%s)"]
REPEATS = ["*", "+", "?", "*?", "+?", "??", "{0}", "{1}", "{2}", "{1,}", "{0,2}", "{2,3}?"]


def composed(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.lists(parts, min_size=1, max_size=4).map("".join),
        st.lists(parts, min_size=2, max_size=3).map("|".join).map("(?:{})".format),
        st.tuples(st.sampled_from(GROUPS), parts).map(lambda made: made[0].replace("%s", made[1])),
        st.tuples(parts, st.sampled_from(REPEATS)).map("".join),
    )


def is_re2(text: str) -> bool:
    try:
        compiled("regex", text)
    except WrongPattern:
        return False
    return True


regexes: st.SearchStrategy[str] = st.recursive(st.sampled_from(PIECES), composed, max_leaves=8).filter(is_re2)
words = st.text(LETTERS, max_size=8)
terms = st.one_of(
    regexes.map(lambda text: Pattern("regex", text)),
    st.lists(regexes, min_size=2, max_size=2).map("|".join).filter(is_re2).map(lambda text: Pattern("regex", text)),
    words.filter(bool).map(lambda text: Pattern("value", text)),
)
texts = (
    st.none()
    | words
    | st.lists(st.sampled_from(["a", "ab", "kiss", "KI\u017fS", "as\u212a", "a.b", "s", " 1"])).map("".join)
)


@settings(deadline=None, max_examples=300)
@given(st.lists(terms, min_size=1, max_size=8), st.lists(texts, max_size=12))
@example([Pattern("regex", "(?i)task")], ["TA\u017f\u212a", "tAsK", "tas"])
@example([Pattern("value", "ab")], ["a", "b", "cab", "a", "b"])
@example([Pattern("regex", "a|")], ["", "b", None])
def test_all_at_once_is_each_alone(patterns: list[Pattern], lines: list[str | None]) -> None:
    assert found(TermIndex(patterns), text_batch(lines)) == found_one_by_one(patterns, lines)


@settings(deadline=None)
@given(st.lists(terms, min_size=1, max_size=4), st.lists(texts, max_size=6), st.data())
def test_a_part_of_a_batch_is_looked_at_alone(
    patterns: list[Pattern], lines: list[str | None], data: st.DataObject
) -> None:
    whole = text_batch(lines)
    first = data.draw(st.integers(0, len(lines)))
    last = data.draw(st.integers(first, len(lines)))
    part = text_batch(lines[first:last])
    sliced = replace(part, body=whole.body[first:last])
    index = TermIndex(patterns)
    assert found(index, sliced) == found(index, part)


def test_long_texts_and_many_matches() -> None:
    patterns = [
        Pattern("value", "needle"),
        Pattern("regex", "a.*needle$"),
        *(Pattern("value", "n" * k) for k in range(1, 9)),
    ]
    lines = ["x" * 100_000 + "needle", "a" * 5_000 + "needle", "n" * 3_000, *["needle nnnnnnnn"] * 500]
    expected = found_one_by_one(patterns, lines)
    assert len(expected) > 4000
    index = TermIndex(patterns)
    assert found(index, text_batch(lines)) == expected
    assert found(index, text_batch(lines[:2])) == [pair for pair in expected if pair[0] < 2]


# -- jq ----------------------------------------------------------------------------------------------------------------
PROGRAMS = [
    '.a == "kiss"',
    'select(.a == "kiss" and .b.c == "ab")',
    '.a != "kiss"',
    '.a == "ki" + "ss"',
    'select(.a == "kiss" or .b)',
    ".a",
    "true",
    '.. == "ab"',
    'select( .b.c=="ab" )',
    '.a == "kiss" | not',
]
values: st.SearchStrategy[object] = st.sampled_from(["kiss", "ab", "", None, True, 1.5, "K\u0131", "é\n"])
documents = st.recursive(
    values,
    lambda inner: st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=5,
)
spelled = st.one_of(
    st.tuples(documents, st.booleans()).map(lambda made: json.dumps(made[0], ensure_ascii=made[1])),
    documents.map(lambda made: " " + json.dumps(made) + "\n"),
    documents.map(lambda made: json.dumps(made).replace("kiss", r"\u006biss")),
    st.sampled_from(["NaN", "-Infinity", "{", '{"a": "kiss"', "kiss", "2026-01-05 a 1", '\ufeff{"a":1}', "\u00a01"]),
)


@settings(deadline=None)
@given(st.lists(st.sampled_from(PROGRAMS), min_size=1, max_size=4), st.lists(st.none() | spelled, max_size=6))
def test_programs_see_every_document(programs: list[str], lines: list[str | None]) -> None:
    patterns = [Pattern("jq", text) for text in programs]
    assert found(TermIndex(patterns), text_batch(lines)) == found_one_by_one(patterns, lines)


# -- fields ------------------------------------------------------------------------------------------------------------
@settings(deadline=None)
@given(
    st.lists(st.tuples(terms, st.sampled_from(["", "message", "event.name"])), min_size=1, max_size=6),
    st.lists(st.tuples(texts, st.none() | words, words), max_size=6),
)
def test_a_field_is_looked_at_instead_of_the_text(
    patterns: list[tuple[Pattern, str]], records: list[tuple[str | None, str | None, str]]
) -> None:
    fielded = list(dict.fromkeys(Pattern(p.kind, p.text, field) for p, field in patterns))
    logs = text_batch(
        [text for text, _, _ in records],
        [{} if said is None else {"message": said} for _, said, _ in records],
        [name for _, _, name in records],
    )
    expected: list[tuple[int, int]] = []
    for i, (text, said, name) in enumerate(records):
        has = {"message": said, "event.name": name or None}
        for p, pattern in enumerate(fielded):
            value = has.get(pattern.field)
            test = compiled(pattern.kind, pattern.text)
            if test(value) if value is not None else bool(text) and test(text or ""):
                expected.append((i, p))
    assert found(TermIndex(fielded), logs) == expected


# -- literals ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "literals", "exact"),
    [
        pytest.param("disk full", {"disk full"}, True, id="itself"),
        pytest.param(r"\[error\].+no live upstreams", {"no live upstreams"}, False, id="the-longer-part"),
        pytest.param("50[234]", {"502", "503", "504"}, True, id="small-class"),
        pytest.param("status=(?:4[0-9]{2}|5[0-9]{2})", {"status="}, False, id="digits"),
        pytest.param("^(?:full|no space)$", {"full", "no space"}, False, id="place-is-confirmed"),
        pytest.param("a.*b|long enough.*c", {"a", "long enough"}, False, id="one-of-each-branch"),
        pytest.param("colou?r", {"color", "colour"}, True, id="optional-letter"),
        pytest.param("(?i)Critical", {"critical"}, False, id="folded"),
        pytest.param("(?i)disk", {"disk", "\u017f", "\u212a"}, False, id="folds-beyond-ascii"),
        pytest.param(r"\Qa.b\E+c", {"a."}, False, id="repeats-the-last-quoted"),
        pytest.param("(?i:é)abc", {"abc"}, False, id="folds-unknown"),
    ],
)
def test_literals_that_a_regex_needs(text: str, literals: set[str], exact: bool) -> None:
    needed = required(Pattern("regex", text))
    assert needed is not None
    assert ({literal for literal, _ in needed.groups[0]}, needed.exact) == (literals, exact)


@pytest.mark.parametrize("text", ["", ".*", "a*", "a|", r"\d+", "(?i)é", "[^a]", "^$", "(a|.)", "a?"])
def test_a_regex_that_needs_nothing(text: str) -> None:
    assert required(Pattern("regex", text)) is None
