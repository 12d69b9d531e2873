"""What being watched costs: a call with a probe against one without, the kernel's programs, the agent that reads them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.test_service import sink
from helpers.gpu import Built, Program, build
from helpers.kernel import container, look, needs, running

CALLS, ROUNDS = 20_000, 5
LAUNCHES_PER_S, GPUS, WORKERS, MEASURED_S = 20_000, 8, 56, 10.0
STEPPED_RATIO = 3.0
MOST_CPU_SHARE = {"libbpf": 0.01, "bcc": 0.015}
MOST_RSS_MB = 100.0  # nearly all of it is what every fallow process imports

AGENT = """
receivers:
  ebpf: {{backend: {backend}}}
exporters:
  otlp: {{endpoint: "{endpoint}", tls: {{insecure: true}}}}
service:
  pipelines:
    node: {{receivers: [ebpf], exporters: [otlp]}}
"""


@pytest.fixture(scope="module")
def built() -> Iterator[Built]:
    with tempfile.TemporaryDirectory() as folder:
        yield build(Path(folder))


def fastest(program: Program, function: str, **arguments: int) -> float:
    """Nanoseconds of a call, the least of some rounds."""
    return min(program.call(function, CALLS, **arguments) for _ in range(ROUNDS))


@pytest.mark.bench
@pytest.mark.parametrize("backend", ["libbpf", "bcc"])
def test_a_probed_call(backend: str, built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    needs(backend)
    calls: tuple[tuple[str, str, dict[str, int]], ...] = (
        ("launch: entry, summed up", "cuLaunchKernel", {}),
        ("allocation: entry and return", "cuMemAlloc_v2", {"size": 64}),
        ("collective: entry, summed up", "ncclAllReduce", {"size": 64, "type": 7}),
    )
    ways: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
        "as it is": lambda patch: None,
        "perf events, before Linux 6.6": lambda patch: patch.setattr(
            "fallow_receivers.ebpf._backends.release", lambda: (6, 5)
        ),
        "at the first instruction": lambda patch: patch.setattr("fallow_receivers.ebpf._elf.skip", _skip_nothing),
    }
    with Program([built.program, built.cuda, built.nccl]) as program:
        without = {function: fastest(program, function, **arguments) for _, function, arguments in calls}
        probed: dict[tuple[str, str], float] = {}
        for way, change in ways.items():
            with monkeypatch.context() as patch:
                change(patch)
                with running(backend, "cuda", "nccl") as node:
                    look(node)
                    for _, function, arguments in calls:
                        probed[way, function] = fastest(program, function, **arguments)
    print(f"\n{backend}: ns a call, the least of {ROUNDS} × {CALLS}")
    for what, function, _ in calls:
        of_ways = ", ".join(f"{way} {probed[way, function]:.0f}" for way in ways)
        print(f"  {what:<30} {function:<16} without {without[function]:.0f}, {of_ways}")
    ratio = probed["at the first instruction", "cuLaunchKernel"] / probed["as it is", "cuLaunchKernel"]
    print(f"  a launch probed at the first instruction costs {ratio:.1f} times as much; {STEPPED_RATIO} required")
    assert ratio >= STEPPED_RATIO


def _skip_nothing(code: bytes) -> int:
    return 0


@contextmanager
def statistics() -> Generator[None]:
    """Let the kernel count the runs of programs and their time, which itself adds some 60 ns to each."""
    switch = Path("/proc/sys/kernel/bpf_stats_enabled")
    before = switch.read_text()
    switch.write_text("1")
    try:
        yield
    finally:
        switch.write_text(before)


def runs() -> tuple[int, int]:
    """Runs and nanoseconds of the programs that this process holds."""
    times = ns = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{fd}") != "anon_inode:bpf-prog":
                continue
            text = Path(f"/proc/self/fdinfo/{fd}").read_text()
        except OSError:  # the folder's own
            continue
        fields = dict(line.split(":", 1) for line in text.splitlines())
        times += int(fields["run_cnt"])
        ns += int(fields["run_time_ns"])
    return times, ns


def switches() -> None:
    """Two threads that wait for each other."""
    a, b = socket.socketpair()
    with a, b, ThreadPoolExecutor(1) as pool:
        echo = pool.submit(lambda: [b.send(b.recv(1)) for _ in range(CALLS // 4)])
        for _ in range(CALLS // 4):
            a.send(b"x")
            a.recv(1)
        echo.result()


def tcp() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as a:
        b, _ = server.accept()
        with b:
            for _ in range(CALLS // 4):
                a.send(b"x")
                b.recv(1)


def disk() -> None:
    with tempfile.NamedTemporaryFile(dir=Path.cwd()) as file:
        for _ in range(200):
            file.write(b"x" * 4096)
            file.flush()
            os.fdatasync(file.fileno())


@pytest.mark.bench
@pytest.mark.parametrize("backend", ["libbpf", "bcc"])
def test_a_run_of_the_kernels_programs(backend: str) -> None:
    needs(backend)
    print(f"\n{backend}: ns a run in the kernel, and wall time of the work against that without probes")
    for group, work in (("sched", switches), ("perf", switches), ("net", tcp), ("block", disk)):
        without = _timed(work)
        with running(backend, group):
            watched = _timed(work)
            with statistics():
                work()
                times, ns = runs()
        print(f"  {group:<6} {ns / times:5.0f} ns × {times} runs; {without * 1e3:.1f} → {watched * 1e3:.1f} ms")
        assert ns / times < 20_000


def _timed(work: Callable[[], None]) -> float:
    def once() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return min(once() for _ in range(ROUNDS))


@pytest.mark.bench
@pytest.mark.parametrize("backend", ["libbpf", "bcc"])
def test_the_agent_at_one_second(backend: str, built: Built, tmp_path: Path) -> None:
    """Eight processes that launch 20,000 kernels a second between them, and their helpers, all in a container."""
    needs(backend)
    containers = container()
    enter = next(containers)
    helper = [sys.executable, "-I", "-S", "-c", "import time\nwhile True: time.sleep(0.1)"]
    helpers = [subprocess.Popen(helper, preexec_fn=enter) for _ in range(WORKERS)]  # noqa: PLW1509
    programs = [Program([built.program, built.cuda], enter) for _ in range(GPUS)]
    try:
        with sink() as (endpoint, arrived):
            file = tmp_path / "agent.yaml"
            file.write_text(AGENT.format(backend=backend, endpoint=endpoint))
            with (tmp_path / "log").open("w") as log:
                agent = subprocess.Popen([sys.executable, "-m", "fallow", "run", str(file)], stdout=log, stderr=log)
            try:
                until = time.monotonic() + 60
                while arrived() < 3:
                    assert time.monotonic() < until, (tmp_path / "log").read_text()
                    time.sleep(0.1)
                cpu, began, before, launches, rates = _cpu_s(agent.pid), time.monotonic(), arrived(), 0, 0.0
                while (passed := time.monotonic() - began) < MEASURED_S:
                    for program in programs:
                        rates += program.call("cuLaunchKernel", LAUNCHES_PER_S // GPUS // 20)
                    launches += LAUNCHES_PER_S // 20
                    time.sleep(max(0.0, launches / LAUNCHES_PER_S - passed))
                passed = time.monotonic() - began
                share, readings = (_cpu_s(agent.pid) - cpu) / passed, arrived() - before
                rss = _status(agent.pid, "VmRSS") / 1024
            finally:
                agent.terminate()
                agent.wait(20)
    finally:
        for each in helpers:
            each.kill()
            each.wait()
        for program in programs:
            program.end()
        next(containers, None)
    print(
        f"\n{backend}: {share:.2%} of one core ({MOST_CPU_SHARE[backend]:.1%} allowed), RSS {rss:.0f} MB ({MOST_RSS_MB:.0f}"
        f" allowed), {readings} readings in {passed:.1f} s of {GPUS + WORKERS} processes in a container;"
        f" {launches / passed:.0f} launches/s at {rates / (launches * GPUS / LAUNCHES_PER_S * 20):.0f} ns"
    )
    assert share <= MOST_CPU_SHARE[backend]
    assert rss <= MOST_RSS_MB


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _status(pid: int, name: str) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition(f"{name}:")[2].split()[0])
