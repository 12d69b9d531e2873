"""What each kind of job does with its GPUs: activity as a function of the seconds since it started, and its known faults.

A profile is pure: the same (seed, job, second) gives the same activity, whatever the step. Shares are 0 to 1, memory in
bytes. What healthy jobs do here would trip a careless rule: pauses of eight minutes, an hour of staging, checkpoint
stalls at high utilisation, a profiler that takes the counters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np

from fallow.batch import Float64Array

Pattern = Literal["P01", "P02", "P03", "P05", "P07", "P12", "P13", "P32", "P36", "P61"]

MINUTE: Final = 60.0
HOUR: Final = 3600.0
GIB: Final = float(2**30)
CONTEXT: Final = 0.45 * GIB  # a CUDA context alone
NOISE: Final = 4096  # length of a job's table of noise, s


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """One job's GPUs at one moment, (gpus,) each; ``sm`` None: the profiling counters are not to be had."""

    util: Float64Array
    memory: Float64Array
    sm: Float64Array | None
    """SM activity as the counter reports it."""
    work: Float64Array
    """SM activity as it is: what power follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A pattern that is truly there, from second to second of the job, on some of its GPUs (none named: the job)."""

    pattern: Pattern
    start: float
    end: float
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something that the job says at a second: a log line, or an event where ``event`` names one."""

    second: float
    text: str = ""
    event: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One job of a kind: how long it runs and how it ends, what it says, what is wrong with it."""

    duration: float
    name: str
    gpus: int
    activity: Callable[[float], Activity]
    notes: tuple[Note, ...] = ()
    facts: tuple[Fact, ...] = ()
    requests: Callable[[float], float] | None = None
    """Requests served since the start, for what serves."""
    state: str = "COMPLETED"
    retries: int = 0
    """How often it is resubmitted after this run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dice:
    """A job's own chance: numbers for its plan, and a table of noise in [-1, 1] for its samples."""

    rng: np.random.Generator
    table: Float64Array = field(default_factory=lambda: np.zeros(NOISE))

    @classmethod
    def of(cls, *seed: int) -> Dice:
        rng = np.random.default_rng(seed)
        return cls(rng=rng, table=rng.uniform(-1.0, 1.0, NOISE))

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def noise(self, second: float, gpus: int) -> Float64Array:
        """(gpus,) noise of a second, another for each GPU."""
        return self.table[(int(second) + 37 * np.arange(gpus)) % NOISE]


def _on(util: Float64Array, sm: Float64Array, memory: float) -> Activity:
    rounded: Float64Array = np.round(np.clip(util, 0.0, 1.0), 2).astype(np.float64)  # NVML counts whole percents
    sm = np.clip(sm, 0.0, 1.0)
    return Activity(util=rounded, memory=np.full(len(util), memory), sm=sm, work=sm)


def _off(gpus: int, memory: float) -> Activity:
    return _on(np.zeros(gpus), np.zeros(gpus), memory)


def _blind(seen: Activity, sm: Float64Array | None) -> Activity:
    return Activity(util=seen.util, memory=seen.memory, sm=sm, work=seen.work)


# -- healthy -----------------------------------------------------------------------------------------------------------


def training(dice: Dice, gpus: int) -> Plan:
    """Loads, then computes; every half hour a checkpoint, during which kernels spin and nothing is computed."""
    init, period = dice.between(2, 5) * MINUTE, dice.between(25, 40) * MINUTE
    util, sm, memory = dice.between(0.93, 0.97), dice.between(0.65, 0.8), dice.between(40, 72) * GIB
    duration = dice.between(2, 7) * HOUR

    def activity(s: float) -> Activity:
        if s < init:
            return _off(gpus, memory * 0.6 * s / init)
        noise = dice.noise(s, gpus)
        if (s - init) % period > period - 70:
            return _on(0.88 + 0.02 * noise, np.full(gpus, 0.04), memory)
        return _on(util + 0.03 * noise, sm + 0.06 * noise, memory)

    saves = np.arange(init + period - 70, duration, period)
    notes = [
        Note(second=1, event="model.load"),
        Note(second=init / 2, text="Loading checkpoint shards: 100%|####| 8/8"),
    ]
    notes += [Note(second=float(at), text="Saving model checkpoint") for at in saves]
    return Plan(duration=duration, name="pretrain", gpus=gpus, activity=activity, notes=tuple(notes))


