"""Samples of the rules that say how devices are: clocks, links, memory, and ranks that wait for each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rules.recordings import Curve, Level, gpu, ramp, steps, taped, waves

UTIL = "hw.gpu.utilization"
CLOCK, CLOCK_LIMIT = "fallow.gpu.sm.clock", "fallow.gpu.sm.clock.limit"
WIDTH, WIDTH_LIMIT = "fallow.gpu.pcie.link.width", "fallow.gpu.pcie.link.width.limit"
FULL = 1.98e9
BUSY = waves(0.97, 0.99, 1.0)


def _throttled(kind: str, reason: str) -> str:
    return f"fallow.gpu.throttle.{kind}{{fallow.gpu.throttle.reason={reason}}}"


def slow_rank() -> dict[str, str]:
    def ranks(*clocks: Level, util: Curve = BUSY) -> str:
        return taped(15, [gpu({UTIL: util, CLOCK: c}, index=i, hw_model="H100") for i, c in enumerate(clocks)])

    idle = [gpu({UTIL: BUSY, CLOCK: FULL}, index=i, hw_model="H100") for i in range(3)]
    idle.append(gpu({UTIL: 0.0, CLOCK: 0.345e9}, index=3, hw_model="H100"))
    return {
        "test.otlp.jsonl": ranks(FULL, FULL, 1.2e9, FULL),
        "test-fp-all-slow.otlp.jsonl": ranks(1.2e9, 1.2e9, 1.23e9, 1.2e9),
        "test-fp-a-little.otlp.jsonl": ranks(FULL, FULL, 1.8e9, FULL),
        "test-fp-one-idles.otlp.jsonl": taped(15, idle),
        "test-fp-two-gpus.otlp.jsonl": ranks(FULL, 1.2e9),
        "test-fp-for-a-while.otlp.jsonl": ranks(FULL, FULL, steps((0, FULL), (6, 1.2e9), (9, FULL)), FULL),
    }


def nvlink_recovers() -> dict[str, str]:
    def errors(kind: str, count: Level) -> str:
        return taped(20, [gpu({f"fallow.gpu.nvlink.errors{{error.type={kind}}}": count})])

    return {
        "test.otlp.jsonl": errors("recovery", steps((0, 3.0), (12, 4.0))),
        "test-fp-long-ago.otlp.jsonl": errors("recovery", 3.0),
        "test-fp-replayed.otlp.jsonl": errors("replay", ramp(0, 1)),
    }


def few_lanes() -> dict[str, str]:
    def linked(util: Level, width: Level) -> str:
        return taped(15, [gpu({UTIL: util, WIDTH: width, WIDTH_LIMIT: 16.0})])

    return {
        "test.otlp.jsonl": linked(BUSY, 8.0),
        "test-fp-all-lanes.otlp.jsonl": linked(BUSY, 16.0),
        "test-fp-idle.otlp.jsonl": linked(waves(0.9, 0.0), 8.0),
        "test-fp-trained-again.otlp.jsonl": linked(BUSY, waves(8.0, 8.0, 8.0, 8.0, 16.0)),
    }


def hot() -> dict[str, str]:
    def at(util: Level, **levels: Level) -> str:
        return taped(15, [gpu({UTIL: util, **levels})])

    time, flag = _throttled("time", "hw_thermal"), _throttled("active", "sw_thermal")
    return {
        "test.otlp.jsonl": at(BUSY, **{time: ramp(0, 48), _throttled("time", "power"): ramp(0, 55)}),
        "test-flag.otlp.jsonl": at(BUSY, **{flag: waves(1.0, 1.0, 1.0, 0.0)}),
        "test-fp-now-and-then.otlp.jsonl": at(BUSY, **{time: ramp(0, 12), flag: waves(1.0, 0.0, 0.0)}),
        "test-fp-power.otlp.jsonl": at(BUSY, **{_throttled("time", "power"): ramp(0, 58)}),
        "test-fp-idle.otlp.jsonl": at(0.0, **{time: ramp(0, 48)}),
    }


def braked() -> dict[str, str]:
    def by(reason: str, seconds: Level) -> str:
        return taped(15, [gpu({UTIL: BUSY, _throttled("time", reason): seconds})])

    return {
        "test.otlp.jsonl": by("power_brake", steps((0, 2.0), (12, 9.5))),
        "test-fp-long-ago.otlp.jsonl": by("power_brake", 9.5),
        "test-fp-own-limit.otlp.jsonl": by("power", ramp(0, 55)),
    }


def locked() -> dict[str, str]:
    power, heat = _throttled("active", "power"), _throttled("active", "hw_thermal")

    def clocked(clock: Level, util: Level = BUSY, **more: Level) -> str:
        known: dict[str, Level] = {power: 0.0, heat: 0.0, "hw.power": 310.0, "fallow.gpu.power.limit": 700.0}
        return taped(20, [gpu({UTIL: util, CLOCK: clock, CLOCK_LIMIT: FULL, **known, **more})])

    unknown = taped(20, [gpu({UTIL: BUSY, CLOCK: 1.2e9, CLOCK_LIMIT: FULL})])
    return {
        "test.otlp.jsonl": clocked(1.2e9),
        "test-fp-full.otlp.jsonl": clocked(1.9e9),
        "test-fp-power.otlp.jsonl": clocked(1.2e9, **{power: 1.0}),
        "test-fp-near-its-limit.otlp.jsonl": clocked(1.2e9, **{"hw.power": 688.0}),
        "test-fp-heat.otlp.jsonl": clocked(1.2e9, **{heat: waves(1.0, 0.0)}),
        "test-fp-idle.otlp.jsonl": clocked(waves(1.9e9, 0.345e9), waves(0.9, 0.0)),
        "test-fp-reasons-not-known.otlp.jsonl": unknown,
    }


def worn_out() -> dict[str, str]:
    def memory(levels: Mapping[str, Level]) -> str:
        return taped(10, [gpu(levels)])

    pages = "fallow.gpu.memory.pages.retired{error.type=%s}"
    return {
        "test.otlp.jsonl": memory({"fallow.gpu.memory.rows.remap_failed": steps((0, 0.0), (5, 1.0))}),
        "test-pages.otlp.jsonl": memory({pages % "corrected": 7.0, pages % "uncorrected": steps((0, 2.0), (4, 3.0))}),
        "test-fp-few.otlp.jsonl": memory(
            {
                "fallow.gpu.memory.rows.remap_failed": 0.0,
                pages % "corrected": 4.0,
                "hw.errors{error.type=corrected}": ramp(0, 900),
            }
        ),
    }


def needs_reset() -> dict[str, str]:
    pending, errors = "fallow.gpu.memory.rows.remap_pending", "hw.errors{error.type=%s}"

    def memory(levels: Mapping[str, Level]) -> str:
        return taped(18, [gpu(levels)], every=300)

    return {
        "test.otlp.jsonl": memory({pending: steps((0, 0.0), (5, 1.0))}),
        "test-uncorrected.otlp.jsonl": memory({errors % "uncorrected": steps((0, 1.0), (14, 2.0))}),
        "test-fp-corrected.otlp.jsonl": memory({pending: 0.0, errors % "corrected": ramp(0, 40)}),
        "test-fp-long-ago.otlp.jsonl": memory({pending: 0.0, errors % "uncorrected": 2.0}),
    }


def spinning() -> dict[str, str]:
    sm, dram = "fallow.gpu.sm.utilization", "fallow.gpu.dram.utilization"
    nvlink, pcie = (
        "fallow.gpu.nvlink.throughput{network.io.direction=transmit}",
        "fallow.gpu.pcie.throughput{network.io.direction=receive}",
    )
    hang: dict[str, Level] = {UTIL: 1.0, sm: 0.12, dram: waves(0.0002, 0.0004), nvlink: 2e3}

    def seen(**more: Level) -> str:
        return taped(15, [gpu(hang | more)])

    return {
        "test.otlp.jsonl": seen(),
        "test-fp-works.otlp.jsonl": seen(**{sm: 0.7, dram: 0.4}),
        "test-fp-checkpoint.otlp.jsonl": seen(**{dram: steps((0, 0.4), (4, 0.0003), (8, 0.4))}),
        "test-fp-out-of-caches.otlp.jsonl": seen(**{sm: 0.9}),
        "test-fp-tensor-cores.otlp.jsonl": seen(**{"fallow.gpu.tensor.utilization": 0.2}),
        "test-fp-transfer.otlp.jsonl": seen(**{nvlink: 40e9}),
        "test-fp-offload.otlp.jsonl": seen(**{pcie: 11e9}),
        "test-fp-not-profiled.otlp.jsonl": taped(15, [gpu({UTIL: 1.0})]),
        "test-fp-idle.otlp.jsonl": seen(**{UTIL: 0.0, sm: 0.0}),
    }


PACK: Mapping[str, Callable[[], dict[str, str]]] = {
    "cre-2026-9038": slow_rank,
    "cre-2026-9043": nvlink_recovers,
    "cre-2026-9044": few_lanes,
    "cre-2026-9048": hot,
    "cre-2026-9049": braked,
    "cre-2026-9050": locked,
    "cre-2026-9054": worn_out,
    "cre-2026-9086": spinning,
    "cre-2026-9090": needs_reset,
}
