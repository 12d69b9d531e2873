"""Compiled kernels are cached per source: numba looks only at the file a function stands in, not at what that calls."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest


def _kernel_sources() -> list[Path]:
    root = Path(__file__).parents[1]
    files = [p for folder in ("src", "processors") for p in (root / folder).rglob("*.py")]
    return sorted(p for p in files if "njit" in p.read_text(encoding="utf-8"))


_DIGEST = hashlib.sha256(b"".join(p.read_bytes() for p in _kernel_sources())).hexdigest()[:16]
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fallow" / "kernels" / _DIGEST
os.environ.setdefault("NUMBA_CACHE_DIR", str(_CACHE))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="Write expected files anew; fails where one differed."
    )
