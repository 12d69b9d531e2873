"""A collector on the fake library, tick by tick, on a clock of its own; and the contract of what it sends."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from opentelemetry.metrics import NoOpMeter

from fallow import semconv
from fallow.batch import OtlpRequest
from fallow.clients.nvml import Nvml
from fallow.otlp_write import Writer
from fallow.reference import EmittedMetric, metadata
from fallow_receivers.nvml import NvmlReceiverConfig
from fallow_receivers.nvml.collector import Collector, Counts
from fallow_receivers.nvml.metrics import Epochs
from helpers import fake_nvml, otlp_text
from helpers.otlp_text import SECOND

START = 1_760_000_000 * SECOND


class Node:
    """A node with GPUs of one kind; second 0 is the first tick."""

    def __init__(
        self, folder: Path, card: str = "hopper", gpus: int = 8, *, preload: bool = True, **config: Any
    ) -> None:
        if preload:
            fake_nvml.preload()
        os.environ["FAKE_NVML"] = str(folder / "state")
        self.state = fake_nvml.State(folder / "state", card, gpus)
        self.config = NvmlReceiverConfig.model_validate(config)
        self.collector = Collector(
            Nvml(),
            self.config,
            Writer({"host.name": "n1"}, "fallow.receivers.nvml"),
            Epochs(),
            Counts.of(NoOpMeter("test"), "nvml"),
        )

    def tick(self, second: float) -> list[OtlpRequest]:
        return self.collector.tick(START + round(second * SECOND))

    def close(self) -> None:
        self.collector.close()
        os.environ.pop("FAKE_NVML", None)


def documented() -> Mapping[str, tuple[EmittedMetric, frozenset[str]]]:
    """Each metric of metadata.yaml with the attributes that its points may have."""
    emits = metadata("receivers", "nvml").emits
    assert emits is not None
    return {
        name: (metric, frozenset((*group.attributes, *metric.attributes)))
        for group in emits.groups
        for name, metric in group.metrics.items()
    }


# Absent without a reason where nothing of the kind has happened.
ONLY_IF_IT_HAPPENS = {"fallow.gpu.xid.errors", "fallow.process.gpu.memory.usage", "fallow.process.gpu.utilization"}


def unaccounted(requests: Iterable[OtlpRequest]) -> set[tuple[str, str]]:
    """(GPU, metric) of what metadata.yaml promises of whole GPUs, and that was neither sent nor said to be absent."""
    taken = list(requests)
    told: dict[str, set[str]] = {}
    for metric in otlp_text.metrics(taken):
        for point in otlp_text.points(metric):
            found = otlp_text.attributes(point.attributes)
            if "hw.parent" not in found:
                told.setdefault(found["hw.id"], set()).add(metric.name)
    for name, found in otlp_text.events(taken):
        if name == semconv.GPU_ABSENT and "hw.parent" not in found:
            told[found["hw.id"]] |= {metric.partition("/")[0] for metric in found["fallow.gpu.absent.metrics"]}
    return {(id, name) for id, names in told.items() for name in set(documented()) - names - ONLY_IF_IT_HAPPENS}


def breaches(requests: Iterable[OtlpRequest]) -> Iterator[str]:
    """What of a receiver's requests is not as metadata.yaml says, or cannot be."""
    known = documented()
    for metric in otlp_text.metrics(requests):
        if metric.name not in known:
            yield f"{metric.name} is not documented"
            continue
        about, allowed = known[metric.name]
        series = [str(otlp_text.attributes(p.attributes)) for p in otlp_text.points(metric)]
        if len(set(series)) < len(series):
            yield f"{metric.name}: two points of one series"
        if (about.unit, about.instrument) != (metric.unit, otlp_text.kind(metric)):
            yield f"{metric.name}: {otlp_text.kind(metric)} in {metric.unit}"
        for point in otlp_text.points(metric):
            value, found = otlp_text.number(point), otlp_text.attributes(point.attributes)
            if not set(found) <= allowed:
                yield f"{metric.name}: attributes {sorted(set(found) - allowed)}"
            if not found.get("hw.id"):
                yield f"{metric.name}: no hw.id"
            if not math.isfinite(value) or value < (-50 if metric.unit == "Cel" else 0):
                yield f"{metric.name}: {value}"
            if metric.unit in ("1", "{flag}") and value > 1:
                yield f"{metric.name}: {value} is no share"
            if about.instrument == "counter" and not 0 < point.start_time_unix_nano <= point.time_unix_nano:
                yield f"{metric.name}: it counts since {point.start_time_unix_nano}"
