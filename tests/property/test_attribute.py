"""Whose a GPU is, against an oracle that looks at everything for each sample.

Neither how telemetry is cut into batches, nor the order in which events and telemetry come within the allowed lateness,
nor a restart at any point changes what comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fallow import semconv
from fallow.state import Past
from fallow_processors.attribute import AttributeConfig
from helpers.attribution import Attribution, Event, Sample, event, gpu

LATENESS = 20
END = 90
DEVICES = (("n1", 0), ("n1", 1), ("n2", 0))
CONFIG = AttributeConfig.model_validate({"lateness": f"{LATENESS}s", "interval": "15s", "evidence": "30s"})


@dataclass(frozen=True)
class Run:
    """A run of a job, as it was."""

    job: str
    restarts: int
    start: int
    end: int
    devices: tuple[tuple[str, int], ...]

    @property
    def events(self) -> list[Event]:
        places = ",".join(f"{node}:{index}" for node, index in self.devices)
        about = {"restarts": self.restarts, "user": "ann", "host": self.devices[0][0]}
        start = event("start", self.start, self.job, indices=places, nodes=_nodes(self.devices), **about)
        return [start, event("end", self.end, self.job, **about)] if self.end < END else [start]


def _nodes(devices: Sequence[tuple[str, int]]) -> str:
    return ",".join(dict.fromkeys(node for node, _ in devices))


@st.composite
def runs(draw: st.DrawFn) -> list[Run]:
    """Jobs, some of them requeued, some of them on devices that others hold too."""
    made: list[Run] = []
    for number in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, END - 10))
        for restart in range(draw(st.integers(1, 2))):
            end = draw(st.integers(at, END))
            devices = tuple(draw(st.lists(st.sampled_from(DEVICES), min_size=1, max_size=3, unique=True)))
            made.append(Run(str(number), restart, at, end, devices))
            at = draw(st.integers(end, END))
    return made


def samples() -> list[Sample]:
    return [
        Sample(at, gpu(node, index), 0.5 if at % 7 == 0 else 0.0, name)
        for at in range(0, END, 2)
        for node, index in DEVICES
        for name in ((semconv.GPU_UTILIZATION, semconv.GPU_POWER) if index == 0 else (semconv.GPU_UTILIZATION,))
    ]


def oracle(run: Sequence[Run], sample: Sample) -> str:
    """Whose the sample is: looks at every run."""
    place = sample.labels["host.name"], int(sample.labels["fallow.gpu.index"])
    held = {r.job for r in run if place in r.devices and r.start <= sample.at < r.end}
    return "?" if len(held) > 1 else next(iter(held), "")


Arrival = tuple[float, int, Any]


@st.composite
def arrivals(draw: st.DrawFn, run: Sequence[Run], told: Sequence[Sample]) -> list[list[Arrival]]:
    """Batches of what comes, in the order in which it comes: events late, samples by host."""
    events: list[Arrival] = []
    for one in [e for r in run for e in r.events]:
        events.append((one[1] + draw(st.floats(0, LATENESS)), 0, one))
    delay = {node: draw(st.integers(0, LATENESS - 1)) for node in ("n1", "n2")}
    coming = [*events, *((s.at + delay[s.labels["host.name"]], 1, s) for s in told)]
    coming.sort(key=lambda one: (one[0], one[1]))
    cuts = sorted(draw(st.sets(st.integers(1, len(coming) - 1), max_size=12)))
    return [coming[a:b] for a, b in zip([0, *cuts], [*cuts, len(coming)], strict=True)]


def fed(batches: Sequence[Sequence[Arrival]], restart_at: int = -1) -> list[Sample]:
    """Everything that comes out."""
    whole = Attribution(CONFIG)
    out: list[Sample] = []
    for number, batch in enumerate(batches):
        if number == restart_at:
            out += whole.out
            whole = restarted(whole)
        whole.take([what for _, kind, what in batch if kind], [what for _, kind, what in batch if not kind])
    whole.finish()
    return out + whole.out


def restarted(before: Attribution) -> Attribution:
    """Another process goes on, in which the series have other numbers."""
    saved = before.processor.save()()
    after = Attribution(CONFIG)
    keys = [before.series.key(i) for i in range(len(before.series))]
    ids = {key: after.series.intern(key) for key in reversed(keys)}
    after.processor.restore(saved, Past(series=np.asarray([ids[key] for key in keys], dtype=np.int32)))
    return after


def canonical(out: Sequence[Sample]) -> list[Any]:
    return sorted((s.at, s.name, sorted(s.labels.items()), s.stale, s.value) for s in out)


def _which(sample: Sample) -> tuple[float, str, str]:
    return sample.at, sample.name, sample.labels["hw.id"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_each_sample_is_whose_it_was_then(data: st.DataObject) -> None:
    run, told = data.draw(runs()), samples()
    batches = data.draw(arrivals(run, told))
    out = fed(batches)
    got = {_which(s): "?" if s.is_ambiguous else s.job for s in out if s.name.startswith("hw.") and not s.stale}
    assert got == {_which(s): oracle(run, s) for s in told}
    ages = {(s.at, s.labels["host.name"], s.job): s.value for s in out if s.name == semconv.JOB_AGE}
    assert ages == {
        (at, node, r.job): at - r.start
        for r in run
        for node in {node for node, _ in r.devices}
        for at in range(15, END, 15)
        if r.start <= at < r.end
    }


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_neither_batches_nor_order_nor_a_restart_matter(data: st.DataObject) -> None:
    run, told = data.draw(runs()), samples()
    told += data.draw(witnesses())
    one, other = data.draw(arrivals(run, told)), data.draw(arrivals(run, told))
    restart_at = data.draw(st.integers(1, len(other)))
    assert canonical(fed(one)) == canonical(fed(other, restart_at))


@st.composite
def witnesses(draw: st.DrawFn) -> list[Sample]:
    """Labels and processes that name somebody for a while."""
    found: list[Sample] = []
    for _ in range(draw(st.integers(0, 3))):
        node, index = draw(st.sampled_from(DEVICES))
        begin, step, job = draw(st.integers(0, END)), draw(st.sampled_from((1, 5, 10))), draw(st.integers(0, 6))
        labels = gpu(node, index) | {semconv.JOB_ID: str(job), "exporter": "dcgm"}
        name = semconv.GPU_MEMORY_USAGE
        if draw(st.booleans()):
            labels |= {semconv.PROCESS_PID: str(100 + job)}
            name = semconv.PROCESS_GPU_MEMORY
        found += [Sample(at, labels, 1.0, name) for at in range(begin, draw(st.integers(begin, END)), step)]
    return list({(s.at, s.name, tuple(s.labels.items())): s for s in found}.values())
