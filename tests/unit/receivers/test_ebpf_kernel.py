"""Scheduler, disks, TCP, memory and counters: the kernel's sums against what processes know they did."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers.gpu import Program, build
from helpers.kernel import CONTAINER, container, events, kernel_ids, memory_limit, needs, points, running

BACKENDS = ("libbpf", "bcc")
MIB = 1 << 20
Enter = Callable[[], None]


@pytest.fixture(name="enter")
def entered() -> Iterator[Enter]:
    needs("none")
    yield from container()


def inside(enter: Enter, code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process of the container that runs Python and then waits to be let go."""
    ending = "\nprint('done', flush=True)\nsys.stdin.readline()"
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", f"import os, sys, time\n{code}{ending}", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=enter,  # noqa: PLW1509  # it does nothing but write a file
    )


def done(process: subprocess.Popen[str]) -> str:
    """What it said, without having ended."""
    assert process.stdout is not None
    said = ""
    while (line := process.stdout.readline()) != "done\n":
        assert line, "it broke off"
        said += line
    return said


SPIN = """
os.sched_setaffinity(0, {0})
until = time.monotonic() + 1.5
while time.monotonic() < until: pass
time.sleep(0.5)
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_run_queue_delay_and_time_blocked(backend: str, enter: Enter) -> None:
    with running(backend, "sched", "perf") as node:
        spinning = [inside(enter, SPIN) for _ in range(3)]
        for process in spinning:
            done(process)
        requests = node.read()
        for process in spinning:
            found = points(requests, process__pid=process.pid, container__id=CONTAINER)
            busy, delay, _ = map(int, Path(f"/proc/{process.pid}/schedstat").read_text().split())
            assert delay > 0.3e9, "three that want one CPU wait for each other"
            # The newest wait is known when the process next leaves its CPU.
            assert found["fallow.sched.run_queue.time", ()] == pytest.approx(delay / 1e9, abs=0.05)
            assert 0.5 <= found["fallow.sched.blocked.time", ()] < 0.5 + 0.6, "it slept for half a second"
            assert found["fallow.sched.migrations", ()] <= 20
            if ("fallow.cpu.time", ()) in found:
                assert found["fallow.cpu.time", ()] == pytest.approx(busy / 1e9, rel=0.25, abs=0.05)
            else:
                assert found["fallow.cpu.cycles", ()] > 1e7
            process.communicate("\n")


@pytest.mark.parametrize("backend", BACKENDS)
def test_bytes_and_latency_of_a_disk(backend: str, enter: Enter, tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(os.urandom(8 * MIB))
    os.sync()
    if not _on_a_disk(file):
        pytest.skip("needs a file system on a disk")
    code = """
import mmap
page = mmap.mmap(-1, 65536)
fd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
for i in range(64): os.preadv(fd, [page], i * 65536)
for i in range(16): os.pwrite(fd, page, i * 65536)
"""
    with running(backend, "block") as node:
        process = inside(enter, code, file)
        done(process)
        found = points(node.read(), process__pid=process.pid, container__id=CONTAINER)
        process.communicate("\n")
    read, write = (("disk.io.direction", "read"),), (("disk.io.direction", "write"),)
    # It may also have loaded a module or two of Python.
    assert 4 * MIB <= found["fallow.block.io", read] <= 4 * MIB + MIB
    assert found["fallow.block.io", write] == MIB
    assert found["fallow.block.latency", read] >= 64
    assert found["fallow.block.latency", write] == 16


@pytest.mark.parametrize("backend", BACKENDS)
def test_bytes_of_tcp_are_exact(backend: str, enter: Enter) -> None:
    code = """
