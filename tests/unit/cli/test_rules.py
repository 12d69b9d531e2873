"""``fallow rules`` hash, build, schema and explain, as they are called."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PACK = len(list((ROOT / "rules").glob("cre-*")))
RULE = """\
rules:
  - cre: {{id: CRE-2026-9999, title: A title, mitigation: ""}}
    metadata: {{id: AAAAbbbbCCCC{hash}}}
    rule: {{set: {{event: {{source: cre.metrics}}, match: [{{{term}}}]}}}}
"""


def rules(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "fallow", "rules", *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout, done.stderr


def write(folder: Path, hash: str = "", term: str = "jq: .value < 1") -> Path:
    (folder / "rule.yaml").write_text(RULE.format(hash=hash, term=term))
    return folder / "rule.yaml"


def test_a_stated_hash_that_is_not_the_rules_is_said(tmp_path: Path) -> None:
    file = write(tmp_path, ", hash: AAAAbbbbDDDD")
    code, out, said = rules("hash", str(file))
    assert code == 0
    names, values = (line.split() for line in out.splitlines())
    assert names == ["rule", "id", "hash", "stable", "hash"]
    assert values[:2] == ["CRE-2026-9999", "AAAAbbbbCCCC"]
    assert said.startswith(f"fallow: {file}:4:5: CRE-2026-9999: metadata.hash is AAAAbbbbDDDD, but the hash of what is")
    assert values[2] in said
    code, out, said = rules("hash", str(file), "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert [(line["type"], line.get("hash", "")) for line in found] == [("rule", values[2]), ("warning", "")]
    assert (code, said) == (0, "")


def test_a_pack_is_built_and_is_right(tmp_path: Path) -> None:
    built = tmp_path / "pack.yaml"
    code, out, _ = rules("build", str(ROOT / "rules"), "-o", str(built))
    assert (code, out) == (0, f"{built}: {PACK} rules\n")
    assert rules("check", str(built))[:2] == (0, f"{PACK} rules: ok\n")
    code, out, _ = rules("build", str(built))
    assert (code, out) == (0, built.read_text())


def test_a_pack_is_not_built_of_what_is_wrong(tmp_path: Path) -> None:
    file = write(tmp_path, term="jq: .value <")
    code, out, said = rules("build", str(tmp_path), "-o", str(tmp_path / "pack.yaml"))
    assert (code, out) == (1, "")
    assert said.startswith(f"fallow: {file}:4:")
    assert not (tmp_path / "pack.yaml").exists()
    assert rules("build", str(tmp_path / "none"))[0] == 2


def test_a_term_that_costs_much_over_points_is_warned_of(tmp_path: Path) -> None:
    code, out, said = rules("check", str(write(tmp_path, term="jq: '.value + 1 < 1'")))
    assert (code, out) == (0, "1 rule: ok\n")
    assert "over metric points is slow" in said
    assert rules("check", str(write(tmp_path)))[2] == ""


def test_the_schema_is_printed() -> None:
    assert rules("schema")[1] == (ROOT / "rules" / "cre.schema.json").read_text()


def test_a_rule_of_the_pack_is_explained_with_what_the_playbook_allows(tmp_path: Path) -> None:
    playbook = tmp_path / "playbook.yaml"
    playbook.write_text(
        "entries:\n"
        "  - {rule: CRE-2026-9001, action: requeue, tier: T2}\n"
        "  - {rule: CRE-2026-9002, stable_hash: another, action: notify, tier: T1}\n"
    )
    code, out, said = rules("explain", "cre-2026-9001", "--playbook", str(playbook))
    assert (code, said) == (0, "")
    for title in ("looks for", "condition", "needs", "speaks", "holds", "suggests", "the playbook allows"):
        assert f"\n{title}\n" in out
    assert "action: requeue" in out
    assert out.count("\nCRE-") == 0, "the others of the pack are only there to be compared with"
    _, out, _ = rules("explain", "CRE-2026-9002", "CRE-2026-9003", "--playbook", str(playbook), "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert [(line["type"], line["rule"], line["allowed"]["tier"]) for line in found] == [
        ("explanation", "CRE-2026-9002", "T0"),
        ("explanation", "CRE-2026-9003", "T0"),
    ]
    assert "another text of the rule" in found[0]["allowed"]["why"]


def test_what_cannot_be_explained_is_said(tmp_path: Path) -> None:
    code, _, said = rules("explain", "CRE-2026-0000")
    assert code == 2
    assert said.startswith(
        "fallow: CRE-2026-0000: no such file or folder, and no rule of the built-in pack: CRE-2026-9001,"
    )
    assert rules("explain", str(write(tmp_path, term="jq: .value <")))[0] == 1
