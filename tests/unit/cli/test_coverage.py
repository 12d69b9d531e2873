"""What rules can do on a recording, and what to switch on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fallow.cli.coverage import ways
from fallow.cli.rules import app

RULES = Path(__file__).parents[3] / "rules"
SAMPLE = str(RULES / "cre-2026-9013" / "test.otlp.jsonl")


def test_a_recording_for_people() -> None:
    done = CliRunner().invoke(app, ["coverage", SAMPLE, "--rules", str(RULES)])
    assert done.exit_code == 0, done.output
    assert "CRE-2026-9013" in done.output
    assert "DCGM_FI_DEV_FB_USED" in done.output


def test_a_recording_for_machines() -> None:
    done = CliRunner().invoke(app, ["coverage", SAMPLE, "--rules", str(RULES), "--json"])
    *found, summary = [json.loads(line) for line in done.stdout.splitlines()]
    states = {one["rule"]: one["state"] for one in found}
    assert states["CRE-2026-9001"] == "cannot fire"
    assert states["CRE-2026-9013"] in ("can fire", "in part")
    assert summary["rules"] == len(found) == sum(summary[state] for state in ("can fire", "in part", "cannot fire"))
    (start,) = [
        w
        for one in found
        if one["rule"] == "CRE-2026-9001"
        for w in one["wants"]
        if w["kind"] == "event" and w["needed"]
    ]
    assert (start["name"], start["switch_on"]) == ("fallow.job.start", ["receiver kubernetes", "receiver slurm"])


def test_a_table_with_its_mapping(tmp_path: Path) -> None:
    (tmp_path / "power.csv").write_text("t,gpu,w\n0,g0,80\n60,g0,80\n")
    (tmp_path / "map.yaml").write_text(
        "files:\n  - match: power.csv\n    time: {column: t, unit: s}\n    entity: {hw.id: gpu}\n"
        "    signals: {hw.power: {column: w}}\n"
    )
    arguments = ["coverage", str(tmp_path / "power.csv"), "--map", str(tmp_path / "map.yaml"), "--json"]
    done = CliRunner().invoke(app, arguments)
    delivered = json.loads(done.stdout.splitlines()[-1])["delivered"]
    assert delivered["signals"]["hw.power"] == {"series": 1, "labels": [{"hw.id": "*", "hw.type": "gpu"}]}


@pytest.mark.parametrize("arguments", [[], [SAMPLE, "--service", "127.0.0.1:1"]], ids=["neither", "both"])
def test_either_a_recording_or_a_service(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["coverage", *arguments]).exit_code == 2


@pytest.mark.parametrize(
    ("signal", "way"),
    [
        ("fallow.gpu.sm.utilization", "dcgm: DCGM_FI_PROF_SM_ACTIVE or DCGM_FI_PROF_SM_UTIL_RATIO"),
        ("fallow.cuda.kernel.launches", "receiver ebpf"),
        ("fallow.signal.health", "processor health"),
    ],
)
def test_what_to_switch_on(signal: str, way: str) -> None:
    assert way in list(ways("signal", signal, signal))
