"""Judges of matchers: hits step by step, what a matcher refuses, intervals of negatives, anchors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fallow_processors.cre.checks import check_matcher, may_anchor
from fallow_processors.cre.lower import Wrong
from fallow_processors.cre.matchers import (
    INTENDED,
    Defect,
    Matcher,
    Negative,
    NegSeq,
    NegSet,
    Seq,
    Set,
    Single,
    slots_of,
)
from fallow_processors.cre.patterns import compiled
from fallow_processors.cre.rule import NegateOptions, Node, Pattern, Term, TermKind

Case = Mapping[str, Any]
KINDS: Mapping[str, TermKind] = {"raw": "value", "regex": "regex", "jq": "jq"}
_OPTIONS = ("window", "slide", "anchor", "absolute")


def judge_hits(case: Case, defects: frozenset[Defect]) -> str:
    """Steps of events and clocks, each with its hits; probes of the inside are not asked."""
    matcher, patterns = _matcher(case, defects)
    tests = [compiled(pattern.kind, pattern.text) for pattern in patterns]
    steps = [step for step in case["steps"] if step["op"] in ("scan", "eval")]
    for number, (step, expected) in enumerate(zip(steps, _expected(case, steps, defects), strict=False)):
        if step["op"] == "eval":
            hits = matcher.eval(step["ts"])
        else:
            mask = sum(1 << i for i, test in enumerate(tests) if test(step["line"]))
            hits = matcher.scan(step["ts"], mask, step["line"])
        found = "crash" if matcher.crashed else [[list(event) for event in hit] for hit in hits]
        if found != expected:
            return f"step {number}, at {step['ts']}: {found} instead of {expected}"
    return ""


def _expected(case: Case, steps: Sequence[Case], defects: frozenset[Defect]) -> list[Any]:
    intended = case.get("intended_hits")
    if intended is not None and defects == INTENDED:
        return list(intended)
    return ["crash" if step.get("crash") else step["hits"] for step in steps]


def _matcher(case: Case, defects: frozenset[Defect]) -> tuple[Matcher[str], list[Pattern]]:
    """The matcher, and its patterns in the order of their numbers."""
    numbers: dict[Pattern, int] = {}
    positives = [numbers.setdefault(_pattern(term), len(numbers)) for term in case["terms"]]
    negatives = [
        Negative(term=numbers.setdefault(_pattern(reset["term"]), len(numbers)), **_options(reset))
        for reset in case["resets"]
    ]
    kind = case["kind"]
    slots = slots_of(positives, ordered=kind in ("seq", "inverse_seq"))
    if kind == "single":
        return Single(slots, case["window"]), list(numbers)
    classes: dict[str, type[Matcher[str]]] = {"seq": Seq, "set": Set, "inverse_seq": NegSeq, "inverse_set": NegSet}
    return classes[kind](slots, case["window"], negatives, defects=defects), list(numbers)


def _pattern(term: Case) -> Pattern:
    return Pattern(KINDS[term["type"]], term["value"])


def _options(reset: Case) -> dict[str, Any]:
    return {name: reset[name] for name in _OPTIONS if name in reset}


def judge_init(case: Case) -> str:
    """Whether a matcher for these terms and negatives can be made."""
    node = Node(
        ordered=case["kind"] in ("seq", "inverse_seq"),
        window=case["window"],
        positives=tuple(Term(pattern=_pattern(term)) for term in case["terms"]),
        negatives=tuple(
            Term(pattern=_pattern(reset["term"]), negate=NegateOptions(**_options(reset))) for reset in case["resets"]
        ),
        correlations=(),
        source="*",
        origin=True,
    )
    try:
        check_matcher(node)
        found = None
    except Wrong as wrong:
        found = wrong.kind
    return "" if found == case["expect"]["error"] else f"{found} instead of {case['expect']['error']}"


def judge_interval(case: Case) -> str:
    """The interval that a negative forbids."""
    found = list(Negative(term=0, **_options(case["reset"])).interval(case["anchors"]))
    return "" if found == case["expect"] else f"{found} instead of {case['expect']}"


def judge_anchor(case: Case) -> str:
    """Whether a negative of a sequence may be anchored there."""
    found = may_anchor(case["slot_counts"], case["anchor"])
    return "" if found == case["expect"] else f"{found} instead of {case['expect']}"
