"""A cluster as telemetry and events, for tests of who has what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from fallow import semconv
from fallow.batch import Batch, LogBatch, MetricBatch
from fallow.series import SeriesKey, SeriesTable
from fallow.series.table import pairs
from fallow.testing.components import context
from fallow.units import SECOND
from fallow_processors.attribute import AttributeConfig
from fallow_processors.attribute.processor import AttributeProcessor

BEGIN = 1_767_600_000
"""Unix s of second 0, a multiple of 15."""
U = semconv.GPU_UTILIZATION


@dataclass(frozen=True)
class Sample:
    """A sample of a second; ``stale``: the source, or a change of hands, ended the series."""

    at: float
    labels: Mapping[str, str]
    value: float = 0.0
    name: str = U
    stale: bool = False

    @property
    def job(self) -> str:
        return self.labels.get(semconv.JOB_ID, "")

    @property
    def is_ambiguous(self) -> bool:
        return self.labels.get(semconv.ATTRIBUTION_AMBIGUOUS) == "true"


def gpu(node: str = "n1", index: int = 0, **more: str) -> dict[str, str]:
    """The labels of a device, as the nvml receiver has them; ``more`` with _ for dots."""
    labels = {"host.name": node, "hw.id": f"GPU-{node}-{index}", "hw.type": "gpu", "fallow.gpu.index": str(index)}
    return labels | {name.replace("_", "."): value for name, value in more.items()}


def event(name: str, at: float, job: str = "", **said: object) -> tuple[str, float, dict[str, str]]:
    """An event of a job; what is said is spelled as in ``semconv``: restarts="1", indices="n1:0"."""
    names = {
        "indices": semconv.JOB_GPU_INDICES,
        "nodes": semconv.JOB_NODES,
        "restarts": semconv.JOB_RESTARTS,
        "user": semconv.USER_NAME,
        "title": semconv.JOB_NAME,
        "host": semconv.HOST_NAME,
        "cluster": semconv.CLUSTER_NAME,
        "pod": semconv.K8S_POD_NAME,
        "namespace": semconv.K8S_NAMESPACE_NAME,
        "id": semconv.HW_ID,
    }
    attributes = {names[k]: str(v) for k, v in said.items()} | ({semconv.JOB_ID: job} if job else {})
    return {"start": semconv.JOB_START, "end": semconv.JOB_END, "requeue": semconv.JOB_REQUEUE}[name], at, attributes


Event = tuple[str, float, dict[str, str]]


@dataclass
class Attribution:
    """An ``attribute`` processor with its series table, and what came out of it."""

    config: AttributeConfig = field(default_factory=AttributeConfig)
    series: SeriesTable = field(default_factory=SeriesTable)
    out: list[Sample] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.processor = AttributeProcessor(self.config, context("attribute", Path(), self.series))

    def batch(self, samples: Sequence[Sample] = (), events: Sequence[Event] = ()) -> Batch:
        ids = [self.series.intern(key_of(s)) for s in samples]
        metrics = MetricBatch(
            series=np.asarray(ids, dtype=np.int32),
            time=np.asarray([ns(s.at) for s in samples], dtype=np.int64),
            value=np.asarray([s.value for s in samples], dtype=np.float64),
            stale=np.asarray([s.stale for s in samples], dtype=np.bool_),
        )
        return Batch(metrics=metrics if samples else None, logs=logs(events) if events else None)

    def take(self, samples: Sequence[Sample] = (), events: Sequence[Event] = ()) -> Attribution:
        """One batch in; what comes out is in ``out``."""
        return self._got(self.processor.process(self.batch(samples, events)))

    def tick(self, at: float) -> Attribution:
        return self._got(self.processor.tick(ns(at)))

    def finish(self) -> Attribution:
        return self._got(self.processor.finish())

    def _got(self, batch: Batch) -> Attribution:
        metrics = batch.metrics
        if metrics is not None:
            for series, time, value, stale in zip(
                metrics.series.tolist(),
                metrics.time.tolist(),
                metrics.value.tolist(),
                metrics.stale.tolist(),
                strict=True,
            ):
                key = self.series.key(series)
                self.out.append(Sample((time - ns(0)) / SECOND, key.labels, value, key.name, stale))
        return self

    def said(self, name: str = U) -> list[Sample]:
        """What came out of a signal, ends of series left out."""
        return [s for s in self.out if s.name == name and not s.stale]

    def jobs(self) -> list[tuple[float, str]]:
        """(second, job) of each sample of utilisation: "?" where it is ambiguous, "" where nobody's."""
        return [(s.at, "?" if s.is_ambiguous else s.job) for s in self.said()]


def ns(at: float) -> int:
    return BEGIN * SECOND + round(at * SECOND)


def key_of(sample: Sample) -> SeriesKey:
    resource = {k: v for k, v in sample.labels.items() if k.startswith(("host.", "k8s.", "container."))}
    point = {k: v for k, v in sample.labels.items() if k not in resource}
    return SeriesKey(sample.name, semconv.SIGNALS.get(sample.name, ""), "", pairs(resource), pairs(point))


def logs(events: Iterable[Event]) -> LogBatch:
    told = list(events)
    time = np.asarray([ns(at) for _, at, _ in told], dtype=np.int64)
    return LogBatch(
        time=time,
        observed=time,
        severity=np.zeros(len(told), dtype=np.int8),
        source=np.zeros(len(told), dtype=np.int32),
        resources=({},),
        body=pa.nulls(len(told), pa.string()),
        event_name=tuple(name for name, _, _ in told),
        attributes=lambda i: told[i][2],
    )


def every(step: float, end: float, begin: float = 0, value: float = 0.0, **labels: str) -> list[Sample]:
    """A constant curve of one device."""
    found = gpu(**labels)  # type: ignore[arg-type]  # node and index by name
    return [Sample(at, found, value) for at in np.arange(begin, end, step).tolist()]
