"""The timeline of a rule over a sample: what matched when, and what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fallow.testing.rules import check_rule_folder, detections_of, timeline_of
from fallow.testing.samples import Gauge, Recording
from fallow_processors.cre import Timeline

RULES = Path(__file__).parents[4] / "rules"
HEAD = "rules:\n  - cre: {id: CRE-2026-9999}\n    rule:\n"
SEQUENCE = """
sequence:
  window: 10s
  event: {source: cre.log.any}
  order: [first, {value: second, count: 2}]
  negate: [{value: third, slide: -2s, window: 2s}]
"""
UNLESS = """
set:
  window: 10s
  correlations: [host.name]
  match:
    - promql: {expr: "a > 5", event: {source: m, origin: true}}
  negate:
    - {promql: {expr: "b > 0", event: {source: m}}, window: 1s}
"""


def write(folder: Path, body: str) -> Path:
    text = HEAD + "\n".join("      " + line for line in body.strip("\n").splitlines())
    (folder / "rule.yaml").write_text(text + "\n")
    return folder / "rule.yaml"


def timeline(folder: Path, body: str, *lines: tuple[int, str]) -> Timeline:
    """Of log lines, each (second, text)."""
    sample = folder / "test.log"
    sample.write_text("".join(f"2026-01-05T08:00:{second:02}Z {text}\n" for second, text in lines))
    made: Timeline = timeline_of([write(folder, body)], sample)
    return made


def rows(found: Timeline) -> dict[str, list[int]]:
    return {row["label"]: [time // 10**9 % 60 for time in row["times"]] for c in found.data() for row in c["rows"]}


def notes(found: Timeline) -> list[str]:
    return [note["text"] for condition in found.data() for note in condition["notes"]]


# -1--2-2-----  a hit
def test_every_item_has_its_times_and_a_hit_its_events(tmp_path: Path) -> None:
    found = timeline(tmp_path, SEQUENCE, (1, "first"), (4, "second"), (6, "second"), (20, "other"))
    assert rows(found) == {"value first": [1], "2 × value second": [4, 6], "not: value third": []}
    assert notes(found) == ["HIT, of 08:00:01, 08:00:04, 08:00:06"]


# -1--2-3-2---  vetoed
def test_a_veto_says_by_what_and_where_it_was_forbidden(tmp_path: Path) -> None:
    found = timeline(tmp_path, SEQUENCE, (3, "first"), (4, "second"), (5, "third"), (6, "second"), (20, "other"))
    assert notes(found)[0] == "vetoed by not: value third: at 08:00:05, forbidden 08:00:01 … 08:00:06"
    assert "dropped the event of 08:00:03" in notes(found)


# -1--2--------  too late for its window
def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    found = timeline(tmp_path, SEQUENCE, (1, "first"), (4, "second"), (30, "first"), (50, "second"))
    assert "dropped the event of 08:00:01: what it waited for did not come in its window and order" in notes(found)
    assert not any(text.startswith("HIT") for text in notes(found))


@pytest.mark.parametrize(
    ("negative", "said"),
    [
        pytest.param("b > 0", "vetoed by not: b > 0: held", id="holds"),
        pytest.param("b > 1", "HIT", id="does-not"),
        pytest.param("avg_over_time(b[1h]) > 0", "unknown: a negative", id="unknown"),
    ],
)
def test_conditions_over_signals_hold_for_spans_and_veto(tmp_path: Path, negative: str, said: str) -> None:
    made = Recording()
    for second in range(30):
        points = [Gauge("a", "", {}, 9.0 if 10 <= second < 20 else 1.0), Gauge("b", "", {}, 1.0)]
        made.metrics(second, {"host.name": "h1"}, points)
    sample = tmp_path / "test.otlp.jsonl"
    sample.write_text(made.text())
    found: Timeline = timeline_of([write(tmp_path, UNLESS.replace("b > 0", negative))], sample)
    (condition,) = found.data()
    assert [len(row["times"]) for row in condition["rows"]] == [1, 1 if negative == "b > 0" else 0]
    assert list(condition["rows"][0]["ends"].values()), "it ceased to hold"
    assert any(note.startswith(said) for note in notes(found))
    assert any("●━" in line for line in found.lines())


def test_lines_are_for_people(tmp_path: Path) -> None:
    found = timeline(tmp_path, SEQUENCE, (1, "first"), (4, "second"), (6, "second"), (20, "other"))
    first, title, *table = found.lines()
    assert first == "  from 2026-01-05 08:00:01 to 2026-01-05 08:00:06 UTC"
    assert title == "  CRE-2026-9999: sequence of cre.log.any"
    assert table[0].split() == ["value", "first", "●" + "·" * 47, "08:00:01"]
    assert table[2].endswith("never")
    empty = timeline(tmp_path, SEQUENCE, (1, "other"))
    assert list(empty.lines()) == ["  nothing that the rule looks for is there"]


@pytest.mark.parametrize("folder", ["cre-2026-9001", "cre-2026-9032"])
def test_watching_changes_nothing(folder: str) -> None:
    rule = RULES / folder / "rule.yaml"
    for sample in sorted((RULES / folder).glob("test*")):
        seen: list[Any] = timeline_of([rule], sample).data()
        hits = sum(note["text"].startswith("HIT") for note in seen[0]["notes"])
        assert hits == sum(d.state == "fired" for d in detections_of([rule], sample)), sample.name


def test_only_what_went_wrong_has_a_timeline(tmp_path: Path) -> None:
    write(tmp_path, SEQUENCE)
    hit = "".join(f"2026-01-05T08:00:{s:02}Z {t}\n" for s, t in ((1, "first"), (4, "second"), (6, "second"), (20, "x")))
    (tmp_path / "test.log").write_text(hit)
    (tmp_path / "test-fp.log").write_text(hit)
    wrong, right = check_rule_folder(tmp_path)
    assert (wrong.path.name, wrong.passed, right.passed, right.timeline) == ("test-fp.log", False, True, None)
    assert any("HIT" in line for line in wrong.timeline.lines())