import socket
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
for _ in range(100): s.sendall(b"x" * 12345)
s.shutdown(socket.SHUT_WR)
assert s.recv(1 << 20, socket.MSG_PEEK)
while s.recv(1 << 20): pass
"""
    with running(backend, "net") as node, socket.create_server(("127.0.0.1", 0)) as server:
        process = inside(enter, code, server.getsockname()[1])
        peer, _ = server.accept()
        with peer:
            while peer.recv(MIB):
                pass
            peer.sendall(b"y" * 98765)
        done(process)
        found = points(node.read(), process__pid=process.pid, container__id=CONTAINER)
        process.communicate("\n")
    assert found["fallow.tcp.io", (("network.io.direction", "transmit"),)] == 1234500
    assert found["fallow.tcp.io", (("network.io.direction", "receive"),)] == 98765


def _retransmitted() -> int:
    names, numbers = (
        line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Tcp:")
    )
    return int(dict(zip(names, numbers, strict=True))["RetransSegs"])


@pytest.mark.parametrize("backend", [*BACKENDS, "procfs"])
def test_what_tcp_sends_again(backend: str) -> None:
    with running(backend, "net") as node, socket.socket() as full:
        node.read()
        before = _retransmitted()
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        clients = [socket.socket() for _ in range(4)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        time.sleep(1.5)
        told = _retransmitted() - before
        found = sum(v for (name, _), v in points(node.read()).items() if name == "fallow.tcp.retransmits")
        for client in clients:
            client.close()
    assert told <= found <= told + 2
    assert found >= 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_major_faults_and_a_kill(backend: str, enter: Enter, tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(os.urandom(2 * MIB))
    os.sync()
    if not _on_a_disk(file):
        pytest.skip("needs a file system on a disk")
    code = """
import mmap
import resource
fd = os.open(sys.argv[1], os.O_RDONLY)
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
data = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
data.madvise(mmap.MADV_RANDOM)
total = sum(data[i] for i in range(0, len(data), 4096))
print(resource.getrusage(resource.RUSAGE_SELF).ru_majflt)
"""
    with running(backend, "memory") as node:
        process = inside(enter, code, file)
        faults = int(done(process))
        found = points(node.read(), process__pid=process.pid, container__id=CONTAINER)
        assert faults >= 512
        assert found["fallow.memory.major_faults", ()] == faults
        process.communicate("\n")

        memory_limit(40 * MIB)
        process = inside(enter, "x = bytearray(300 << 20)")
        assert process.wait(30) == -9
        process.communicate()
        (event,) = events(node.read())
        labels = {"process.pid": str(process.pid), "container.id": CONTAINER}
        assert event[0] == "fallow.oom.kill"
        assert event[1] == labels | {"process.executable.name": Path(sys.executable).name[:15]}


def test_procfs_counts_what_it_can(enter: Enter, tmp_path: Path) -> None:
    with running("procfs", "sched", "block", "memory", "perf") as node:
        node.read()
        spinning = [inside(enter, SPIN) for _ in range(2)]
        time.sleep(1.1)  # until it looks again
        node.read()
        for process in spinning:
            done(process)
        requests = node.read()
        found = points(requests, process__pid=spinning[0].pid, container__id=CONTAINER)
        delay = int(Path(f"/proc/{spinning[0].pid}/schedstat").read_text().split()[1])
        assert found["fallow.sched.run_queue.time", ()] == pytest.approx(delay / 1e9, abs=0.01)
        assert found["fallow.cpu.time", ()] > 0.4
        assert ("fallow.sched.blocked.time", ()) not in found, "nothing counts it"
        for process in spinning:
            process.communicate("\n")


@pytest.mark.parametrize("backend", BACKENDS)
def test_kill_9_leaves_nothing_attached(backend: str, built_gpu: Path) -> None:
    needs(backend)
    before = kernel_ids()
    code = f"""
import time
from fallow_receivers.ebpf import EbpfReceiverConfig
from fallow_receivers.ebpf._node import Node
groups = ("cuda", "sched", "block", "net", "memory")
node = Node(EbpfReceiverConfig(backend={backend!r}, groups=groups, libraries=({str(built_gpu / "libcuda.so.1")!r},)))
node.start()
node.read()
print(sum(up for _, up in node.states()), flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=_environment())
    assert process.stdout is not None
    attached = int(process.stdout.readline())
    if not attached:
        process.kill()
        pytest.skip("the kernel refuses all of them")
    during = kernel_ids()
    process.kill()
    process.communicate()
    for had, has in zip(before, during, strict=True):
        assert len(has - had) >= attached
    until = time.monotonic() + 10
    while (left := _still_there(before, during)) and time.monotonic() < until:
        time.sleep(0.05)  # the kernel frees them a moment after the last user
    assert not left


def _still_there(before: tuple[set[int], set[int]], during: tuple[set[int], set[int]]) -> set[int]:
    programs, links = ((now - had) & has for had, has, now in zip(before, during, kernel_ids(), strict=True))
    return programs | links


