"""The receiver without a kernel: owners, totals, files, requests, and its place in a pipeline."""

from __future__ import annotations

import asyncio
import os
import struct
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from fallow import semconv
from fallow.batch import Batch, OtlpRequest
from fallow.cgroup import labels
from fallow.errors import TransientError
from fallow.reference import metadata
from fallow.testing.components import context
from fallow_receivers.ebpf import EbpfReceiver, EbpfReceiverConfig, _btf, _what
from fallow_receivers.ebpf._backends import PROBES, PROGRAMS, VMLINUX, source
from fallow_receivers.ebpf._cgroup import V1, CgroupTree, paths_of
from fallow_receivers.ebpf._elf import ElfError, functions, skip
from fallow_receivers.ebpf._encode import Encoder
from fallow_receivers.ebpf._functions import CUDA, NCCL
from fallow_receivers.ebpf._libraries import file_id
from fallow_receivers.ebpf._node import Node
from fallow_receivers.ebpf._probes import Reading, Victim
from fallow_receivers.ebpf._procfs import ProcfsProbe
from fallow_receivers.ebpf._totals import Totals
from fallow_receivers.ebpf._what import Key, Sum, What
from fallow_receivers.ebpf._who import OTHERS, Owners, Who
from helpers.kernel import points

ID = "3f" * 32
POD = "1b2c3d4e-5f60-7182-93a4-b5c6d7e8f901"


@pytest.mark.parametrize(
    ("path", "job", "pod", "container"),
    [
        pytest.param("/docker/" + ID, "", "", ID, id="docker-v1"),
        pytest.param(f"/system.slice/docker-{ID}.scope", "", "", ID, id="docker-systemd"),
        pytest.param(f"/machine.slice/libpod-{ID}.scope/container", "", "", ID, id="podman"),
        pytest.param(f"/machine.slice/libpod-conmon-{ID}.scope", "", "", "", id="podman-monitor"),
        pytest.param(f"/kubepods/burstable/pod{POD}/{ID}", "", POD, ID, id="kubernetes-cgroupfs"),
        pytest.param(
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD.replace('-', '_')}.slice"
            f"/cri-containerd-{ID}.scope",
            "",
            POD,
            ID,
            id="kubernetes-systemd",
        ),
        pytest.param(
            f"/kubepods.slice/kubepods-pod{POD.replace('-', '_')}.slice/crio-{ID}.scope", "", POD, ID, id="crio"
        ),
        pytest.param(f"/kubepods.slice/kubepods-pod{POD.replace('-', '')}.slice/crio-conmon-{ID}.scope", "", POD.replace("-", ""), "", id="static-pod-monitor"),
        pytest.param(f"/../../kubelet-kubepods-pod{POD.replace('-', '_')}.slice/cri-containerd-{ID}.scope", "", POD, ID, id="from-a-namespace"),
        pytest.param("/slurm/uid_1000/job_4242/step_0/task_1", "4242", "", "", id="slurm-v1"),
        pytest.param("/slurm_node7/uid_1000/job_4242/step_batch", "4242", "", "", id="slurm-v1-by-node"),
        pytest.param("/system.slice/slurmstepd.scope/job_4242/step_0/user/task_0", "4242", "", "", id="slurm-v2"),
        pytest.param("/system.slice/node7_slurmstepd.scope/job_4242/step_0/slurm", "4242", "", "", id="slurm-v2-by-node"),
        pytest.param(f"/system.slice/slurmstepd.scope/job_7/step_0/user/docker-{ID}.scope", "7", "", ID, id="container-in-a-job"),
        pytest.param(f"/docker/{'0a' * 32}/docker/{ID}", "", "", ID, id="container-in-a-container"),
        pytest.param("/user.slice/user-1000.slice/session-2.scope", "", "", "", id="login"),
        pytest.param("/home/job_1/x", "", "", "", id="a-name-like-a-job"),
        pytest.param("/", "", "", "", id="root"),
    ],
)  # fmt: skip
def test_labels_of_cgroups(path: str, job: str, pod: str, container: str) -> None:
    wanted = {semconv.JOB_ID: job, semconv.K8S_POD_UID: pod, semconv.CONTAINER_ID: container}
    assert dict(labels([path])) == {key: value for key, value in wanted.items() if value}


