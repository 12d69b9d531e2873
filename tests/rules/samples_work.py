"""Samples of the rules that say how well GPUs work: input, kernels, memory, serving."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rules.recordings import GIB, JOB, NODE, POD, Level, Thing, gpu, ramp, steps, taped, waves

UTIL, SM, TENSOR, DRAM = (
    "hw.gpu.utilization",
    "fallow.gpu.sm.utilization",
    "fallow.gpu.tensor.utilization",
    "fallow.gpu.dram.utilization",
)
FP32, FP64 = "fallow.gpu.fp32.utilization", "fallow.gpu.fp64.utilization"
USED, LIMIT = "hw.gpu.memory.usage", "hw.gpu.memory.limit"
REQUESTS = "fallow.serving.requests"
H2D = "fallow.gpu.pcie.throughput{network.io.direction=receive}"
BUSY = waves(0.97, 0.99, 0.95)
LOAD = ("model.load", JOB)
"""An event of the job that holds rules back."""

Levels = Mapping[str, Level]


def served(resource: Mapping[str, str] = JOB, each: float = 30.0) -> Thing:
    """A counter of requests that goes up."""
    return Thing({REQUESTS: ramp(900, each)}, resource={**NODE, **resource})


def job_side(levels: Levels, *counts: str) -> Thing:
    """What the ebpf receiver says of a job's process, or a scheduler of the job."""
    return Thing(levels, {}, NODE | JOB, counts)


def replicas() -> dict[str, str]:
    running, waiting = "fallow.serving.requests.running", "fallow.serving.requests.waiting"

    def serve(*levels: Level, queue: Level = 0.0, model: str = "llama-8b") -> str:
        pods = [POD | {"k8s.pod.name": f"llm-serve-{i}", "host.name": f"gpu-node-0{i}"} for i in range(len(levels))]
        made = [
            Thing({running: level, waiting: queue}, {"model_name": model}, pod)
            for pod, level in zip(pods, levels, strict=True)
        ]
        return taped(40, made)

    return {
        "test.otlp.jsonl": serve(waves(0.0, 1.0), 0.0, waves(1.0, 0.0, 0.0)),
        "test-fp-two.otlp.jsonl": serve(waves(0.0, 1.0), 0.0),
        "test-fp-one-is-busy.otlp.jsonl": serve(0.0, waves(0.0, 1.0), waves(1.0, 4.0)),
        "test-fp-queue.otlp.jsonl": serve(0.0, 1.0, 1.0, queue=waves(0.0, 2.0)),
        "test-fp-peak.otlp.jsonl": serve(0.0, 0.0, steps((0, 0.0), (14, 12.0), (17, 0.0))),
    }


def copy_bound() -> dict[str, str]:
    link = {"fallow.gpu.pcie.link.generation": 4.0, "fallow.gpu.pcie.link.width": 16.0}

    def copies(rate: Level, sm: Level, events: Mapping[int, tuple[str, Mapping[str, str]]] | None = None) -> str:
        return taped(15, [gpu({UTIL: BUSY, SM: sm, H2D: rate, **link})], events=events)

    return {
        "test.otlp.jsonl": copies(26e9, 0.18),
        "test-fp-well-used.otlp.jsonl": copies(26e9, 0.7),
        "test-fp-below-the-link.otlp.jsonl": copies(9e9, 0.18),
        "test-fp-loading.otlp.jsonl": copies(26e9, 0.02, {1: LOAD, 9: LOAD}),
    }


def no_tensor_cores() -> dict[str, str]:
    def computes(**more: Level) -> str:
        levels: dict[str, Level] = {UTIL: BUSY, SM: 0.8, FP32: 0.55, TENSOR: 0.0, FP64: 0.0}
        return taped(40, [gpu(levels | more)], every=60)

    return {
        "test.otlp.jsonl": computes(),
        "test-fp-uses-them.otlp.jsonl": computes(**{TENSOR: waves(0.0, 0.3)}),
        "test-fp-simulation.otlp.jsonl": computes(**{FP64: 0.3}),
        "test-fp-little-work.otlp.jsonl": computes(**{SM: 0.2}),
        "test-fp-integers.otlp.jsonl": computes(**{FP32: 0.02}),
    }


def double_precision() -> dict[str, str]:
    def on(model: str, share: Level) -> str:
        return taped(20, [gpu({UTIL: BUSY, FP64: share}, hw_model=model)])

    return {
        "test.otlp.jsonl": on("NVIDIA L4", 0.85),
        "test-fp-has-the-units.otlp.jsonl": on("NVIDIA A100-SXM4-80GB", 0.85),
        "test-fp-a-little.otlp.jsonl": on("NVIDIA L4", waves(0.0, 0.02)),
        "test-fp-for-a-minute.otlp.jsonl": on("NVIDIA RTX A6000", steps((0, 0.0), (9, 0.8), (10, 0.0))),
    }


