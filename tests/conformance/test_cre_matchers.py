"""The matchers against the conformance corpus: tables and random cases with the hits that are intended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import re2

from fallow_processors.cre.matchers import Matcher, Negative, NegSeq, NegSet, Seq, Set, Single, slots_of

CORPUS = Path(__file__).parents[2].parent / "shared" / "cre" / "corpus"


def cases(name: str) -> list[dict[str, Any]]:
    path = CORPUS / f"{name}.jsonl"
    if not path.exists():
        pytest.skip("the conformance corpus is not beside this checkout")
    return [json.loads(line) for line in path.read_text().splitlines()]


def matches(term: dict[str, Any], line: str) -> bool:
    return term["value"] in line if term["type"] == "raw" else bool(re2.search(term["value"], line))


def built(case: dict[str, Any]) -> tuple[Matcher[str], list[dict[str, Any]]]:
    terms: list[dict[str, Any]] = []

    def index(term: dict[str, Any]) -> int:
        if term not in terms:
            terms.append(term)
        return terms.index(term)

    positives = [index(term) for term in case["terms"]]
    fields = ("window", "slide", "anchor", "absolute")
    negatives = [Negative(term=index(r["term"]), **{f: r[f] for f in fields if f in r}) for r in case["resets"]]
    slots, window = slots_of(positives, ordered="seq" in case["kind"]), case["window"]
    kind = case["kind"]
    if kind.startswith("inverse"):
        return (NegSeq if kind == "inverse_seq" else NegSet)(slots, window, negatives), terms
    if kind == "single":
        return Single(slots, window), terms
    return (Seq if kind == "seq" else Set)(slots, window), terms


def played(case: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """The hits of each step, and those that are expected; a case ends where the published engine crashed."""
    matcher, terms = built(case)
    got: list[Any] = []
    expected: list[Any] = []
    for step in case["steps"]:
        if step["op"] == "scan":
            mask = sum(1 << i for i, term in enumerate(terms) if matches(term, step["line"]))
            hits = matcher.scan(step["ts"], mask, step["line"])
        elif step["op"] == "eval":
            hits = matcher.eval(step["ts"])
        else:
            continue
        got.append([[list(event) for event in hit] for hit in hits])
        expected.append(step.get("hits"))
    intended = case.get("intended_hits")
    if intended is not None:
        return got, intended[: len(got)]
    checked = [i for i, hits in enumerate(expected) if hits is not None]
    return [got[i] for i in checked], [expected[i] for i in checked]


@pytest.mark.parametrize("name", ["matchers", "matchers_gen"])
def test_every_case_gives_the_intended_hits(name: str) -> None:
    found = cases(name)
    wrong = [case["id"] for case in found if (both := played(case)) and both[0] != both[1]]
    assert len(found) > 90
    assert wrong == []


def test_the_interval_of_a_negative() -> None:
    wrong = []
    for case in cases("reset_span"):
        negative = Negative(term=0, **case["reset"])
        if list(negative.interval(case["anchors"])) != case["expect"]:
            wrong.append(case["id"])
    assert wrong == []