def process(proc: Path, pid: int, cgroup: str) -> None:
    (proc / str(pid)).mkdir(parents=True)
    (proc / str(pid) / "cgroup").write_text(cgroup)


def test_hybrid_hierarchies_are_read_together(tmp_path: Path) -> None:
    process(tmp_path, 5, f"9:name=systemd:/user\n4:cpu,memory:/slurm/uid_1/job_9/step_0\n0::/docker/{ID}\n")
    paths = paths_of(tmp_path, 5) or []
    assert paths == [f"/docker/{ID}", "/slurm/uid_1/job_9/step_0", "/user"]
    assert dict(labels(paths)) == {semconv.CONTAINER_ID: ID, semconv.JOB_ID: "9"}
    assert paths_of(tmp_path, 6) is None


def test_a_cgroup_is_found_by_its_number(tmp_path: Path) -> None:
    v2, v1 = tmp_path / "v2", tmp_path / "v1"
    job, container = v2 / "slurmstepd.scope/job_3", v1 / "docker" / ID
    job.mkdir(parents=True)
    container.mkdir(parents=True)
    (tmp_path / "mountinfo").write_text(
        f"30 1 0:1 / {v2} rw - cgroup2 cgroup2 rw\n31 1 0:2 / {v1} rw - cgroup cgroup rw,memory\n"
        f"32 1 0:3 / {tmp_path} rw - cgroup cgroup rw,cpu\n"
    )
    tree = CgroupTree(tmp_path / "mountinfo")
    wanted = [job.stat().st_ino, container.stat().st_ino | V1, 1]
    tree.look(wanted)
    assert [tree.labels(id) for id in wanted] == [((semconv.JOB_ID, "3"),), ((semconv.CONTAINER_ID, ID),), ()]
    gone = job.stat().st_ino
    job.rmdir()
    tree.look([12345678901])
    assert tree.labels(gone) == ((semconv.JOB_ID, "3"),), "its processes' last readings may still come"


def owners(proc: Path, most: int = 10) -> Owners:
    (proc / "none").touch()
    return Owners(proc, CgroupTree(proc / "none"), most)


def test_who_is_reported_by_itself(tmp_path: Path) -> None:
    process(tmp_path, 5, f"0::/docker/{ID}\n")
    process(tmp_path, 6, "0::/system.slice/sshd.service\n")
    process(tmp_path, 7, "0::/user.slice\n")
    who = owners(tmp_path)
    assert who.of(Key(9, 5, 1, 0)) == Who(5, ((semconv.CONTAINER_ID, ID),))
    assert who.of(Key(9, 6, 1, 0)) == who.of(Key(9, 7, 1, 0)) == OTHERS
    who.uses_gpu([7])
    assert who.of(Key(9, 7, 1, 0)) == Who(7, ())
    assert who.of(Key(9, 8, 1, 0)) == OTHERS, "it has gone before anyone saw it"


def test_beyond_the_limit_processes_are_summed_up(tmp_path: Path) -> None:
    for pid in (5, 6, 7):
        process(tmp_path, pid, f"0::/docker/{ID}\n")
    who = owners(tmp_path, most=2)
    assert [who.of(Key(9, pid, 1, 0)).pid for pid in (5, 6, 7)] == [5, 6, 0]
    who.forget({5})
    who.refresh()
    assert who.of(Key(9, 7, 1, 0)).pid == 7


def test_nothing_is_lost_or_doubled_when_processes_come_and_go() -> None:
    totals = Totals(start=100)
    key = Key(1, 5, What.CUDA_LAUNCH, 0)
    totals.add({key: Sum(3, 0, 0)}, lambda _: OTHERS)
    totals.add({key: Sum(3, 0, 0)}, lambda _: OTHERS)
    totals.add({key: Sum(10, 0, 0)}, lambda _: OTHERS)
    totals.end([(key, Sum(12, 0, 0))], lambda _: OTHERS)
    totals.add({key: Sum(2, 0, 0)}, lambda _: OTHERS)  # the number is used again
    assert {place: series.sum.times for place, series in totals.series.items()} == {(OTHERS, 1, 0): 14}