def memory_bound() -> dict[str, str]:
    levels: dict[str, Level] = {UTIL: BUSY, DRAM: waves(0.74, 0.78), TENSOR: 0.08}
    of_pod = gpu(levels, job=POD)
    return {
        "test.otlp.jsonl": taped(40, [gpu(levels)]),
        "test-fp-decodes.otlp.jsonl": taped(40, [gpu(levels), served()]),
        "test-fp-decodes-in-a-pod.otlp.jsonl": taped(40, [of_pod, served(POD)]),
        "test-fp-tensor-cores.otlp.jsonl": taped(40, [gpu(levels | {TENSOR: 0.5})]),
        "test-fp-half.otlp.jsonl": taped(40, [gpu(levels | {DRAM: 0.4})]),
    }


def too_large() -> dict[str, str]:
    low = waves(0.02, 0.11, 0.0, 0.16)

    def day(util: Level = low, used: Level = 6e9, gpus: int = 1, *more: Thing) -> str:
        return taped(78, [*(gpu({UTIL: util, USED: used}, index=i) for i in range(gpus)), *more], every=1200)

    return {
        "test.otlp.jsonl": day(),
        "test-fp-bursts.otlp.jsonl": day(waves(*([0.02] * 10), 0.95)),
        "test-fp-memory.otlp.jsonl": day(low, steps((0, 6e9), (40, 31e9), (42, 6e9))),
        "test-fp-two-gpus.otlp.jsonl": day(low, 6e9, 2),
        "test-fp-never-used.otlp.jsonl": day(0.0),
        "test-fp-many-cpus.otlp.jsonl": day(low, 6e9, 1, job_side({"fallow.job.cpus": 48.0})),
        "test-fp-host-memory.otlp.jsonl": day(low, 6e9, 1, job_side({"fallow.job.memory.limit": 120e9})),
        "test-fp-serves.otlp.jsonl": day(low, 6e9, 1, served()),
    }


def over_reserved() -> dict[str, str]:
    cache = "fallow.serving.kv_cache.utilization"

    def holds(share: Level, used: float = 72.0, each: float = 40.0) -> str:
        server = Thing({cache: share, REQUESTS: ramp(900, each)}, resource=NODE | POD)
        return taped(70, [gpu({USED: used * GIB, LIMIT: 80 * GIB}, job=POD), server])

    return {
        "test.otlp.jsonl": holds(waves(0.01, 0.04, 0.02)),
        "test-fp-used-once.otlp.jsonl": holds(steps((0, 0.02), (40, 0.6), (42, 0.02))),
        "test-fp-small.otlp.jsonl": holds(0.02, used=30),
        "test-fp-no-requests.otlp.jsonl": holds(0.0, each=0),
    }


def uneven() -> dict[str, str]:
    def ranks(*utils: Level, models: tuple[str, ...] = ("H100",) * 4, more: tuple[Thing, ...] = ()) -> str:
        made = [gpu({UTIL: u}, index=i, hw_model=m) for i, (u, m) in enumerate(zip(utils, models, strict=False))]
        return taped(40, [*made, *more])

    low = waves(0.2, 0.35)
    return {
        "test.otlp.jsonl": ranks(BUSY, low, 0.4, 0.3),
        "test-fp-even.otlp.jsonl": ranks(BUSY, BUSY, 0.8, 0.7),
        "test-fp-unused.otlp.jsonl": ranks(BUSY, BUSY, 0.0, BUSY),
        "test-fp-two-models.otlp.jsonl": ranks(BUSY, BUSY, low, low, models=("H100", "H100", "L4", "L4")),
        "test-fp-serves.otlp.jsonl": ranks(BUSY, low, 0.4, 0.3, more=(served(),)),
    }


def slow_start() -> dict[str, str]:
    start, end = ("fallow.job.start", JOB), ("fallow.job.end", JOB)
    pair = [gpu({UTIL: 0.0}, index=i) for i in range(2)]
    began = [gpu({UTIL: steps((0, 0.0), (17, 0.9))}, index=i) for i in range(2)]
    stopped = [gpu({UTIL: steps((0, 0.0), (3, 0.9), (4, 0.0))}, index=i) for i in range(2)]
    sm = [gpu({UTIL: 0.0, SM: 0.4}, index=i) for i in range(2)]
    return {
        "test.otlp.jsonl": taped(28, pair, events={0: start}),
        "test-fp-in-time.otlp.jsonl": taped(35, began, events={0: start}),
        "test-fp-loading.otlp.jsonl": taped(35, pair, events={0: start, 5: LOAD, 18: LOAD, 26: LOAD}),
        "test-fp-worked-before.otlp.jsonl": taped(35, stopped, events={0: start}),
        "test-fp-ended.otlp.jsonl": taped(20, pair, events={0: start, 19: end}),
        "test-fp-no-start.otlp.jsonl": taped(35, pair),
        "test-fp-contradiction.otlp.jsonl": taped(28, sm, events={0: start}),
    }


