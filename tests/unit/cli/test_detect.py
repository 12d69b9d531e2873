"""``fallow detect`` over log files and standard input."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RULES = """\
rules:
  - metadata: {id: Aaaaaaaaaaaa, hash: Aaaaaaaaaaaa}
    cre: {id: TEST-SEQUENCE, title: two then one, severity: 1}
    rule:
      sequence:
        event: {source: app, origin: true}
        window: 10s
        order: [begin, {regex: "end(ed)?"}]
  - metadata: {id: Bbbbbbbbbbbb, hash: Bbbbbbbbbbbb}
    cre: {id: TEST-QUIET, title: no answer, severity: 2}
    rule:
      sequence:
        event: {source: app, origin: true}
        window: 10s
        order: [asked, waiting]
        negate: [{value: answered, window: 5s}]
  - metadata: {id: Cccccccccccc, hash: Cccccccccccc}
    cre: {id: TEST-OTHER, title: another source}
    rule: {set: {event: {source: broker, origin: true}, match: [oops]}}
"""


def fallow(*arguments: str, stdin: str = "") -> tuple[int, list[dict[str, Any]], str]:
    done = subprocess.run(
        [sys.executable, "-m", "fallow", "detect", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.fixture
def rules(tmp_path: Path) -> str:
    (tmp_path / "rules.yaml").write_text(RULES)
    return str(tmp_path / "rules.yaml")


def fired(lines: list[dict[str, Any]]) -> list[str]:
    return [line["rule"] for line in lines if line["type"] == "detection"]


def test_standard_input_gives_a_line_for_each_detection_and_a_summary(rules: str) -> None:
    log = (
        "2026-01-05 00:00:01.5 begin\n2026-01-05 00:00:02 asked\n"
        "  more of the question\n2026-01-05 00:00:03 waiting\n2026-01-05 00:00:04,25 ended\n"
    )
    code, lines, said = fallow("--rules", rules, stdin=log)
    assert (code, said) == (0, "")
    assert fired(lines) == ["TEST-SEQUENCE", "TEST-QUIET"]  # the second only at the end of the stream
    first = lines[0]
    assert set(first) == {"type", "id", "rule", "hash", "entity", "time", "start", "end", "state", "evidence"}
    assert (first["state"], first["entity"]) == ("fired", {})
    assert (first["start"], first["end"]) == (1_767_571_201_500_000_000, 1_767_571_204_250_000_000)
    assert [e["text"] for e in lines[1]["evidence"]] == [
        "2026-01-05 00:00:02 asked  more of the question",
        "2026-01-05 00:00:03 waiting",
    ]
    summary = lines[-1]
    assert (summary["type"], summary["detections"], summary["events"], summary["late"]) == ("summary", 2, 4, 0)
    assert summary["span_s"] == 2.75


def test_files_of_one_source_are_one_stream_in_the_order_of_their_first_stamps(rules: str, tmp_path: Path) -> None:
    (tmp_path / "b.log").write_text("2026-01-05T00:00:01Z begin\n2026-01-05T00:00:02Z x\n")
    (tmp_path / "a.log.gz").write_bytes(gzip.compress(b"2026-01-05T00:00:03Z ended\n2026-01-05T00:00:00Z oops\n"))
    files = [str(tmp_path / "a.log.gz"), str(tmp_path / "b.log")]
    code, lines, said = fallow("--rules", rules, "--exit-code", *files)
    assert code == 1  # a rule fired, and that was asked for
    assert fired(lines) == ["TEST-SEQUENCE", "TEST-OTHER"]  # a rule of one term sees late lines, too
    assert lines[-1]["late"] == 1
    assert said.startswith("fallow: 1 line was older than what came before")


def test_a_window_puts_lines_in_order(rules: str) -> None:
    log = "2026-01-05T00:00:04Z ended\n2026-01-05T00:00:01Z begin\n2026-01-05T00:00:09Z x\n"
    _, lines, _ = fallow("--rules", rules, "--window", "5s", stdin=log)
    assert (fired(lines), lines[-1]["late"]) == (["TEST-SEQUENCE"], 0)


def test_sources_decide_which_rules_see_a_file(rules: str, tmp_path: Path) -> None:
    line = "at {} oops begin\nat {} ended oops\n"
    (tmp_path / "app-1.log").write_text(line.format(100, 101))
    (tmp_path / "broker.log").write_text("2026-01-05T00:00:01Z oops\n")
    (tmp_path / "sources.yaml").write_text(
        "version: 1\nsources:\n"
        "  - type: app\n"
        "    timestamp: {regex: '^at (\\d+)', format: epochseconds}\n"
        "    locations: [{path: nowhere/*.log}, {path: 'app-*.log', type: log}]\n"
        "  - {type: broker, locations: [{path: broker.log}]}\n"
        "  - {type: unheard, locations: [{path: none.log}]}\n"
    )
    code, lines, said = fallow("--rules", rules, "--sources", str(tmp_path / "sources.yaml"))
    assert code == 0
    assert fired(lines) == ["TEST-SEQUENCE", "TEST-OTHER"]
    assert [line["entity"] for line in lines[:2]] == [{"cre.source": "app"}, {"cre.source": "broker"}]
    assert said == f"fallow: {tmp_path}/sources.yaml:7: sources[2].type: 'unheard' has no files; looked at none.log\n"


def test_errors_of_published_engines_on_demand(rules: str) -> None:
    log = "2026-01-05 00:00:01.000500+02:00 oops\n2026-01-05 00:00:02.000500+02:00 x\n"
    for published, start in (("D1,stamps", 1_767_571_201_000_000_000), ("", 1_767_564_001_000_500_000)):
        _, lines, _ = fallow("--rules", rules, "--published", published, stdin=log)
        assert [line.get("start") for line in lines] == [start, None]
    code, _, said = fallow("--rules", rules, "--published", "D7", stdin=log)
    assert (code, said) == (2, "fallow: --published: D7 found, expected some of D1,D2,D3,D4,stamps\n")


def test_one_source_for_all_files(rules: str) -> None:
    _, lines, _ = fallow("--rules", rules, "--source", "broker", stdin="1767571201 begin oops\n1767571202 ended\n")
    assert fired(lines) == ["TEST-OTHER"]


def test_many_lines_are_found_as_few_are(rules: str) -> None:
    noise = "".join(f"2026-01-05T00:00:{i // 1000:02}.{i % 1000:03}Z step {'.' * 60} {i}\n" for i in range(20_000))
    log = noise + "2026-01-05T00:00:20Z begin\n2026-01-05T00:00:21Z oops\n2026-01-05T00:00:22Z end\n" + noise
    _, lines, _ = fallow("--rules", rules, stdin=log)
    assert fired(lines) == ["TEST-OTHER", "TEST-SEQUENCE"]
    assert (lines[-1]["events"], lines[-1]["late"]) == (40_003, 20_000)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"no stamp\n", "no line has a stamp of a known form: the first is 'no stamp'", id="no stamp"),
        pytest.param(gzip.compress(b"x"), "it is compressed; gzip is read where the name ends in .gz", id="gzip"),
    ],
)
def test_a_file_that_is_no_log(rules: str, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.log").write_bytes(content)
    code, lines, said = fallow("--rules", rules, str(tmp_path / "x.log"), str(tmp_path / "none.log"))
    assert (code, lines) == (2, [])
    assert said.splitlines()[0].startswith(f"fallow: {tmp_path}/x.log: ")
    assert message in said
    assert f"fallow: {tmp_path}/none.log: cannot be read: No such file or directory" in said


def test_a_broken_gzip(rules: str, tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"2026-01-05T00:00:01Z begin\n" * 9000)[:-40])
    code, _, said = fallow("--rules", rules, str(tmp_path / "x.gz"))
    assert code == 2
    assert f"{tmp_path}/x.gz: the gzip stream ends before its end: the file is truncated" in said


def test_wrong_sources_name_their_places(rules: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "sources:\n  - type: app\n    colour: red\n    timestamp:\n      regex: '('\n      format: unix\n"
    )
    code, _, said = fallow("--rules", rules, "--sources", str(tmp_path / "s.yaml"))
    assert code == 2
    assert said.startswith(f"fallow: {tmp_path}/s.yaml:3: sources[0].colour: unknown key; allowed: type, ")
    (tmp_path / "s.yaml").write_text((tmp_path / "s.yaml").read_text().replace("    colour: red\n", ""))
    code, _, said = fallow("--rules", rules, "--sources", str(tmp_path / "s.yaml"))
    assert code == 2
    assert said.startswith(f"fallow: {tmp_path}/s.yaml:4: sources[0].timestamp.regex: not a valid RE2 pattern: ")


def test_rules_about_signals_are_left_out_with_a_word(rules: str, tmp_path: Path) -> None:
    (tmp_path / "signals.yaml").write_text(
        "rules:\n  - cre: {id: TEST-SIGNAL}\n    rule:\n      set: {event: {source: x, origin: true}, match: [a]}\n"
        .replace("event: {source: x, origin: true}, match: [a]", "match: [{promql: {expr: up == 0, event: {source: x, origin: true}}}]")
    )  # fmt: skip
    code, lines, said = fallow("--rules", rules, "--rules", str(tmp_path / "signals.yaml"), stdin="1767571201 oops\n")
    assert (code, fired(lines)) == (0, ["TEST-OTHER"])
    assert said == "fallow: 1 rule with promql left out: logs have no signals (TEST-SIGNAL)\n"
    code, _, said = fallow("--rules", str(tmp_path / "signals.yaml"), stdin="1767571201 oops\n")
    assert (code, said.splitlines()[-1]) == (2, "fallow: no rule is left that logs could answer")


def test_nothing_is_compiled_or_loaded_for_a_small_log(rules: str) -> None:
    code = (
        "import sys; from fallow.cli import main\n"
        "sys.argv[1:] = ['detect', '--rules', sys.argv[1]]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('numba', 'sqlalchemy', 'grpc', 'opentelemetry.sdk') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, rules],
        input="2026-01-05T00:00:01Z x\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
