"""The log of ended jobs: its lines, and reading on over appending, rotation and restarts."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fallow.clients.slurm import Exit, Job, JobcompFile, Position, SlurmError
from fallow.clients.slurm.jobcomp import parse_line

DAY = "2026-03-01T"


def line(id: int, **said: str) -> str:
    """A line in the format of jobcomp/filetxt."""
    fields = {
        "UserId": "mkoch(1000)", "GroupId": "lab(1000)", "Name": "train", "JobState": "COMPLETED", "Partition": "main",
        "TimeLimit": "90", "StartTime": DAY + "10:00:05", "EndTime": DAY + "10:30:00", "NodeList": "n[1-2]",
        "NodeCnt": "2", "ProcCnt": "8", "WorkDir": "/home/mkoch", "ReservationName": "", "Tres": "cpu=8,mem=4G,node=2",
        "Account": "lab", "QOS": "normal", "WcKey": "", "Cluster": "unknown", "SubmitTime": DAY + "10:00:00",
        "EligibleTime": DAY + "10:00:00", "DerivedExitCode": "0:0", "ExitCode": "0:0",
    }  # fmt: skip
    return " ".join([f"JobId={id}", *(f"{name}={value}" for name, value in (fields | said).items())]) + " \n"


def parsed(text: str) -> Job:
    job = parse_line(text)
    assert job is not None
    return job


def unix(clock: str) -> int:
    return round(time.mktime(time.strptime(DAY + clock, "%Y-%m-%dT%H:%M:%S")))


def test_a_line() -> None:
    assert parsed(line(7, Tres="cpu=8,mem=4G,node=2,gres/gpu=4")) == Job(
        id="7",
        state="COMPLETED",
        phase="ended",
        submit=unix("10:00:00"),
        start=unix("10:00:05"),
        end=unix("10:30:00"),
        eligible=unix("10:00:00"),
        name="train",
        user="mkoch",
        account="lab",
        partition="main",
        qos="normal",
        nodes=("n1", "n2"),
        gpus=4,
        cpus=8,
        memory=4 << 30,
        time_limit=5400,
        exit=Exit(code=0, signal=0),
    )


@pytest.mark.parametrize(
    ("said", "field", "value"),
    [
        pytest.param({"JobState": "PENDING"}, "state", "REQUEUED", id="requeued"),
        pytest.param({"TimeLimit": "UNLIMITED"}, "time_limit", None, id="no-limit"),
        pytest.param({"NodeList": "(null)", "StartTime": "Unknown"}, "start", None, id="never-started"),
        pytest.param({"Name": "a b JobState=FAILED c"}, "name", "a b JobState=FAILED c", id="fields-in-a-name"),
        pytest.param({"WorkDir": "/my dir/ExitCode=9:9"}, "exit", Exit(code=0, signal=0), id="fields-in-a-folder"),
        pytest.param({"ExitCode": "0:9"}, "exit", Exit(code=0, signal=9), id="signal"),
        pytest.param({"EligibleTime": DAY + "10:00:00 ArrayJobId=3 ArrayTaskId=5"}, "array_index", 5, id="array"),
        pytest.param({"Account": "(null)"}, "account", "", id="no-account"),
    ],
)
def test_what_lines_may_say(said: dict[str, str], field: str, value: object) -> None:
    assert getattr(parsed(line(7, **said)), field) == value


@pytest.mark.parametrize("text", ["", "no such line\n", line(1, EndTime="Unknown"), line(1)[:200] + "\n"])
def test_what_is_no_line(text: str) -> None:
    assert parse_line(text) is None


def ids(jobs: list[Job]) -> list[str]:
    return [job.id for job in jobs]


def test_only_what_was_added_is_read(tmp_path: Path) -> None:
    path = tmp_path / "jobcomp.txt"
    path.write_text(line(1))
    file = JobcompFile(path)
    at = file.end()
    assert file.read(at) == ([], at)
    with path.open("a") as log:
        log.write(line(2) + line(3) + line(4)[:90])
    found, at = file.read(at)
    assert ids(found) == ["2", "3"]
    with path.open("a") as log:  # the rest of the line
        log.write(line(4)[90:])
    found, at = file.read(at)
    assert (ids(found), file.read(at)) == (["4"], ([], at))


def test_a_rotated_log_is_read_to_its_end_first(tmp_path: Path) -> None:
    path = tmp_path / "jobcomp.txt"
    path.write_text(line(1))
    at = JobcompFile(path).end()
    with path.open("a") as log:
        log.write(line(2))
    path.rename(tmp_path / "jobcomp.txt.1")
    path.write_text(line(3))
    found, at = JobcompFile(path).read(at)
    assert (ids(found), at.inode) == (["2", "3"], path.stat().st_ino)


def test_a_log_that_was_emptied_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "jobcomp.txt"
    path.write_text(line(1) + line(2))
    at = JobcompFile(path).end()
    path.write_text(line(3))
    assert ids(JobcompFile(path).read(at)[0]) == ["3"]


def test_a_log_that_comes_later(tmp_path: Path) -> None:
    path = tmp_path / "jobcomp.txt"
    file = JobcompFile(path)
    at = file.end()
    assert (at, file.read(at)) == (Position(inode=0, offset=0), ([], at))
    path.write_text("garbage\n" + line(1))
    assert (ids(file.read(at)[0]), file.skipped) == (["1"], 1)


def test_a_log_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SlurmError, match=f"cannot read {tmp_path}: Is a directory"):
        JobcompFile(tmp_path).end()