def grows() -> dict[str, str]:
    def holds(used: Level, util: Level = BUSY, more: tuple[Thing, ...] = ()) -> str:
        return taped(50, [gpu({UTIL: util, USED: used, LIMIT: 80 * GIB}), *more])

    leak: Level = lambda m: (30 + 30 * m / 40) * GIB
    stairs = steps((0, 30 * GIB), (12, 44 * GIB))
    return {
        "test.otlp.jsonl": holds(leak),
        "test-fp-step.otlp.jsonl": holds(stairs),
        "test-fp-loading.otlp.jsonl": holds(leak, 0.0),
        "test-fp-serving.otlp.jsonl": holds(leak, BUSY, (served(),)),
        "test-fp-slowly.otlp.jsonl": holds(lambda m: (50 + 0.05 * m) * GIB),
        "test-fp-little.otlp.jsonl": holds(lambda m: (4 + 4 * m / 40) * GIB),
    }


def allocates() -> dict[str, str]:
    def process(count: Level) -> str:
        it = Thing(
            {"fallow.cuda.allocations": count}, {"process.pid": "3127"}, NODE | JOB, ("fallow.cuda.allocations",)
        )
        return taped(25, [it])

    return {
        "test.otlp.jsonl": process(ramp(0, 60 * 80)),
        "test-fp-start.otlp.jsonl": process(lambda m: 60.0 * 80 * min(m, 9)),
        "test-fp-few.otlp.jsonl": process(ramp(0, 60 * 2)),
    }


def thrashes() -> dict[str, str]:
    def server(thrown_out: Level, cache: Level, waiting: Level) -> str:
        levels: dict[str, Level] = {
            "fallow.serving.preemptions": thrown_out,
            "fallow.serving.kv_cache.utilization": cache,
            "fallow.serving.requests.waiting": waiting,
        }
        return taped(12, [Thing(levels, {"model_name": "llama-70b"}, NODE | POD)])

    full, queue = waves(0.98, 0.99, 1.0), waves(3.0, 9.0)
    return {
        "test.otlp.jsonl": server(ramp(0, 6), full, queue),
        "test-fp-few.otlp.jsonl": server(ramp(0, 1), full, queue),
        "test-fp-one-burst.otlp.jsonl": server(steps((0, 0.0), (6, 40.0)), steps((0, 0.6), (6, 0.99), (7, 0.6)), queue),
        "test-fp-no-queue.otlp.jsonl": server(ramp(0, 6), full, waves(0.0, 2.0)),
    }


def lossy() -> dict[str, str]:
    again = "fallow.tcp.retransmits"

    def network(sm: Level, sent_again: Level, util: Level = BUSY) -> str:
        gpus = [gpu({UTIL: util, SM: sm}, index=i) for i in range(2)]
        return taped(50, [*gpus, Thing({again: sent_again}, counts=(again,))])

    def loses(minute: int) -> float:
        return float(max(0, minute - 37) * 80)

    falls = steps((0, 0.7), (38, 0.25))
    return {
        "test.otlp.jsonl": network(falls, loses),
        "test-fp-keeps-its-pace.otlp.jsonl": network(0.7, loses),
        "test-fp-nothing-lost.otlp.jsonl": network(falls, 12.0),
        "test-fp-ended.otlp.jsonl": network(steps((0, 0.7), (38, 0.0)), loses, steps((0, 0.97), (38, 0.0))),
    }


def starved() -> dict[str, str]:
    waits = "fallow.sched.run_queue.time"

    def job(each: float, util: Level = 0.3) -> str:
        return taped(20, [gpu({UTIL: util}), job_side({waits: ramp(0, 60 * each), "fallow.job.cpus": 8.0}, waits)])

    return {
        "test.otlp.jsonl": job(12),
        "test-fp-a-little.otlp.jsonl": job(2),
        "test-fp-gpu-busy.otlp.jsonl": job(12, 0.9),
        "test-fp-gpu-unused.otlp.jsonl": job(12, 0.0),
    }


