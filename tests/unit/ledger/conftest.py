"""Every test of the ledger runs on each database it can use: SQLite in memory and in a file, and PostgreSQL."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from fallow.ledger import Ledger


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Path]:
    """Folder of the socket of a PostgreSQL server of our own; skips where there is none."""
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed (pip install 'fallow[postgresql]')")
    if shutil.which("initdb") is None or shutil.which("postgres") is None:
        pytest.skip("PostgreSQL's initdb and postgres are not in PATH")
    folder = Path(tempfile.mkdtemp(prefix="ledger-pg-"))
    user = None
    if os.geteuid() == 0:  # the server refuses to run as root
        user = "nobody"
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    data = folder / "data"
    subprocess.run(
        ["initdb", "-D", data, "-U", "test", "--auth=trust", "--no-sync", "-E", "UTF8"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd="/",
        user=user,
    )
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            ["postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"],
            stdout=log,
            stderr=log,
            cwd="/",
            user=user,
        )
    try:
        _await_ready(server, folder)
        yield folder
    finally:
        server.send_signal(signal.SIGINT)  # closes connections and ends at once
        server.wait(10)
        shutil.rmtree(folder)


def _await_ready(server: subprocess.Popen[bytes], folder: Path) -> None:
    for _ in range(500):
        if (folder / ".s.PGSQL.5432").exists() and _answers(folder):
            return
        if server.poll() is not None:
            break
        time.sleep(0.02)
    pytest.fail(f"PostgreSQL did not start: {(folder / 'log').read_text()}")


def _answers(folder: Path) -> bool:
    return subprocess.run(["pg_isready", "-q", "-h", folder], check=False).returncode == 0


@pytest.fixture(params=["memory", "file", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty ledger may be."""
    if request.param == "memory":
        return "sqlite://"
    if request.param == "file":
        return f"sqlite:///{tmp_path}/ledger.db"
    socket: Path = request.getfixturevalue("postgresql")
    name = f"t{uuid.uuid4().hex}"
    subprocess.run(["createdb", "-h", socket, "-U", "test", name], check=True)
    return f"postgresql+psycopg://test@/{name}?host={socket}"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """An empty ledger on each kind of database."""
    made = Ledger(url)
    yield made
    made.close()
