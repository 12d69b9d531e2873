"""PromQL scripts: Prometheus' own, of which all that need no native histograms pass, and ours; and their language."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from fallow.testing.promql_notation import NotationError, metric, points, seconds
from fallow.testing.promql_scripts import NATIVE, Case, main, run_script

SCRIPTS = Path(__file__).parents[2].parent / "shared" / "promql"
OURS = sorted((Path(__file__).parent / "promql").glob("*.test"))
CORE = 363
WITHOUT_HISTOGRAMS = 692
"""Of 737 cases; the others ask for native histograms."""


@cache
def cases() -> dict[str, Case]:
    """Every case of Prometheus' scripts, by file:line."""
    if not SCRIPTS.is_dir():
        pytest.skip("the scripts are not beside this checkout")
    return {f"{c.file}:{c.line}": c for path in sorted(SCRIPTS.glob("*.test")) for c in run_script(path)}


def test_all_of_the_streaming_core_passes() -> None:
    core = cases().keys() & set((SCRIPTS / "core.txt").read_text().split())
    assert len(core) == CORE
    assert [key for key in sorted(core) if cases()[key].outcome != "passed"] == []


def test_no_answer_is_wrong_and_all_that_need_no_native_histograms_pass() -> None:
    found = Counter(case.reason if case.outcome == "unsupported" else case.outcome for case in cases().values())
    assert found == {"passed": WITHOUT_HISTOGRAMS, NATIVE: len(cases()) - WITHOUT_HISTOGRAMS}


def test_no_case_is_lost() -> None:
    lines = {
        f"{path.name}:{number}"
        for path in SCRIPTS.glob("*.test")
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if line.startswith("eval")
    }
    assert cases().keys() == lines


@pytest.mark.parametrize("path", OURS, ids=[path.stem for path in OURS])
def test_our_scripts_pass(path: Path) -> None:
    found = list(run_script(path))
    assert found
    assert [case for case in found if case.outcome != "passed"] == []


def test_a_script_says_what_passed_and_what_did_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.test").write_text(
        'load 1m\n\ta{b="1"} 0+1x10\n\n'
        'eval instant at 5m a\n\ta{b="1"} 5\n\n'
        "eval instant at 5m sum(a)\n\t{} 6\n\n"
        'eval range from 0 to 2m step 1m a * 2\n\t{b="1"} 0 2 4\n\n'
        "eval instant at 5m 1 + 1\n\t2\n\n"
        "eval instant at 5m info(a)\n\n"
        "eval_fail instant at 5m a[\n\n"
        "clear\neval instant at 5m a\n"
    )
    assert main([str(tmp_path / "x.test"), "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    outcomes = [line["outcome"] for line in lines if line["type"] == "case"]
    assert outcomes == ["passed", "failed", "passed", "passed", "unsupported", "passed", "passed"]
    assert lines[-1] == {"type": "file", "file": str(tmp_path / "x.test"), "passed": 5, "failed": 1, "unsupported": 1}


def test_what_is_not_known_is_unsupported_and_so_is_what_rests_on_it(tmp_path: Path) -> None:
    (tmp_path / "x.test").write_text(
        "load 1m\n\ta 1\n"
        "laod 1m\n\ta 2\n"
        "eval instant at 0 a\n\ta 1\n"
        "clear\n"
        "load 1m\n\ta 1 !2\n"
        "eval instant at 0 a\n\ta 1\n"
        "clear\n"
        "load 1m\n\ta 1\n"
        "eval instant at 0 a\n\texpect miracle\n\ta 1\n"
        "eval sometime a\n\ta 1\n"
        "eval instant at 0 a\n\ta 1\n"
    )
    found = list(run_script(tmp_path / "x.test"))
    assert [(case.line, case.outcome) for case in found] == [
        (3, "unsupported"),
        (5, "unsupported"),
        (10, "unsupported"),
        (15, "unsupported"),
        (18, "unsupported"),
        (20, "passed"),
    ]
    assert [case.reason for case in found[:3]] == [
        "'laod 1m' is no command of a script",
        "line 3: 'laod 1m' is no command of a script",
        "line 8: '!2' is no number",
    ]


def test_a_failure_that_is_expected_but_only_not_supported_is_not_passed(tmp_path: Path) -> None:
    (tmp_path / "x.test").write_text("eval_fail instant at 0 info(a)\neval_fail instant at 0 topk(NaN, a)\n")
    assert [case.outcome for case in run_script(tmp_path / "x.test")] == ["unsupported", "passed"]


def test_the_notation() -> None:
    assert points("1+2x3 _ _x2 stale 5x1 -1e3") == [1.0, 3.0, 5.0, 7.0, None, None, None, "stale", 5.0, 5.0, -1000.0]
    with pytest.raises(NotationError):
        seconds("5 parsecs")
    assert (seconds("1h30m"), seconds("100"), seconds("250ms")) == (5400.0, 100.0, 0.25)
    assert metric('m{b="x, {y}", a="\\"q\\""} 1 2') == ("m", (("a", '"q"'), ("b", "x, {y}")), "1 2")