def staging(dice: Dice, gpus: int) -> Plan:
    """Copies its data for more than an hour before the first step, and says so."""
    stage = dice.between(65, 80) * MINUTE
    inner = training(dice, gpus)

    def activity(s: float) -> Activity:
        return _off(gpus, CONTEXT) if s < stage else inner.activity(s - stage)

    said = tuple(Note(second=float(s), event="dataset.stage", text="staging shards") for s in np.arange(20, stage, 300))
    later = tuple(Note(second=n.second + stage, text=n.text, event=n.event) for n in inner.notes)
    duration = stage + inner.duration
    return Plan(duration=duration, name="finetune-staged", gpus=gpus, activity=activity, notes=said + later)


def serving(dice: Dice, gpus: int) -> Plan:
    """An endpoint with traffic that rises and falls and never ceases."""
    return _endpoint(dice, gpus, duration=dice.between(6, 10) * HOUR, until=None)


def batch(dice: Dice, gpus: int) -> Plan:
    """Works in bursts with pauses of eight minutes: not idle, waiting for its next chunk."""
    busy, pause = dice.between(9, 14) * MINUTE, dice.between(6, 8) * MINUTE
    memory = dice.between(8, 30) * GIB

    def activity(s: float) -> Activity:
        if s % (busy + pause) > busy:
            return _off(gpus, memory)
        noise = dice.noise(s, gpus)
        return _on(0.85 + 0.1 * noise, 0.66 + 0.1 * noise, memory)

    return Plan(duration=dice.between(2, 5) * HOUR, name="batch-embed", gpus=gpus, activity=activity)


def profiled(dice: Dice, gpus: int) -> Plan:
    """Training with a profiler attached for a while: the counters are gone, nothing is wrong."""
    plan = training(dice, gpus)
    start = dice.between(20, 60) * MINUTE

    def activity(s: float) -> Activity:
        seen = plan.activity(s)
        return _blind(seen, None) if start <= s < start + 25 * MINUTE else seen

    return Plan(duration=plan.duration, name="pretrain-profiled", gpus=gpus, activity=activity, notes=plan.notes)


# -- with something wrong ----------------------------------------------------------------------------------------------


def quiet_endpoint(dice: Dice, gpus: int) -> Plan:
    """An endpoint whose traffic moves elsewhere while it stays up."""
    until = dice.between(25, 60) * MINUTE
    plan = _endpoint(dice, gpus, duration=dice.between(3, 5) * HOUR, until=until)
    facts = [Fact(pattern="P12", start=until, end=plan.duration)]
    facts += [Fact(pattern=p, start=until, end=plan.duration, gpus=tuple(range(gpus))) for p in _IDLE]
    return replace(plan, name="serve-v1", facts=tuple(facts))


def _endpoint(dice: Dice, gpus: int, *, duration: float, until: float | None) -> Plan:
    mean, swing, memory = dice.between(4, 9), dice.between(0.3, 0.6), dice.between(30, 60) * GIB
    load, period = 2 * MINUTE, 4 * HOUR
    phase = dice.between(0, 2 * np.pi)
    turn = 2 * np.pi / period

    def rate(s: float) -> float:
        open_ = s > load and (until is None or s < until)
        return mean * (1 + swing * np.sin(turn * s + phase)) if open_ else 0.0

    def served(s: float) -> float:
        s = max(load, s if until is None else min(s, until))
        area = (s - load) - swing / turn * (np.cos(turn * s + phase) - np.cos(turn * load + phase))
        return float(np.floor(mean * area))

    def activity(s: float) -> Activity:
        now = rate(s)
        if now == 0.0:
            return _off(gpus, memory * min(1.0, s / load))
        noise = dice.noise(s, gpus)
        return _on(0.12 + 0.05 * now + 0.06 * noise, 0.06 + 0.03 * now + 0.03 * noise, memory)

    notes = (Note(second=1, event="model.load"),)
    return Plan(duration=duration, name="serve", gpus=gpus, activity=activity, notes=notes, requests=served)


