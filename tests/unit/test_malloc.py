"""Tuning of the allocator: in a process of its own, for it cannot be undone."""

from __future__ import annotations

import platform
import subprocess
import sys


def test_glibc_takes_every_setting_and_others_are_left_alone() -> None:
    code = "import fallow.malloc; print(fallow.malloc.tune())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(platform.libc_ver()[0] == "glibc")
