"""Prometheus' own PromQL scripts: how many of the cases of the streaming core pass, and that none is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fallow.errors import DocumentError
from fallow.testing.promql_scripts import main, metric, points, run_script, seconds

SCRIPTS = Path(__file__).parents[2].parent / "shared" / "promql"
CORE_PASSED = 354
"""Of 363; the rest are the overflow of an average's sum, native histograms beside floats, and errors of matching."""


def test_the_streaming_core() -> None:
    if not SCRIPTS.is_dir():
        pytest.skip("the scripts are not beside this checkout")
    core = set((SCRIPTS / "core.txt").read_text().split())
    cases = {f"{c.file}:{c.line}": c for path in sorted(SCRIPTS.glob("*.test")) for c in run_script(path)}
    assert core <= cases.keys()
    passed = [key for key in core if cases[key].outcome == "passed"]
    assert len(passed) >= CORE_PASSED


def test_a_script_says_what_passed_and_what_did_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.test").write_text(
        'load 1m\n\ta{b="1"} 0+1x10\n\n'
        'eval instant at 5m a\n\ta{b="1"} 5\n\n'
        "eval instant at 5m sum(a)\n\t{} 6\n\n"
        'eval range from 0 to 2m step 1m a * 2\n\t{b="1"} 0 2 4\n\n'
        "eval instant at 5m 1 + 1\n\t2\n\n"
        "eval instant at 5m a[5m:1m]\n\n"
        "eval_fail instant at 5m a[\n\n"
        "clear\neval instant at 5m a\n"
    )
    assert main([str(tmp_path / "x.test"), "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    outcomes = [line["outcome"] for line in lines if line["type"] == "case"]
    assert outcomes == ["passed", "failed", "passed", "passed", "unsupported", "passed", "passed"]
    assert lines[-1] == {"type": "file", "file": str(tmp_path / "x.test"), "passed": 5, "failed": 1, "unsupported": 1}


def test_a_line_that_is_no_command_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.test").write_text("load 1m\n\ta 1\nlaod 1m\n")
    with pytest.raises(DocumentError, match=r"x\.test:3: 'laod 1m' is no command"):
        list(run_script(tmp_path / "x.test"))


def test_the_notation() -> None:
    assert points("1+2x3 _ _x2 stale 5x1 -1e3") == [1.0, 3.0, 5.0, 7.0, None, None, None, "stale", 5.0, 5.0, -1000.0]
    assert (seconds("1h30m"), seconds("100"), seconds("250ms")) == (5400.0, 100.0, 0.25)
    assert metric('m{b="x, {y}", a="\\"q\\""} 1 2') == ("m", (("a", '"q"'), ("b", "x, {y}")), "1 2")
