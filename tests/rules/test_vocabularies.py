"""One trace, every vocabulary: the built-in rules say the same, whatever the source calls its metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from fallow.model import Detection
from helpers.pack import said
from rules.vocabularies import UUIDS, VOCABULARIES, recorded

EXACT = [name for name in VOCABULARIES if name != "dynolog"]
Facts = tuple[object, ...]


def facts(found: list[Detection]) -> list[Facts]:
    """Everything of the detections, ids included."""
    return sorted((d.id, d.rule, sorted(d.entity.items()), d.start, d.time, d.end, d.state) for d in found)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[Detection]:
    return said(recorded(tmp_path_factory.mktemp("told") / "x.otlp.jsonl", lambda _: "conventions"))


def test_the_trace_has_something_to_find(expected: list[Detection]) -> None:
    fired = {(d.rule, d.entity.get("hw.id", "")) for d in expected if d.state == "fired"}
    assert {("CRE-2026-9003", UUIDS[0]), ("CRE-2026-9002", UUIDS[1]), ("CRE-2026-9013", UUIDS[2])} <= fired
    assert not {rule for rule, gpu in fired if gpu == UUIDS[3]}


@pytest.mark.parametrize("name", EXACT)
def test_every_vocabulary_gives_the_same_detections(name: str, expected: list[Detection], tmp_path: Path) -> None:
    assert facts(said(recorded(tmp_path / "x.otlp.jsonl", lambda _: name))) == facts(expected)


def test_dynolog_says_the_same_of_devices_that_it_names_by_index(expected: list[Detection], tmp_path: Path) -> None:
    # It has no bytes of memory in use: what needs them stays silent.
    blind = {"CRE-2026-9003", "CRE-2026-9004"}

    def seen(found: list[Detection]) -> set[Facts]:
        return {
            (d.rule, d.entity.get("fallow.gpu.index"), d.entity.get("fallow.job.id"), d.start, d.time, d.state)
            for d in found
            if d.rule not in blind
        }

    assert seen(said(recorded(tmp_path / "x.otlp.jsonl", lambda _: "dynolog"))) == seen(expected)
