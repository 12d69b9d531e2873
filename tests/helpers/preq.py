"""The published engine, built from its Go module: go.sum beside its main says which sources."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "benchmarks" / "preq"
BUILD_S = 540


@dataclass(frozen=True, slots=True)
class PreqRun:
    """What a run took of processors, without loading the rules, and how many rules fired."""

    cpu_s: float
    fired: int


def preq() -> Path:
    """The program, built once for each set of sources; skips the test where that cannot be."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not there: the published engine cannot be built")
    digest = hashlib.sha256(b"".join(f.read_bytes() for f in sorted(SOURCE.iterdir()))).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fallow" / "preq"
    program = cache / digest
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        flags = os.environ | {"GOFLAGS": "-mod=readonly -modcacherw", "GOPATH": str(cache / "go")}
        command = [go, "build", "-o", str(program), "."]
        try:
            subprocess.run(command, cwd=SOURCE, env=flags, check=True, capture_output=True, text=True, timeout=BUILD_S)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"the published engine does not build here: {error.stderr}")
        except subprocess.TimeoutExpired:
            pytest.skip(f"the published engine does not build here in {BUILD_S} s")
    return program


def preq_run(program: Path, rules: Path, log: Path, timeout: float) -> PreqRun:
    """All rules over a log with RFC 3339 stamps."""
    done = subprocess.run([program, rules, log], check=True, capture_output=True, text=True, timeout=timeout)
    said = json.loads(done.stdout)
    return PreqRun(said["cpu_s"], said["cres"])
