"""Samples of the rules about queues, requests and limits, and about what jobs leave behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rules.recordings import HOST, JOB, NODE, POD, UUIDS, Level, Thing, gpu, ramp, steps, taped, waves

UTIL = "hw.gpu.utilization"
CLUSTER = {"fallow.cluster.name": "alpha"}
HELD, USED = "fallow.job.gpu.allocated", "fallow.job.time.used"
CPU_TIME = "fallow.cpu.time"
LONG = ramp(3000, 240)
"""More than an hour after three steps of four minutes."""

Levels = Mapping[str, Level]
NOTHING: Levels = {}


def job(levels: Levels) -> Thing:
    """What a scheduler says of a job, wherever it runs."""
    return Thing(levels, JOB, CLUSTER)


def node(levels: Levels, host: str = HOST) -> Thing:
    return Thing(levels, {}, {"host.name": host, **CLUSTER})


def holds(*indices: int, host: str = HOST) -> list[Thing]:
    """The GPUs of a node that the job has."""
    return [Thing({HELD: 1.0}, {**JOB, "fallow.gpu.index": str(i)}, {"host.name": host, **CLUSTER}) for i in indices]


def uses(cpus: float, every: float) -> Thing:
    """CPU time of the job's process."""
    return Thing({CPU_TIME: ramp(0, cpus * every)}, {"process.pid": "3127", **JOB}, NODE, (CPU_TIME,))


def unused_again() -> dict[str, str]:
    def day(*utils: Level, length: int = 104) -> str:
        return taped(length, [gpu({UTIL: util}, index=i) for i, util in enumerate(utils)], every=900)

    return {
        "test.otlp.jsonl": day(0.0, 0.0, 0.9),
        "test-fp-mostly-used.otlp.jsonl": day(0.0, 0.9, 0.9, 0.9),
        "test-fp-short.otlp.jsonl": day(0.0, 0.0, 0.9, length=80),
        "test-fp-few-hours.otlp.jsonl": day(steps((0, 0.0), (46, 0.9))),
    }


def cpu_only() -> dict[str, str]:
    def works(cpus: float, util: Level = 0.0, *more: Thing, sm: Level | None = None, staged: bool = False) -> str:
        levels: dict[str, Level] = {UTIL: util} | ({} if sm is None else {"fallow.gpu.sm.utilization": sm})
        things = [gpu(levels), job({"fallow.job.cpus": 16.0}), uses(cpus, 60), *more]
        events: dict[int, tuple[str, Mapping[str, str]]] = {}
        for at in (8, 20, 32) if staged else ():
            events[at] = ("dataset.stage", JOB)
        return taped(40, things, events=events)

    on_gpu = gpu({"fallow.process.gpu.memory.usage": 2e9})
    return {
        "test.otlp.jsonl": works(14),
        "test-fp-few-cpus.otlp.jsonl": works(2),
        "test-fp-uses-gpu.otlp.jsonl": works(14, waves(0.0, 0.0, 0.2)),
        "test-fp-process-on-gpu.otlp.jsonl": works(14, 0.0, on_gpu),
        "test-fp-contradiction.otlp.jsonl": works(14, sm=0.3),
        "test-fp-staging.otlp.jsonl": works(14, staged=True),
    }


def _cluster(free: float, pending: Level, wait: Level, more: Levels = NOTHING, *, available: float = 1.0) -> str:
    """A node with eight GPUs and a queue; ``more``: of the node."""
    levels: dict[str, Level] = {
        "fallow.node.gpus": 8.0,
        "fallow.node.gpus.allocated": 8 - free,
        "fallow.node.available": available,
    }
    levels |= {f"fallow.node.{key}": level for key, level in more.items()}
    queue = Thing(
        {"fallow.queue.gpus{fallow.job.state=PENDING}": pending, "fallow.queue.wait": wait},
        {"fallow.job.partition": "gpu"},
        CLUSTER,
    )
    return taped(50, [node(levels), queue])