def test_a_process_that_moves_goes_on_under_its_new_owner() -> None:
    totals, key = Totals(start=100), Key(1, 5, What.CUDA_LAUNCH, 0)
    one, two = Who(5, ()), Who(5, ((semconv.JOB_ID, "1"),))
    totals.add({key: Sum(3, 0, 0)}, lambda _: one)
    totals.start = 200
    totals.add({key: Sum(8, 0, 0)}, lambda _: two)
    assert [(who, s.start, s.sum.times) for (who, _, _), s in totals.series.items()] == [(one, 100, 3), (two, 200, 5)]
    totals.forget({5})
    assert totals.series == {}


def test_ratios_are_those_of_the_newest_reading() -> None:
    totals, who = Totals(start=1), Who(5, ())
    for reading in (1, 2):
        totals.begin()
        sums = {Key(1, 5, What.COUNTER, slot): Sum(1, reading * n, 0) for slot, n in enumerate((100, 250, 10, 1))}
        totals.add(sums, lambda _: who)
    found = points([Encoder("h1").metrics(5, totals, (), {}, 1)], process__pid=5)
    assert found["fallow.cpu.instructions_per_cycle", ()] == 2.5
    assert found["fallow.cpu.cache.miss_ratio", ()] == 0.1
    assert found["fallow.cpu.cycles", ()] == 200


def test_a_histogram_has_every_request_in_its_bucket() -> None:
    totals = Totals(start=7)
    sums = {
        Key(1, 5, What.BLOCK, 1): Sum(4, 4096, 1_500_000),
        Key(1, 5, What.BLOCK_LATENCY, 1 << 8 | 3): Sum(1, 0, 0),  # below the first bound
        Key(1, 5, What.BLOCK_LATENCY, 1 << 8 | 16): Sum(2, 0, 0),  # 65.5 to 131 microseconds
        Key(1, 5, What.BLOCK_LATENCY, 1 << 8 | 40): Sum(1, 0, 0),  # above the last
    }
    totals.add(sums, lambda _: OTHERS)
    request = ExportMetricsServiceRequest.FromString(Encoder("h1").metrics(9, totals, (), {}, 7).body)
    metrics = {m.name: m for m in request.resource_metrics[0].scope_metrics[0].metrics}
    (point,) = metrics["fallow.block.latency"].histogram.data_points
    assert (point.count, point.sum, point.start_time_unix_nano) == (4, 0.0015, 7)
    filled = {i: n for i, n in enumerate(point.bucket_counts) if n}
    assert filled == {0: 1, 7: 2, 25: 1}
    assert point.explicit_bounds[6] == pytest.approx(65.536e-6)
    assert point.explicit_bounds[7] == pytest.approx(131.072e-6)


def test_a_kill_is_an_event() -> None:
    victim = Victim(time=5, pid=42, name="trainer", cgroup=9)
    request = Encoder("h1").victims([(victim, ((semconv.JOB_ID, "7"),))], 6)
    (resource,) = ExportLogsServiceRequest.FromString(request.body).resource_logs
    (record,) = resource.scope_logs[0].log_records
    assert (request.kind, record.event_name, record.time_unix_nano) == ("logs", "fallow.oom.kill", 5)
    assert record.body.string_value == "The kernel killed trainer (42) for want of memory."


def test_all_that_is_sent_is_described() -> None:
    about = metadata("receivers", "ebpf").emits
    assert about is not None
    described = {name: doc.unit for group in about.groups for name, doc in group.metrics.items()}
    metrics = [m for m in vars(_what).values() if isinstance(m, _what.Metric)] + list(_what.COUNTERS)
    sent = {m.name: m.unit for m in metrics} | {n: semconv.SIGNALS[n] for n in (semconv.PROBE_UP, semconv.PROBE_LOST)}
    assert described == sent
    assert set(about.events) == {semconv.OOM_KILL}


