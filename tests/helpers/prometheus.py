"""A real Prometheus on loopback, fed by remote write, for comparisons; nothing of it outlives the ``with``."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

MISSING = None if shutil.which("prometheus") else "no prometheus on this machine (Debian: apt-get install prometheus)"
Labels = tuple[tuple[str, str], ...]


class Prometheus:
    """A running server."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.version = subprocess.run(
            ["prometheus", "--version"], capture_output=True, text=True, timeout=20, check=True
        ).stdout.split()[2]
        self._url = f"http://127.0.0.1:{port}"
        self._process = psutil.Process(process.pid)

    @property
    def cpu_s(self) -> float:
        """Seconds of CPU that it has taken so far."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def get(self, path: str, parameters: Mapping[str, str] | None = None, timeout: float = 120) -> bytes:
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        with urllib.request.urlopen(f"{self._url}{path}{query}", timeout=timeout) as answer:
            return bytes(answer.read())

    def ready(self) -> bool:
        try:
            return b"eady" in self.get("/-/ready", timeout=1)
        except OSError:
            return False

    def query(self, expr: str, at: float) -> dict[Labels, float]:
        """Sorted labels without the name → value."""
        answer = json.loads(self.get("/api/v1/query", {"query": expr, "time": f"{at:.3f}"}))
        return {
            tuple(sorted((k, v) for k, v in one["metric"].items() if k != "__name__")): float(one["value"][1])
            for one in answer["data"]["result"]
        }

    def write(self, series: Sequence[Mapping[str, str]], times: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Remote write of (series, times) values; times in ms, ascending."""
        for start in range(0, len(series), 200):
            body = b"".join(
                _series(labels, times, values[start + i]) for i, labels in enumerate(series[start : start + 200])
            )
            request = urllib.request.Request(
                f"{self._url}/api/v1/write",
                data=_snappy(body),
                headers={"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"},
            )
            urllib.request.urlopen(request, timeout=120).close()

    def last_evaluation_s(self, deadline_s: float) -> tuple[float, float]:
        """(wall, CPU) seconds of one evaluation of the rules that began after this call."""
        before = self._evaluated()
        while self._evaluated() == before:
            deadline_s = _slept(deadline_s)
        cpu, seen = self.cpu_s, self._evaluated()
        while self._evaluated() == seen:
            deadline_s = _slept(deadline_s)
        return self._metric("prometheus_rule_group_last_duration_seconds"), self.cpu_s - cpu

    def _evaluated(self) -> float:
        return self._metric("prometheus_rule_group_last_evaluation_timestamp_seconds")

    def _metric(self, name: str) -> float:
        lines = self.get("/metrics").decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{"))


@contextmanager
def prometheus(folder: Path, rules: Sequence[tuple[str, int]], interval_s: int) -> Generator[Prometheus]:
    """A server that evaluates these (expression, seconds of for) as alerts every so often."""
    alerts = [
        {"alert": f"rule{i}", "expr": expr, "for": f"{hold}s"} if hold else {"alert": f"rule{i}", "expr": expr}
        for i, (expr, hold) in enumerate(rules)
    ]
    group = {"name": "bench", "interval": f"{interval_s}s", "rules": alerts}
    (folder / "rules.yml").write_text(json.dumps({"groups": [group]}))
    (folder / "prometheus.yml").write_text(json.dumps({"rule_files": ["rules.yml"]}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
        "--log.level=error",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        server, left = Prometheus(port, process), 60.0
        while not server.ready():
            left = _slept(left)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


def _slept(left: float) -> float:
    if left <= 0:
        raise TimeoutError("Prometheus took too long")
    time.sleep(0.2)
    return left - 0.2


# -- remote write: prompb.WriteRequest in snappy's block format --------------------------------------------------------------
def _varint(n: int) -> bytes:
    found = bytearray()
    while n > 127:
        found.append(n & 127 | 128)
        n >>= 7
    found.append(n)
    return bytes(found)


def _field(number: int, body: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(body)) + body


def _series(labels: Mapping[str, str], times: NDArray[np.int64], values: NDArray[np.float64]) -> bytes:
    """A TimeSeries, its samples written as columns of bytes: a time of these years takes six."""
    head = b"".join(
        _field(1, _field(1, name.encode()) + _field(2, value.encode())) for name, value in sorted(labels.items())
    )
    samples: NDArray[Any] = np.empty((len(times), 18), dtype=np.uint8)
    samples[:, 0], samples[:, 1], samples[:, 2], samples[:, 11] = 0x12, 16, 0x09, 0x10
    samples[:, 3:11] = np.ascontiguousarray(values).view(np.uint8).reshape(-1, 8)
    for k in range(6):
        samples[:, 12 + k] = (times >> 7 * k & 127) | (128 if k < 5 else 0)
    return _field(1, head + samples.tobytes())


def _snappy(body: bytes) -> bytes:
    """The body in literals: valid, only not smaller."""
    found = bytearray(_varint(len(body)))
    for start in range(0, len(body), 65536):
        part = body[start : start + 65536]
        found += bytes([61 << 2]) + (len(part) - 1).to_bytes(2, "little") + part
    return bytes(found)
