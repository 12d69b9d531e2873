"""All patterns of the corpus' rules on all its log lines at once: what each pattern says of each line alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fallow_processors.cre import RuleSet
from fallow_processors.cre.rule import Pattern, Rule, Term, TermKind, nodes
from fallow_processors.cre.terms import TermIndex
from helpers.texts import found, found_one_by_one, text_batch

CORPUS = Path(__file__).parents[2].parent / "shared" / "cre" / "corpus"
KINDS: dict[str, TermKind] = {"raw": "value", "regex": "regex", "jq": "jq"}

pytestmark = pytest.mark.skipif(not CORPUS.exists(), reason="the conformance corpus is not beside this checkout")


def patterns(rules: tuple[Rule, ...]) -> list[Pattern]:
    terms = [item for rule in rules for node in nodes(rule.root) for item in node.items if isinstance(item, Term)]
    return list(dict.fromkeys(Pattern(term.pattern.kind, term.pattern.text) for term in terms))


def test_all_rules_on_all_logs() -> None:
    rules = RuleSet.load([CORPUS / "cre" / "all-rules.yaml"], lenient=True).rules
    wanted = patterns(rules)
    files = sorted((CORPUS / "cre").glob("*/test.log"))
    lines = list(dict.fromkeys(line for file in files for line in file.read_text(errors="replace").splitlines()))
    assert (len(wanted) > 300, len(lines) > 3000) == (True, True)
    expected = found_one_by_one(wanted, lines)
    assert len(expected) > 2000
    assert found(TermIndex(wanted), text_batch(lines)) == expected


def test_all_terms_on_all_texts() -> None:
    cases = [json.loads(line) for line in (CORPUS / "terms.jsonl").read_text().splitlines()]
    known = [case for case in cases if "error" not in case and case["type"] in KINDS]
    assert len(known) >= 48
    wanted = list(dict.fromkeys(Pattern(KINDS[case["type"]], case["value"]) for case in known))
    lines = [case["line"] for case in known]
    assert found(TermIndex(wanted), text_batch(lines)) == found_one_by_one(wanted, lines)
