"""The public surface is what it says, and importing it costs nothing."""

from __future__ import annotations

import subprocess
import sys

import fallow


def test_every_public_name_is_there() -> None:
    assert all(getattr(fallow, name) is not None for name in fallow.__all__)


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, fallow; print([m for m in ('numpy', 'pyarrow', 'sqlalchemy', 'numba', 'grpc') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert said.strip() == "[]"
