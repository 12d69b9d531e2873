"""The conformance cases for CRE through the public runner: all pass, as intended and as published engines answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conformance.cre_library_differences import DIFFERENCES
from fallow.testing.cre_corpus import FileOutcome, main, run_corpus

CORPUS = Path(__file__).parents[2].parent / "shared" / "cre" / "corpus"
FILES = {
    "cre/cases.jsonl",
    "cre/cross.jsonl",
    "cre/schedules.jsonl",
    "examples/cases.jsonl",
    "examples/cross.jsonl",
    "matcher_init.jsonl",
    "matchers.jsonl",
    "matchers_gen.jsonl",
    "reset_span.jsonl",
    "scan.jsonl",
    "schema/cases.jsonl",
    "seq_anchor.jsonl",
    "terms.jsonl",
    "timez.jsonl",
}


@pytest.fixture(scope="module", params=["intended", "published"])
def outcomes(request: pytest.FixtureRequest) -> list[FileOutcome]:
    if not CORPUS.is_dir():
        pytest.skip("the conformance corpus is not beside this checkout")
    return list(run_corpus(CORPUS, published=request.param == "published"))


def test_every_case_passes(outcomes: list[FileOutcome]) -> None:
    failed = {case.id: case.reason for outcome in outcomes for case in outcome.failed}
    assert {id: reason for id, reason in failed.items() if id not in DIFFERENCES} == {}


def test_every_difference_is_one(outcomes: list[FileOutcome]) -> None:
    assert DIFFERENCES.keys() <= {case.id for outcome in outcomes for case in outcome.failed}


def test_no_case_is_left_out(outcomes: list[FileOutcome]) -> None:
    lines = {path.relative_to(CORPUS).as_posix(): path.read_text().split("\n") for path in CORPUS.rglob("*.jsonl")}
    assert {outcome.file: len(outcome.cases) for outcome in outcomes} == {
        file: sum(bool(line) for line in found) for file, found in lines.items()
    }
    assert lines.keys() == FILES
    assert len({case.id for outcome in outcomes for case in outcome.cases}) == sum(len(o.cases) for o in outcomes)


# -- the runner itself -------------------------------------------------------------------------------------------------

GOOD = {
    "id": "good",
    "kind": "set",
    "window": 10,
    "terms": [{"type": "raw", "value": "a"}, {"type": "raw", "value": "b"}],
    "resets": [],
    "steps": [
        {"op": "scan", "ts": 1, "line": "a", "hits": []},
        {"op": "scan", "ts": 2, "line": "b", "hits": [[[1, "a"], [2, "b"]]]},
    ],
}
WRONG = {**GOOD, "id": "wrong", "window": 0}
LACKING = {"id": "lacking", "kind": "set"}


def write(folder: Path, file: str, *cases: dict[str, Any] | str) -> Path:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{case if isinstance(case, str) else json.dumps(case)}\n" for case in cases))
    return folder


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_folder_where_all_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(write(tmp_path, "matchers.jsonl", GOOD)), "--json"]) == 0
    file, summary = lines(capsys)
    assert (file["file"], file["passed"], file["failed"], file["failed_ids"]) == ("matchers.jsonl", 1, 0, [])
    assert summary == {"type": "summary", "mode": "intended", "files": 1, "passed": 1, "failed": 0}


def test_what_fails_is_named_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "matchers.jsonl", GOOD, WRONG, LACKING, "{not json")
    write(tmp_path, "other/new.jsonl", GOOD)
    assert main([str(tmp_path), "--json"]) == 1
    matchers, other, summary = lines(capsys)
    assert (matchers["passed"], matchers["failed_ids"]) == (1, ["wrong", "lacking", "line 4"])
    assert matchers["reasons"]["wrong"] == "step 1, at 2: [] instead of [[[1, 'a'], [2, 'b']]]"
    assert "KeyError" in matchers["reasons"]["lacking"]
    assert (other["file"], other["failed_ids"]) == ("other/new.jsonl", ["good"])
    assert (summary["passed"], summary["failed"]) == (1, 4)


def test_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "seq_anchor.jsonl", {"id": "x", "slot_counts": [1, 2], "anchor": 2, "expect": True})
    assert main([str(tmp_path), "--published"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "seq_anchor.jsonl: 0 passed, 1 failed",
        "    x: False instead of True",
        "1 files, published: 0 passed, 1 failed",
    ]


@pytest.mark.parametrize("folder", ["missing", "."])
def test_a_folder_without_cases_is_refused(tmp_path: Path, folder: str) -> None:
    with pytest.raises(SystemExit) as raised:
        main([str(tmp_path / folder)])
    assert raised.value.code == 2


CRASHING = """
rules:
  - cre: {id: CRE-2026-9901}
    rule:
      set:
        window: 10s
        event: {source: a}
        match: [{value: a, count: 2}, b]
        negate: [n]
"""


def test_a_published_engine_that_crashes(tmp_path: Path) -> None:
    write(tmp_path, "cre/cre-2026-9901/rule.yaml", CRASHING)
    stamped = [(0, "a"), (8, "a"), (11, "x"), (12, "b")]
    text = "".join(f"2026-01-05T00:00:{second:02}Z {line}\n" for second, line in stamped)
    case = {"id": "crash", "rule": "cre-2026-9901", "log_text": text, "expect": {"crash": True}}
    intended = {"problems": 0, "hits": 0, "hit_ts": []}
    write(tmp_path, "cre/schedules.jsonl", {**case, "intended": intended})
    for published in (False, True):
        (outcome,) = run_corpus(tmp_path, published=published)
        assert outcome.failed == (), published
