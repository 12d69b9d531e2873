"""A real Kubernetes API server with its etcd, built from source into a cache outside the tree.

``python tests/e2e/api_server.py`` builds both; that takes Go, 2 GB of memory and some twenty minutes on two cores, once. No
part of them is in Debian or on PyPI.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

RELEASE = "v1.33.5"
BUILD_TIMEOUT_S = 60 * 60
PROGRAMS = ("etcd", "kube-apiserver")


def folder() -> Path:
    """Where the programs are, or would be."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "fallow" / "kubernetes" / RELEASE


def missing() -> str:
    """Why there is no API server here; empty where there is."""
    if all((folder() / name).exists() for name in PROGRAMS):
        return ""
    return f"there is no kube-apiserver in {folder()}: python tests/e2e/api_server.py builds it"


def build() -> None:
    """Build both where they are not there; raises CalledProcessError."""
    if not missing():
        return
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder()) as scratch:
        _go(scratch, "mod", "init", "apiserver")
        downloaded = json.loads(_go(scratch, "mod", "download", "-json", f"k8s.io/kubernetes@{RELEASE}"))
        (Path(scratch) / "go.mod").write_text(_module(Path(downloaded["GoMod"]).read_text(encoding="utf-8")))
        packages = ("go.etcd.io/etcd/server/v3", "k8s.io/kubernetes/cmd/kube-apiserver")
        _go(scratch, "build", "-mod=mod", "-trimpath", "-ldflags=-s -w", "-o", f"{scratch}/out/", *packages)
        for name, built in zip(PROGRAMS, ("server", "kube-apiserver"), strict=True):
            os.replace(Path(scratch) / "out" / built, folder() / name)


def _module(theirs: str) -> str:
    """A module that requires what Kubernetes' own does: its parts stand beside it in its repository, at v0.0.0."""
    parts = re.findall(r"^\t(k8s\.io/\S+) v0\.0\.0$", theirs, re.MULTILINE)
    others = re.findall(r"^\t(\S+ v\S+?)(?: // indirect)?$", theirs, re.MULTILINE)
    version = RELEASE.replace("v1.", "v0.", 1)
    wanted = [f"k8s.io/kubernetes {RELEASE}", *(one for one in others if not one.endswith(" v0.0.0"))]
    wanted += [f"{part} {version}" for part in parts]
    replaced = [f"{part} => {part} {version}" for part in parts]
    return "module apiserver\n\ngo 1.24.0\n" + _block("require", wanted) + _block("replace", replaced)


def _block(word: str, lines: Sequence[str]) -> str:
    return f"\n{word} (\n" + "".join(f"\t{line}\n" for line in lines) + ")\n"


def _go(directory: str, *arguments: str) -> str:
    go = shutil.which("go") or "go"
    done = subprocess.run(
        [go, *arguments], cwd=directory, stdout=subprocess.PIPE, text=True, timeout=BUILD_TIMEOUT_S, check=True
    )
    return done.stdout


if __name__ == "__main__":
    if shutil.which("go") is None:
        sys.exit("Go is not installed: no API server.")
    build()
    print(folder())