def free_and_waited_for() -> dict[str, str]:
    return {
        "test.otlp.jsonl": _cluster(4.0, 2.0, ramp(1500, 60)),
        "test-fp-gathers.otlp.jsonl": _cluster(4.0, 16.0, ramp(1500, 60)),
        "test-fp-nobody-waits.otlp.jsonl": _cluster(4.0, 0.0, nothing),
        "test-fp-just-submitted.otlp.jsonl": _cluster(4.0, 2.0, waves(20.0, 50.0)),
        "test-fp-drained.otlp.jsonl": _cluster(4.0, 2.0, ramp(1500, 60), available=0.0),
        "test-fp-for-a-while.otlp.jsonl": _cluster(4.0, steps((0, 2.0), (20, 9.0)), ramp(1500, 60)),
    }


def nothing(_: int) -> None:
    """Nothing is sent."""


def stranded() -> dict[str, str]:
    full: dict[str, Level] = {"cpus": 64.0, "cpus.allocated": 64.0, "memory": 1e12, "memory.allocated": 4e11}
    wait = ramp(1500, 60)
    return {
        "test.otlp.jsonl": _cluster(3.0, 2.0, wait, full),
        "test-memory.otlp.jsonl": _cluster(3.0, 2.0, wait, full | {"cpus.allocated": 20.0, "memory.allocated": 1e12}),
        "test-fp-room.otlp.jsonl": _cluster(3.0, 2.0, wait, full | {"cpus.allocated": 20.0}),
        "test-fp-no-gpu-free.otlp.jsonl": _cluster(0.0, 2.0, wait, full),
        "test-fp-nobody-waits.otlp.jsonl": _cluster(3.0, 0.0, nothing, full),
        "test-fp-drained.otlp.jsonl": _cluster(3.0, 2.0, wait, full, available=0.0),
        "test-fp-for-a-while.otlp.jsonl": _cluster(
            3.0, 2.0, wait, full | {"cpus.allocated": steps((0, 64.0), (20, 20.0))}
        ),
    }


def left_behind() -> dict[str, str]:
    def on_node(
        memory: Level = 11e9, name: str = "python", given: float = 2.0, available: float = 1.0, *more: Thing
    ) -> str:
        identity = {"hw.id": UUIDS[0], "fallow.gpu.index": "0", "process.pid": "3127", "process.executable.name": name}
        process = Thing({"fallow.process.gpu.memory.usage": memory}, identity)
        slurm = node({"fallow.node.gpus": 4.0, "fallow.node.gpus.allocated": given, "fallow.node.available": available})
        return taped(25, [process, slurm, *holds(2, 3), *more])

    lately = Thing({HELD: steps((0, 1.0), (18, None))}, {**JOB, "fallow.gpu.index": "0"}, {**NODE, **CLUSTER})
    return {
        "test.otlp.jsonl": on_node(),
        "test-fp-job.otlp.jsonl": on_node(11e9, "python", 3.0, 1.0, *holds(0)),
        "test-fp-job-just-ended.otlp.jsonl": on_node(11e9, "python", 2.0, 1.0, lately),
        "test-fp-service.otlp.jsonl": on_node(28e6, "nvidia-cuda-mps"),
        "test-fp-context.otlp.jsonl": on_node(4e6),
        "test-fp-gone-at-once.otlp.jsonl": on_node(steps((0, 11e9), (6, None))),
        "test-fp-all-given.otlp.jsonl": on_node(given=4.0),
        "test-fp-repair.otlp.jsonl": on_node(available=0.0),
    }


def many_cpus() -> dict[str, str]:
    def asks(cpus: float, used: Level = LONG, *more: Thing) -> str:
        slurm = node({"fallow.node.cpus": 96.0, "fallow.node.gpus": 8.0})
        request = job({"fallow.job.cpus": cpus, "fallow.job.gpus": 2.0, USED: used})
        return taped(12, [request, slurm, *holds(0, 1), *more], every=240)

    return {
        "test.otlp.jsonl": asks(48),
        "test-fp-share.otlp.jsonl": asks(32),
        "test-fp-young.otlp.jsonl": asks(48, ramp(10, 200)),
        "test-fp-uses-them.otlp.jsonl": asks(48, LONG, uses(45, 240)),
    }


