"""A GPU program on libraries that stand in for NVIDIA's, built with the system's compiler."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

SOURCES = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """Files of the program and of what it loads."""

    program: Path
    cuda: Path
    nccl: Path


def build(directory: Path) -> Built:
    """Compile them into a folder; skips where there is no compiler."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("needs gcc")
    built = Built(program=directory / "program", cuda=directory / "libcuda.so.1", nccl=directory / "libnccl.so.2")
    for source, out, options in (
        ("cuda.c", built.cuda, ["-shared", "-fPIC"]),
        ("nccl.c", built.nccl, ["-shared", "-fPIC"]),
        ("program.c", built.program, ["-ldl"]),
    ):
        subprocess.run([gcc, "-O2", "-o", out, SOURCES / source, *options], check=True)
    return built


class Program:
    """The program, running."""

    def __init__(self, command: Sequence[str | Path], enter: Callable[[], None] | None = None) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            preexec_fn=enter,  # noqa: PLW1509  # it does nothing but write a file
        )
        assert self._answer() == "ready"

    @property
    def pid(self) -> int:
        return self._process.pid

    def call(self, name: str, times: int = 1, size: int = 0, type: int = 0) -> float:
        """Call a function so many times; nanoseconds for each."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name} {times} {size} {type}\n")
        return float(self._answer())

    def end(self) -> None:
        """Let it end, and wait until it has."""
        self._process.communicate(timeout=30)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.end()
