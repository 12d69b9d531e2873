"""Writes the samples beside the built-in rules: ``python tests/rules/make_samples.py``.

Each rule's ``test.*`` must fire once, each ``test-fp-*`` is a near miss of one reason. Series have a cadence of 60 s, so
that the files stay small. ``samples()`` gives what belongs into the files; a test holds that it is what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fallow.testing.samples import Counter, Gauge, Record, Recording
from rules import samples_devices, samples_logs, samples_scheduling, samples_work

RULES = Path(__file__).parents[2] / "rules"
MINUTE = 60.0
GIB = float(2**30)
HOST = "gpu-node-03"
UUIDS = (
    "GPU-5a1e6c52-0f0d-4f1b-9c55-3d1f9a7e0c01",
    "GPU-8b07d2b4-61c9-4f4e-8a8e-6f4d2c1b7a02",
    "GPU-c94f1e7a-2d3b-4c6d-b1f0-9e8d7c6b5a03",
    "GPU-e2d85b90-7a4c-4e2f-a3d1-0b1c2d3e4f04",
)
JOB = {"fallow.job.id": "48213", "fallow.job.name": "finetune-7b", "fallow.user.name": "mkoch"}
OTHER_JOB = {"fallow.job.id": "48219", "fallow.job.name": "resnet-sweep", "fallow.user.name": "asato"}

Value = float | None
Curve = Callable[[int], Value]
"""Minute → value; None: nothing is sent."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU over time, in the names of the hardware conventions and Fallow's own."""

    util: Curve
    used: Curve | None = None
    sm: Curve | None = None
    dram: Curve | None = None
    nvlink: Curve | None = None
    limit: float | None = None
    index: int = 0
    job: Mapping[str, str] = field(default_factory=lambda: JOB)

    def points(self, minute: int) -> list[Gauge]:
        """What is sent at a minute."""
        identity = {"hw.id": UUIDS[self.index]}
        rows: list[tuple[str, str, Value, dict[str, str]]] = [("hw.gpu.utilization", "1", self.util(minute), {})]
        if self.used is not None:
            rows.append(("hw.gpu.memory.usage", "By", self.used(minute), {}))
        if self.limit is not None:
            rows.append(("hw.gpu.memory.limit", "By", self.limit, {}))
        if self.sm is not None:
            rows.append(("fallow.gpu.sm.utilization", "1", self.sm(minute), {}))
        if self.dram is not None:
            rows.append(("fallow.gpu.dram.utilization", "1", self.dram(minute), {}))
        if self.nvlink is not None:
            for direction in ("receive", "transmit"):
                value = self.nvlink(minute)
                rows.append(("fallow.gpu.nvlink.throughput", "By/s", value, {"network.io.direction": direction}))
        return [Gauge(name, unit, identity | more, value) for name, unit, value, more in rows if value is not None]


@dataclass(frozen=True, kw_only=True)
class Dcgm:
    """One GPU as dcgm-exporter names it and the Collector's Prometheus receiver delivers it."""

    util_pct: Curve
    used_mib: Curve | None = None
    sm: Curve | None = None
    index: int = 0
    pod: str = "llm-serve-0"
    stale: Callable[[int], bool] = lambda _: False

    def points(self, minute: int) -> list[Gauge]:
        """What is sent at a minute."""
        labels = {
            "gpu": str(self.index),
            "UUID": UUIDS[self.index],
            "device": f"nvidia{self.index}",
            "modelName": "NVIDIA H100 80GB HBM3",
            "Hostname": HOST,
            "exported_pod": self.pod,
            "exported_namespace": "inference",
            "exported_container": "main",
        }
        curves = {
            "DCGM_FI_DEV_GPU_UTIL": self.util_pct,
            "DCGM_FI_DEV_FB_USED": self.used_mib,
            "DCGM_FI_PROF_SM_ACTIVE": self.sm,
        }
        values = {name: curve(minute) for name, curve in curves.items() if curve is not None}
        ended = self.stale(minute)
        return [Gauge(n, "", labels, None if ended else v) for n, v in values.items() if v is not None]