def small_kernels() -> dict[str, str]:
    calls, graphs = "fallow.cuda.kernel.launches", "fallow.cuda.graph.launches"

    def launches(each: float, sm: Level = 0.15, dram: Level = 0.1, graph: float = 0.0) -> str:
        side = job_side({calls: ramp(0, 60 * each), graphs: ramp(0, 60 * graph)})
        return taped(15, [gpu({UTIL: 0.9, SM: sm, DRAM: dram}), side])

    return {
        "test.otlp.jsonl": launches(32_000),
        "test-fp-few.otlp.jsonl": launches(6_000),
        "test-fp-well-used.otlp.jsonl": launches(32_000, sm=0.6),
        "test-fp-memory-at-work.otlp.jsonl": launches(32_000, dram=0.7),
        "test-fp-graphs.otlp.jsonl": launches(32_000, graph=400),
    }


def small_batch() -> dict[str, str]:
    idle = "system.cpu.time{cpu.mode=idle,cpu=0}"

    def works(*more: Thing, **levels: Level) -> str:
        known: dict[str, Level] = {UTIL: waves(0.35, 0.5, 0.42), SM: 0.2, USED: 9 * GIB, LIMIT: 80 * GIB}
        return taped(35, [gpu(known | levels), *more], every=120)

    host_busy, host_free = (Thing({idle: ramp(0, 120 * share)}, resource=NODE) for share in (0.1, 0.8))
    return {
        "test.otlp.jsonl": works(host_free),
        "test-fp-memory.otlp.jsonl": works(**{USED: 50 * GIB}),
        "test-fp-busy-at-times.otlp.jsonl": works(**{UTIL: waves(0.35, 0.5, 0.95)}),
        "test-fp-multiprocessors.otlp.jsonl": works(**{SM: 0.6}),
        "test-fp-serves.otlp.jsonl": works(served()),
        "test-fp-host-is-busy.otlp.jsonl": works(host_busy),
        "test-fp-idle.otlp.jsonl": works(**{UTIL: 0.0, SM: 0.0}),
    }


def _host(idle: float, iowait: float, pressure: float = 0.0) -> Thing:
    """One CPU's times and the pressure of input and output, as shares."""
    return Thing(
        {
            "system.cpu.time{cpu.mode=idle,cpu=0}": ramp(0, 60 * idle),
            "system.cpu.time{cpu.mode=iowait,cpu=0}": ramp(0, 60 * iowait),
            "fallow.host.pressure.time{fallow.host.resource=io}": ramp(0, 60 * pressure),
        },
        resource=NODE,
    )


LITTLE = waves(0.0, 0.02, 0.15, 0.0)


def cpu_bound() -> dict[str, str]:
    def node(host: Thing, util: Level = LITTLE, *at: int) -> str:
        return taped(40, [gpu({UTIL: util}), host], events=dict.fromkeys(at, LOAD))

    busy = _host(0.04, 0.01)
    return {
        "test.otlp.jsonl": node(busy),
        "test-fp-host-free.otlp.jsonl": node(_host(0.5, 0.01)),
        "test-fp-gpu-works.otlp.jsonl": node(busy, 0.6),
        "test-fp-gpu-unused.otlp.jsonl": node(busy, 0.0),
        "test-fp-waits-for-disks.otlp.jsonl": node(_host(0.04, 0.7)),
        "test-fp-staging.otlp.jsonl": node(busy, LITTLE, 5, 20, 35),
    }


def io_bound() -> dict[str, str]:
    def node(host: Thing, util: Level = LITTLE, *at: int) -> str:
        return taped(40, [gpu({UTIL: util}), host], events=dict.fromkeys(at, ("checkpoint.save", JOB)))

    return {
        "test.otlp.jsonl": node(_host(0.3, 0.2, 0.7)),
        "test-iowait.otlp.jsonl": node(_host(0.3, 0.65)),
        "test-fp-no-pressure.otlp.jsonl": node(_host(0.3, 0.1, 0.1)),
        "test-fp-gpu-works.otlp.jsonl": node(_host(0.3, 0.2, 0.7), 0.6),
        "test-fp-gpu-unused.otlp.jsonl": node(_host(0.3, 0.2, 0.7), 0.0),
        "test-fp-checkpoint.otlp.jsonl": node(_host(0.3, 0.2, 0.7), LITTLE, 5, 20, 35),
    }


