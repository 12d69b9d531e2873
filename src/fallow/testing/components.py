"""The contract that every component keeps, as checks; a component of another distribution can use them too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from opentelemetry.metrics import NoOpMeter
from pydantic import BaseModel, ValidationError

from fallow.batch import Batch, MetricBatch, OtlpRequest
from fallow.component import ComponentKind, Context, Exporter, Factory, Forwarder, Processor, Receiver
from fallow.ledger import Ledger
from fallow.reference import metadata
from fallow.registry import factory
from fallow.series import SeriesKey, SeriesTable


def context(id: str, directory: Path, series: SeriesTable | None = None) -> Context:
    """A context as the service makes it, with a ledger in memory."""
    return Context(
        id=id,
        series=SeriesTable() if series is None else series,
        ledger=Ledger(),
        meter=NoOpMeter("fallow"),
        directory=directory,
        telemetry_resource={"service.name": "fallow"},
    )


def check_component(kind: ComponentKind, type: str, directory: Path) -> Iterator[tuple[str, bool]]:
    """Each point of the contract and whether the component keeps it."""
    made, about = factory(kind, type), metadata(kind, type)
    smallest = dict(about.tests.get("config", {}))
    yield "metadata names its type and kind", about.type == made.type == type and f"{about.kind}s" == kind
    yield "stability is stated once", about.stability == made.stability
    yield "unknown keys are refused", _refuses(made, smallest | {"no_such_key": 1})
    yield "every setting is described", not list(_undescribed(made.config))
    config = made.config.model_validate(smallest)
    if kind == "processors":
        yield from _check_processor(lambda series: made.build(config, context(type, directory, series)))
    else:
        component = made.build(config, context(type, directory))
        wanted = (Receiver,) if kind == "receivers" else (Exporter, Forwarder)
        yield "keeps its protocol", isinstance(component, wanted)
        yield "shuts down without a start, twice", asyncio.run(_shuts_down_twice(component))


def _refuses(made: Factory, options: Mapping[str, Any]) -> bool:
    try:
        made.config.model_validate(options)
    except ValidationError:
        return True
    return False


def _undescribed(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            yield from _undescribed(nested)
        if not field.description:
            yield f"{model.__name__}.{name}"


async def _shuts_down_twice(component: Receiver | Exporter | Forwarder) -> bool:
    await component.shutdown()
    await component.shutdown()
    return True


def _check_processor(build: Callable[[SeriesTable], Any]) -> Iterator[tuple[str, bool]]:
    processor = build(SeriesTable())
    yield "keeps its protocol", isinstance(processor, Processor)
    yield "adds nothing to nothing", processor.process(Batch()) == Batch() and processor.tick(1) == Batch()
    for name, body in (("bytes that are not OTLP", b"\xff\x00\x13not otlp"), ("an empty request", b"")):
        out = processor.process(Batch(request=OtlpRequest(kind="metrics", body=body)))
        yield f"survives {name} and passes it on", out.request is not None and out.request.body == body
    series = SeriesTable()
    batch = _frozen_batch(series)
    before = batch.metrics.value.copy() if batch.metrics else np.zeros(0)
    fresh = build(series)
    fresh.process(batch)
    yield "leaves the batch as it was", batch.metrics is not None and bool(np.array_equal(before, batch.metrics.value))
    yield "has nothing left after the end", fresh.finish() is not None and fresh.finish() == Batch()


def _frozen_batch(series: SeriesTable) -> Batch:
    """Samples whose arrays cannot be written to."""
    ids = [series.intern(SeriesKey("hw.gpu.utilization", "1", resource=(("hw.id", f"GPU-{i}"),))) for i in range(3)]
    metrics = MetricBatch.of(ids, [1_000_000_000] * 3, [0.0, 0.5, 1.0])
    for column in (metrics.series, metrics.time, metrics.value, metrics.stale):
        column.setflags(write=False)
    return Batch(metrics=metrics)