def notebook(dice: Dice, gpus: int) -> Plan:
    """A person works, goes home, and leaves the kernel with its model in memory."""
    leaves, duration = dice.between(20, 45) * MINUTE, dice.between(3, 6) * HOUR
    memory = dice.between(3, 25) * GIB

    def activity(s: float) -> Activity:
        if s >= leaves or s % 420 > 240:
            return _off(gpus, memory)
        noise = dice.noise(s, gpus)
        return _on(0.6 + 0.3 * noise, 0.45 + 0.25 * noise, memory)

    # The last burst may end up to three minutes before the person leaves.
    last = leaves - max(0.0, leaves % 420 - 240)
    facts = tuple(Fact(pattern=p, start=last, end=duration, gpus=tuple(range(gpus))) for p in _IDLE)
    return Plan(duration=duration, name="jupyter", gpus=gpus, activity=activity, facts=facts, state="CANCELLED")


def never_used(dice: Dice, gpus: int) -> Plan:
    """A program that found no GPU and computes on the CPU."""
    duration = dice.between(2, 4) * HOUR
    facts = (Fact(pattern="P01", start=0, end=duration),)
    return Plan(duration=duration, name="cpu-build", gpus=gpus, activity=lambda s: _off(gpus, 0.0), facts=facts)


def leaked(dice: Dice, gpus: int) -> Plan:
    """Loads a model, then waits for something that never comes."""
    duration, memory = dice.between(2, 4) * HOUR, dice.between(10, 60) * GIB
    facts = (
        Fact(pattern="P01", start=0, end=duration),
        Fact(pattern="P03", start=0, end=duration, gpus=tuple(range(gpus))),
    )
    return Plan(duration=duration, name="rag-worker", gpus=gpus, activity=lambda s: _off(gpus, memory), facts=facts)


