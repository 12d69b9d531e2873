"""What the ledger's tables hold comes back, whatever a rule or a log line put into it."""

from __future__ import annotations

import datetime
import json
from types import MappingProxyType

import pytest

from fallow.ledger import codec
from fallow.model import Evidence, Outcome
from helpers.model import a_detection, a_recommendation


@pytest.mark.parametrize("text", ["plain", "naïve – 数", "nul \x00 and \ud800 alone", 'quote " \\'])
def test_any_text_comes_back(text: str) -> None:
    log = Evidence(kind="log", name="slurm", start=-1, end=2**63 - 1, text=text)
    one = a_detection(evidence=(log,), title=text)
    stored = codec.dump(one)
    assert stored.isascii()
    assert codec.detection(stored) == one


def test_a_recommendation_with_an_outcome_comes_back() -> None:
    one = a_recommendation(outcome=Outcome(result="no_effect", gpu_seconds_saved=0.0, note="n", reporter="bot", time=3))
    assert codec.recommendation(codec.dump(one)) == one


def test_the_same_value_gives_the_same_text() -> None:
    one = a_recommendation(target={"b": "1", "a": "2"})
    assert codec.dump(one) == codec.dump(a_recommendation(target=MappingProxyType({"a": "2", "b": "1"})))


def test_what_yaml_holds_beside_json_becomes_text() -> None:
    one = a_detection(optimize={"since": datetime.date(2026, 1, 2), "kinds": {"b", "a"}, "n": [1, 2.5, None, True]})
    assert codec.detection(codec.dump(one)).optimize == {
        "since": "2026-01-02",
        "kinds": ["a", "b"],
        "n": [1, 2.5, None, True],
    }


def test_fields_of_a_newer_version_are_passed_over() -> None:
    stored = json.loads(codec.dump(a_recommendation()))
    stored["invented_later"] = 1
    stored["saving"]["invented_later"] = 2
    assert codec.recommendation(json.dumps(stored)) == a_recommendation()
