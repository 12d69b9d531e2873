"""The log of ended jobs that ``JobCompType=jobcomp/filetxt`` writes: one line for each run."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

from fallow.clients.slurm.hostlist import expand
from fallow.clients.slurm.model import Exit, Job, SlurmError
from fallow.clients.slurm.parse import ENDED, REQUEUED, cpus_of_tres, gpus_of_tres, memory_of_tres

# Names and folders may hold anything but a line's end: the rest of the line is what marks their own ends.
_LINE = re.compile(
    r"JobId=(?P<id>\d+) UserId=(?P<user>[^ ]*?)(?:\(\d+\))? GroupId=[^ ]* Name=(?P<name>.*) JobState=(?P<state>[A-Z_]+) "
    r"Partition=(?P<partition>[^ ]*) TimeLimit=(?P<limit>[^ ]*) StartTime=(?P<start>[^ ]*) EndTime=(?P<end>[^ ]*) "
    r"NodeList=(?P<nodes>[^ ]*) NodeCnt=\d+ ProcCnt=(?P<cpus>\d+) WorkDir=.* ReservationName=(?P<reservation>[^ ]*) "
    r"Tres=(?P<tres>[^ ]*) Account=(?P<account>[^ ]*) QOS=(?P<qos>[^ ]*) .*?SubmitTime=(?P<submit>[^ ]*) "
    r"EligibleTime=(?P<eligible>[^ ]*)(?: ArrayJobId=(?P<array>\d+) ArrayTaskId=(?P<index>\d+))?"
    r".* ExitCode=(?P<code>\d+):(?P<signal>\d+)"
)
LARGEST_READ = 64 << 20  # bytes read at one time


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a file was read: which file, and the byte behind the last whole line."""

    inode: int
    offset: int


class JobcompFile:
    """Reads what was added to the file, over its rotation by renaming."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.skipped = 0
        """Lines that could not be read, so far."""

    def end(self) -> Position:
        """Where the file ends now; raises SlurmError where it cannot be read."""
        try:
            with self.path.open("rb"):
                found = self.path.stat()
        except FileNotFoundError:  # the controller makes it when the first job ends
            return Position(inode=0, offset=0)
        except OSError as error:
            raise SlurmError(f"cannot read {self.path}: {error.strerror}") from error
        return Position(inode=found.st_ino, offset=found.st_size)

    def read(self, after: Position) -> tuple[list[Job], Position]:
        """The runs written behind a position, and the new one.

        Raises:
            SlurmError: the file cannot be read.
        """
        try:
            return self._read(after)
        except OSError as error:
            raise SlurmError(f"cannot read {self.path}: {error.strerror}") from error

    def _read(self, after: Position) -> tuple[list[Job], Position]:
        found: list[Job] = []
        here = self.path.stat() if self.path.exists() else None
        if here is None:
            return found, after
        if here.st_ino != after.inode and after.inode and (old := self._renamed(after.inode)):
            more, _ = self._lines(old, after.offset)
            found += more
        same = here.st_ino == after.inode and here.st_size >= after.offset
        more, offset = self._lines(self.path, after.offset if same else 0)
        return found + more, Position(inode=here.st_ino, offset=offset)

    def _renamed(self, inode: int) -> Path | None:
        for sibling in self.path.parent.glob(f"{self.path.name}*"):
            if sibling.stat().st_ino == inode:
                return sibling
        return None

    def _lines(self, path: Path, offset: int) -> tuple[list[Job], int]:
        found: list[Job] = []
        with path.open("rb") as file:
            file.seek(offset)
            while block := file.readlines(LARGEST_READ):
                for line in block:
                    if not line.endswith(b"\n"):  # being written
                        return found, offset
                    offset += len(line)
                    job = parse_line(line.decode("utf-8", "replace"))
                    if job is not None:
                        found.append(job)
                    elif line.strip():
                        self.skipped += 1
        return found, offset


def parse_line(line: str) -> Job | None:
    """The run that a line tells of; None where it is none."""
    found = _LINE.match(line)
    if found is None:
        return None
    state, end, submit = found["state"], _time(found["end"]), _time(found["submit"])
    if end is None or submit is None:
        return None
    try:
        nodes = expand(found["nodes"])
    except ValueError:
        return None
    exit = Exit(code=int(found["code"]), signal=int(found["signal"]))
    limit = found["limit"]
    return Job(
        id=found["id"],
        state=state if state in ENDED else REQUEUED,  # a run that was requeued is written as PENDING
        phase="ended",
        submit=submit,
        start=_time(found["start"]),
        end=end,
        eligible=_time(found["eligible"]),
        name=found["name"],
        user=found["user"],
        account=_text(found["account"]),
        partition=found["partition"],
        qos=_text(found["qos"]),
        reservation=_text(found["reservation"]),
        array_id=found["array"] or "",
        array_index=int(found["index"]) if found["index"] else None,
        nodes=nodes,
        gpus=gpus_of_tres(found["tres"]),
        cpus=int(found["cpus"]) or cpus_of_tres(found["tres"]),
        memory=memory_of_tres(found["tres"]),
        time_limit=int(limit) * 60 if limit.isdigit() else None,
        exit=exit if state in ENDED else None,
    )


def _text(value: str) -> str:
    return "" if value == "(null)" else value


def _time(text: str) -> int | None:
    """Unix s of the controller's local time, which is this machine's: the file is on the controller."""
    try:
        return round(time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S")))
    except (ValueError, OverflowError):
        return None
