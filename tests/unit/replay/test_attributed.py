"""Jobs of a mapped table are those of the GPUs that other tables measure."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from fallow.cli.app import app

MAP = """\
files:
  - match: jobs.csv
    time: {column: started, unit: s}
    entity: {host.name: node, fallow.job.id: job, fallow.user.name: user}
    event: {name: {value: fallow.job.start}, attributes: {fallow.job.gpu.indices: gpus}}
  - match: jobs.csv
    time: {column: ended, unit: s}
    entity: {host.name: node, fallow.job.id: job}
    event: {name: {value: fallow.job.end}}
  - match: gpus.csv
    time: {column: t, unit: s}
    entity: {host.name: node, fallow.gpu.index: index}
    signals: {hw.gpu.utilization: {column: used}}
"""


def test_a_job_that_never_used_its_gpus_is_found_by_its_id(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(MAP)
    (tmp_path / "jobs.csv").write_text(
        'node,job,user,gpus,started,ended\nn1,42,ann,"n1:0,n1:1",600,9000\nn1,43,bob,n1:2,600,9000\n'
    )
    rows = [f"n1,{i},{t},{0.9 if i == 2 else 0.0}" for t in range(0, 9600, 60) for i in range(4)]
    (tmp_path / "gpus.csv").write_text("node,index,t,used\n" + "\n".join(rows) + "\n")
    files = [str(tmp_path / name) for name in ("jobs.csv", "gpus.csv")]
    done = CliRunner().invoke(app, ["replay", *files, "--map", str(tmp_path / "map.yaml"), "--json", "-"])
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = [x for x in lines if x.get("rule") == "CRE-2026-9001" and x["type"] == "detection"]
    assert {x["entity"]["fallow.job.id"] for x in found if x["state"] == "fired"} == {"42"}
    assert {x["entity"]["fallow.user.name"] for x in found} == {"ann"}