# -- files of machine code ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "skipped"),
    [
        pytest.param("55 48 89 e5", 0, id="push"),
        pytest.param("f3 0f 1e fa 55", 4, id="endbr64"),
        pytest.param("81 3d 01 02 03 04 00 ba 1c 32 74 09", 10, id="compare-and-jump"),
        pytest.param("f3 0f 1e fa 81 3d 01 02 03 04 00 ba 1c 32 75 09", 14, id="endbr64-compare-and-jump"),
        pytest.param("81 3d 01 02 03 04 00 ba 1c 32 90 90", 0, id="compare-without-jump"),
        pytest.param("81 3d 01 02", 0, id="cut-off"),
        pytest.param("0f 1f 44 00 00", 0, id="nop"),
    ],
)
def test_where_a_probe_belongs(code: str, skipped: int) -> None:
    assert skip(bytes.fromhex(code), "x86_64") == skipped
    assert skip(bytes.fromhex(code), "aarch64") == 0


def test_a_file_that_is_no_library_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("#!/bin/sh\necho this is not a library, whatever it is called\n")
    (tmp_path / "cut").write_bytes(b"\x7fELF\x02\x01" + bytes(20))
    for name in ("text", "cut"):
        with pytest.raises(ElfError):
            functions(tmp_path / name, CUDA)


def test_what_stands_in_a_librarys_place_is_no_library(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "libcuda.so.1")
    (tmp_path / "empty").touch()
    assert file_id(str(tmp_path / "libcuda.so.1")) is None
    assert file_id(str(tmp_path)) is None
    with pytest.raises(ElfError):
        functions(tmp_path / "empty", CUDA)
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01", 3, 62, 1, 0, 64, (1 << 64) - 1, 0, 64, 56, 1, 64, 9, 0)
    (tmp_path / "far").write_bytes(head + bytes(200))
    with pytest.raises(ElfError, match="far is damaged"):
        functions(tmp_path / "far", CUDA)


def test_cookies_say_how_a_function_is_counted() -> None:
    assert CUDA["cuLaunchKernel_ptsz"].cookie == 1
    assert CUDA["cuMemcpyDtoH_v2_ptds"].cookie == 3 | 1 << 16 | 3 << 32
    assert NCCL["ncclSend"].cookie == 8 | 5 << 16 | 2 << 32 | 3 << 36
    assert all(f.what < 1 << 16 and f.size <= 5 and f.type <= 5 for f in (CUDA | NCCL).values())


def test_numbers_are_those_of_the_programs() -> None:
    text = (PROBES / "sums.h").read_text()
    named = dict(
        line.split()[1:3] for line in text.splitlines() if line.startswith("#define ") and len(line.split()) > 2
    )
    assert {what.name: what.value for what in What if what < 100} == {
        name: int(number) for name, number in named.items() if name in What.__members__
    }


def test_the_sources_name_their_licence() -> None:
    files = [*PROBES.rglob("*.h"), *PROBES.rglob("*.c")]
    assert len(files) > 10
    wanted = "// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause\n"
    assert [f.name for f in files if not f.read_text().startswith(wanted)] == []


def test_structs_are_filled_out_to_this_kernel() -> None:
    if not VMLINUX.exists():
        pytest.skip("needs a kernel with BTF")
    btf = _btf.Btf(VMLINUX.read_bytes())
    found = btf.offsets({"task_struct": (), "kernfs_node": ()})
    assert found["task_struct"]["tgid"] == found["task_struct"]["pid"] + 4
    text = _btf.fill_out("struct task_struct {\n    int tgid;\n} X;\n", VMLINUX.read_bytes())
    assert f"char _before_tgid[{found['task_struct']['tgid']}]; int tgid;" in text
    with pytest.raises(_btf.BtfError, match="no field nonsense"):
        _btf.fill_out("struct task_struct {\n    int nonsense;\n} X;\n", VMLINUX.read_bytes())