def recorded(
    minutes: int,
    gpus: list[Gpu],
    *,
    requests: Callable[[int], float] | None = None,
    events: Mapping[int, str] | None = None,
    start: bool = False,
    end: int | None = None,
) -> str:
    """A node's recording: its GPUs each minute, requests served so far, events of the job by minute."""
    out = Recording()
    node = {"host.name": HOST}
    for minute in range(minutes):
        at = minute * MINUTE
        if start and minute == 0:
            out.logs(at, node, [Record("job 48213 started", JOB, "fallow.job.start")])
        if events and minute in events:
            out.logs(at, node | JOB, [Record("", {}, events[minute])])
        if end == minute:
            out.logs(at, node, [Record("job 48213 ended", JOB | {"fallow.job.state": "COMPLETED"}, "fallow.job.end")])
        by_job: dict[str, tuple[Mapping[str, str], list[Gauge | Counter]]] = {}
        for gpu in gpus:
            by_job.setdefault(gpu.job.get("fallow.job.id", ""), (gpu.job, []))[1].extend(gpu.points(minute))
        if requests is not None:
            by_job[JOB["fallow.job.id"]][1].append(
                Counter("fallow.serving.requests", "{request}", {}, requests(minute))
            )
        for job, points in by_job.values():
            if points:
                out.metrics(at, {**node, **job}, points)
    return out.text()


def scraped(minutes: int, gpus: list[Dcgm]) -> str:
    """A Prometheus receiver's recording of one exporter."""
    out = Recording()
    exporter = {"service.name": "dcgm-exporter", "service.instance.id": "10.0.3.7:9400", "server.port": "9400"}
    for minute in range(minutes):
        points = [point for gpu in gpus for point in gpu.points(minute)]
        if points:
            out.metrics(minute * MINUTE, exporter, points)
    return out.text()


def always(value: Value) -> Curve:
    return lambda _: value


def steps(*parts: tuple[int, Value]) -> Curve:
    """``(minute, value)``: the value from that minute on."""
    return lambda minute: [value for begin, value in parts if begin <= minute][-1]


def waves(*values: float) -> Curve:
    """The values in turn, for ever."""
    return lambda minute: values[minute % len(values)]


BUSY = waves(0.91, 0.94, 0.88, 0.96, 0.93)
ZERO = always(0.0)
MODEL = always(22 * GIB)  # a model of 7 B parameters in 16 bit, with its cache
CONTEXT = always(0.45 * GIB)  # a CUDA context alone


def never_used() -> dict[str, str]:
    pair = [Gpu(util=ZERO, used=CONTEXT, index=i) for i in range(2)]
    once = [pair[0], Gpu(util=lambda m: 0.4 if m == 40 else 0.0, used=CONTEXT, index=1)]
    silent = [Gpu(util=steps((0, 0.0), (30, None)), used=CONTEXT, index=i) for i in range(2)]
    sm = [Gpu(util=ZERO, sm=always(0.35), used=CONTEXT, index=i) for i in range(2)]
    return {
        "test.otlp.jsonl": recorded(75, pair, start=True),
        "test-fp-used-once.otlp.jsonl": recorded(115, once, start=True),
        "test-fp-staging.otlp.jsonl": recorded(
            90, pair, start=True, events=dict.fromkeys(range(5, 50, 5), "dataset.stage")
        ),
        "test-fp-telemetry-lost.otlp.jsonl": recorded(90, silent, start=True),
        "test-fp-ended.otlp.jsonl": recorded(55, pair, start=True, end=54),
        "test-fp-contradiction.otlp.jsonl": recorded(75, sm, start=True),
    }


