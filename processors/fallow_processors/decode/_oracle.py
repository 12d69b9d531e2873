"""Metrics by a plain walk over upb's messages: what the kernel must equal, and the way without numba.

Histograms and summaries are walked here on either path.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    SummaryDataPoint,
)

from fallow.series import SeriesKey, SeriesTable
from fallow.series.table import Pairs
from fallow_processors.decode._buckets import exponential_buckets, histogram_buckets
from fallow_processors.decode._points import DELTA, DELTA_TEMPORALITY, MAX_TIME, NO_RECORDED_VALUE, STALE, Rows
from fallow_processors.decode._values import attribute_pairs, bound_text

DistributionPoint = HistogramDataPoint | ExponentialHistogramDataPoint | SummaryDataPoint
COUNT_UNIT = "1"


class Of(NamedTuple):
    """What a metric belongs to."""

    resource: Pairs
    scope: str


class MetricWalk:
    """Walks metrics and interns their series; remembers identities up to a limit."""

    def __init__(self, series: SeriesTable, *, max_identities: int, max_buckets: int) -> None:
        self._series = series
        self._max_identities = max_identities
        self._max_buckets = max_buckets
        self._identities: dict[tuple[Pairs, Pairs], int] = {}
        # (identity, scope, name, unit, extra attribute, its value) → series: as many entries as series, which are bounded.
        self._known: dict[tuple[int, str, str, str, str, str], int] = {}

    @property
    def identities(self) -> int:
        return len(self._identities)

    def request(self, request: ExportMetricsServiceRequest) -> Rows:
        """All points of a request."""
        rows = Rows()
        for rm in request.resource_metrics:
            resource = attribute_pairs(rm.resource.attributes)
            for sm in rm.scope_metrics:
                of = Of(resource, sm.scope.name)
                for metric in sm.metrics:
                    self.metric(metric, of, rows)
        return rows

    def metric(self, metric: Metric, of: Of, rows: Rows) -> None:
        """All points of one metric, whatever its kind."""
        match metric.WhichOneof("data"):
            case "gauge":
                self._numbers(metric, metric.gauge.data_points, 0, of, rows)
            case "sum":
                self._numbers(metric, metric.sum.data_points, _delta(metric.sum.aggregation_temporality), of, rows)
            case "histogram":
                flags = _delta(metric.histogram.aggregation_temporality)
                for point in metric.histogram.data_points:
                    self._histogram(metric, point, flags, of, rows)
            case "exponential_histogram":
                flags = _delta(metric.exponential_histogram.aggregation_temporality)
                for exponential in metric.exponential_histogram.data_points:
                    self._exponential(metric, exponential, flags, of, rows)
            case "summary":
                for summary in metric.summary.data_points:
                    self._summary(metric, summary, of, rows)
            case _:
                pass

    def _numbers(self, metric: Metric, points: Iterable[NumberDataPoint], flags: int, of: Of, rows: Rows) -> None:
        for point in points:
            identity = self._identity(point, of, rows)
            if identity < 0:
                continue
            kind = point.WhichOneof("value")
            stale = bool(point.flags & NO_RECORDED_VALUE)
            if kind is None and not stale:
                rows.dropped["no_value"] += 1
                continue
            value = float("nan") if stale else point.as_double if kind == "as_double" else float(point.as_int)
            series = self._intern(identity, of, point, metric.name, metric.unit)
            rows.add(series, point.time_unix_nano, value, flags | STALE * stale)

    def _histogram(self, metric: Metric, point: HistogramDataPoint, flags: int, of: Of, rows: Rows) -> None:
        identity = self._count_and_sum(metric, point, point.HasField("sum"), flags, of, rows)
        if identity < 0:
            return
        if len(point.explicit_bounds) > self._max_buckets:
            rows.dropped["bucket_limit"] += 1
            return
        buckets = histogram_buckets(point.explicit_bounds, point.bucket_counts, point.count)
        self._labelled(metric, point, "_bucket", "le", buckets, flags, identity, of, rows)

    def _exponential(
        self, metric: Metric, point: ExponentialHistogramDataPoint, flags: int, of: Of, rows: Rows
    ) -> None:
        identity = self._count_and_sum(metric, point, point.HasField("sum"), flags, of, rows)
        if identity < 0:
            return
        if flags & DELTA:
            # The bounds of the next point may be others: totals by bound would not be the totals of anything.
            rows.dropped["delta_buckets"] += 1
            return
        if len(point.positive.bucket_counts) + len(point.negative.bucket_counts) > self._max_buckets:
            rows.dropped["bucket_limit"] += 1
            return
        self._labelled(metric, point, "_bucket", "le", exponential_buckets(point), flags, identity, of, rows)

    def _summary(self, metric: Metric, point: SummaryDataPoint, of: Of, rows: Rows) -> None:
        identity = self._count_and_sum(metric, point, True, 0, of, rows)
        if identity < 0:
            return
        if len(point.quantile_values) > self._max_buckets:
            rows.dropped["bucket_limit"] += 1
            return
        quantiles = [(bound_text(q.quantile), q.value) for q in point.quantile_values]
        self._labelled(metric, point, "", "quantile", quantiles, 0, identity, of, rows)

    def _count_and_sum(
        self, metric: Metric, point: DistributionPoint, has_sum: bool, flags: int, of: Of, rows: Rows
    ) -> int:
        identity = self._identity(point, of, rows)
        if identity < 0:
            return identity
        stale = bool(point.flags & NO_RECORDED_VALUE)
        marks = flags | STALE * stale
        series = self._intern(identity, of, point, metric.name + "_count", COUNT_UNIT)
        rows.add(series, point.time_unix_nano, float("nan") if stale else float(point.count), marks)
        if has_sum or stale:
            series = self._intern(identity, of, point, metric.name + "_sum", metric.unit)
            rows.add(series, point.time_unix_nano, float("nan") if stale else point.sum, marks)
        return identity

    def _labelled(
        self,
        metric: Metric,
        point: DistributionPoint,
        suffix: str,
        label: str,
        values: Iterable[tuple[str, float]],
        flags: int,
        identity: int,
        of: Of,
        rows: Rows,
    ) -> None:
        stale = bool(point.flags & NO_RECORDED_VALUE)
        unit = COUNT_UNIT if suffix else metric.unit
        for mark, value in values:
            series = self._intern(identity, of, point, metric.name + suffix, unit, label, mark)
            rows.add(series, point.time_unix_nano, float("nan") if stale else value, flags | STALE * stale)

    def _identity(self, point: NumberDataPoint | DistributionPoint, of: Of, rows: Rows) -> int:
        """The number of the point's (resource, attributes); -1, counted, where it has no time or there are too many."""
        if not 0 < point.time_unix_nano < MAX_TIME:
            rows.dropped["no_time"] += 1
            return -1
        key = (of.resource, attribute_pairs(point.attributes))
        found = self._identities.get(key)
        if found is None:
            if len(self._identities) >= self._max_identities:
                rows.dropped["identity_limit"] += 1
                return -1
            found = self._identities[key] = len(self._identities)
        return found

    def _intern(
        self,
        identity: int,
        of: Of,
        point: NumberDataPoint | DistributionPoint,
        name: str,
        unit: str,
        label: str = "",
        mark: str = "",
    ) -> int:
        key = (identity, of.scope, name, unit, label, mark)
        found = self._known.get(key)
        if found is None:
            attributes = attribute_pairs(point.attributes)
            if label:
                attributes = tuple(sorted((dict(attributes) | {label: mark}).items()))
            found = self._series.intern(SeriesKey(name, unit, of.scope, of.resource, attributes))
            if found >= 0:
                self._known[key] = found
        return found


def _delta(temporality: int) -> int:
    return DELTA if temporality == DELTA_TEMPORALITY else 0
