"""The samples of the rules that read power: ``python tests/rules/power_samples.py`` writes them, a test holds them to it.

They are apart from ``make_samples`` because what they need is seconds, not minutes: levels are learnt from even spans.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from fallow.testing.samples import Gauge, Record, Recording

RULES = Path(__file__).parents[2] / "rules"
HOST = "gpu-node-03"
JOB = {"fallow.job.id": "48213", "fallow.job.name": "finetune-7b", "fallow.user.name": "mkoch"}
UUIDS = ("GPU-5a1e6c52-0f0d-4f1b-9c55-3d1f9a7e0c01", "GPU-8b07d2b4-61c9-4f4e-8a8e-6f4d2c1b7a02")
FREE, LOADED, WAITING, WORKING = 72.0, 118.0, 152.0, 545.0  # W, of an H100

Curve = Callable[[int], float | None]
"""Second → value; None: nothing is sent."""


def steps(*parts: tuple[int, float | None]) -> Curve:
    """Levels one after the other: (until which second, value)."""
    return lambda at: next((value for until, value in parts if at < until), None)


def recording(
    until: int,
    power: Curve,
    used: tuple[Curve, ...] = (),
    job: Mapping[str, str] = JOB,
    event_at: int | None = None,
    cadence: int = 5,
) -> str:
    """A job on two GPUs of a node: the same power on both, utilisation of each where it is given."""
    made = Recording()
    for at in range(0, until, cadence):
        points: list[Gauge] = []
        for i, uuid in enumerate(UUIDS):
            who = {"hw.id": uuid, "hw.type": "gpu", "hw.model": "NVIDIA H100 80GB HBM3"}
            watts, busy = power(at), used[i](at) if used else None
            points += [] if watts is None else [Gauge("hw.power", "W", who, watts)]
            points += [] if busy is None else [Gauge("hw.gpu.utilization", "1", who, busy)]
        if points:
            made.metrics(at, {"host.name": HOST, **job}, points)
        if event_at is not None and event_at <= at < event_at + cadence:
            made.logs(at, {"host.name": HOST, **job}, [Record("loading", {}, "model.load")])
    return made.text()


def checkpoint() -> dict[str, str]:
    """CRE-2026-9021: one stall of 40 s; rank 0 saves and seems idle, rank 1 spins."""
    power = steps((60, FREE), (180, WORKING), (220, WAITING), (300, WORKING))
    saving = steps((60, 0.0), (180, 0.97), (220, 0.0), (300, 0.97))
    spinning = steps((60, 0.0), (180, 0.97), (220, 1.0), (300, 0.97))
    ends = steps((60, FREE), (180, WORKING), (300, FREE))
    hangs = steps((60, FREE), (180, WORKING), (300, WAITING))
    busy_to = steps((60, 0.0), (180, 0.97), (300, 0.0))
    lull = steps((60, FREE), (180, WORKING), (185, WAITING), (300, WORKING))
    lower = steps((60, FREE), (180, WORKING), (220, 0.6 * WORKING), (300, WORKING))
    starved = steps((60, 0.0), (180, 0.97), (220, 0.1), (300, 0.97))
    begins = steps((60, FREE), (120, LOADED), (300, WORKING))
    loading = steps((60, 0.0), (300, 0.97))
    gap = steps((60, FREE), (180, WORKING), (190, WAITING), (260, None), (300, WORKING))
    return {
        "test": recording(300, power, (saving, spinning)),
        "test-fp-ended": recording(300, ends, (busy_to, busy_to)),
        "test-fp-hang": recording(300, hangs, (spinning, spinning)),
        "test-fp-too-short": recording(300, lull, (spinning, spinning)),
        "test-fp-lighter-work": recording(300, lower, (spinning, spinning)),
        "test-fp-no-input": recording(300, power, (starved, starved)),
        "test-fp-start-up": recording(300, begins, (loading, loading)),
        "test-fp-no-utilisation": recording(300, power),
        "test-fp-telemetry-lost": recording(300, gap, (spinning, spinning)),
    }


def idle() -> dict[str, str]:
    """CRE-2026-9014: one GPU that goes idle; the other one is at work throughout."""

    def one(power: Curve, job: Mapping[str, str] = JOB, event_at: int | None = None, used: Curve | None = None) -> str:
        made = Recording()
        for at in range(0, 900, 15):
            who = {"hw.id": UUIDS[0], "hw.type": "gpu", "hw.model": "NVIDIA H100 80GB HBM3"}
            watts = power(at)
            points = [] if watts is None else [Gauge("hw.power", "W", who, watts)]
            points += [] if used is None else [Gauge("hw.gpu.utilization", "1", who, used(at) or 0.0)]
            if points:
                made.metrics(at, {"host.name": HOST, **job}, points)
            if event_at == at:
                made.logs(at, {"host.name": HOST, **job}, [Record("loading", {}, "model.load")])
        return made.text()

    goes = steps((120, FREE), (480, WORKING), (900, FREE))
    used = steps((120, 0.0), (480, 0.9), (900, 0.0))
    trickle = steps((120, 0.0), (480, 0.9), (690, 0.0), (705, 0.3), (900, 0.0))
    comes_back = steps((120, FREE), (480, WORKING), (690, FREE), (705, WORKING), (900, FREE))
    return {
        "test": one(goes, used=used),
        "test-power-only": one(goes),
        "test-fp-start-up": one(steps((120, FREE), (480, WORKING), (900, LOADED))),
        "test-fp-comes-back": one(comes_back),
        "test-fp-never-idle": one(steps((480, WORKING), (900, 0.7 * WORKING))),
        "test-fp-free": one(goes, job={}),
        "test-fp-loading": one(goes, event_at=690),
        "test-fp-contradiction": one(goes, used=trickle),
        "test-fp-telemetry-lost": one(steps((120, FREE), (480, WORKING), (600, FREE), (900, None))),
        "test-fp-ended": one(steps((120, FREE), (480, WORKING), (660, FREE), (900, None))),
    }


def samples() -> dict[str, str]:
    """File below ``rules/`` → its text."""
    made = {"cre-2026-9021": checkpoint(), "cre-2026-9014": idle()}
    return {f"{rule}/{name}.otlp.jsonl": text for rule, files in made.items() for name, text in files.items()}


if __name__ == "__main__":
    for name, text in samples().items():
        (RULES / name).write_text(text)
