"""What goes wrong on the command line is one clear line and the right exit code."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

RULES = Path(__file__).parents[3] / "rules"
PACK = len(list(RULES.glob("cre-*")))
GATEWAY = Path(__file__).parents[3] / "otel-config" / "fallow-gateway.yaml"
CONFIG = """\
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{port}"}}}}}}
exporters:
  recommendations: {{endpoint: "127.0.0.1:0"}}
service:
  pipelines:
    telemetry: {{receivers: [otlp], exporters: [recommendations]}}
"""


def fallow(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "fallow", *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield held.getsockname()[1]


def test_a_missing_file() -> None:
    code, _, said = fallow("run", "no/such.yaml")
    assert (code, said) == (2, "fallow: no/such.yaml: cannot be read: No such file or directory\n")


def test_a_wrong_flag() -> None:
    code, _, said = fallow("run", "--colour", "x.yaml")
    assert code == 2
    assert "No such option: --colour" in said


def test_broken_yaml(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("receivers: {otlp: [}\n")
    code, _, said = fallow("validate", str(tmp_path / "x.yaml"))
    assert code == 2
    assert said.startswith(f"fallow: {tmp_path}/x.yaml:1: not valid YAML: ")
    assert said.count("\n") == 1


def test_an_unknown_key(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(CONFIG.format(port=0).replace("grpc", "grcp"))
    code, _, said = fallow("validate", str(tmp_path / "x.yaml"))
    assert code == 2
    assert said == f"fallow: {tmp_path}/x.yaml:2: receivers.otlp.protocols.grcp: unknown key; allowed: grpc, http\n"


def test_an_unknown_component(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(CONFIG.format(port=0).replace("otlp: {", "oltp: {"))
    code, _, said = fallow("validate", str(tmp_path / "x.yaml"))
    assert code == 2
    assert "x.yaml:2: receivers.oltp: 'oltp' is no receiver; there are: " in said
    assert (
        "x.yaml:7: service.pipelines.telemetry.receivers[0]: 'otlp' found, expected one of the receivers above: none"
        in said
    )


def test_a_port_in_use(tmp_path: Path, taken_port: int) -> None:
    (tmp_path / "x.yaml").write_text(CONFIG.format(port=taken_port))
    code, _, said = fallow("run", str(tmp_path / "x.yaml"))
    assert code == 1
    assert said.splitlines()[-1] == f"fallow: cannot listen on 127.0.0.1:{taken_port}: address already in use"


def test_a_backend_that_cannot_be_reached() -> None:
    code, _, said = fallow("recommendations", "list", "--endpoint", "127.0.0.1:1")
    assert code == 1
    assert said == "fallow: cannot reach the recommendation service at 127.0.0.1:1: is Fallow running there?\n"


def test_a_valid_file(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(CONFIG.format(port=0))
    assert fallow("validate", str(tmp_path / "x.yaml")) == (0, f"{tmp_path}/x.yaml: ok\n", "")


def test_checking_a_configuration_compiles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    code, said, _ = fallow("validate", str(GATEWAY))
    assert (code, said) == (0, f"{GATEWAY}: ok\n")
    assert not list(tmp_path.rglob("*.nbi"))


def test_replay_of_what_is_not_there() -> None:
    code, _, said = fallow("replay", "no/such.jsonl")
    assert (code, said) == (2, "fallow: no/such.jsonl: no such file\n")


def test_replay_of_a_table_without_a_mapping(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("t,v\n1,2\n")
    code, _, said = fallow("replay", str(tmp_path / "x.csv"))
    assert code == 2
    assert said.startswith(f"fallow: {tmp_path}/x.csv: needs a mapping file (--map)")


def test_replay_with_a_mapping_that_names_no_column(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("t,v\n1,2\n")
    entry = "{match: x.csv, time: {column: t, unit: s}, entity: {host.name: host}, signals: {hw.power: {column: v}}}"
    (tmp_path / "map.yaml").write_text(f"files:\n  - {entry}\n")
    code, _, said = fallow("replay", str(tmp_path / "x.csv"), "--map", str(tmp_path / "map.yaml"))
    assert code == 2
    assert "host" in said
    assert "t, v" in said
    assert said.count("\n") == 1


def test_replay_of_a_broken_line(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"resourceMetrics":[]}\n{"resourceMetrics":[}\n')
    code, _, said = fallow("replay", str(tmp_path / "x.jsonl"))
    assert code == 2
    assert said.startswith(f"fallow: {tmp_path}/x.jsonl:2: ")


def test_replay_into_a_folder_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"resourceMetrics":[]}\n')
    code, _, said = fallow("replay", str(tmp_path / "x.jsonl"), "--json", str(tmp_path / "no" / "out.jsonl"))
    assert (code, said) == (2, f"fallow: {tmp_path}/no/out.jsonl: No such file or directory\n")


def test_replay_writes_json_lines_and_a_report(tmp_path: Path) -> None:
    sample = str(RULES / "cre-2026-9003" / "test.otlp.jsonl")
    report = tmp_path / "report.html"
    code, out, said = fallow("replay", sample, "--json", "-", "--report", str(report))
    assert (code, said) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["state"] for line in lines if line.get("rule") == "CRE-2026-9003"] == ["fired", "open"]
    assert lines[-1]["type"] == "summary"
    assert all(next(iter(line)) == "type" for line in lines)
    assert report.read_text().startswith("<!doctype html>")
    code, out, _ = fallow("replay", sample)
    assert code == 0
    assert "GPU memory held without compute" in out


def test_a_rule_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "rule.yaml").write_text(
        (RULES / "cre-2026-9004" / "rule.yaml").read_text().replace("== 0 and", "=== 0 and")
    )
    code, _, said = fallow("rules", "check", str(tmp_path))
    assert code == 1
    assert said.startswith(f"fallow: {tmp_path}/rule.yaml:")
    assert "not valid PromQL" in said
    assert said.count("\n") == 1
    code, out, _ = fallow("rules", "check", str(tmp_path), "--json")
    assert code == 1
    problem = json.loads(out.splitlines()[0])
    assert (problem["type"], problem["kind"], problem["line"] > 0, problem["column"] > 0) == (
        "problem",
        "Promql",
        True,
        True,
    )


def test_an_unknown_key_of_a_rule_is_refused_or_let_pass(tmp_path: Path) -> None:
    (tmp_path / "rule.yaml").write_text((RULES / "cre-2026-9004" / "rule.yaml").read_text().replace("title:", "titel:"))
    code, _, said = fallow("rules", "check", str(tmp_path))
    assert code == 1
    assert "rules[0].cre.titel: unknown key; allowed: id, severity, title" in said
    code, out, said = fallow("rules", "check", str(tmp_path), "--lenient")
    assert (code, out) == (0, "1 rule: ok\n")
    assert "titel: unknown key, left out" in said


def test_rules_that_are_right() -> None:
    code, out, _ = fallow("rules", "check", str(RULES))
    assert (code, out) == (0, f"{PACK} rules: ok\n")
    code, out, _ = fallow("rules", "test", str(RULES / "cre-2026-9061"), "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["type"], found["samples"], found["passed"]) == ("rule", 6, 6)


def test_a_sample_that_should_not_fire(tmp_path: Path) -> None:
    for file in (RULES / "cre-2026-9061").iterdir():
        (tmp_path / file.name.replace("test.", "test-fp-fires.")).write_bytes(file.read_bytes())
    (tmp_path / "test.otlp.jsonl").write_bytes((tmp_path / "test-fp-low.otlp.jsonl").read_bytes())
    code, _, said = fallow("rules", "test", str(tmp_path))
    assert code == 1
    assert f"{tmp_path}/test-fp-fires.otlp.jsonl: should fire not at all, fired 1 times: fired at " in said
    assert f"{tmp_path}/test.otlp.jsonl: should fire exactly once, fired 0 times" in said


def test_a_configuration_with_a_rule_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "rule.yaml").write_text("rules:\n  - cre: {id: CRE-1}\n    rule: {set: {match: [x]}}\n")
    config = CONFIG.format(port=0).replace("exporters:", "processors:\n  cre: {rules: [rule.yaml]}\nexporters:", 1)
    (tmp_path / "x.yaml").write_text(config.replace("receivers: [otlp],", "receivers: [otlp], processors: [cre],"))
    code, _, said = fallow("validate", str(tmp_path / "x.yaml"))
    assert code == 2
    assert said.startswith(f"fallow: {tmp_path}/rule.yaml:3: ")
    assert "event.source is required" in said


@pytest.mark.parametrize(
    "verb",
    [
        (),
        *[(v,) for v in ("run", "validate", "components", "demo", "replay", "detect", "recommendations", "rules")],
        *[("rules", v) for v in ("check", "test", "hash", "build", "explain", "schema", "coverage")],
        *[("recommendations", v) for v in ("list", "show", "watch", "approve", "dismiss", "outcome")],
    ],
    ids=" ".join,
)
def test_every_verb_has_help_with_an_example(verb: tuple[str, ...]) -> None:
    code, said, _ = fallow(*verb, "--help")
    assert code == 0
    assert "Usage:" in said
    assert "Example: fallow" in said or "Start with: fallow" in said or verb in (("recommendations",), ("rules",))
