"""What ``decode`` makes of requests, with the kernel and without it."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
    Summary,
    SummaryDataPoint,
)

from fallow.batch import Batch, OtlpKind, OtlpRequest
from fallow.series import SeriesKey, SeriesTable
from fallow.testing.components import context
from fallow_processors.decode import DecodeConfig
from fallow_processors.decode._values import bound_text
from fallow_processors.decode.processor import DecodeProcessor

Kernel = Literal["numba", "python"]
NO_RECORDED_VALUE = 1
DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


@pytest.fixture(params=["numba", "python"])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    found: Kernel = request.param
    return found


class Decoder:
    """A ``decode`` processor and the series it interns."""

    def __init__(self, kernel: Kernel, series: SeriesTable | None = None, **options: Any) -> None:
        self.series = SeriesTable() if series is None else series
        config = DecodeConfig(kernel=kernel, **options)
        self.processor = DecodeProcessor(config, context("decode", Path(), self.series))

    def batch(self, body: bytes, kind: OtlpKind = "metrics") -> Batch:
        return self.processor.process(Batch(request=OtlpRequest(kind=kind, body=body)))

    def points(self, *metrics: Metric, **resource: str) -> list[tuple[str, Mapping[str, str], int, float, bool]]:
        """(name, attributes of the point, time, value, stale), in the order of the batch."""
        found = self.batch(request(*metrics, **resource)).metrics
        assert found is not None
        rows = zip(found.series.tolist(), found.time.tolist(), found.value.tolist(), found.stale.tolist(), strict=True)
        return [(self.series.key(s).name, dict(self.series.key(s).attributes), t, v, stale) for s, t, v, stale in rows]

    def values(self, *metrics: Metric) -> list[float]:
        return [value for _, _, _, value, _ in self.points(*metrics)]


def attributes(**values: Any) -> list[KeyValue]:
    return [
        KeyValue(key=key, value=value if isinstance(value, AnyValue) else AnyValue(string_value=value))
        for key, value in values.items()
    ]


def request(*metrics: Metric, **resource: str) -> bytes:
    made = ExportMetricsServiceRequest()
    rm = made.resource_metrics.add()
    rm.resource.attributes.extend(attributes(**resource))
    sm = rm.scope_metrics.add()
    sm.scope.name = "scope"
    sm.metrics.extend(metrics)
    return made.SerializeToString()


def point(value: float | None, time: int = 1, flags: int = 0, **labels: Any) -> NumberDataPoint:
    made = NumberDataPoint(time_unix_nano=time, flags=flags, attributes=attributes(**labels))
    if isinstance(value, int):
        made.as_int = value
    elif value is not None:
        made.as_double = value
    return made


def gauge(*points: NumberDataPoint, name: str = "m") -> Metric:
    return Metric(name=name, unit="1", gauge=Gauge(data_points=points))


def delta(*points: NumberDataPoint) -> Metric:
    return Metric(name="m", sum=Sum(data_points=points, aggregation_temporality=DELTA))


def test_a_series_is_named_by_all_that_the_source_says(kernel: Kernel) -> None:
    decode = Decoder(kernel)
    decode.batch(request(gauge(point(1.0, b="2", a="1"), name="hw.power"), host="n1"))
    expected = SeriesKey("hw.power", "1", "scope", (("host", "n1"),), (("a", "1"), ("b", "2")))
    assert [decode.series.key(i) for i in range(len(decode.series))] == [expected]


def test_integers_doubles_nan_and_stale_points(kernel: Kernel) -> None:
    points = [point(7, a="int"), point(0.5, a="double"), point(math.nan, a="nan"), point(None, 1, NO_RECORDED_VALUE)]
    found = Decoder(kernel).points(gauge(*points))
    assert [v for *_, v, _ in found[:2]] == [7.0, 0.5]
    assert math.isnan(found[2][3])
    assert [stale for *_, stale in found] == [False, False, False, True]


def test_points_that_say_nothing_are_dropped_and_counted(kernel: Kernel) -> None:
    batch = Decoder(kernel).batch(request(gauge(point(1.0, time=0), point(1.0, time=1 << 63), point(None), point(1.0))))
    assert batch.metrics is not None
    assert len(batch.metrics) == 1
    assert batch.dropped == {"no_time": 2, "no_value": 1}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(AnyValue(string_value="x"), "x", id="string"),
        pytest.param(AnyValue(bool_value=True), "true", id="bool"),
        pytest.param(AnyValue(int_value=-3), "-3", id="int"),
        pytest.param(AnyValue(double_value=1.5), "1.5", id="double"),
        pytest.param(AnyValue(bytes_value=b"hi"), '"aGk="', id="bytes"),
        pytest.param(AnyValue(), "null", id="none"),
        pytest.param(
            AnyValue(kvlist_value=KeyValueList(values=attributes(b="2", a=AnyValue(array_value=ArrayValue())))),
            '{"a":[],"b":"2"}',
            id="map-sorted",
        ),
    ],
)
def test_attribute_values_become_text(kernel: Kernel, value: AnyValue, text: str) -> None:
    [(_, labels, *_)] = Decoder(kernel).points(gauge(point(1.0, key=value)))
    assert labels == {"key": text}


def test_the_order_of_attributes_does_not_matter(kernel: Kernel) -> None:
    decode = Decoder(kernel)
    decode.batch(request(gauge(point(1.0, a="1", b="2"), point(2.0, b="2", a="1"))))
    assert len(decode.series) == 1


def test_deltas_are_accumulated_across_requests(kernel: Kernel) -> None:
    # value:  2 at 1, 3 at 2 | 3 at 2 again, 4 at 3
    decode = Decoder(kernel)
    assert decode.values(delta(point(2.0, 1), point(3, 2))) == [2.0, 5.0]
    again = decode.batch(request(delta(point(3, 2), point(4.0, 3))))
    assert again.metrics is not None
    assert again.metrics.value.tolist() == [9.0]
    assert again.dropped == {"delta_order": 1}


def test_a_delta_that_is_not_finite_does_not_spoil_the_total(kernel: Kernel) -> None:
    decode = Decoder(kernel)
    batch = decode.batch(request(delta(point(1.0, 1), point(math.inf, 2), point(1.0, 3), point(math.nan, 4))))
    assert batch.metrics is not None
    assert batch.metrics.value.tolist() == [1.0, 2.0]
    assert batch.dropped == {"delta_not_finite": 2}


def test_a_histogram_becomes_count_sum_and_cumulative_buckets(kernel: Kernel) -> None:
    made = HistogramDataPoint(
        time_unix_nano=1,
        count=6,
        sum=1.5,
        bucket_counts=[1, 2, 3],
        explicit_bounds=[0.5, 1e6],
        attributes=attributes(a="b"),
    )
    found = Decoder(kernel).points(Metric(name="h", unit="s", histogram=Histogram(data_points=[made])))
    assert [(name, labels, value) for name, labels, _, value, _ in found] == [
        ("h_count", {"a": "b"}, 6.0),
        ("h_sum", {"a": "b"}, 1.5),
        ("h_bucket", {"a": "b", "le": "0.5"}, 1.0),
        ("h_bucket", {"a": "b", "le": "1000000"}, 3.0),
        ("h_bucket", {"a": "b", "le": "+Inf"}, 6.0),
    ]


def test_delta_histograms_are_accumulated(kernel: Kernel) -> None:
    def metric(time: int) -> Metric:
        made = HistogramDataPoint(time_unix_nano=time, count=3, sum=1.0, bucket_counts=[1, 2], explicit_bounds=[1])
        return Metric(name="h", histogram=Histogram(data_points=[made], aggregation_temporality=DELTA))

    decode = Decoder(kernel)
    assert decode.values(metric(1), metric(2)) == [3, 1, 1, 3, 6, 2, 2, 6]


def exponential(temporality: AggregationTemporality.ValueType = CUMULATIVE) -> Metric:
    buckets = ExponentialHistogramDataPoint.Buckets
    made = ExponentialHistogramDataPoint(
        time_unix_nano=1,
        count=10,
        sum=9.0,
        scale=0,
        zero_count=1,
        positive=buckets(offset=0, bucket_counts=[2, 3]),
        negative=buckets(offset=1, bucket_counts=[4]),
    )
    return Metric(
        name="e", exponential_histogram=ExponentialHistogram(data_points=[made], aggregation_temporality=temporality)
    )


def test_an_exponential_histogram_becomes_cumulative_buckets(kernel: Kernel) -> None:
    # (-4, -2]: 4 · 0: 1 · (1, 2]: 2 · (2, 4]: 3
    found = Decoder(kernel).points(exponential())
    assert [(labels.get("le"), value) for name, labels, _, value, _ in found if name == "e_bucket"] == [
        ("-2", 4.0),
        ("0", 5.0),
        ("2", 7.0),
        ("4", 10.0),
        ("+Inf", 10.0),
    ]


def test_a_delta_exponential_histogram_gives_count_and_sum_only(kernel: Kernel) -> None:
    batch = Decoder(kernel).batch(request(exponential(DELTA)))
    assert batch.metrics is not None
    assert batch.metrics.value.tolist() == [10.0, 9.0]
    assert batch.dropped == {"delta_buckets": 1}


def test_a_summary_becomes_count_sum_and_quantiles(kernel: Kernel) -> None:
    made = SummaryDataPoint(time_unix_nano=1, count=4, sum=2.0)
    made.quantile_values.add(quantile=0.99, value=0.7)
    found = Decoder(kernel).points(Metric(name="s", summary=Summary(data_points=[made])))
    assert [(name, labels, value) for name, labels, _, value, _ in found] == [
        ("s_count", {}, 4.0),
        ("s_sum", {}, 2.0),
        ("s", {"quantile": "0.99"}, 0.7),
    ]


def test_a_stale_histogram_ends_all_that_it_names(kernel: Kernel) -> None:
    made = HistogramDataPoint(time_unix_nano=1, flags=NO_RECORDED_VALUE, explicit_bounds=[1.0])
    found = Decoder(kernel).points(Metric(name="h", histogram=Histogram(data_points=[made])))
    assert [(name, labels.get("le"), stale) for name, labels, _, _, stale in found] == [
        ("h_count", None, True),
        ("h_sum", None, True),
        ("h_bucket", "1", True),
        ("h_bucket", "+Inf", True),
    ]


def test_too_many_buckets_leave_count_and_sum(kernel: Kernel) -> None:
    made = HistogramDataPoint(time_unix_nano=1, count=3, bucket_counts=[1] * 4, explicit_bounds=[1, 2, 3])
    batch = Decoder(kernel, max_buckets=2).batch(request(Metric(name="h", histogram=Histogram(data_points=[made]))))
    assert batch.metrics is not None
    assert batch.metrics.value.tolist() == [3.0]
    assert batch.dropped == {"bucket_limit": 1}


@pytest.mark.parametrize("body", [b"\xff", b"\x0a\x05ab", b"not otlp at all"])
def test_what_is_not_otlp_is_counted_once(kernel: Kernel, body: bytes) -> None:
    for kind in ("metrics", "logs"):
        batch = Decoder(kernel).batch(body, "logs" if kind == "logs" else "metrics")
        assert batch.metrics is None
        assert batch.logs is None
        assert batch.dropped == {"malformed": 1}


def test_traces_and_batches_without_a_request_pass_untouched(kernel: Kernel) -> None:
    decode = Decoder(kernel)
    traces = Batch(request=OtlpRequest(kind="traces", body=b"\xff"))
    assert decode.processor.process(traces) is traces
    assert decode.processor.process(Batch()) == Batch()


def test_an_empty_request_is_an_empty_batch(kernel: Kernel) -> None:
    metrics, logs = Decoder(kernel).batch(b"").metrics, Decoder(kernel).batch(b"", "logs").logs
    assert metrics is not None
    assert logs is not None
    assert (len(metrics), len(logs)) == (0, 0)


def test_identities_beyond_the_limit_are_refused_and_the_known_go_on(kernel: Kernel) -> None:
    decode = Decoder(kernel, max_identities=2)
    batch = decode.batch(request(gauge(point(1.0, a="1"), point(2.0, a="2"), point(3.0, a="3"), point(4.0, a="4"))))
    assert batch.dropped == {"identity_limit": 2}
    assert decode.values(gauge(point(5.0, a="4"), point(6.0, a="2"))) == [6.0]


def test_series_that_the_table_refuses_are_counted(kernel: Kernel) -> None:
    decode = Decoder(kernel, SeriesTable(limit=1))
    for _ in range(2):
        batch = decode.batch(request(gauge(point(1.0, a="1"), point(2.0, a="2"))))
        assert batch.metrics is not None
        assert batch.metrics.value.tolist() == [1.0]
        assert batch.dropped == {"series_limit": 1}


def test_the_kernel_grows_all_its_tables() -> None:
    # More entities, metrics, points and histograms at once than any table or list of the scanner first holds.
    decode, oracle = Decoder("numba"), Decoder("python")
    metrics = [gauge(point(i, a=str(i)), name=f"m{i}") for i in range(5_000)]
    metrics += [gauge(*(NumberDataPoint(time_unix_nano=1, as_int=1) for _ in range(9_000)))]
    metrics += [
        Metric(name=f"h{i}", histogram=Histogram(data_points=[HistogramDataPoint(time_unix_nano=1)]))
        for i in range(300)
    ]
    metrics += [gauge(point(i, a="0"), name=f"m{i}") for i in range(100)]
    body = request(*metrics)
    for _ in range(2):
        kernel_batch, oracle_batch = decode.batch(body).metrics, oracle.batch(body).metrics
        assert kernel_batch is not None
        assert oracle_batch is not None
        named = sorted(zip([decode.series.key(s).name for s in kernel_batch.series], kernel_batch.value, strict=True))
        assert named == sorted(
            zip([oracle.series.key(s).name for s in oracle_batch.series], oracle_batch.value, strict=True)
        )
    assert len(decode.series) == len(oracle.series) == 5_000 + 1 + 600 + 99


def test_the_batch_does_not_change_when_the_next_request_is_decoded(kernel: Kernel) -> None:
    decode = Decoder(kernel)
    first = decode.batch(request(gauge(point(1.0)))).metrics
    assert first is not None
    decode.batch(request(gauge(point(2.0, time=9))))
    assert (first.value.tolist(), first.time.tolist()) == ([1.0], [1])


def test_a_bad_point_does_not_poison_the_identity_it_shares() -> None:
    decode = Decoder("numba")
    good = request(gauge(point(1.0, gpu="0")), host="n1")
    broken = good.replace(b"scope", b"sc\xffpe")  # a scope that is no UTF-8: upb refuses the request
    assert decode.batch(broken).dropped == {"malformed": 1}
    assert len(decode.series) == 0
    assert decode.batch(good).dropped == {}
    assert [decode.series.key(i).scope for i in range(len(decode.series))] == ["scope"]


# -- logs ---------------------------------------------------------------------------------------------------------------
def log_request(*records: LogRecord) -> bytes:
    made = ExportLogsServiceRequest()
    for host in ("n1", "n2", "n1"):
        rl = made.resource_logs.add()
        rl.resource.attributes.extend(attributes(**{"host.name": host}))
        sl = rl.scope_logs.add()
        sl.scope.name = "filelog"
        sl.log_records.extend(records)
    return made.SerializeToString()


def test_log_records_become_columns(kernel: Kernel) -> None:
    nested = AnyValue(kvlist_value=KeyValueList(values=attributes(b="2", a=AnyValue(int_value=1))))
    body = log_request(
        LogRecord(
            time_unix_nano=5,
            observed_time_unix_nano=6,
            severity_number=SeverityNumber.SEVERITY_NUMBER_INFO,
            body=AnyValue(string_value="Xid 79 é"),
        ),
        LogRecord(
            observed_time_unix_nano=7, body=nested, attributes=attributes(k="v", **{"event.name": "by.attribute"})
        ),
        LogRecord(time_unix_nano=8, event_name="by.field", attributes=attributes(**{"event.name": "other"})),
        LogRecord(body=AnyValue(string_value="without a time")),
    )
    batch = Decoder(kernel).batch(body, "logs")
    logs = batch.logs
    assert logs is not None
    assert logs.time.tolist() == [5, 7, 8] * 3
    assert logs.observed.tolist() == [6, 7, 0] * 3
    assert logs.severity.tolist() == [9, 0, 0] * 3
    assert logs.body.to_pylist() == ["Xid 79 é", '{"a":1,"b":"2"}', None] * 3
    assert logs.event_name == ("", "by.attribute", "by.field") * 3
    assert logs.source.tolist() == [0] * 3 + [1] * 3 + [0] * 3
    assert logs.resources == tuple({"host.name": h, "otel.scope.name": "filelog"} for h in ("n1", "n2"))
    assert logs.attributes(1) == {"k": "v", "event.name": "by.attribute"}
    assert batch.dropped == {"no_time": 3}


def test_many_log_records_are_the_same_on_both_paths() -> None:
    records = [
        LogRecord(time_unix_nano=i + 1, body=AnyValue(string_value=f"line {i}"))
        if i % 3
        else LogRecord(time_unix_nano=1)
        for i in range(3_000)
    ]
    found = [Decoder(k).batch(log_request(*records), "logs").logs for k in ("numba", "python")]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].body.equals(found[1].body)
    assert np.array_equal(found[0].time, found[1].time)
    assert found[0].body.null_count == 3_000


# -- without the kernel -------------------------------------------------------------------------------------------------
# The module is blocked, not numba itself: the core's series have kernels of their own.
WITHOUT_KERNEL = """
import sys
sys.modules["fallow_processors.decode._kernels"] = None
from pathlib import Path
from fallow.errors import PermanentError
from fallow.testing.components import context
from fallow_processors.decode import FACTORY, DecodeConfig
FACTORY.build(DecodeConfig(), context("decode", Path()))
try:
    FACTORY.build(DecodeConfig(kernel="numba"), context("decode/fast", Path()))
except PermanentError as error:
    print(error)
"""


def test_without_the_kernel_it_walks_and_says_so_where_numba_was_asked_for() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_KERNEL], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith("decode/fast: kernel: numba cannot be imported")
    assert "Decoding without numba" in done.stderr


def test_zero_has_one_spelling_as_a_bound() -> None:
    assert (bound_text(-0.0), bound_text(0.0)) == ("0", "0")


@pytest.mark.parametrize("kind", ["logs", "metrics"])
def test_a_scope_that_cannot_be_decoded_is_malformed_though_nothing_is_in_it(kernel: Kernel, kind: OtlpKind) -> None:
    # resource_logs { scope_logs { scope: an unfinished group } }
    body = b"\n\x07\x12\x05\n\x03\x13\x01a"
    assert Decoder(kernel).batch(body, kind).dropped == {"malformed": 1}
