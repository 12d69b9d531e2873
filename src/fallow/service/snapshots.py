"""Snapshots on disk: a folder each, written under another name and renamed when all of it is safe.

A folder holds one ``.npy`` file for each array, ``state.json`` with the rest, and ``manifest.json`` with the checksums
of them all. The file ``taken-up`` says that a process has gone on from it: what came after it is then lost to the next.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import fallow
from fallow.errors import StateError
from fallow.state import Gap, State

logger = logging.getLogger(__name__)

FORMAT: Final = 1
MANIFEST, STATE, TAKEN_UP = "manifest.json", "state.json", "taken-up"
_PREFIX = "snapshot-"
LAG_NS: Final = 600 * 1_000_000_000
"""Telemetry may be that much behind the clock on the wall and still be taken for live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """State of a service at a moment.

    ``taken`` is wall clock, ``newest`` the event time that had been reached (0: none); Unix ns. ``graceful``: nothing was
    processed after it.
    """

    taken: int
    newest: int
    graceful: bool
    state: State

    def gap(self, now: int) -> Gap | None:
        """What a process that goes on from it at ``now`` (wall clock, Unix ns) does not know of."""
        if self.graceful:
            return None
        span = max(0, now - self.taken)
        if not self.newest:
            return Gap(until=max(now, self.taken), span=span)
        # Live telemetry may have come to the present; a recording that is sent goes on from where it was.
        lag = min(max(0, self.taken - self.newest), LAG_NS)
        return Gap(until=self.newest + span + lag, span=span)


class Snapshots:
    """A directory of snapshots of which the newest ``keep`` stay."""

    def __init__(self, directory: Path, keep: int) -> None:
        self._directory = directory
        self._keep = keep
        self._lock = threading.Lock()

    def write(self, snapshot: Snapshot) -> int:
        """Make it safe on disk, then remove older ones; returns its size in bytes.

        Raises:
            OSError: it could not be written; the others are as they were.
        """
        with self._lock:
            self._directory.mkdir(parents=True, exist_ok=True)
            for left in self._directory.glob(f".{_PREFIX}*"):
                shutil.rmtree(left, ignore_errors=True)
            before = self._folders()
            number = int(before[0].name.removeprefix(_PREFIX)) + 1 if before else 1
            name = f"{_PREFIX}{number:012d}"
            scratch = self._directory / f".{name}"
            scratch.mkdir()
            size = _write(scratch, snapshot)
            scratch.rename(self._directory / name)
            _sync(self._directory)
            for old in self._folders()[self._keep :]:
                shutil.rmtree(old, ignore_errors=True)
            return size

    def newest(self) -> Snapshot | None:
        """The newest that is whole; each that is not is said in the log."""
        for folder in self._folders():
            try:
                found = _read(folder)
            except (StateError, OSError, ValueError, KeyError, TypeError) as error:
                fields = {"folder": str(folder), "reason": str(error) or type(error).__name__}
                logger.warning("A snapshot cannot be used.", extra=fields)
                continue
            (folder / TAKEN_UP).touch()
            _sync(folder)
            return found
        return None

    def _folders(self) -> list[Path]:
        """Newest first."""
        found = [f for f in self._directory.glob(f"{_PREFIX}*") if f.name.removeprefix(_PREFIX).isdecimal()]
        return sorted(found, key=lambda f: int(f.name.removeprefix(_PREFIX)), reverse=True)


class _Checked(io.RawIOBase):
    """A file that knows the checksum of what was written to it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        self.digest.update(data)
        self.size += self._file.write(data)
        return len(data)

    def close(self) -> None:
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        super().close()


class _Folder:
    """A folder into which files are written, with their checksums."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: dict[str, dict[str, Any]] = {}

    def put(self, name: str, write: Callable[[_Checked], object]) -> str:
        """Write a file, safe on disk when this returns."""
        with _Checked(self.path / name) as file:
            write(file)
            self.files[name] = {"sha256": file.digest.hexdigest(), "bytes": file.size}
        return name

    def put_text(self, name: str, document: object) -> None:
        text = json.dumps(document, separators=(",", ":")).encode()
        self.put(name, lambda file: file.write(text))

    def flat(self, state: State) -> dict[str, Any]:
        """The state as JSON has it, with the names of files in place of arrays."""
        arrays = {name: self.put(f"{len(self.files):05d}.npy", partial(_save, a)) for name, a in state.arrays.items()}
        parts = {name: self.flat(part) for name, part in state.parts.items()}
        return {"version": state.version, "document": state.document, "arrays": arrays, "parts": parts}


def _save(array: NDArray[Any], file: _Checked) -> None:
    np.save(file, array, allow_pickle=False)


def _write(path: Path, snapshot: Snapshot) -> int:
    folder = _Folder(path)
    folder.put_text(STATE, folder.flat(snapshot.state))
    size = sum(int(facts["bytes"]) for facts in folder.files.values())
    folder.put_text(
        MANIFEST,
        {
            "format": FORMAT,
            "fallow": fallow.__version__,
            "taken": snapshot.taken,
            "newest": snapshot.newest,
            "graceful": snapshot.graceful,
            "files": dict(folder.files),
        },
    )
    _sync(path)
    return size


def _read(folder: Path) -> Snapshot:
    manifest = json.loads((folder / MANIFEST).read_bytes())
    if manifest["format"] != FORMAT:
        raise StateError(f"{MANIFEST}: format {manifest['format']} found, expected {FORMAT}")
    for name, facts in manifest["files"].items():
        if not (folder / name).is_file() or _digest(folder / name) != facts["sha256"]:
            raise StateError(f"{name} is damaged")

    def tree(flat: Mapping[str, Any]) -> State:
        arrays = {name: np.load(folder / file, allow_pickle=False) for name, file in flat["arrays"].items()}
        parts = {name: tree(part) for name, part in flat["parts"].items()}
        return State(version=flat["version"], document=flat["document"], arrays=arrays, parts=parts)

    return Snapshot(
        taken=manifest["taken"],
        newest=manifest["newest"],
        graceful=manifest["graceful"] and not (folder / TAKEN_UP).exists(),
        state=tree(json.loads((folder / STATE).read_bytes())),
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    """Make the names in a folder safe."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