def sawtooth() -> dict[str, str]:
    teeth = waves(0.9, 0.02, 0.85, 0.6)

    def works(util: Level, *more: Thing, job: Mapping[str, str] = JOB) -> str:
        return taped(66, [gpu({UTIL: util}, job=job), *more])

    chunks: Level = lambda m: 0.9 if m % 18 < 11 else 0.0
    return {
        "test.otlp.jsonl": works(teeth),
        "test-fp-chunks.otlp.jsonl": works(chunks),
        "test-fp-mostly-busy.otlp.jsonl": works(waves(0.97, 0.98, 0.96, 0.05)),
        "test-fp-serves.otlp.jsonl": works(teeth, served()),
        "test-fp-person.otlp.jsonl": works(teeth, job=JOB | {"fallow.job.name": "jupyter-lab"}),
        "test-fp-for-a-while.otlp.jsonl": taped(66, [gpu({UTIL: lambda m: teeth(m) if m < 25 else 0.95})]),
        "test-fp-low.otlp.jsonl": works(waves(0.3, 0.0, 0.5)),
    }


def small_copies() -> dict[str, str]:
    copies, size = (f"fallow.cuda.{name}{{fallow.cuda.copy.kind=device_to_host}}" for name in ("copies", "copy.io"))

    def reads(each: float, of: float, sm: Level = 0.3) -> str:
        side = job_side({copies: ramp(0, 60 * each), size: ramp(0, 60 * each * of)}, "fallow.cuda.copies")
        return taped(15, [gpu({UTIL: 0.8, SM: sm}), side])

    return {
        "test.otlp.jsonl": reads(900, 8),
        "test-fp-now-and-then.otlp.jsonl": reads(4, 8),
        "test-fp-large.otlp.jsonl": reads(900, 2e6),
        "test-fp-well-used.otlp.jsonl": reads(900, 8, 0.75),
    }


def sync_waits() -> dict[str, str]:
    waits = "fallow.cuda.waits"

    def waiting(each: float, sm: Level = 0.3) -> str:
        side = job_side({f"{waits}{{fallow.cuda.wait.scope=stream}}": ramp(0, 60 * each)}, waits)
        return taped(15, [gpu({UTIL: 0.8, SM: sm}), side])

    return {
        "test.otlp.jsonl": waiting(6_000),
        "test-fp-each-step.otlp.jsonl": waiting(40),
        "test-fp-well-used.otlp.jsonl": waiting(6_000, 0.75),
    }


def slow_disk() -> dict[str, str]:
    total, number = "fallow.block.latency_sum", "fallow.block.latency_count"

    def disk(latency: float, util: Level = 0.15) -> str:
        levels: dict[str, Level] = {total: ramp(0, 60 * 300 * latency), number: ramp(0, 60 * 300)}
        return taped(20, [gpu({UTIL: util}), Thing(levels, counts=(total, number))])

    return {
        "test.otlp.jsonl": disk(0.12),
        "test-fp-fast.otlp.jsonl": disk(0.002),
        "test-fp-gpu-works.otlp.jsonl": disk(0.12, 0.8),
        "test-fp-gpu-unused.otlp.jsonl": disk(0.12, 0.0),
    }


def interactive() -> dict[str, str]:
    person = JOB | {"fallow.job.name": "jupyter-lab"}

    def session(util: Level, job: Mapping[str, str] = person, steps_: int = 54) -> str:
        return taped(steps_, [gpu({UTIL: util}, job=job)], every=600)

    seldom = waves(*([0.0] * 11), 0.9)
    return {
        "test.otlp.jsonl": session(seldom),
        "test-fp-works.otlp.jsonl": session(waves(0.0, 0.6)),
        "test-fp-batch.otlp.jsonl": session(seldom, JOB),
        "test-fp-short.otlp.jsonl": session(seldom, person, 40),
    }


PACK: Mapping[str, Callable[[], dict[str, str]]] = {
    "cre-2026-9011": replicas,
    "cre-2026-9020": copy_bound,
    "cre-2026-9022": no_tensor_cores,
    "cre-2026-9023": double_precision,
    "cre-2026-9024": memory_bound,
    "cre-2026-9025": too_large,
    "cre-2026-9026": over_reserved,
    "cre-2026-9028": uneven,
    "cre-2026-9030": slow_start,
    "cre-2026-9033": grows,
    "cre-2026-9034": allocates,
    "cre-2026-9035": thrashes,
    "cre-2026-9041": lossy,
    "cre-2026-9047": starved,
    "cre-2026-9074": small_kernels,
    "cre-2026-9075": small_batch,
    "cre-2026-9076": cpu_bound,
    "cre-2026-9077": io_bound,
    "cre-2026-9078": sawtooth,
    "cre-2026-9081": small_copies,
    "cre-2026-9082": slow_disk,
    "cre-2026-9083": sync_waits,
    "cre-2026-9084": interactive,
}
