"""The machine that tests of probes run on: what it allows, containers to put processes into, programs the kernel has."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import struct
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from fallow.batch import OtlpRequest
from fallow.clients import bcc, libbpf
from fallow_receivers.ebpf import EbpfReceiverConfig
from fallow_receivers.ebpf._backends import object_file
from fallow_receivers.ebpf._node import Node

Labels = tuple[tuple[str, str], ...]
Points = dict[tuple[str, Labels], float]

CONTAINER = "c0ffee" * 10 + "0123"
_BPF, _PROGRAM_AFTER, _LINK_AFTER = 321, 11, 31


def needs(backend: str) -> None:
    """Skip, with the reason, where a backend cannot run."""
    if os.uname().machine != "x86_64":
        pytest.skip("the stand-ins and system call numbers of these tests are for x86-64")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if backend == "libbpf":
        if why := libbpf.available():
            pytest.skip(f"needs libbpf: {why}")
        if not object_file("sched").exists():
            pytest.skip("needs the compiled probes: make probes, with clang and libbpf-dev")
    if backend == "bcc" and bcc.find() is None:
        pytest.skip("needs BCC: python3-bpfcc")


@contextmanager
def running(backend: str, *groups: str, **options: Any) -> Generator[Node]:
    """The groups on a backend, all of them measuring or waiting; skips where the kernel refuses."""
    needs(backend)
    config = EbpfReceiverConfig.model_validate(
        {"backend": backend, "groups": groups, "libraries": (), "rescan": "1s", **options}
    )
    node = Node(config)
    node.start()
    try:
        for attributes, up in node.states():
            state = dict(attributes)
            if not up and state["fallow.probe.reason"] not in ("waiting", "no_pmu"):
                pytest.skip(f"the kernel refuses {state}")
        yield node
    finally:
        node.close()


def look(node: Node) -> None:
    """Look for new processes now, not when it is due."""
    node.look()
    node.read()


def points(requests: list[OtlpRequest], **having: str | int) -> Points:
    """Values of a reading by name and the remaining attributes, of points that have these; histograms as their count."""
    wanted = {key.replace("__", "."): str(value) for key, value in having.items()}
    found: Points = {}
    for resource in ExportMetricsServiceRequest.FromString(requests[0].body).resource_metrics:
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            for point in getattr(metric, str(metric.WhichOneof("data"))).data_points:
                labels = {a.key: a.value.string_value or str(a.value.int_value) for a in point.attributes}
                if wanted.items() <= labels.items():
                    rest = tuple(sorted((k, v) for k, v in labels.items() if k not in wanted))
                    kind = point.WhichOneof("value") if hasattr(point, "as_int") else "count"
                    found[metric.name, rest] = getattr(point, kind)
    return found


def events(requests: list[OtlpRequest]) -> list[tuple[str, Mapping[str, str]]]:
    """Name and attributes of the events of a reading."""
    return [
        (record.event_name, {a.key: a.value.string_value or str(a.value.int_value) for a in record.attributes})
        for request in requests[1:]
        for resource in ExportLogsServiceRequest.FromString(request.body).resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]


def container() -> Iterator[Callable[[], None]]:
    """Makes a container's cgroups; gives what a process does to enter them, before it runs its program."""
    folders = [root / f"docker-{CONTAINER}.scope" for root in _hierarchies()]
    if not folders:
        pytest.skip("needs a cgroup hierarchy that is mounted")
    try:
        for folder in folders:
            folder.mkdir(exist_ok=True)
    except OSError as error:
        pytest.skip(f"needs a cgroup of its own: {error}")

    def enter() -> None:
        for folder in folders:
            (folder / "cgroup.procs").write_text(str(os.getpid()))

    yield enter
    for folder in folders:
        _remove(folder)


def _remove(folder: Path, tries: int = 100) -> None:
    """Remove a cgroup: the kernel holds on to it until what was killed in it is gone."""
    for attempt in range(tries):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or attempt == tries - 1:
                raise
            time.sleep(0.05)


def memory_limit(bytes: int) -> None:
    """Limit the container's memory; skips where nothing can."""
    for root in _hierarchies():
        for name in ("memory.max", "memory.limit_in_bytes"):
            file = root / f"docker-{CONTAINER}.scope" / name
            if file.exists():
                file.write_text(str(bytes))
                return
    pytest.skip("needs the memory controller")


def kernel_ids() -> tuple[set[int], set[int]]:
    """Numbers of the programs and of the links that the kernel has now."""
    return _ids(_PROGRAM_AFTER), _ids(_LINK_AFTER)


def _ids(command: int) -> set[int]:
    libc, found, at = ctypes.CDLL(None, use_errno=True), set[int](), 0
    while True:
        attr = ctypes.create_string_buffer(struct.pack("<III", at, 0, 0))
        if libc.syscall(_BPF, command, attr, 12):
            return found
        at = struct.unpack_from("<I", attr.raw, 4)[0]
        found.add(at)


def _hierarchies() -> list[Path]:
    roots: list[Path] = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and "memory" in options.split(",")):
            roots.append(Path(before.split(" ")[4]))
    return roots


def unshare() -> str:
    """The program that gives a process namespaces of its own."""
    found = shutil.which("unshare")
    if found is None:
        pytest.skip("needs unshare")
    return found
