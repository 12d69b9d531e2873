"""Slurm's commands: what goes wrong with them is said, and a command that hangs is ended."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from fallow.clients.slurm import Cli, SlurmError
from helpers.slurm import GOLDEN, RELEASES, RecordedSlurm


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("release", RELEASES)
def test_the_settings_of_a_cluster(release: str, tmp_path: Path) -> None:
    slurm = RecordedSlurm(tmp_path)
    slurm.show(GOLDEN / release / "0")
    found = Cli(commands=slurm.commands).settings()
    assert found.version.startswith(release)
    assert (found.cluster, found.min_job_age_s, found.slurmdbd, found.jobcomp_file) == ("mini", 300, False, "")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        pytest.param("echo no controller >&2; exit 1", "squeue ended with 1: no controller", id="fails"),
        pytest.param("echo Segfault", "squeue --json --all --states=all wrote no JSON .*: 'Segfault'", id="no-json"),
        pytest.param("echo '{}'", "no list 'jobs'", id="no-jobs"),
        pytest.param("""echo '{"jobs": [{"job_id": 1}]}'""", r"jobs\[0\] .* KeyError\('job_state'\)", id="bad-job"),
        pytest.param("""echo '{"errors": [{"error": "busy"}]}'""", "Slurm says: busy", id="error"),
        pytest.param("exec sleep 60", "squeue has not answered within 0.2 s", id="hangs"),
    ],
)
def test_a_command_that_goes_wrong(script: str, message: str, tmp_path: Path) -> None:
    program(tmp_path, "squeue", script)
    with pytest.raises(SlurmError, match=message):
        Cli(commands=tmp_path, timeout_s=0.2 if "sleep" in script else 30).jobs()


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SlurmError, match=f"squeue is not in {tmp_path}"):
        Cli(commands=tmp_path).jobs()


def test_a_release_that_is_too_old(tmp_path: Path) -> None:
    program(tmp_path, "scontrol", "echo 'SLURM_VERSION           = 21.08.8'")
    with pytest.raises(SlurmError, match=r"Slurm 21\.08\.8 found; it has to be 22\.05 or newer"):
        Cli(commands=tmp_path).settings()


def test_closing_ends_the_command_that_runs(tmp_path: Path) -> None:
    program(tmp_path, "squeue", f"touch {tmp_path}/began; exec sleep 60")
    client = Cli(commands=tmp_path)
    failed: list[SlurmError] = []

    def read() -> None:
        try:
            client.jobs()
        except SlurmError as error:
            failed.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    while not (tmp_path / "began").exists():
        time.sleep(0.01)
    client.close()
    reader.join(10)
    assert "ended with -9" in str(failed[0])
    with pytest.raises(SlurmError, match="the client is closed"):
        client.jobs()


def test_the_time_zone_and_format_of_the_caller_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    program(tmp_path, "squeue", '[ -z "$SLURM_TIME_FORMAT" ] && [ "$SLURM_CONF" = /c ] && echo \'{"jobs": []}\'')
    assert Cli(commands=tmp_path, conf=Path("/c")).jobs() == []


def test_reservations(tmp_path: Path) -> None:
    said = "ReservationName=a StartTime=100 EndTime=200 Duration=00:01:40 Nodes=n[1-2] NodeCnt=2 Features=(null) Flags=SPEC_NODES,MAINT TRES=cpu=2 Users=root,mkoch Groups=(null) Accounts=(null)"
    program(tmp_path, "scontrol", f"echo '{said}'")
    (found,) = Cli(commands=tmp_path).reservations()
    assert (found.name, found.start, found.end, found.nodes) == ("a", 100, 200, ("n1", "n2"))
    assert (found.users, found.accounts, found.flags) == ("root,mkoch", "", ("MAINT", "SPEC_NODES"))
    program(tmp_path, "scontrol", "echo No reservations in the system")
    assert Cli(commands=tmp_path).reservations() == []