def test_shutdown_leaves_nothing_and_no_descriptor() -> None:
    before = kernel_ids() if os.geteuid() == 0 else (set(), set())
    files = len(os.listdir("/proc/self/fd"))
    with running("libbpf", "cuda", "sched", "block", "net", "memory", "perf") as node:
        node.read()
    assert len(os.listdir("/proc/self/fd")) == files
    time.sleep(0.2)
    assert kernel_ids()[0] - before[0] == set()


CAPABILITIES = {"bpf": 39, "perfmon": 38, "sys_ptrace": 19}

UNPRIVILEGED = """
import ctypes, os, struct, sys
from fallow_receivers.ebpf import EbpfReceiverConfig
from fallow_receivers.ebpf._node import Node
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
node = Node(EbpfReceiverConfig(rescan="1s", libraries=()))
mask = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(8, 1, 0, 0, 0) == 0                       # PR_SET_KEEPCAPS
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
head = struct.pack("<Ii", 0x20080522, 0)                    # _LINUX_CAPABILITY_VERSION_3, ourselves
low, high = mask & 0xFFFFFFFF, mask >> 32
assert libc.capset(head, struct.pack("<6I", low, low, 0, high, high, 0)) == 0
libc.prctl(4, 1, 0, 0, 0)                                   # PR_SET_DUMPABLE: as a process that was started so
node.start()
node.read()
for attributes, up in node.states():
    state = dict(attributes)
    print(state["fallow.probe.group"], state.get("fallow.probe.backend"), state.get("fallow.probe.reason"))
print("done", flush=True)
sys.stdin.readline()
body = node.read()[0].body
for metric in ExportMetricsServiceRequest.FromString(body).resource_metrics[0].scope_metrics[0].metrics:
    if metric.name == "fallow.cuda.kernel.launches":
        print("launches", sum(point.as_int for point in metric.sum.data_points))
"""


def unprivileged(*capabilities: str) -> subprocess.Popen[str]:
    """The receiver's node as nobody with exactly these capabilities."""
    mask = sum(1 << CAPABILITIES[name] for name in capabilities)
    return subprocess.Popen(
        [sys.executable, "-c", UNPRIVILEGED, str(mask)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=_environment(),
    )


def test_three_capabilities_are_enough(built_gpu: Path) -> None:
    needs("libbpf")
    with Program([built_gpu / "program", built_gpu / "libcuda.so.1"]) as program:
        process = unprivileged("bpf", "perfmon", "sys_ptrace")
        states = {line.split()[0]: line.split()[1:] for line in done(process).splitlines()}
        program.call("cuLaunchKernel", 321)
        said, _ = process.communicate("\n")
    if tuple(map(int, os.uname().release.split(".")[:2])) < (6, 6):
        pytest.skip("before Linux 6.6 functions need CAP_SYS_ADMIN too")
    assert states.pop("perf") in (["libbpf", "None"], ["libbpf", "no_pmu"])
    assert states.pop("nccl") == ["libbpf", "waiting"]
    assert states == {group: ["libbpf", "None"] for group in ("cuda", "sched", "block", "net", "memory")}
    assert said.split() == ["launches", "321"]


def test_a_library_in_a_private_folder_has_its_reason(built_gpu: Path, tmp_path: Path) -> None:
    needs("libbpf")
    (tmp_path / "libcuda.so.1").write_bytes((built_gpu / "libcuda.so.1").read_bytes())
    if not any(folder.stat().st_mode & 0o005 == 0 for folder in tmp_path.parents):
        pytest.skip("needs a folder for root alone")
    with Program([built_gpu / "program", tmp_path / "libcuda.so.1"]):
        process = unprivileged("bpf", "perfmon", "sys_ptrace")
        states = {line.split()[0]: line.split()[1:] for line in done(process).splitlines()}
        process.communicate("\n")
    assert states["cuda"] == ["libbpf", "no_cap"]


def test_without_capabilities_proc_is_left(built_gpu: Path) -> None:
    needs("libbpf")
    process = unprivileged()
    states = {line.split()[0]: line.split()[1:] for line in done(process).splitlines()}
    process.communicate("\n")
    assert states == {
        "cuda": ["None", "no_cap"],
        "nccl": ["None", "no_cap"],
        **{group: ["procfs", "None"] for group in ("sched", "block", "net", "memory", "perf")},
    }


@pytest.fixture(scope="module")
def built_gpu() -> Iterator[Path]:
    """Where everybody may read, which the folders of pytest are not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        build(Path(folder))
        yield Path(folder)


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def _on_a_disk(file: Path) -> bool:
    device = os.stat(file).st_dev
    return Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").exists()
