"""Histograms as cumulative buckets, each with its upper bound as Prometheus writes ``le``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint

from fallow_processors.decode._values import bound_text

INF = "+Inf"
# Scales that SDKs use are -10 to 20; outside, bounds are not told apart by float64 or span it many times over.
SCALES = range(-11, 33)


def histogram_buckets(bounds: Sequence[float], counts: Sequence[int], count: int) -> Iterator[tuple[str, float]]:
    """(le, cumulative count) of explicit bounds; the last is ``+Inf`` with the point's count.

    A bound that has no count of its own (as in a point that only says NO_RECORDED_VALUE) has that of the one before.
    """
    total = 0
    for i, bound in enumerate(bounds):
        total += counts[i] if i < len(counts) else 0
        if bound != math.inf:
            yield bound_text(bound), float(total)
    yield INF, float(count)


def exponential_buckets(point: ExponentialHistogramDataPoint) -> Iterator[tuple[str, float]]:
    """(le, cumulative count) in ascending order: negative buckets, the zero bucket, positive buckets, ``+Inf``.

    Bucket i holds (base^i, base^(i+1)] with base = 2^(2^-scale); negative ones mirror it.
    """
    if point.scale in SCALES:
        total = 0
        negative = point.negative.bucket_counts
        for i in range(len(negative) - 1, -1, -1):
            total += negative[i]
            bound = _bound(point.negative.offset + i, point.scale)
            if bound != math.inf:
                yield bound_text(-bound), float(total)
        total += point.zero_count
        if total or len(point.positive.bucket_counts):
            yield bound_text(point.zero_threshold), float(total)
        for i, n in enumerate(point.positive.bucket_counts):
            total += n
            bound = _bound(point.positive.offset + i + 1, point.scale)
            if bound != math.inf:
                yield bound_text(bound), float(total)
    yield INF, float(point.count)


def _bound(index: int, scale: int) -> float:
    exponent = math.ldexp(float(index), -scale)
    if exponent >= 1024:
        return math.inf
    return 2.0**exponent if exponent > -1075 else 0.0
