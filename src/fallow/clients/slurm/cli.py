"""Slurm by its commands: squeue, sinfo, scontrol and sacct, of the release that the cluster runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from fallow.clients.slurm import parse
from fallow.clients.slurm.hostlist import NOBODY, expand
from fallow.clients.slurm.model import Job, Node, Reservation, Settings, SlurmError

OLDEST: Final = (22, 5)
NODES_BY_SCONTROL: Final = (23, 2)  # before it sinfo --json had them; from it on sinfo groups them
_FIELD = re.compile(r"(\w+)=(.*?)(?= \w+=|$)")


class Cli:
    """Runs the commands, one at a time.

    Args:
        commands: folder they are in; None: where PATH finds them.
        conf: slurm.conf; None: where Slurm finds it.
        timeout_s: after which a command is ended.
    """

    def __init__(self, *, commands: Path | None = None, conf: Path | None = None, timeout_s: float = 30.0) -> None:
        self._commands, self._timeout_s = commands, timeout_s
        # sacct of 22.05 cannot read back the times that it writes in another format.
        self._environment = {name: value for name, value in os.environ.items() if name != "SLURM_TIME_FORMAT"}
        self._environment["LC_ALL"] = "C"
        if conf is not None:
            self._environment["SLURM_CONF"] = str(conf)
        self._version: tuple[int, ...] | None = None
        self._running: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def settings(self) -> Settings:
        """What the controller was started with."""
        said = dict(_pair(line) for line in self._run("scontrol", "show", "config").splitlines() if " = " in line)
        version = said.get("SLURM_VERSION", "")
        self._version = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if self._version < OLDEST:
            raise SlurmError(f"Slurm {version or 'of an unknown release'} found; it has to be 22.05 or newer")
        age = said.get("MinJobAge", "").split(" ")[0]
        written = said.get("JobCompLoc", "") if said.get("JobCompType") == "jobcomp/filetxt" else ""
        return Settings(
            cluster=said.get("ClusterName", ""),
            version=version,
            min_job_age_s=int(age) if age.isdigit() else None,
            slurmdbd=said.get("AccountingStorageType") == "accounting_storage/slurmdbd",
            jobcomp_file="" if written in NOBODY else written,
        )

    def jobs(self) -> list[Job]:
        """All jobs that the controller remembers."""
        return parse.jobs(self._json("squeue", "--json", "--all", "--states=all"))

    def nodes(self) -> list[Node]:
        """All nodes."""
        if self._version is None:
            self.settings()
        old = self._version is not None and self._version < NODES_BY_SCONTROL
        return parse.nodes(
            self._json(*(("sinfo", "--json") if old else ("scontrol", "--json", "--all", "show", "nodes")))
        )

    def reservations(self) -> list[Reservation]:
        """All reservations; as text, which has not changed, since 22.05 has no JSON of them."""
        text = self._run("scontrol", "--oneliner", "--all", "show", "reservation", SLURM_TIME_FORMAT="%s")
        return [_reservation(line) for line in text.splitlines() if line.startswith("ReservationName=")]

    def ended(self, since: int) -> list[Job]:
        """Runs that ended, of all that were there after ``since``."""
        return parse.ended(self._sacct("--allusers", "--allocations", f"--starttime=uts{since}"))

    def used(self, ids: Sequence[str], since: int) -> list[Job]:
        """The runs of these jobs that ended, with what they used."""
        return parse.ended(self._sacct("--allusers", "--jobs=" + ",".join(ids), f"--starttime=uts{since}"))

    def close(self) -> None:
        """End the command that runs, if any; no other is begun."""
        with self._lock:
            self._closed = True
            if self._running is not None:
                self._running.kill()

    def _sacct(self, *options: str) -> Any:
        return self._json("sacct", "--json", "--duplicates", *options)

    def _json(self, *command: str) -> Any:
        text = self._run(*command)
        try:
            return json.loads(text)
        except ValueError as error:
            shown = " ".join(text[:200].split())
            raise SlurmError(f"{' '.join(command)} wrote no JSON (has Slurm its JSON plugin?): {shown!r}") from error

    def _run(self, program: str, *arguments: str, **environment: str) -> str:
        path = shutil.which(program, path=str(self._commands) if self._commands else None)
        if path is None:
            raise SlurmError(f"{program} is not in {self._commands or 'any folder of PATH'}")
        with self._lock:
            if self._closed:
                raise SlurmError("the client is closed")
            self._running = subprocess.Popen(
                [path, *arguments],
                env={**self._environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        process = self._running
        try:
            out, said = process.communicate(timeout=self._timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise SlurmError(f"{program} has not answered within {self._timeout_s:g} s") from None
        finally:
            with self._lock:
                self._running = None
        if process.returncode:
            shown = " ".join(said.decode("utf-8", "replace").split())[:300]
            raise SlurmError(f"{program} ended with {process.returncode}: {shown}")
        return out.decode("utf-8", "replace")


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition(" = ")
    return name.strip(), value.strip()


def _reservation(line: str) -> Reservation:
    said = dict(_FIELD.findall(line))

    def text(name: str) -> str:
        value = said.get(name, "")
        return "" if value in NOBODY else value

    try:
        return Reservation(
            name=said["ReservationName"],
            start=int(said["StartTime"]),
            end=int(said["EndTime"]),
            nodes=expand(said.get("Nodes")),
            users=text("Users"),
            accounts=text("Accounts"),
            flags=tuple(sorted(filter(None, text("Flags").split(",")))),
        )
    except (KeyError, ValueError) as error:
        raise SlurmError(f"a reservation cannot be read ({error!r}): {line[:200]!r}") from error