def idle_after_active() -> dict[str, str]:
    fell_idle = Gpu(util=steps((0, 0.9), (10, 0.0)), used=MODEL)
    breathes = Gpu(util=lambda m: 0.9 if m < 10 or m % 20 == 0 else 0.0, used=MODEL)
    free = Gpu(util=fell_idle.util, used=CONTEXT, job={})
    lost = Gpu(util=steps((0, 0.9), (10, 0.0), (22, None)), used=MODEL)
    contradicts = Gpu(util=fell_idle.util, sm=steps((0, 0.6), (10, 0.4)), used=MODEL)
    return {
        "test.otlp.jsonl": recorded(50, [fell_idle]),
        "test-fp-never-active.otlp.jsonl": recorded(50, [Gpu(util=ZERO, used=CONTEXT)]),
        "test-fp-comes-back.otlp.jsonl": recorded(70, [breathes]),
        "test-fp-requests.otlp.jsonl": recorded(50, [fell_idle], requests=lambda m: 100.0 + m // 10),
        "test-fp-checkpoint.otlp.jsonl": recorded(
            50, [fell_idle], events={25: "checkpoint.save", 45: "checkpoint.save"}
        ),
        "test-fp-free.otlp.jsonl": recorded(50, [free]),
        "test-fp-telemetry-lost.otlp.jsonl": recorded(60, [lost, Gpu(util=BUSY, index=1, job=OTHER_JOB)]),
        "test-fp-contradiction.otlp.jsonl": recorded(50, [contradicts]),
    }


def held() -> dict[str, str]:
    holder = Gpu(util=waves(0.0, 0.0, 0.01), used=MODEL)
    bursts = Gpu(util=lambda m: 0.6 if m % 9 == 0 else 0.0, used=MODEL)
    contradicts = Gpu(util=ZERO, sm=always(0.4), used=MODEL)
    serves = Dcgm(util_pct=ZERO, used_mib=always(41000))
    ends = Dcgm(util_pct=ZERO, used_mib=always(41000), stale=lambda m: m >= 8)
    return {
        "test.otlp.jsonl": recorded(30, [holder]),
        "test-dcgm.otlp.jsonl": scraped(30, [serves]),
        "test-fp-requests.otlp.jsonl": recorded(30, [holder], requests=lambda m: 40.0 + m // 4),
        "test-fp-loading.otlp.jsonl": recorded(30, [holder], events=dict.fromkeys((2, 11, 20, 29), "model.load")),
        "test-fp-small.otlp.jsonl": recorded(30, [Gpu(util=ZERO, used=CONTEXT)]),
        "test-fp-bursts.otlp.jsonl": recorded(40, [bursts]),
        "test-fp-ended.otlp.jsonl": scraped(30, [ends, Dcgm(util_pct=always(80), index=1, pod="llm-serve-1")]),
        "test-fp-contradiction.otlp.jsonl": recorded(30, [contradicts]),
    }


def held_now() -> dict[str, str]:
    idle = Dcgm(util_pct=ZERO, used_mib=always(1450))
    near = [
        Dcgm(util_pct=ZERO, used_mib=always(612)),
        Dcgm(util_pct=always(1), used_mib=always(41000), index=1, pod="llm-serve-1"),
    ]
    ended = Dcgm(util_pct=ZERO, used_mib=always(41000), stale=lambda m: m == 0)
    return {
        "test.otlp.jsonl": scraped(1, [idle, *near[1:]]),
        "test-fp.otlp.jsonl": scraped(3, near),
        "test-fp-ended.otlp.jsonl": scraped(1, [ended]),
        "test-fp-pauses.otlp.jsonl": scraped(6, [Dcgm(util_pct=steps((0, 80), (2, 0)), used_mib=always(41000))]),
    }


def stays_idle() -> dict[str, str]:
    """Three of a job's GPUs are wanted every six minutes, the fourth is not."""
    pool = [Gpu(util=waves(*(0.7 if at == 2 * i else 0.0 for at in range(6))), used=MODEL, index=i) for i in range(3)]
    once = steps((0, 0.8), (2, 0.0))

    def with_fourth(util: Curve, used: Curve = MODEL, sm: Curve | None = None) -> list[Gpu]:
        return [*pool, Gpu(util=util, used=used, sm=sm, index=3)]

    return {
        "test.otlp.jsonl": recorded(70, with_fourth(once)),
        "test-fp-its-turn-comes.otlp.jsonl": recorded(70, with_fourth(lambda m: 0.7 if m % 7 == 1 else 0.0)),
        "test-fp-pool-not-known.otlp.jsonl": recorded(15, with_fourth(once)),
        "test-fp-never-worked.otlp.jsonl": recorded(70, with_fourth(ZERO)),
        "test-fp-small.otlp.jsonl": recorded(70, with_fourth(once, used=CONTEXT)),
        "test-fp-requests.otlp.jsonl": recorded(70, with_fourth(once), requests=lambda m: 40.0 + m // 2),
        "test-fp-loading.otlp.jsonl": recorded(
            70, with_fourth(once), events=dict.fromkeys(range(2, 70, 2), "model.load")
        ),
        "test-fp-contradiction.otlp.jsonl": recorded(70, with_fourth(once, sm=always(0.4))),
    }


def partly_used() -> dict[str, str]:
    working = [Gpu(util=BUSY, used=MODEL, index=i) for i in range(3)]
    unused = Gpu(util=ZERO, used=CONTEXT, index=3)
    warming = Gpu(util=steps((0, 0.0), (14, 0.85)), used=MODEL, index=3)
    neighbour = Gpu(util=ZERO, used=CONTEXT, index=3, job=OTHER_JOB)
    mig = Gpu(util=always(0.0), used=CONTEXT, sm=always(0.3), index=3)
    return {
        "test.otlp.jsonl": recorded(45, [*working, unused]),
        "test-fp-all-idle.otlp.jsonl": recorded(45, [Gpu(util=ZERO, used=CONTEXT, index=i) for i in range(2)]),
        "test-fp-pipeline-fills.otlp.jsonl": recorded(45, [*working[:1], warming]),
        "test-fp-another-job.otlp.jsonl": recorded(45, [*working[:1], neighbour]),
        "test-fp-contradiction.otlp.jsonl": recorded(45, [*working[:1], mig]),
    }


def little_used() -> dict[str, str]:
    low, good = waves(0.1, 0.3, 0.0, 0.25), waves(0.1, 0.9, 0.2, 0.7)
    full = Gpu(util=low, used=always(74 * GIB), limit=80 * GIB)
    stopped = steps((0, 0.2), (60, 0.0))
    return {
        "test.otlp.jsonl": recorded(130, [Gpu(util=low)]),
        "test-fp-on-target.otlp.jsonl": recorded(130, [Gpu(util=good)]),
        "test-fp-needs-the-memory.otlp.jsonl": recorded(130, [full]),
        "test-fp-serving.otlp.jsonl": recorded(130, [Gpu(util=low)], requests=lambda m: 30.0 * m),
        "test-fp-idle-now.otlp.jsonl": recorded(130, [Gpu(util=stopped)]),
        "test-fp-short.otlp.jsonl": recorded(100, [Gpu(util=low)]),
    }


def no_requests() -> dict[str, str]:
    warm = Gpu(util=ZERO, used=MODEL)
    return {
        "test.otlp.jsonl": recorded(50, [warm], requests=lambda m: 900.0 + 3 * min(m, 10)),
        "test-fp-rare-traffic.otlp.jsonl": recorded(60, [warm], requests=lambda m: 900.0 + m // 20),
        "test-fp-released.otlp.jsonl": recorded(50, [Gpu(util=ZERO, used=CONTEXT)], requests=always_float(900)),
        "test-fp-loading.otlp.jsonl": recorded(
            50, [warm], requests=always_float(900), events=dict.fromkeys((10, 25, 40), "model.load")
        ),
        "test-fp-no-counter.otlp.jsonl": recorded(50, [warm]),
    }


def always_float(value: float) -> Callable[[int], float]:
    return lambda _: value


def half_empty() -> dict[str, str]:
    low_sm = waves(0.21, 0.26, 0.24)
    talks = always(42e9)
    return {
        "test.otlp.jsonl": recorded(30, [Gpu(util=BUSY, sm=low_sm, nvlink=always(1e9))]),
        "test-fp-full.otlp.jsonl": recorded(30, [Gpu(util=BUSY, sm=waves(0.7, 0.5, 0.82))]),
        "test-fp-communication.otlp.jsonl": recorded(30, [Gpu(util=BUSY, sm=low_sm, nvlink=talks)]),
        "test-fp-counter-at-zero.otlp.jsonl": recorded(40, [Gpu(util=BUSY, sm=steps((0, 0.7), (15, 0.0)))]),
        "test-fp-not-profiled.otlp.jsonl": recorded(30, [Gpu(util=BUSY)]),
        "test-fp-hang.otlp.jsonl": recorded(30, [Gpu(util=always(1.0), sm=always(0.12), dram=always(0.0003))]),
        "test-fp-half-busy.otlp.jsonl": recorded(30, [Gpu(util=waves(0.9, 0.4), sm=low_sm)]),
        "test-fp-serves.otlp.jsonl": recorded(30, [Gpu(util=BUSY, sm=low_sm)], requests=lambda m: 30.0 * m),
    }


def telemetry_fault() -> dict[str, str]:
    busy_pct = waves(97, 99, 100)
    lost = Dcgm(util_pct=busy_pct, sm=steps((0, 0.71), (5, 0.0)))
    blinks = Dcgm(util_pct=busy_pct, sm=lambda m: 0.0 if m % 6 in (1, 2) else 0.7)
    taken = Dcgm(util_pct=busy_pct, sm=steps((0, 0.71), (5, None)))
    ratio = Dcgm(util_pct=steps((0, 97.0), (5, 0.97)), used_mib=always(41000))
    return {
        "test.otlp.jsonl": scraped(20, [lost]),
        "test-unit-changed.otlp.jsonl": scraped(20, [ratio]),
        "test-fp-idle.otlp.jsonl": scraped(20, [Dcgm(util_pct=ZERO, sm=ZERO)]),
        "test-fp-two-samples.otlp.jsonl": scraped(25, [blinks]),
        "test-fp-profiler-has-it.otlp.jsonl": scraped(20, [taken]),
        "test-fp-low.otlp.jsonl": scraped(20, [Dcgm(util_pct=busy_pct, sm=always(0.002))]),
    }


OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.15 GiB of"
    " which 1.12 GiB is free. Process 3127 has 78.02 GiB memory in use."
)
LIMIT = "CANCELLED AT 2026-01-05T10:00:00 DUE TO TIME LIMIT"
KILLED = "Some of the step tasks have been OOM Killed."


def lines(*rows: tuple[str, str]) -> str:
    """A log file: RFC 3339 stamps of a day, then the text."""
    return "".join(f"{stamp}Z {text}\n" for stamp, text in rows)


def gpu_memory() -> dict[str, str]:
    ranks = tuple((f"2026-01-05T09:12:0{i}.418", f"[rank{i}]: {OOM}") for i in range(4))
    return {
        "test.log": lines(
            ("2026-01-05T09:10:44.102", "Loading checkpoint shards: 100%|##########| 3/3 [00:41<00:00, 13.9s/it]"),
            ("2026-01-05T09:12:07.418", OOM),
            ("2026-01-05T09:40:10.961", "Loading checkpoint shards: 100%|##########| 3/3 [00:40<00:00, 13.5s/it]"),
            ("2026-01-05T09:41:33.007", OOM),
            ("2026-01-05T13:02:51.733", "step 1 loss 11.02 grad_norm 3.81 lr 2.0e-06"),
            ("2026-01-05T13:02:58.250", OOM),
            ("2026-01-05T13:03:01.004", "srun: error: gpu-node-03: task 0: Exited with exit code 1"),
        ),
        "test-fp.log": lines(
            ("2026-01-05T09:12:07.418", OOM),
            ("2026-01-05T09:41:33.007", OOM),
            ("2026-01-05T09:55:02.310", "reduced batch size from 16 to 8"),
            ("2026-01-05T13:02:51.733", "step 1 loss 11.02 grad_norm 3.81 lr 2.0e-06"),
            ("2026-01-06T09:13:00.000", OOM),
        ),
        "test-fp-ranks.log": lines(
            ("2026-01-05T09:10:44.102", "Loading checkpoint shards: 100%|##########| 3/3 [00:41<00:00, 13.9s/it]"),
            *ranks,
            ("2026-01-05T09:12:09.004", "srun: error: gpu-node-03: tasks 0-3: Exited with exit code 1"),
        ),
        "test-fp-host.log": lines(
            *(
                (f"2026-01-05T{hour:02}:12:07.418", "Out of memory: Killed process 3127 (python) total-vm:91234568kB")
                for hour in (9, 10, 11)
            )
        ),
    }


def host_memory() -> dict[str, str]:
    def killed(job: int, step: str) -> str:
        return f"slurmstepd: error: Detected 1 oom_kill event in StepId={job}.{step}. {KILLED}"

    return {
        "test.log": lines(
            ("2026-01-05T10:02:11.000", killed(48213, "batch")),
            ("2026-01-05T10:02:12.400", "srun: error: gpu-node-03: task 0: Out Of Memory"),
            ("2026-01-05T11:47:30.000", "Loading dataset: 8,412 shards"),
            ("2026-01-05T11:58:45.000", killed(48231, "batch")),
        ),
        "test-fp.log": lines(
            ("2026-01-05T10:02:11.000", killed(48213, "batch")),
            ("2026-01-05T10:02:12.400", "srun: error: gpu-node-03: task 0: Out Of Memory"),
            ("2026-01-06T10:03:00.000", killed(48231, "batch")),
        ),
        "test-fp-one-failure.log": lines(
            ("2026-01-05T10:02:10.000", killed(48213, "0")),
            ("2026-01-05T10:02:11.000", killed(48213, "batch")),
            ("2026-01-05T10:02:12.400", "srun: error: gpu-node-03: task 0: Out Of Memory"),
        ),
        "test-fp-time-limit.log": lines(
            *(
                (f"2026-01-05T1{hour}:00:00.000", f"slurmstepd: error: *** JOB 4821{hour} ON gpu-node-03 {LIMIT} ***")
                for hour in (1, 3)
            )
        ),
    }


PACK: Mapping[str, Callable[[], dict[str, str]]] = {
    "cre-2026-9001": never_used,
    "cre-2026-9002": idle_after_active,
    "cre-2026-9003": held,
    "cre-2026-9004": held_now,
    "cre-2026-9015": stays_idle,
    "cre-2026-9005": partly_used,
    "cre-2026-9007": little_used,
    "cre-2026-9012": no_requests,
    "cre-2026-9013": half_empty,
    "cre-2026-9032": gpu_memory,
    "cre-2026-9036": host_memory,
    "cre-2026-9061": telemetry_fault,
    **samples_logs.PACK,
    **samples_devices.PACK,
    **samples_scheduling.PACK,
    **samples_work.PACK,
}


def samples() -> dict[Path, str]:
    """Path under ``rules/`` → what belongs into the file."""
    return {Path(folder) / name: text for folder, made in PACK.items() for name, text in made().items()}


def main() -> None:
    """Write them, and remove what is no sample any more."""
    wanted = samples()
    for folder in PACK:
        for found in (RULES / folder).glob("test*"):
            if found.relative_to(RULES) not in wanted:
                found.unlink()
    for path, text in wanted.items():
        (RULES / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
