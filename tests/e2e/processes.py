"""Real programs for end-to-end tests: started on free ports, waited for, killed, and ended by their own id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


class Program:
    """A program that can be killed and started again; what it says goes to a file.

    ``restarts``: how often it may crash while it starts, as under a service manager that starts it again.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        ready: Callable[[], bool],
        environment: Mapping[str, str],
        log: Path,
        restarts: int = 0,
    ):
        self.name = name
        self.log = log
        self._command = list(command)
        self._ready = ready
        self._restarts = restarts
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, timeout_s: float = 60) -> None:
        """Start and wait until it is ready."""
        process, left = self._launch(), self._restarts

        def is_ready() -> bool:
            nonlocal process, left
            if left and process.poll():
                process, left = self._launch(), left - 1
            return self._ready()

        until(is_ready, timeout_s, lambda: f"{self.name} is not ready:\n{self.tail()}")

    def _launch(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)
        return self._process

    def kill(self) -> None:
        """SIGKILL, as the kernel or an operator would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self._end(signal.SIGTERM)

    def tail(self) -> str:
        """The end of what it said."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.send_signal(number)
        try:
            return process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait(10)


def until(true: Callable[[], bool], timeout_s: float, otherwise: Callable[[], str]) -> None:
    """Wait until it is true; fails with a text where it does not become so."""
    end = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > end:
            raise AssertionError(otherwise())
        time.sleep(0.05)


def answers(url: str) -> Callable[[], bool]:
    """Whether a health endpoint answers 200."""

    def check() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=1) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    return check


def listens(port: int) -> Callable[[], bool]:
    """Whether somebody listens on a port of loopback."""

    def check() -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", port)) == 0

    return check
