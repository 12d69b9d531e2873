"""Stamps, formats, folding and reordering, against the corpus."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from fallow.errors import WrongStamp
from fallow.logfile import (
    CRI,
    Fields,
    LogReader,
    Reorder,
    detect_format,
    epoch_any,
    first_stamp,
    in_latest_year,
    parser,
    pattern_format,
    read_cri,
)

CORPUS = Path(__file__).parents[2].parent / "shared" / "cre" / "corpus"
CASES_NOW = 1_790_000_000_000_000_000
"""September 2026: in that year lie the stamps without one of the logs in the corpus."""
YEARLESS = {"cre/cre-2025-0048/test.log"}
"""Logs of December: their year is another than when the corpus was made."""

pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="the conformance corpus is not beside the repository")

Case = dict[str, Any]


def cases(file: str) -> list[Any]:
    if not CORPUS.is_dir():
        return []
    lines = (CORPUS / file).read_text(encoding="utf-8").splitlines()
    return [pytest.param(case, id=case["id"]) for case in map(json.loads, lines)]


def entries(data: bytes, now: int, *, published: bool) -> Case:
    format = detect_format(data, now, published=published)
    found = [
        [time, text]
        for records in LogReader([data], format)
        for time, text in zip(records.time.tolist(), records.text.to_pylist(), strict=True)
    ]
    return {"format": format.kind, "entries": found}


def _default(case: Case) -> Case:
    sample = case["data"].encode()
    return {"ns": first_stamp(detect_format(sample, case["now"], published=case["trim"]), sample)}


def _year(case: Case) -> Case:
    month, day, hour, minute, second, nano = case["stamp"]
    fields = Fields(month=month, day=day, hour=hour, minute=minute, second=second, nano=nano)
    return {"ns": in_latest_year(fields, case["now"], case["slop"])}


def _cri(case: Case) -> Case:
    line = read_cri(case["data"].encode())
    return {"ns": line.time, "stream": line.stream, "line": line.text.decode()}


ANSWERS: dict[str, Callable[[Case], Case]] = {
    "parse": lambda case: {"ns": parser(case["format"], 0)(case["input"])},
    "epoch_any": lambda case: {"ns": epoch_any(case["value"])},
    "try": lambda case: {
        "ns": first_stamp(pattern_format(case["pattern"], case["format"], 0), case["data"].encode(), case["tries"])
    },
    "detect_default": _default,
    "detect_file": lambda case: entries(case["data"].encode(), case["now"], published=case["trim"]),
    "guess_year": _year,
    "cri": _cri,
}


@pytest.mark.parametrize("case", cases("timez.jsonl"))
def test_stamps_are_read_as_the_corpus_says(case: Case) -> None:
    # spec_index is a position in another table than ours.
    expected = {key: value for key, value in case["expect"].items() if key != "spec_index"}
    if "error" not in expected:
        assert ANSWERS[case["fn"]](case) == expected
        return
    with pytest.raises(WrongStamp) as raised:
        ANSWERS[case["fn"]](case)
    assert expected["error"] in ("any", raised.value.kind)


@pytest.mark.parametrize("case", cases("scan.jsonl"))
def test_lines_are_folded_and_reordered_as_the_corpus_says(case: Case) -> None:
    if case["fn"] == "fold":
        reader = LogReader([case["data"].encode()], replace(CRI, folds=True))
        texts = [text for records in reader for text in records.text.to_pylist()]
        assert texts[: case["stop_after"] or None] == case["expect"]
        return
    buffer: Reorder[int] = Reorder(case["window"], case["memory_limit"] or 1 << 30)
    left = case["done_after"] or 1 << 30
    for number, step in enumerate(case["steps"]):
        flushes = step.get("op") == "flush"
        released = buffer.flush() if flushes else buffer.add(step["ts"], len(f"{step['ts']}.{number}"), number)
        times = [time for time, _ in islice(released, left)]
        assert times == step["out"]
        left -= len(times)


@pytest.mark.parametrize("case", cases("cre/cases.jsonl") + cases("examples/cases.jsonl"))
def test_files_have_the_events_that_published_engines_see(case: Case) -> None:
    engine = case.get("engine", {})
    if "entries" not in engine:
        pytest.skip("the rule is refused: its log is not read")
    data = (CORPUS / case["id"].partition("/")[0] / case["log"]).read_bytes()
    published = entries(data, CASES_NOW, published=True)
    assert (published["format"], len(published["entries"])) == (engine["format"], engine["entries"])
    hits = [event for hit in engine.get("hit_events", ()) for event in hit]
    texts = [text for _, text in published["entries"]]
    if case["id"] not in YEARLESS:
        assert [event for event in hits if isinstance(event, list) and event not in published["entries"]] == []
    assert [event for event in hits if isinstance(event, str) and event not in texts] == []
    ours = entries(data, CASES_NOW, published=False)
    assert [text for _, text in ours["entries"]] == texts
