"""Other releases of Slurm than the system's, from Debian's archive, each in a tree of its own in a cache.

``python tests/e2e/slurm_releases.py`` makes them; it takes a minute or two each, once. They need root and debootstrap.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MIRROR = "http://deb.debian.org/debian"
SCRIPT = Path("/usr/share/debootstrap/scripts/sid")
PACKAGES = (
    "ca-certificates,munge,slurmctld,slurmd,slurm-client,slurmrestd,slurmdbd,slurm-wlm-mysql-plugin,"
    "slurm-wlm-basic-plugins,slurm-wlm-jwt-plugin"
)
RELEASES = {"24.11": "trixie", "26.05": "forky"}
BUILD_TIMEOUT_S = 900


def root_of(release: str) -> Path:
    """Where the tree of a release is, or would be."""
    base = os.environ.get("FALLOW_SLURM_ROOTS")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fallow" / "slurm"
    return (Path(base) if base else cache) / RELEASES[release]


def missing(release: str) -> str:
    """Why a release cannot be run here; empty where it can."""
    if os.geteuid() != 0:
        return "another release of Slurm runs in a tree of its own, for which only root can mount"
    if not (root_of(release) / "usr/sbin/slurmctld").exists():
        return f"there is no Slurm {release} in {root_of(release)}: python tests/e2e/slurm_releases.py makes it"
    return ""


def build(release: str) -> None:
    """Make the tree where it is not there; raises CalledProcessError."""
    root = root_of(release)
    if (root / "usr/sbin/slurmctld").exists():
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=root.parent))
    scratch.chmod(0o755)  # packages are configured as users of their own
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASES[release], str(scratch), MIRROR]
    try:
        log = scratch.with_suffix(".log")
        with log.open("wb") as out:
            subprocess.run([*command, str(SCRIPT)], stdout=out, stderr=out, check=True, timeout=BUILD_TIMEOUT_S)
        scratch.rename(root)
        log.unlink()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    for one in RELEASES:
        if os.geteuid() != 0 or shutil.which("debootstrap") is None:
            print(f"Slurm {one} is not made: that takes root and debootstrap.")
            continue
        try:
            build(one)
            print(root_of(one))
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            # An archive that cannot be reached, or a testing suite that is broken today: the tests say so and skip.
            print(f"Slurm {one} could not be made: {error}", file=sys.stderr)
