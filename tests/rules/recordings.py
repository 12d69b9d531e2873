"""Recordings of what devices, jobs and hosts send each step, for the samples of rules.

A thing has an identity and curves; a curve gives a signal's value at a step, None where nothing is sent. Names and units
are those of signals: how vendor names become them is tested elsewhere (``test_vocabularies.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fallow.semconv import SIGNALS
from fallow.signals import signal
from fallow.testing.samples import Counter, Gauge, Record, Recording

Curve = Callable[[int], float | None]
Level = float | Curve

HOST = "gpu-node-03"
NODE = {"host.name": HOST}
GIB = float(2**30)
UUIDS = (
    "GPU-5a1e6c52-0f0d-4f1b-9c55-3d1f9a7e0c01",
    "GPU-8b07d2b4-61c9-4f4e-8a8e-6f4d2c1b7a02",
    "GPU-c94f1e7a-2d3b-4c6d-b1f0-9e8d7c6b5a03",
    "GPU-e2d85b90-7a4c-4e2f-a3d1-0b1c2d3e4f04",
)
JOB = {"fallow.job.id": "48213", "fallow.job.name": "finetune-7b", "fallow.user.name": "mkoch"}
POD = {"k8s.namespace.name": "inference", "k8s.pod.name": "llm-serve-0"}


@dataclass(frozen=True)
class Thing:
    """One source of points: whose they are, and a level for each signal, ``name`` or ``name{label=value,…}``."""

    levels: Mapping[str, Level]
    attributes: Mapping[str, str] = field(default_factory=dict[str, str])
    resource: Mapping[str, str] = field(default_factory=lambda: NODE)
    counts: Sequence[str] = ()
    """Signals sent as cumulative sums although their kind is told by the sender."""

    def points(self, step: int) -> list[Gauge | Counter]:
        """What is sent at a step."""
        made: list[Gauge | Counter] = []
        for key, level in self.levels.items():
            name, _, labels = key.rstrip("}").partition("{")
            value = level(step) if callable(level) else level
            if value is None:
                continue
            own = dict(pair.split("=") for pair in labels.split(",") if pair)
            kind = Counter if name in self.counts or (name in SIGNALS and signal(name).kind == "counter") else Gauge
            made.append(kind(name, SIGNALS.get(name, "1"), {**self.attributes, **own}, value))
        return made


def gpu(levels: Mapping[str, Level], *, index: int = 0, job: Mapping[str, str] = JOB, **more: str) -> Thing:
    """A GPU of a node, at work for a job; ``more``: attributes with underscores for dots."""
    attributes = {"hw.id": UUIDS[index], "fallow.gpu.index": str(index)} | {
        k.replace("_", "."): v for k, v in more.items()
    }
    return Thing(levels, attributes, {**NODE, **job})


def taped(
    steps: int,
    things: Sequence[Thing],
    *,
    every: float = 60.0,
    events: Mapping[int, tuple[str, Mapping[str, str]]] | None = None,
) -> str:
    """A recording: a request a step with what all things send, and events (name, attributes) by step."""
    out = Recording()
    for step in range(steps):
        at = step * every
        if events and step in events:
            name, attributes = events[step]
            out.logs(at, NODE, [Record("", attributes, name)])
        by_resource: dict[tuple[tuple[str, str], ...], list[Gauge | Counter]] = {}
        for thing in things:
            by_resource.setdefault(tuple(thing.resource.items()), []).extend(thing.points(step))
        for resource, points in by_resource.items():
            if points:
                out.metrics(at, dict(resource), points)
    return out.text()


def steps(*parts: tuple[int, float | None]) -> Curve:
    """``(step, value)``: the value from that step on."""
    return lambda step: [value for begin, value in parts if begin <= step][-1]


def waves(*values: float) -> Curve:
    """The values in turn, for ever."""
    return lambda step: values[step % len(values)]


def ramp(begin: float, each: float) -> Curve:
    """A value that rises (or falls) by the same each step."""
    return lambda step: begin + each * step


def records(*rows: tuple[str, str], **resource: str) -> str:
    """Log records of one resource: (time of a day, text); ``resource``: attributes with underscores for dots."""
    out = Recording()
    about = {k.replace("_", "."): v for k, v in resource.items()} or NODE
    for stamp, text in rows:
        out.logs(_seconds(stamp), about, [Record(text, {})])
    return out.text()


def happened(*rows: tuple[str, str, Mapping[str, str]]) -> str:
    """Events of a node: (time of a day, name, attributes)."""
    out = Recording()
    for stamp, name, attributes in rows:
        out.logs(_seconds(stamp), NODE, [Record("", attributes, name)])
    return out.text()


def lines(*rows: tuple[str, str]) -> str:
    """A log file: RFC 3339 stamps of a day, then the text."""
    return "".join(f"2026-01-05T{stamp}Z {text}\n" for stamp, text in rows)


def _seconds(stamp: str) -> float:
    """Seconds since 08:00 of a time of day, or of the next day where a ``+`` stands before it."""
    hours, minutes, seconds = stamp.removeprefix("+").split(":")
    return (24 * stamp.startswith("+") + int(hours) - 8) * 3600 + int(minutes) * 60 + float(seconds)