@pytest.mark.parametrize("group", PROGRAMS)
def test_a_source_for_bcc_includes_nothing_of_ours(group: str) -> None:
    text = source(PROGRAMS[group].name, "// the kernel's structs\n")
    assert '#include "' not in text
    assert all(f"{program}" in text or program.startswith("on_") for program in PROGRAMS[group].kinds)


# -- /proc --------------------------------------------------------------------------------------------------------------


def test_procfs_counts_from_when_it_came(tmp_path: Path) -> None:
    (tmp_path / "uptime").write_text("1000.00 1.0\n")
    (tmp_path / "vmstat").write_text("nr_free_pages 5\noom_kill 3\n")
    for pid, started in ((5, 100), (6, 100_100)):  # it may call itself anything
        (tmp_path / str(pid)).mkdir()
        behind = ["S", *["0"] * 8, "40", "0", "1", "2", *["0"] * 6, str(started)]
        (tmp_path / str(pid) / "stat").write_bytes(b"%d (a ) b\xff) %b\n" % (pid, " ".join(behind).encode()))
    probe = ProcfsProbe("memory", tmp_path)
    probe.pids = (5, 6)
    faults = {key.tgid: sum.times for key, sum in probe.read().sums.items()}
    assert faults == {5: 0, 6: 40}, "the one was there before, the other began under our eyes"
    (tmp_path / "vmstat").write_text("oom_kill 5\n")
    assert [v.pid for v in probe.read().victims] == [0, 0]
    assert dict(probe.forget([Key(0, 6, What.MAJOR_FAULT, 0)])) == {Key(0, 6, What.MAJOR_FAULT, 0): Sum(40, 0, 0)}


# -- in a pipeline -------------------------------------------------------------------------------------------------------


def test_what_is_read_goes_on_and_a_busy_pipeline_is_asked_again(tmp_path: Path) -> None:
    taken: list[OtlpRequest] = []
    refusals = iter([True, True, False, True])

    async def consume(batch: Batch) -> bytes:
        if next(refusals, False):
            raise TransientError("full")
        assert batch.request is not None
        taken.append(batch.request)
        return b""

    async def run() -> None:
        config = EbpfReceiverConfig.model_validate({"backend": "procfs", "interval": "100ms", "libraries": ()})
        receiver = EbpfReceiver(config, context("ebpf", tmp_path))
        await receiver.start(consume)
        async with asyncio.timeout(30):
            while len(taken) < 3:
                await asyncio.sleep(0.02)
        await receiver.shutdown()
        await receiver.shutdown()

    asyncio.run(run())
    times = [next(iter(_times(request))) for request in taken]
    assert times == sorted(set(times)), "each once, in their order"
    states = points(taken[:1], fallow__probe__group="sched")
    assert states["fallow.probe.up", ((semconv.PROBE_BACKEND, "procfs"),)] == 1
    refused = points(taken[:1], fallow__probe__group="cuda")
    assert refused["fallow.probe.up", ((semconv.PROBE_REASON, "no_hook"),)] == 0


def _times(request: OtlpRequest) -> set[int]:
    (resource,) = ExportMetricsServiceRequest.FromString(request.body).resource_metrics
    (up,) = [m for m in resource.scope_metrics[0].metrics if m.name == semconv.PROBE_UP]
    return {point.time_unix_nano for point in up.gauge.data_points}


def test_a_group_that_breaks_has_its_reason_and_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: ProcfsProbe) -> Reading:
        if self.group == "memory":
            raise OSError(5, "it broke")
        return Reading(sums={})

    monkeypatch.setattr(ProcfsProbe, "read", broken)
    node = Node(EbpfReceiverConfig.model_validate({"backend": "procfs", "groups": ["memory", "net"]}))
    node.start()
    node.read()
    assert [(dict(a).get(semconv.PROBE_REASON), up) for a, up in node.states()] == [("no_hook", 0), (None, 1)]
    node.close()
