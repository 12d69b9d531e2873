"""Where ended runs are found that the controller has forgotten."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fallow.clients.slurm import Client, Job, JobcompFile, Settings, SlurmError
from fallow_receivers.slurm.config import SlurmReceiverConfig
from fallow_receivers.slurm.cursor import Cursor

logger = logging.getLogger(__name__)

OVERLAP_S = 600
"""slurmdbd is told of an end by the controller, which may queue it: what it was asked before is asked again so far back."""


class History(Protocol):
    """Tells of ended runs behind the cursor, and moves the cursor on."""

    name: str
    cheap: bool
    """Whether it may be asked at every look."""
    usage: bool
    """Whether it knows what runs used."""

    def begin(self, cursor: Cursor, now: int) -> None:
        """Start here: what ended before is not told."""
        ...

    def ended(self, cursor: Cursor, now: int) -> Sequence[Job]: ...


@dataclass(slots=True)
class Slurmdbd:
    """Accounting: knows every run, sees requests and their use, costs its database a query."""

    client: Client
    name: str = "slurmdbd"
    cheap: bool = False
    usage: bool = True

    def begin(self, cursor: Cursor, now: int) -> None:
        cursor.accounted = now

    def ended(self, cursor: Cursor, now: int) -> Sequence[Job]:
        since = (cursor.accounted or cursor.seen or now) - OVERLAP_S
        found = self.client.ended(since)
        cursor.accounted = now
        return found


@dataclass(slots=True)
class Jobcomp:
    """The log of ended jobs: reading what was added costs nothing."""

    file: JobcompFile
    name: str = "jobcomp"
    cheap: bool = True
    usage: bool = False

    def begin(self, cursor: Cursor, now: int) -> None:
        cursor.jobcomp = self.file.end()

    def ended(self, cursor: Cursor, now: int) -> Sequence[Job]:
        if cursor.jobcomp is None:  # another history until now: what it has told is among the runs
            self.begin(cursor, now)
            return ()
        found, cursor.jobcomp = self.file.read(cursor.jobcomp)
        return found


class Nothing:
    """No history: what the controller forgets unseen is lost."""

    name = "none"
    cheap = True
    usage = False

    def begin(self, cursor: Cursor, now: int) -> None:
        pass

    def ended(self, cursor: Cursor, now: int) -> Sequence[Job]:
        return ()


def history_of(config: SlurmReceiverConfig, settings: Settings, client: Client, directory: Path) -> History:
    """The history that the configuration and the cluster give; raises SlurmError where the one asked for is not there."""
    wanted = config.history
    if wanted == "slurmdbd" or (wanted == "auto" and settings.slurmdbd):
        if not settings.slurmdbd:
            raise SlurmError(
                "history: slurmdbd is asked for, but this cluster has no AccountingStorageType of slurmdbd"
            )
        return Slurmdbd(client)
    if wanted == "none":
        return Nothing()
    try:
        return Jobcomp(_jobcomp(config, settings, directory))
    except SlurmError as error:
        if wanted == "jobcomp" or config.jobcomp_file:
            raise
        logger.info("There is no log of ended jobs.", extra={"reason": str(error)})
    return Nothing()


def _jobcomp(config: SlurmReceiverConfig, settings: Settings, directory: Path) -> JobcompFile:
    if config.jobcomp_file is not None:
        path = directory / config.jobcomp_file
    elif settings.jobcomp_file:
        path = Path(settings.jobcomp_file)
    else:
        raise SlurmError("the cluster's configuration names no jobcomp/filetxt log")
    if not path.parent.is_dir():
        raise SlurmError(f"cannot read {path}: its folder is not on this machine")
    file = JobcompFile(path)
    file.end()
    return file
