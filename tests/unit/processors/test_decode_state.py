"""Totals of delta series go on after a restart."""

from __future__ import annotations

from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from fallow.batch import Batch, OtlpRequest
from fallow.errors import StateError
from fallow.series import SeriesKey, SeriesTable
from fallow.state import Past, State
from fallow.testing.components import context
from fallow_processors.decode import DecodeConfig
from fallow_processors.decode.processor import DecodeProcessor


def delta(second: int, **values: float) -> Batch:
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    for name, value in values.items():
        made = metrics.add(name=name).sum
        made.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
        made.data_points.add(time_unix_nano=second * 10**9, as_double=value)
    return Batch(request=OtlpRequest(kind="metrics", body=request.SerializeToString()))


def totals(processor: DecodeProcessor, batch: Batch) -> list[float]:
    metrics = processor.process(batch).metrics
    assert metrics is not None
    return [float(value) for value in metrics.value]


def processor(table: SeriesTable) -> DecodeProcessor:
    return DecodeProcessor(DecodeConfig(kernel="python"), context("decode", Path(), table))


def test_totals_go_on_where_they_were() -> None:
    before = SeriesTable()
    first = processor(before)
    assert totals(first, delta(1, a=1.0, b=10.0)) == [1.0, 10.0]
    assert totals(first, delta(2, b=5.0)) == [15.0]
    keys, saved = before.save(), first.save()

    after = SeriesTable()
    after.intern(SeriesKey(name="another"))
    second = processor(after)
    taken_up = second.restore(saved(), Past(series=after.restore(keys())))
    assert taken_up == {"totals of delta series": 2}
    assert totals(second, delta(3, a=1.0, b=1.0)) == [2.0, 16.0]
    assert totals(second, delta(3, a=1.0)) == [], "a point that was counted is not counted again"


def test_a_state_of_another_version_is_refused() -> None:
    table = SeriesTable()
    with pytest.raises(StateError, match="version 99 found, expected 1"):
        processor(table).restore(State(version=99), Past(series=table.restore(table.save()())))
