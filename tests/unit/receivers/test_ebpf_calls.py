"""Calls of CUDA and NCCL, counted in the kernel against a program that knows what it called."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fallow_receivers.ebpf._libraries import file_id
from helpers.gpu import Built, Program, build
from helpers.kernel import Points, kernel_ids, look, needs, points, running, unshare

BACKENDS = ("libbpf", "bcc")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("gpu"))


def of(found: Points, name: str) -> dict[str, float]:
    """Attribute value → value of a metric; "" where it has none."""
    return {labels[0][1] if labels else "": value for (metric, labels), value in found.items() if metric == name}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
def test_every_call_of_cuda_is_counted(backend: str, ended: bool, built: Built) -> None:
    with Program([built.program, built.cuda]) as program, running(backend, "cuda") as node:
        program.call("cuLaunchKernel", 5)  # before anyone looked
        look(node)
        program.call("cuLaunchKernel", 1000)
        program.call("cuLaunchKernel_ptsz", 300)
        program.call("cuLaunchKernelEx", 50)
        program.call("cuGraphLaunch", 7)
        program.call("cuMemcpyHtoDAsync_v2", 10, 4096)
        program.call("cuMemcpyDtoH_v2_ptds", 3, 5 << 30)
        program.call("cuMemcpyDtoDAsync_v2", 2, 100)
        program.call("cuMemcpyPeerAsync", 4, 1000)
        program.call("cuMemAlloc_v2", 3, 1 << 30)
        program.call("cuMemAlloc_v2", 2, 1 << 40)  # more than there is
        program.call("cuMemFree_v2", 3)
        program.call("fake_wait", 1, 2_000_000)
        told = program.call("cuStreamSynchronize", 20)
        program.call("cuCtxSynchronize", 2)
        if ended:
            program.end()
        found = points(node.read(), process__pid=program.pid)
        assert of(found, "fallow.cuda.kernel.launches") == {"": 1350}
        assert of(found, "fallow.cuda.graph.launches") == {"": 7}
        kinds = ("host_to_device", "device_to_host", "device_to_device", "peer_to_peer")
        assert of(found, "fallow.cuda.copies") == dict(zip(kinds, (10, 3, 2, 4), strict=True))
        assert of(found, "fallow.cuda.copy.io") == dict(zip(kinds, (40960, 15 << 30, 200, 4000), strict=True))
        assert of(found, "fallow.cuda.allocations") == {"": 3}
        assert of(found, "fallow.cuda.allocation.size") == {"": 3 << 30}
        assert of(found, "fallow.cuda.frees") == {"": 3}
        assert of(found, "fallow.cuda.errors") == {"out_of_memory": 2}
        assert of(found, "fallow.cuda.waits") == {"stream": 20, "context": 2}
        waited = of(found, "fallow.cuda.wait.time")
        assert 0.04 <= waited["stream"] <= 20 * told / 1e9
        assert waited["context"] >= 0.004
        gone = points(node.read(), process__pid=program.pid)
        assert bool(gone) != ended, "the series of a process end with it"


@pytest.mark.parametrize("backend", BACKENDS)
def test_bytes_of_nccl_follow_from_the_data_type(backend: str, built: Built) -> None:
    with Program([built.program, built.nccl]) as program, running(backend, "nccl") as node:
        look(node)
        for type in range(12):
            program.call("ncclAllReduce", 1, 1000, type)
        program.call("ncclReduceScatter", 2, 10, 7)
        program.call("ncclAllGather", 3, 10, 9)
        program.call("ncclBroadcast", 1, 10, 8)
        program.call("ncclBcast", 1, 10, 8)  # calls the one above
        program.call("ncclSend", 5, 1 << 32, 6)
        program.call("ncclRecv", 6, 7, 0)
        found = points(node.read(), process__pid=program.pid)
        sizes = [1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1]
        assert of(found, "fallow.nccl.calls") == {
            "all_reduce": 12,
            "reduce_scatter": 2,
            "all_gather": 3,
            "broadcast": 2,
            "send": 5,
            "receive": 6,
        }
        assert of(found, "fallow.nccl.io") == {
            "all_reduce": 1000 * sum(sizes),
            "reduce_scatter": 80,
            "all_gather": 60,
            "broadcast": 160,
            "send": 10 << 32,
            "receive": 42,
        }


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_library_of_two_containers_counts_each_call_once(backend: str, built: Built, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.mkdir()
    (image / "libcuda.so.1").write_bytes(built.cuda.read_bytes())
    commands: list[list[str]] = []
    mounts: list[str] = []
    for name in ("a", "b"):
        for folder in (f"{name}/upper", f"{name}/work", f"{name}/root"):
            (tmp_path / folder).mkdir(parents=True)
        options = f"lowerdir={image},upperdir={tmp_path}/{name}/upper,workdir={tmp_path}/{name}/work"
        root = tmp_path / name / "root"
        mounts.append(f"mount -t overlay overlay -o {options} {root}")
        script = f"{mounts[-1]} && exec {built.program} {root}/libcuda.so.1"
        commands.append([unshare(), "--mount", "--propagation", "private", "sh", "-c", script])
    if subprocess.run([*commands[0][:-1], mounts[0]], check=False).returncode:
        pytest.skip("needs overlayfs")
    with Program(commands[0]) as one, Program(commands[1]) as two, running(backend, "cuda") as node:
        look(node)
        one.call("cuLaunchKernel", 500)
        two.call("cuLaunchKernel", 70)
        requests = node.read()
        launches = {p.pid: of(points(requests, process__pid=p.pid), "fallow.cuda.kernel.launches") for p in (one, two)}
        assert launches == {one.pid: {"": 500}, two.pid: {"": 70}}


@pytest.mark.parametrize("backend", BACKENDS)
def test_copies_of_an_image_are_all_probed(backend: str, built: Built, tmp_path: Path) -> None:
    """Mounted twice, an image's files are alike in everything but the device, and are not one file to the kernel."""
    needs(backend)
    copies = [tmp_path / name / "libcuda.so.1" for name in ("a", "b")]
    for copy in copies:
        copy.parent.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", copy.parent], check=False).returncode:
            pytest.skip("needs to mount")
        copy.write_bytes(built.cuda.read_bytes())
        os.utime(copy, (1e9, 1e9))
    try:
        ids = [file_id(str(copy)) for copy in copies]
        assert ids[0] is not None
        assert ids[1] is not None
        if not ids[0].may_be(ids[1]):
            pytest.skip("needs file systems that number their files alike")
        with (
            Program([built.program, copies[0]]) as one,
            Program([built.program, copies[1]]) as two,
            running(backend, "cuda") as node,
        ):
            look(node)
            one.call("cuLaunchKernel", 40)
            two.call("cuLaunchKernel", 30)
            requests = node.read()
            for program, times in ((one, 40), (two, 30)):
                launches = of(points(requests, process__pid=program.pid), "fallow.cuda.kernel.launches")
                assert launches == {"": times}
    finally:
        for copy in copies:
            subprocess.run(["umount", copy.parent], check=False)


