"""The note on disk of what was told: written whole after the pipeline took the events, so that none is lost or doubled."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from fallow.clients.slurm import Position, Reservation
from fallow_receivers.slurm.jobs import Run
from fallow_receivers.slurm.places import Trouble

VERSION: Final = 1


class Waiting(BaseModel):
    """A run whose use accounting has not told yet."""

    model_config = ConfigDict(extra="forbid")
    submit: int
    end: int
    since: int
    """When it began to wait."""


class Cursor(BaseModel):
    """What was told, up to when (Unix s; 0: nothing ever was)."""

    model_config = ConfigDict(extra="forbid")
    version: Literal[1] = VERSION
    cluster: str = ""
    seen: int = 0
    nodes_seen: int = 0
    accounted: int = 0
    """Up to when slurmdbd has told of ended runs."""
    owed: int = 0
    """Until when slurmdbd has to be asked at every look, since runs may have been missed."""
    jobcomp: Position | None = None
    runs: dict[str, Run] = {}
    waiting: dict[str, Waiting] = {}
    nodes: dict[str, Trouble] = {}
    reservations: dict[str, Reservation] = {}


class CursorFile:
    """The file, held by one receiver at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None

    def open(self) -> Cursor:
        """Take the file and read it; an empty cursor where there is none yet.

        Raises:
            OSError: another receiver has it, it cannot be read or written, or it holds something else.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # A file of its own: the note itself is replaced each time.
        self._lock = os.open(self._beside(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise OSError(f"another receiver uses the cursor {self._path}; give each one of its own") from error
        try:
            return Cursor.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return Cursor()
        except ValidationError as error:
            self.close()
            first = error.errors()[0]
            raise OSError(
                f"{self._path} is no cursor of this version ({first['msg']}); move it away to begin anew with what is there now"
            ) from error

    def save(self, cursor: Cursor) -> None:
        """Replace the note: after a crash there is the old one or the new one. Raises OSError."""
        fresh = self._beside(".new")
        with fresh.open("wb") as file:
            file.write(cursor.model_dump_json().encode())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)

    def close(self) -> None:
        """Let go of the file; safe twice."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _beside(self, ending: str) -> Path:
        return self._path.with_name(self._path.name + ending)
