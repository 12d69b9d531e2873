"""Rule documents against the conformance corpus: accepted or refused with the kind and place that are expected, hashes, terms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fallow.errors import DocumentError
from fallow_processors.cre.document import parse_rules
from fallow_processors.cre.patterns import WrongPattern, compiled
from fallow_processors.cre.rule import TermKind

CORPUS = Path(__file__).parents[2].parent / "shared" / "cre" / "corpus"
YAML_KINDS = {"Yaml", "DuplicateKey", "DuplicateRule", "MissingRuleId", "InvalidWindow", ""}
"""What the corpus calls "Other": it names no kind there."""

LIBRARY_DIFFERENCES = {"term/own/42": "the jq library keeps integers beyond 2^53 exact, the published engine does not"}
KINDS: dict[str, TermKind] = {"raw": "value", "regex": "regex", "jq": "jq"}


def cases(name: str) -> list[dict[str, Any]]:
    path = CORPUS / name
    if not path.exists():
        pytest.skip("the conformance corpus is not beside this checkout")
    return [json.loads(line) for line in path.read_text().splitlines()]


def outcome(case: dict[str, Any]) -> tuple[str, int, int]:
    try:
        parse_rules(case["rule"], "rule.yaml", lenient=True, own_ids=not case["gen_ids"])
    except DocumentError as error:
        first = error.problems[0]
        return first.kind, first.line, first.column
    return "ok", 0, 0


def test_every_document_is_accepted_or_refused_as_expected() -> None:
    found = cases("schema/cases.jsonl")
    assert len(found) >= 132
    wrong: list[str] = []
    for case in found:
        expected, (kind, line, column) = case["expect"], outcome(case)
        if expected["ok"]:
            good = kind == "ok"
        elif expected["error"] == "Other":
            good = kind in YAML_KINDS
        else:
            good = kind == expected["error"] and (line, column) == (
                expected.get("line", line),
                expected.get("col", column),
            )
        if not good:
            wrong.append(f"{case['id']}: {expected}, found {kind} at {line}:{column}")
    assert not wrong, "\n".join(wrong)


def test_hashes_are_those_of_the_published_engine() -> None:
    found = cases("cre/cases.jsonl")
    assert len(found) >= 241
    for case in found:
        text = (CORPUS / "cre" / case["rule"]).read_text()
        (rule,) = (r for r in parse_rules(text, case["rule"], lenient=True).rules if r.cre == case["cre"])
        assert (rule.hash, rule.stable_hash) == (case["engine"]["rule_hash"], case["engine"]["stable_hash"]), case["id"]


def test_terms_match_as_they_do_there() -> None:
    found = [case for case in cases("terms.jsonl") if case["type"] != "jqyaml"]  # no document can ask for that type
    assert len(found) >= 67
    for case in found:
        kind = KINDS[case["type"]]
        if case["id"] in LIBRARY_DIFFERENCES or case.get("error") == "TermEmpty":
            continue  # an empty term is refused before there is a pattern: the documents above have that case
        if "error" in case:
            with pytest.raises(WrongPattern):
                compiled(kind, case["value"])
        else:
            assert compiled(kind, case["value"])(case["line"]) is case["expect"], case["id"]
