"""``fallow frontier`` as it is called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fallow.cli.app import app

CSV = "t,pod,util\n" + "".join(
    f"{60 * minute},p{pod},{40 if (minute + pod * 7) % 20 == 0 else 0}\n" for minute in range(120) for pod in range(6)
)
MAP = """
files:
  - match: "*.csv"
    time: {column: t, unit: s}
    entity: {container.id: pod, hw.id: pod}
    signals: {hw.gpu.utilization: {column: util, scale: 0.01}}
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "pods.csv").write_text(CSV)
    (tmp_path / "map.yaml").write_text(MAP)
    return str(tmp_path / "pods.csv"), "--map", str(tmp_path / "map.yaml")


def test_a_table_and_a_picture(files: tuple[str, ...], tmp_path: Path) -> None:
    page = tmp_path / "frontier.html"
    result = CliRunner().invoke(app, ["frontier", *files, "--html", str(page)])
    assert result.exit_code == 0, result.output
    assert "most of 30 min" in result.output
    assert "6 GPUs" in result.output
    assert "Plotly.newPlot" in page.read_text()


def test_a_line_for_each_policy(files: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, ["frontier", *files, "--json", "-"])
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert {line["kind"] for line in lines} >= {"time-out", "keep warm", "oracle"}
    assert all(line["type"] == "policy" and len(line["saved"]) == 3 for line in lines)


def test_nothing_to_look_at_is_said(tmp_path: Path, files: tuple[str, ...]) -> None:
    (tmp_path / "pods.csv").write_text("t,pod,util\n0,p0,0\n")
    result = CliRunner().invoke(app, ["frontier", *files])
    assert result.exit_code == 1
