"""What is installed is all that runs."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fallow_receivers.ebpf._backends import PROBES, PROGRAMS, object_file

ROOT = Path(__file__).parents[2]


@pytest.mark.e2e
def test_the_wheel_holds_the_probes(tmp_path: Path) -> None:
    if not object_file("sched").exists():
        pytest.skip("needs the compiled probes: make probes, with clang and libbpf-dev")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("fallow-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        held = set(packed.namelist())
    sources = [p for p in PROBES.rglob("*") if p.suffix in (".c", ".h")]
    objects = [object_file(programs.name) for programs in PROGRAMS.values()]
    wanted = {str(p.relative_to(ROOT / "receivers")) for p in [*sources, *objects, PROBES.parent / "metadata.yaml"]}
    assert wanted <= held
