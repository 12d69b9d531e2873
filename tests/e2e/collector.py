"""Builds the Collector of ``otel-config/builder.yaml`` into a cache outside the tree.

``python tests/e2e/collector.py`` prints the path of the program; the build takes some minutes, once for each manifest.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MANIFEST = Path(__file__).parents[2] / "otel-config" / "builder.yaml"
BUILD_TIMEOUT_S = 45 * 60


class BuildFailed(Exception):
    """Go is there, but the Collector could not be built; the message ends with the builder's own output."""


def collector() -> Path | None:
    """The Collector program, built where it is not in the cache yet; None where there is no Go.

    Raises:
        BuildFailed: Go is there and the build failed.
    """
    go = shutil.which("go")
    if go is None:
        return None
    text = MANIFEST.read_text(encoding="utf-8")
    version = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout.strip()
    key = hashlib.sha256(f"{version}\n{text}".encode()).hexdigest()[:16]
    program = _cache() / "otelcol" / key / "otelcol"
    if not program.exists():
        _build(go, text, program)
    return program


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fallow"


def _build(go: str, manifest: str, program: Path) -> None:
    found = re.search(r"cmd/builder@(v[\d.]+)", manifest)
    if found is None:
        raise BuildFailed(f"{MANIFEST} does not say which builder it is for")
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent) as scratch:
        config = Path(scratch) / "builder.yaml"
        config.write_text(manifest.replace("output_path: ./otelcol", f"output_path: {scratch}/out"), encoding="utf-8")
        command = [go, "run", f"go.opentelemetry.io/collector/cmd/builder@{found[1]}", "--config", str(config)]
        print("Building the Collector; this takes some minutes, once.", file=sys.stderr, flush=True)
        done = subprocess.run(
            command, cwd=scratch, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
        )
        if done.returncode != 0:
            raise BuildFailed(f"the Collector did not build:\n{(done.stdout + done.stderr)[-4000:]}")
        os.replace(Path(scratch) / "out" / "otelcol", program)  # last, so that what is in the cache is whole


if __name__ == "__main__":
    built = collector()
    print(built if built is not None else "Go is not installed: no Collector.")
