"""Samples of the rules that read logs and events."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rules.recordings import HOST, JOB, POD, UUIDS, happened, lines, records

_PCI = "PCI:0000:3b:00"


def _joined(*parts: str) -> str:
    return "".join(parts)


def recompiled() -> dict[str, str]:
    def hit(function: str, name: str = "recompile_limit (8)") -> str:
        return f"W torch/_dynamo/convert_frame.py:1551] [2/8] torch._dynamo hit config.{name} function: '{function}'"

    return {
        "test.log": lines(
            ("09:10:44.102", "compiling the model"),
            ("09:14:07.332", hit("forward")),
            ("09:14:07.410", hit("forward")),
            ("09:31:55.019", hit("rotary", "cache_size_limit (8)")),
        ),
        "test-fp-only-recompiles.log": lines(
            ("09:10:44.102", "[2/1] Recompiling function forward in model.py:88"),
            ("09:10:51.700", "set torch._dynamo.config.recompile_limit = 64"),
        ),
    }


def reloaded() -> dict[str, str]:
    def loads(
        *at: str, pod: Mapping[str, str] = POD, name: str = "model.load"
    ) -> list[tuple[str, str, Mapping[str, str]]]:
        return [(stamp, name, pod) for stamp in at]

    others = [POD | {"k8s.pod.name": f"llm-serve-{i}"} for i in range(4)]
    return {
        "test.otlp.jsonl": happened(*loads("09:01:00", "09:14:00", "09:33:00", "09:52:00")),
        "test-fp-over-a-day.otlp.jsonl": happened(*loads("08:00:00", "11:00:00", "14:00:00", "17:00:00", "20:00:00")),
        "test-fp-rollout.otlp.jsonl": happened(*(row for pod in others for row in loads("09:01:00", pod=pod))),
        "test-fp-other-events.otlp.jsonl": happened(
            *loads("09:01:00", "09:14:00"), *loads("09:33:00", "09:52:00", name="checkpoint.save")
        ),
    }


def collective_timed_out() -> dict[str, str]:
    def caught(rank: int, ms: int = 600000) -> str:
        work = f"WorkNCCL(SeqNum=88213, OpType=ALLREDUCE, NumelIn=1, NumelOut=1, Timeout(ms)={ms})"
        said = f"Watchdog caught collective operation timeout: {work} ran for {ms + 42} milliseconds before timing out."
        return f"[rank{rank}]:[E ProcessGroupNCCL.cpp:616] [Rank {rank}] {said}"

    return {
        "test.log": lines(
            ("10:02:01.000", "step 4121 loss 2.71"),
            ("10:12:33.120", caught(0)),
            ("10:12:33.371", caught(2)),
            ("10:12:34.008", caught(3)),
        ),
        "test-fp-slow.log": lines(
            ("10:02:01.000", "[rank0]: NCCL INFO NCCL_TIMEOUT set by environment to 600000"),
            ("10:08:01.000", "[rank1]: collective ALLREDUCE took 212034 ms"),
        ),
    }


def nccl_crashed() -> dict[str, str]:
    def died(library: str, pid: int) -> str:
        return f"kernel: python[{pid}]: segfault at 7f2c0 ip 00007f2c1e sp 00007ffd9b error 4 in {library}[7f2c1e000000+2d0000]"

    return {
        "test.log": lines(
            ("10:12:33.120", died("libnccl.so.2.21.5", 3127)), ("10:12:33.371", died("libnccl.so.2.21.5", 3128))
        ),
        "test-fp-another-library.log": lines(("10:12:33.120", died("libtorch_cuda.so", 3127))),
    }


def _link(at: str, state: str, port: str = "ib0") -> tuple[str, str]:
    return at, f"kernel: mlx5_core 0000:9a:00.0 {port}: Link {state}"


def port_down() -> dict[str, str]:
    alive = ("10:08:00.000", "kernel: systemd: logrotate.service: Succeeded.")
    return {
        "test.log": lines(_link("10:00:00.000", "down"), alive),
        "test-fp-back.log": lines(_link("10:00:00.000", "down"), _link("10:02:10.000", "up"), alive),
        "test-fp-shown-up.log": lines(_link("10:00:00.000", "up"), alive),
    } | {
        "test-other-port-up.log": lines(_link("10:00:00.000", "down"), _link("10:01:00.000", "up", "ib1"), alive),
    }


def port_flaps() -> dict[str, str]:
    def flaps(*minutes: int, ports: tuple[str, ...] = ("ib0",)) -> str:
        rows: list[tuple[str, str]] = []
        for i, minute in enumerate(minutes):
            port = ports[i % len(ports)]
            rows += [_link(f"10:{minute:02}:00.000", "down", port), _link(f"10:{minute:02}:28.000", "up", port)]
        return lines(*rows)

    return {
        "test.log": flaps(1, 4, 9),
        "test-fp-rare.log": flaps(1, 15, 40),
        "test-fp-three-ports.log": flaps(1, 4, 9, ports=("ib0", "ib1", "ib2")),
    }


def _xid(code: int, rest: str, pci: str = _PCI) -> str:
    return f"kernel: NVRM: Xid ({pci}): {code}, pid=3127, name=python, {rest}"


def needs_reset() -> dict[str, str]:
    contained = _xid(95, "Uncontained: FBHUB. RST: Yes, D-RST: No")
    return {
        "test.log": lines(("10:00:00.000", contained), ("10:00:04.000", contained), ("10:20:00.000", contained)),
        "test-fp-program.log": lines(
            ("10:00:00.000", _xid(31, "MMU Fault: ENGINE GRAPHICS FAULT_PDE ACCESS_TYPE_READ"))
        ),
        "test-fp-contained.log": lines(("10:00:00.000", _xid(94, "Contained: SM (0x1). RST: No, D-RST: No"))),
        "test-fp-off-the-bus.log": lines(("10:00:00.000", _xid(79, "GPU has fallen off the bus."))),
    }


def off_the_bus() -> dict[str, str]:
    gone = _xid(79, "GPU has fallen off the bus.")
    return {
        "test.log": lines(("10:00:00.000", gone), ("10:00:00.090", gone), ("10:31:00.000", gone)),
        "test-fp-another-xid.log": lines(
            ("10:00:00.000", _xid(119, "Timeout after 6s of waiting for RPC response from GPU0 GSP!"))
        ),
    }


def program_fails() -> dict[str, str]:
    fault = "MMU Fault: ENGINE GRAPHICS GPCCLIENT_T1_0 faulted @ 0x7f2c_0000. Fault is of type FAULT_PDE"
    return {
        "test.log": lines(
            ("10:00:00.000", _xid(31, fault)),
            ("10:14:00.000", _xid(13, "Graphics SM Warp Exception: Out Of Range Address")),
            ("10:38:00.000", _xid(31, fault)),
        ),
        "test-fp-once.log": lines(("10:00:00.000", _xid(31, fault)), ("11:59:00.000", _xid(31, fault))),
        "test-fp-each-gpu-once.log": lines(
            *((f"10:0{i}:00.000", _xid(31, fault, f"PCI:0000:{i}b:00")) for i in range(1, 4))
        ),
    }


def gpu_lost() -> dict[str, str]:
    it = {"hw.id": UUIDS[1], "fallow.gpu.index": "1", "hw.type": "gpu"}
    later = ("10:09:00", "fallow.gpu.topology", {"hw.id": UUIDS[0]})
    lost = ("10:00:00", "fallow.gpu.lost", it | {"fallow.gpu.reason": "gpu_is_lost"})
    return {
        "test.otlp.jsonl": happened(lost, later),
        "test-fp-found.otlp.jsonl": happened(lost, ("10:02:10", "fallow.gpu.found", it), later),
        "test-fp-divided-anew.otlp.jsonl": happened(
            ("10:00:00", "fallow.gpu.mig.changed", it), ("10:00:00", "fallow.gpu.lost", it), later
        ),
    }


def no_file_server() -> dict[str, str]:
    gone = "kernel: nfs: server nas-2 not responding, still trying"
    alive = ("10:09:00.000", "kernel: systemd: logrotate.service: Succeeded.")
    return {
        "test.log": lines(("10:00:00.000", gone), ("10:00:03.000", gone), alive),
        "test-fp-answers.log": lines(("10:00:00.000", gone), ("10:03:30.000", "kernel: nfs: server nas-2 OK"), alive),
    }


def hangs_in_kernel() -> dict[str, str]:
    def blocked(at: str, task: str, seconds: int) -> tuple[str, str]:
        return at, f"kernel: INFO: task {task} blocked for more than {seconds} seconds."

    return {
        "test.log": lines(blocked("10:02:00.000", "python:3127", 120), blocked("10:04:00.000", "python:3127", 241)),
        "test-fp-once.log": lines(blocked("10:02:00.000", "python:3127", 120)),
        "test-fp-different-tasks.log": lines(
            blocked("10:02:00.000", "python:3127", 120), blocked("10:04:00.000", "jbd2/nvme0n1-8:811", 120)
        ),
    }


def too_many_workers() -> dict[str, str]:
    warning = (
        "UserWarning: This DataLoader will create 32 worker processes in total. Our suggested max number of worker in"
        " current system is 8, which is smaller than what this DataLoader is going to create."
    )
    return {
        "test.log": lines(("10:00:00.000", warning), ("10:00:00.090", warning), ("10:24:00.000", warning)),
        "test-fp-worker-died.log": lines(
            ("10:00:00.000", "RuntimeError: DataLoader worker (pid 3188) is killed by signal: Killed.")
        ),
    }


def lost_at_limit() -> dict[str, str]:
    over = "slurmstepd: error: *** JOB 48213 ON gpu-node-03 CANCELLED AT 2026-01-05T12:00:00 DUE TO TIME LIMIT ***"
    step = over.replace("JOB 48213", "STEP 48213.0")
    about = {f"{key}".replace(".", "_"): value for key, value in JOB.items()}
    return {
        "test.otlp.jsonl": records(
            ("10:01:00", "Saving checkpoint to /scratch/run/4000.pt"),
            ("12:00:00", over),
            ("12:00:00", step),
            **about,
        ),
        "test-fp-saved.otlp.jsonl": records(
            ("11:48:00", "Saving checkpoint to /scratch/run/9000.pt"), ("12:00:00", over), ("12:00:01", "bye"), **about
        ),
        "test-fp-cancelled.otlp.jsonl": records(
            ("12:00:00", over.replace(" DUE TO TIME LIMIT", "")), ("12:00:01", "bye"), **about
        ),
    }


def node_fails() -> dict[str, str]:
    def ends(*at: tuple[str, str]) -> str:
        return happened(
            *(
                (stamp, "fallow.job.end", {"fallow.job.id": str(48213 + i), "error.type": why, "host.name": HOST})
                for i, (stamp, why) in enumerate(at)
            )
        )

    return {
        "test.otlp.jsonl": ends(("09:00:00", "NODE_FAIL"), ("13:20:00", "NODE_FAIL"), ("21:40:00", "NODE_FAIL")),
        "test-fp-programs.otlp.jsonl": ends(
            ("09:00:00", "FAILED"), ("10:00:00", "OUT_OF_MEMORY"), ("13:20:00", "NODE_FAIL"), ("14:00:00", "TIMEOUT")
        ),
        "test-fp-over-days.otlp.jsonl": ends(
            ("09:00:00", "NODE_FAIL"), ("13:20:00", "NODE_FAIL"), ("+10:00:00", "NODE_FAIL")
        ),
    }


def refused_pods() -> dict[str, str]:
    def refused(at: str, pod: str, namespace: str = "training", why: str = "UnexpectedAdmissionError") -> str:
        text = f"{why}: Allocate failed due to requested number of devices unavailable for nvidia.com/gpu"
        return records((at, text), k8s_namespace_name=namespace, k8s_pod_name=pod, k8s_node_name=HOST)

    return {
        "test.otlp.jsonl": _joined(*(refused(f"10:0{i}:00", f"trainer-{i}") for i in range(1, 4))),
        "test-fp-once.otlp.jsonl": refused("10:01:00", "trainer-1"),
        "test-fp-namespaces.otlp.jsonl": _joined(
            *(refused(f"10:0{i}:00", "trainer-0", f"team-{i}") for i in range(1, 4))
        ),
        "test-fp-no-room.otlp.jsonl": _joined(
            *(refused(f"10:0{i}:00", f"trainer-{i}", why="FailedScheduling") for i in range(1, 4))
        ),
    }


def no_image() -> dict[str, str]:
    def pod(*rows: tuple[str, str]) -> str:
        return records(*rows, k8s_namespace_name="training", k8s_pod_name="trainer-1", k8s_node_name=HOST)

    back_off = 'Back-off pulling image "registry.example.org/train:v7"'
    pulled = 'Successfully pulled image "registry.example.org/train:v7" in 4m31s'
    return {
        "test.otlp.jsonl": pod(
            ("10:00:00", back_off), ("10:02:00", back_off), ("10:06:00", back_off), ("10:11:00", "Error: ErrImagePull")
        ),
        "test-fp-in-the-end.otlp.jsonl": pod(
            ("10:00:00", back_off), ("10:02:00", back_off), ("10:04:00", pulled), ("10:06:00", back_off)
        ),
        "test-fp-twice.otlp.jsonl": pod(("10:00:00", back_off), ("10:02:00", back_off), ("10:40:00", back_off)),
    }


PACK: Mapping[str, Callable[[], dict[str, str]]] = {
    "cre-2026-9031": recompiled,
    "cre-2026-9037": reloaded,
    "cre-2026-9039": collective_timed_out,
    "cre-2026-9040": nccl_crashed,
    "cre-2026-9042": port_down,
    "cre-2026-9052": needs_reset,
    "cre-2026-9053": off_the_bus,
    "cre-2026-9055": node_fails,
    "cre-2026-9056": no_file_server,
    "cre-2026-9063": refused_pods,
    "cre-2026-9079": too_many_workers,
    "cre-2026-9087": port_flaps,
    "cre-2026-9089": program_fails,
    "cre-2026-9092": gpu_lost,
    "cre-2026-9093": hangs_in_kernel,
    "cre-2026-9094": lost_at_limit,
    "cre-2026-9096": no_image,
}
