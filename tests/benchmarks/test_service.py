"""Receiving and passing on over gRPC: points per CPU second of the server, as ratios in one run on one machine."""

from __future__ import annotations

import importlib.util
import os
import platform
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from helpers import otlp
from helpers.otlp_server import METHODS

NODES, GPUS, METRICS = 40, 8, 28
POINTS = NODES * GPUS * METRICS
CONNECTIONS = 4
ROUNDS, ROUND_S, WARM_UP_S = 5, 1.5, 0.5
COLUMNS_RATIO, FORWARD_RATIO = 0.5, 6.0
OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


def requests() -> list[bytes]:
    """Four scrapes of 320 GPUs."""
    names = [f"gpu.metric.{i}" for i in range(METRICS)]
    return [
        otlp.metrics_request(nodes=NODES, gpus=GPUS, gauges=names[:21], counters=names[21:], step=i) for i in range(4)
    ]


@dataclass
class Subject:
    """A server under load, and its rate in each round."""

    pid: int
    port: int
    arrived: Callable[[], int] | None = None
    """How many requests have come through it; None where the sender's count says so."""
    rates: list[float] = field(default_factory=list)
    """Million points per CPU second of the server."""

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    def cpu_s(self) -> float:
        """CPU seconds, user and system, that the process has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def measure(self, bodies: list[bytes]) -> None:
        """One round: full load from as many connections as there are, each waiting for its answer."""
        done = [0] * CONNECTIONS
        stop = threading.Event()

        def load(index: int) -> None:
            options = [*OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
            with grpc.insecure_channel(f"127.0.0.1:{self.port}", options=options) as channel:
                export = channel.unary_unary(METHODS["metrics"], None, None)
                while not stop.is_set():
                    export(bodies[done[index] % len(bodies)], timeout=20, wait_for_ready=True)
                    done[index] += 1

        count = self.arrived or (lambda: sum(done))
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            running = [threads.submit(load, i) for i in range(CONNECTIONS)]
            time.sleep(WARM_UP_S)
            began, cpu = count(), self.cpu_s()
            time.sleep(ROUND_S)
            passed, used = count() - began, self.cpu_s() - cpu
            stop.set()
            for each in running:
                each.result()
        assert passed > 0
        self.rates.append(passed * POINTS / used / 1e6)


@contextmanager
def process(*command: str) -> Generator[subprocess.Popen[str]]:
    """A program that is ended with the block."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        try:
            yield running
        finally:
            running.terminate()
            try:
                running.wait(10)
            except subprocess.TimeoutExpired:
                running.kill()


@contextmanager
def ours(*mode: str) -> Generator[Subject]:
    script = Path(__file__).with_name("otlp_subject.py")
    with process(sys.executable, str(script), *mode) as running:
        assert running.stdout is not None
        yield Subject(running.pid, int(running.stdout.readline()))


@contextmanager
def sink() -> Generator[tuple[str, Callable[[], int]]]:
    """A downstream in this process that counts what arrives."""
    arrived = [0]

    def export(_: bytes, __: grpc.ServicerContext) -> bytes:
        arrived[0] += 1
        return b""

    service = METHODS["metrics"].split("/")[1]
    handlers = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    server = grpc.server(ThreadPoolExecutor(2), options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", lambda: arrived[0]
    finally:
        server.stop(None).wait()


@contextmanager
def rotel(endpoint: str, folder: Path) -> Generator[Subject]:
    """rotel passing on without compression and batching, as Fallow does."""
    found = importlib.util.find_spec("rotel")
    agent = Path(found.origin).with_name("rotel-agent") if found and found.origin else None
    if agent is None or not agent.exists():
        pytest.skip("rotel is not installed: pip install --group e2e")
    grpc_port, http_port = free_port(), free_port()
    options = {
        "otlp-grpc-endpoint": f"127.0.0.1:{grpc_port}",
        "otlp-http-endpoint": f"127.0.0.1:{http_port}",
        "otlp-grpc-max-recv-msg-size-mib": "64",
        "pid-file": str(folder / "rotel.pid"),
        "log-file": str(folder / "rotel.log"),
        "exporter": "otlp",
        "otlp-exporter-endpoint": f"http://{endpoint}",
        "otlp-exporter-protocol": "grpc",
        "otlp-exporter-compression": "none",
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    with process(str(agent), "start", "--disable-batching", *flags) as running:
        yield Subject(running.pid, grpc_port)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def said(subjects: Mapping[str, Subject], bodies: list[bytes], ratio: float, required: float) -> str:
    payload = f"{POINTS} points and {len(bodies[0]) / 1e6:.2f} MB a request, {CONNECTIONS} connections, no TLS"
    machine = f"{os.cpu_count()} × {platform.processor() or platform.machine()}, Python {platform.python_version()}"
    lines = [
        f"  {name:<22} {s.rate:6.2f} M points/CPU s (median of {len(s.rates)}; {min(s.rates):.2f} to {max(s.rates):.2f})"
        for name, s in subjects.items()
    ]
    return "\n".join(["", f"{payload}; {machine}", *lines, f"  ratio {ratio:.2f}, {required} required"])


def compared(subjects: Mapping[str, Subject], bodies: list[bytes]) -> None:
    """Measure all, in turns, so that what else the machine does falls on all alike."""
    for subject in subjects.values():
        with grpc.insecure_channel(f"127.0.0.1:{subject.port}", options=OPTIONS) as channel:
            # The first request may wait for kernels to be compiled, once on a machine.
            channel.unary_unary(METHODS["metrics"], None, None)(bodies[0], timeout=60, wait_for_ready=True)
    for _ in range(ROUNDS):
        for subject in subjects.values():
            subject.measure(bodies)


@pytest.mark.bench
def test_columns_cost_at_most_half_of_a_server_that_does_nothing() -> None:
    pytest.importorskip("fallow_processors.decode.processor")
    bodies = requests()
    with ours("nothing") as nothing, ours("columns") as columns:
        subjects = {"gRPC, nothing": nothing, "gRPC + columns": columns}
        compared(subjects, bodies)
    ratio = statistics.median(c / n for c, n in zip(columns.rates, nothing.rates, strict=True))
    print(said(subjects, bodies, ratio, COLUMNS_RATIO))
    assert ratio >= COLUMNS_RATIO


@pytest.mark.bench
def test_passing_on_is_cheaper_than_rotel(tmp_path: Path) -> None:
    bodies = requests()
    with sink() as (endpoint, arrived), ours("forward", endpoint) as fallow, rotel(endpoint, tmp_path) as other:
        # Fallow answers when the downstream has answered; what rotel has passed on only the downstream knows.
        other.arrived = arrived
        subjects = {"Fallow, forward": fallow, "rotel, forward": other}
        compared(subjects, bodies)
    ratio = statistics.median(f / r for f, r in zip(fallow.rates, other.rates, strict=True))
    print(said(subjects, bodies, ratio, FORWARD_RATIO))
    assert ratio >= FORWARD_RATIO
