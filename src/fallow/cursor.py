"""A receiver's note on disk of what it has told, so that a restart neither loses nor doubles anything."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

Note = TypeVar("Note", bound=BaseModel)


class CursorFile(Generic[Note]):
    """The file, held by one receiver at a time.

    Args:
        empty: the note of one who has told nothing yet; one that is read has to be of its type.
    """

    def __init__(self, path: Path, empty: type[Note]) -> None:
        self._path, self._empty = path, empty
        self._lock: int | None = None

    def open(self) -> Note:
        """Take the file and read it; an empty note where there is none yet.

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
            return self._empty.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return self._empty()
        except ValidationError as error:
            self.close()
            first = error.errors()[0]
            raise OSError(
                f"{self._path} is no cursor of this version ({first['msg']}); move it away to begin anew with what is there now"
            ) from error

    def save(self, note: Note) -> None:
        """Replace the note: after a crash there is the old one or the new one. Raises OSError."""
        self.write(note.model_dump_json().encode())

    def write(self, note: bytes) -> None:
        """The same, of a note that was put into words before. Raises OSError."""
        fresh = self._beside(".new")
        with fresh.open("wb") as file:
            file.write(note)
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