def partly_used(dice: Dice, gpus: int) -> Plan:
    """Asked for all of them, runs on half."""
    plan = training(dice, gpus)
    unused = tuple(range((gpus + 1) // 2, gpus))

    def activity(s: float) -> Activity:
        seen = plan.activity(s)
        idle = np.isin(np.arange(gpus), unused)
        sm = np.where(idle, 0.0, seen.work)
        memory = np.where(idle, CONTEXT, seen.memory)
        return Activity(util=np.where(idle, 0.0, seen.util), memory=memory, sm=sm, work=sm)

    facts = (Fact(pattern="P05", start=0, end=plan.duration, gpus=unused),) if unused else ()
    return replace(plan, name="ddp-half", activity=activity, facts=facts)


def starved(dice: Dice, gpus: int) -> Plan:
    """Waits for its data loader most of the time."""
    duration, memory = dice.between(3, 5) * HOUR, dice.between(10, 40) * GIB

    def activity(s: float) -> Activity:
        noise = dice.noise(s // 5 * 5, gpus)
        return _on(0.14 + 0.12 * noise, 0.10 + 0.08 * noise, memory)

    facts = (Fact(pattern="P07", start=0, end=duration),)
    return Plan(duration=duration, name="train-slow-input", gpus=gpus, activity=activity, facts=facts)


def half_empty(dice: Dice, gpus: int) -> Plan:
    """Always a kernel resident, few of the multiprocessors with work."""
    duration, memory = dice.between(2, 5) * HOUR, dice.between(6, 20) * GIB
    sm = dice.between(0.18, 0.32)

    def activity(s: float) -> Activity:
        noise = dice.noise(s, gpus)
        return _on(0.95 + 0.04 * noise, sm + 0.05 * noise, memory)

    facts = (Fact(pattern="P13", start=0, end=duration, gpus=tuple(range(gpus))),)
    return Plan(duration=duration, name="small-kernels", gpus=gpus, activity=activity, facts=facts)


def gpu_oom(dice: Dice, gpus: int) -> Plan:
    """Runs out of GPU memory a few minutes after the start, and is resubmitted as it was."""
    duration = dice.between(4, 8) * MINUTE
    text = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has 1.12 GiB free."
    notes = tuple(Note(second=duration - 2 + 0.1 * i, text=f"[rank{i}]: {text}") for i in range(gpus))
    return _failing(dice, gpus, duration, notes, "P32", "llm-too-large")


def host_oom(dice: Dice, gpus: int) -> Plan:
    """Its data loader outgrows the memory that it asked for, and it is resubmitted as it was."""
    duration = dice.between(8, 15) * MINUTE
    text = "Detected 1 oom_kill event in StepId={job}.batch. Some of the step tasks have been OOM Killed."
    notes = (Note(second=duration - 2, text=f"slurmstepd: error: {text}"),)
    return _failing(dice, gpus, duration, notes, "P36", "loader-grows")


def _failing(dice: Dice, gpus: int, duration: float, notes: tuple[Note, ...], pattern: Pattern, name: str) -> Plan:
    memory = 70 * GIB

    def activity(s: float) -> Activity:
        if s < 60:
            return _off(gpus, memory * s / 60)
        noise = dice.noise(s, gpus)
        return _on(0.9 + 0.05 * noise, 0.65 + 0.05 * noise, memory)

    facts = (Fact(pattern=pattern, start=duration - 2, end=duration),)
    return Plan(
        duration=duration,
        name=name,
        gpus=gpus,
        activity=activity,
        notes=notes,
        facts=facts,
        state="FAILED" if pattern == "P32" else "OUT_OF_MEMORY",
        retries=4,
    )


def counters_stuck(dice: Dice, gpus: int) -> Plan:
    """Training on devices of which one has its profiling counters stuck at zero for a while."""
    plan = training(dice, gpus)
    start = dice.between(20, 45) * MINUTE
    end = start + dice.between(20, 40) * MINUTE

    def activity(s: float) -> Activity:
        seen = plan.activity(s)
        if not start <= s < end or seen.sm is None:
            return seen
        sm = seen.sm.copy()
        sm[0] = 0.0
        return _blind(seen, sm)

    facts = (Fact(pattern="P61", start=start, end=end, gpus=(0,)),)
    return replace(plan, name="pretrain-xid31", activity=activity, facts=facts)


def straggling(dice: Dice, gpus: int) -> Plan:
    """Training whose ranks wait for one: of its GPUs one is always at work, the others spin at the barrier."""
    plan = training(dice, gpus)
    since = dice.between(20, 40) * MINUTE

    def activity(s: float) -> Activity:
        seen = plan.activity(s)
        if s < since or seen.sm is None:
            return seen
        # A busy barrier is a kernel that computes nothing: full utilisation, few multiprocessors.
        sm = np.where(np.arange(gpus) == 0, seen.sm, 0.55 * seen.sm)
        return Activity(util=seen.util, memory=seen.memory, sm=sm, work=sm)

    return replace(plan, name="pretrain-straggler", activity=activity)


def throttled(dice: Dice, gpus: int) -> Plan:
    """Training on GPUs that grow too hot: as busy as ever, and drawing less power than such work takes."""
    plan = training(dice, gpus)
    since = dice.between(20, 40) * MINUTE

    def activity(s: float) -> Activity:
        seen = plan.activity(s)
        return seen if s < since else replace(seen, work=0.6 * seen.work)

    return replace(plan, name="pretrain-hot", activity=activity)


_IDLE: Final[tuple[Pattern, ...]] = ("P02", "P03")

Kind = Callable[[Dice, int], Plan]
HEALTHY: Final[Mapping[Kind, tuple[int, ...]]] = {
    training: (1, 2, 4, 8),
    serving: (1,),
    batch: (1,),
    staging: (2,),
    profiled: (2,),
}
"""Kind → how many GPUs it asks for."""
WRONG: Final[Mapping[Kind, tuple[int, ...]]] = {
    gpu_oom: (2,),
    host_oom: (1,),
    never_used: (2,),
    quiet_endpoint: (1,),
    notebook: (1,),
    leaked: (1,),
    partly_used: (4,),
    starved: (2,),
    half_empty: (1,),
    counters_stuck: (2,),
}
FURTHER: Final[Mapping[Kind, tuple[int, ...]]] = {straggling: (4,), throttled: (2,)}
"""What no built-in rule is about; only where it is asked for."""
BEHAVIOURS: Final[Mapping[str, tuple[Kind, tuple[int, ...]]]] = {
    kind.__name__: (kind, sizes) for kinds in (WRONG, HEALTHY, FURTHER) for kind, sizes in kinds.items()
}
"""Name → kind of job, and how many GPUs each job of it in a deck asks for."""


def rule_of(pattern: Pattern) -> str:
    """The built-in rule that a pattern is found by."""
    return f"CRE-2026-90{pattern[1:]}"
