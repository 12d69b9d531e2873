"""What a rule document is refused for: the kind of the error and its place, as published compilers name them."""

from __future__ import annotations

import pytest

from fallow.errors import DocumentError
from fallow_processors.cre.document import parse_rules
from fallow_processors.cre.rule import Term

HEAD = "rules:\n  - cre: {id: CRE-2026-9901}\n    rule:\n"
ORIGIN = "{source: a, origin: true}"


def refused(body: str, *, published: bool = False) -> tuple[str, int, int]:
    """(kind, line, column) of the first error; lines count from the rule's condition."""
    text = HEAD + "".join(f"      {line}\n" for line in body.splitlines())
    try:
        parse_rules(text, "rule.yaml", lenient=True, published=published)
    except DocumentError as error:
        first = error.problems[0]
        return first.kind, first.line - HEAD.count("\n"), first.column
    return "", 0, 0


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param("set:\n  event: {source: a}\n  match: [x]", ("", 0, 0), id="accepted"),
        pytest.param("set:\n  window: 1d\n  event: {source: a}\n  match: [x, y]", ("InvalidWindow", 2, 17), id="days"),
        pytest.param("sequence:\n  event: {source: a}\n  order: [x, y]", ("InvalidWindow", 2, 9), id="no-window"),
        pytest.param("sequence:\n  window: 5s\n  match: [x]", ("MissingOrder", 2, 9), id="match-in-a-sequence"),
        pytest.param("set:\n  event: {source: a}\n  match: []", ("InnerEvent", 2, 9), id="no-terms"),
        pytest.param("set:\n  match: [x]", ("RootNodeWithoutEventSrc", 2, 9), id="no-source"),
        pytest.param("set:\n  event: {source: ''}\n  match: [x]", ("InvalidEventType", 2, 9), id="empty-source"),
        pytest.param("set:\n  event: {source: a}\n  match: [{field: f}]", ("TermNotFound", 3, 16), id="no-scalar"),
        pytest.param(
            "set:\n  event: {source: a}\n  match: [{value: x, jq: .}]", ("InvalidNodeType", 2, 9), id="two-scalars"
        ),
        pytest.param(
            f"set:\n  match:\n    - sequence:\n        window: 5s\n        event: {ORIGIN}\n        order: [x]",
            ("SeqPosConditions", 3, 11),
            id="within-a-list-is-where-the-list-begins",
        ),
        pytest.param(
            f"set:\n  match:\n    - set: {{event: {ORIGIN}, match: [x]}}\n    - set: {{event: {ORIGIN}, match: [y]}}",
            ("MultipleOrigin", 2, 9),
            id="two-origins",
        ),
        pytest.param(
            f"set:\n  window: 1x\n  match:\n    - set:\n        event: {ORIGIN}\n        order: [x]",
            ("MissingMatch", 4, 11),
            id="what-is-inside-comes-first",
        ),
        pytest.param(
            "set:\n  event: {source: a}\n  match: [{value: x, extract: [{name: 1a, jq: .}]}]",
            ("ExtractName", 3, 28),
            id="name-of-an-extract",
        ),
    ],
)
def test_a_document_is_refused_for(body: str, expected: tuple[str, int, int]) -> None:
    assert refused(body) == expected


def test_what_published_compilers_refuse_by_mistake() -> None:
    anchored = "set:\n  window: 5s\n  event: {source: a}\n  match: [x, y, z]\n  negate: [{value: n, anchor: 2}]"
    assert (refused(anchored)[0], refused(anchored, published=True)[0]) == ("", "InvalidAnchor")


def test_rules_in_several_yaml_documents() -> None:
    one = HEAD + "      set: {event: {source: a}, match: [x]}\n"
    text = f"{one}---\n{one.replace('9901', '9902')}---\nsection: version\nversion: 1\n"
    assert [rule.cre for rule in parse_rules(text, "").rules] == ["CRE-2026-9901", "CRE-2026-9902"]
    with pytest.raises(DocumentError) as raised:
        parse_rules(text, "", published=True)
    assert raised.value.problems[0].kind == "RuleNotFound"


def test_a_term_is_looked_up_once() -> None:
    rules = "      set: {event: {source: a}, match: [one]}\nterms:\n  one: {value: two}\n  two: {value: three}\n"
    (rule,) = parse_rules(HEAD + rules, "").rules
    assert [item.pattern.text for item in rule.root.positives if isinstance(item, Term)] == ["two"]


@pytest.mark.parametrize(("text", "ns"), [("9223372036854775807ns", 2**63 - 1), ("1h1.5s", 3_601_500_000_000)])
def test_durations_are_exact(text: str, ns: int) -> None:
    (rule,) = parse_rules(f"{HEAD}      set: {{window: {text}, event: {{source: a}}, match: [x, y]}}\n", "").rules
    assert rule.root.window == ns


def test_an_unknown_key_is_refused_or_told() -> None:
    text = HEAD + "      set: {event: {source: a}, match: [x], abs: true}\n"
    with pytest.raises(DocumentError, match="abs: unknown key"):
        parse_rules(text, "rule.yaml")
    parsed = parse_rules(text, "rule.yaml", lenient=True)
    assert [(w.kind, w.line) for w in parsed.warnings] == [("UnknownKey", 4)]
