"""Decode to columns against upb's parse of the same bytes alone: the ratio is what is promised, in one run on one machine."""

from __future__ import annotations

import platform
import statistics
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from fallow.batch import Batch, OtlpRequest
from fallow.series import SeriesTable
from fallow.testing.components import context
from fallow_processors.decode import DecodeConfig
from fallow_processors.decode.processor import DecodeProcessor

NODES, GPUS, METRICS = 40, 8, 28
ROUNDS = 40
HOT_RATIO, MANY_RATIO = 4.0, 3.5


def gpu_request(step: int, group: int = 0) -> bytes:
    """One scrape of 320 GPUs: 8,960 points, gauges and sums, doubles and integers, 6 resource and 5 point attributes."""
    who, values = Random(group), Random(1000 * group + step)
    made = ExportMetricsServiceRequest()
    for node in range(NODES):
        rm = made.resource_metrics.add()
        host = f"gpu-{group:03d}-{node:03d}.cluster.example"
        for key, value in {
            "host.name": host,
            "service.name": "dcgm-exporter",
            "service.instance.id": f"{host}:9400",
            "k8s.cluster.name": "training-1",
            "k8s.node.name": host,
            "cloud.region": "eu-north-1",
        }.items():
            rm.resource.attributes.add(key=key).value.string_value = value
        sm = rm.scope_metrics.add()
        sm.scope.name = "example.org/receiver/prometheus"
        labels = [
            {
                "gpu": str(gpu),
                "UUID": f"GPU-{uuid.UUID(int=who.getrandbits(128))}",
                "k8s.pod.name": f"llm-pretraining-{who.randrange(10**6)}-worker-{gpu}",
                "k8s.namespace.name": "team-research",
                "fallow.job.id": str(who.randrange(10**6)),
            }
            for gpu in range(GPUS)
        ]
        for m in range(METRICS):
            metric = sm.metrics.add(
                name=f"DCGM_FI_DEV_METRIC_NUMBER_{m}", unit="1", description=f"Metric {m} of a GPU."
            )
            data = metric.sum if m % 4 == 0 else metric.gauge
            if m % 4 == 0:
                metric.sum.aggregation_temporality = 2  # type: ignore[assignment]  # cumulative: an open enum
            for gpu in range(GPUS):
                point = data.data_points.add(time_unix_nano=1_760_000_000_000_000_000 + step * 15_000_000_000)
                if m % 2:
                    point.as_int = values.randrange(10**9)
                else:
                    point.as_double = values.random()
                for key, value in labels[gpu].items():
                    point.attributes.add(key=key).value.string_value = value
    return made.SerializeToString()


def milliseconds(run: Callable[[], object]) -> float:
    start = time.process_time_ns()
    run()
    return (time.process_time_ns() - start) / 1e6


def compared(processor: DecodeProcessor, bodies: Sequence[bytes], rounds: int) -> tuple[list[float], list[float]]:
    """(decode, upb's parse) in CPU milliseconds, one after the other in turns, after one pass that learns everything."""
    batches = [Batch(request=OtlpRequest(kind="metrics", body=body)) for body in bodies]
    for batch in batches:
        processor.process(batch)
    decode, parse = [], []
    for _ in range(rounds):
        for batch, body in zip(batches, bodies, strict=True):
            decode.append(milliseconds(lambda b=batch: processor.process(b)))  # type: ignore[misc]  # a bound default
            parse.append(milliseconds(lambda b=body: ExportMetricsServiceRequest.FromString(b)))  # type: ignore[misc]  # ditto
    return decode, parse


def report(name: str, points: int, size: int, decode: Sequence[float], parse: Sequence[float]) -> float:
    """Print what was measured; the ratio of the medians."""

    def spread(times: Sequence[float]) -> str:
        low, middle, high = statistics.quantiles(times, n=4)
        return f"{middle:.3f} ms (quartiles {low:.3f}-{high:.3f})"

    ratio = statistics.median(parse) / statistics.median(decode)
    rate = points / statistics.median(decode) / 1e3
    print(f"\n{name}: {points} points, {size} B a request, {size / points:.0f} B/point, {len(decode)} rounds")
    print(f"  {platform.machine()}, Python {platform.python_version()}, CPU time of one core")
    print(f"  decode {spread(decode)} = {rate:.1f} M points/s; upb parse {spread(parse)}; ratio {ratio:.1f}")
    return ratio


def decoder() -> tuple[DecodeProcessor, SeriesTable]:
    series = SeriesTable()
    return DecodeProcessor(DecodeConfig(kernel="numba"), context("decode", Path(), series)), series


@pytest.mark.bench
def test_hot_decode_of_8960_points_against_upb() -> None:
    processor, series = decoder()
    bodies = [gpu_request(0), gpu_request(1)]
    decode, parse = compared(processor, bodies, ROUNDS)
    assert len(series) == NODES * GPUS * METRICS
    assert report("hot decode", len(series), len(bodies[0]), decode, parse) >= HOT_RATIO


@pytest.mark.bench
def test_decode_with_20480_entities_against_upb() -> None:
    processor, series = decoder()
    groups = 64
    bodies = [gpu_request(0, group) for group in range(groups)]
    decode, parse = compared(processor, bodies, 3)
    assert len(series) == groups * NODES * GPUS * METRICS
    ratio = report("decode, 573,440 series", len(series) // groups, len(bodies[0]), decode, parse)
    assert ratio >= MANY_RATIO