@pytest.mark.parametrize("backend", BACKENDS)
def test_before_uprobe_multi_functions_are_probed_one_by_one(
    backend: str, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fallow_receivers.ebpf._backends.release", lambda: (6, 5))
    needs(backend)
    before = kernel_ids()[1]
    with Program([built.program, built.cuda]) as program, running(backend, "cuda") as node:
        look(node)
        assert len(kernel_ids()[1] - before) > 3, "one link for each function"
        program.call("cuLaunchKernel", 100)
        program.call("cuMemAlloc_v2", 3, 1 << 20)
        found = points(node.read(), process__pid=program.pid)
        assert of(found, "fallow.cuda.kernel.launches") == {"": 100}
        assert of(found, "fallow.cuda.allocation.size") == {"": 3 << 20}


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_no_process_has_any_more_is_left_alone(backend: str, built: Built) -> None:
    with running(backend, "cuda") as node:
        before = kernel_ids()[1]
        with Program([built.program, built.cuda]):
            look(node)
            assert dict(node.states()) == {(("fallow.probe.group", "cuda"), ("fallow.probe.backend", backend)): 1}
            assert len(kernel_ids()[1] - before) == 3
        look(node)
        look(node)
        assert kernel_ids()[1] - before == set()
        ((state, up),) = node.states()
        assert (dict(state)["fallow.probe.reason"], up) == ("waiting", 0)


def test_a_library_is_probed_before_it_is_loaded(built: Built) -> None:
    with running("libbpf", "cuda", libraries=(str(built.cuda),)) as node:
        look(node)
        with Program([built.program, built.cuda]) as program:
            program.call("cuLaunchKernel", 11)
            assert of(points(node.read(), process__pid=program.pid), "fallow.cuda.kernel.launches") == {"": 11}


def test_a_library_without_the_functions_has_its_reason(built: Built, tmp_path: Path) -> None:
    other = tmp_path / "libcuda.so.1"
    os.link(built.nccl, other)
    with Program([built.program, other]), running("libbpf", "cuda") as node:
        look(node)
        ((state, up),) = node.states()
        assert (dict(state)["fallow.probe.reason"], up) == ("no_hook", 0)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = kernel_ids() if os.geteuid() == 0 else None
    yield
    if before is not None:
        assert kernel_ids()[1] <= before[1]