def much_memory() -> dict[str, str]:
    def asks(total: float, used: Level = LONG, *more: Thing) -> str:
        slurm = node({"fallow.node.memory": 1e12, "fallow.node.gpus": 4.0})
        request = job({"fallow.job.memory.limit": total, "fallow.job.gpus": 1.0, USED: used})
        return taped(12, [request, slurm, *holds(0), *more], every=240)

    full = Thing({"container.memory.usage": 560e9}, JOB, NODE)
    return {
        "test.otlp.jsonl": asks(600e9),
        "test-fp-share.otlp.jsonl": asks(250e9),
        "test-fp-young.otlp.jsonl": asks(600e9, ramp(10, 200)),
        "test-fp-uses-it.otlp.jsonl": asks(600e9, LONG, full),
    }


def spread_out() -> dict[str, str]:
    def over(*counts: int, used: Level = LONG) -> str:
        things = [job({USED: used})]
        for i, count in enumerate(counts):
            host = f"gpu-node-0{i}"
            things += [node({"fallow.node.gpus": 8.0}, host), *holds(*range(count), host=host)]
        return taped(10, things, every=240)

    return {
        "test.otlp.jsonl": over(2, 1, 1),
        "test-fp-one-node.otlp.jsonl": over(4),
        "test-fp-full-nodes.otlp.jsonl": over(8, 8),
        "test-fp-needs-them.otlp.jsonl": over(8, 4),
        "test-fp-young.otlp.jsonl": over(2, 1, 1, used=ramp(10, 300)),
    }


def much_time() -> dict[str, str]:
    def ends(at: int, limit: float = 7.0, gpus: float = 16.0, state: str = "COMPLETED", since: float = 60) -> str:
        levels: dict[str, Level] = {
            USED: ramp(since, 240),
            "fallow.job.time.limit": limit * 86400,
            "fallow.job.gpus": gpus,
        }
        alive = node({"fallow.node.gpus": 8.0})
        request = job({key: _until(at, level) for key, level in levels.items()})
        end = ("fallow.job.end", JOB | {"fallow.job.state": state})
        return taped(at + 8, [request, alive], every=240, events={at: end})

    return {
        "test.otlp.jsonl": ends(6),
        "test-fp-took-half.otlp.jsonl": ends(12, limit=1.0, gpus=64.0, since=0.19 * 86400),
        "test-fp-few-gpus.otlp.jsonl": ends(6, gpus=1.0),
        "test-fp-cancelled.otlp.jsonl": ends(6, state="CANCELLED"),
    }


def _until(at: int, level: Level) -> Level:
    return lambda step: None if step >= at else level(step) if callable(level) else level


def restarts() -> dict[str, str]:
    count = "k8s.container.restart.count"

    def pod(restarts_: Level, with_gpu: bool = True) -> str:
        container = Thing({count: restarts_}, {"k8s.container.name": "main"}, NODE | POD)
        return taped(40, [container, *([gpu({UTIL: 0.0}, job=POD)] if with_gpu else [])])

    return {
        "test.otlp.jsonl": pod(lambda m: float(m // 4)),
        "test-fp-few.otlp.jsonl": pod(steps((0, 7.0), (20, 8.0))),
        "test-fp-no-gpu.otlp.jsonl": pod(lambda m: float(m // 4), with_gpu=False),
    }


def out_of_service() -> dict[str, str]:
    def there(available: Level, gpus: float = 8.0) -> str:
        return taped(80, [node({"fallow.node.available": available, "fallow.node.gpus": gpus})], every=1200)

    return {
        "test.otlp.jsonl": there(steps((0, 1.0), (2, 0.0))),
        "test-fp-half-a-day.otlp.jsonl": there(steps((0, 0.0), (40, 1.0))),
        "test-fp-no-gpus.otlp.jsonl": there(0.0, 0.0),
        "test-fp-came-back-once.otlp.jsonl": there(steps((0, 0.0), (30, 1.0), (32, 0.0))),
    }


PACK: Mapping[str, Callable[[], dict[str, str]]] = {
    "cre-2026-9006": unused_again,
    "cre-2026-9008": cpu_only,
    "cre-2026-9009": free_and_waited_for,
    "cre-2026-9010": left_behind,
    "cre-2026-9057": many_cpus,
    "cre-2026-9058": much_memory,
    "cre-2026-9059": spread_out,
    "cre-2026-9060": much_time,
    "cre-2026-9062": restarts,
    "cre-2026-9070": stranded,
    "cre-2026-9097": out_of_service,
}
