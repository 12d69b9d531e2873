"""The kernel equals the plain walk over upb: on generated requests, on odd protobuf and on broken bytes."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    Exemplar,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
    Summary,
    SummaryDataPoint,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from fallow.batch import Batch, LogBatch, MetricBatch, OtlpKind, OtlpRequest
from fallow.series import SeriesTable
from fallow.testing.components import context
from fallow_processors.decode import DecodeConfig
from fallow_processors.decode.processor import DecodeProcessor

Point = tuple[Any, ...]
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
MORE = settings(SLOW, max_examples=300)


class Decoder:
    """A ``decode`` processor with a series table of its own."""

    def __init__(self, kernel: Literal["numba", "python"]) -> None:
        self.series = SeriesTable()
        self.processor = DecodeProcessor(DecodeConfig(kernel=kernel), context("decode", Path(), self.series))

    def __call__(self, kind: OtlpKind, body: bytes) -> Any:
        """What the request says, in a form that does not depend on ids or order; ``malformed`` where it is not OTLP."""
        batch = self.processor.process(Batch(request=OtlpRequest(kind=kind, body=body)))
        if batch.dropped.get("malformed"):
            assert batch.metrics is None
            assert batch.logs is None
            return "malformed"
        found: object = None
        if batch.metrics is not None:
            found = self._points(batch.metrics)
        elif batch.logs is not None:
            found = _records(batch.logs)
        return found, {reason: n for reason, n in batch.dropped.items() if n}

    def _points(self, metrics: MetricBatch) -> Counter[Point]:
        columns = (metrics.series.tolist(), metrics.time.tolist(), metrics.value.tolist(), metrics.stale.tolist())
        return Counter(
            (self.series.key(series), time, struct.pack("<d", 0.0 if stale else value), stale)
            for series, time, value, stale in zip(*columns, strict=True)
        )


def _records(logs: LogBatch) -> list[Point]:
    for i in range(len(logs)):
        assert all(i in logs.may_have(name) for name in logs.attributes(i))
    return [
        (
            int(logs.time[i]),
            int(logs.observed[i]),
            int(logs.severity[i]),
            logs.resources[logs.source[i]],
            logs.body[i].as_py(),
            logs.event_name[i],
            logs.attributes(i),
        )
        for i in range(len(logs))
    ]


# -- requests --------------------------------------------------------------------------------------------------------
texts = st.sampled_from(["", "a", "b", "GPU-1", "event.name", "höhe", "x" * 40])
times = st.sampled_from([0, 1, 1_760_000_000_000_000_000, (1 << 63) - 1, 1 << 63]) | st.integers(1, 1000)
doubles = st.floats(width=64)


def any_values(depth: int = 2) -> st.SearchStrategy[AnyValue]:
    simple = st.one_of(
        st.builds(AnyValue),
        st.builds(AnyValue, string_value=texts),
        st.builds(AnyValue, bool_value=st.booleans()),
        st.builds(AnyValue, int_value=st.integers(-(1 << 63), (1 << 63) - 1)),
        st.builds(AnyValue, double_value=doubles),
        st.builds(AnyValue, bytes_value=st.binary(max_size=5)),
    )
    if depth == 0:
        return simple
    deeper = any_values(depth - 1)
    return st.one_of(
        st.builds(AnyValue, string_value=texts),
        simple,
        st.builds(AnyValue, array_value=st.builds(ArrayValue, values=st.lists(deeper, max_size=2))),
        st.builds(AnyValue, kvlist_value=st.builds(KeyValueList, values=key_values(deeper))),
    )


def key_values(values: st.SearchStrategy[AnyValue]) -> st.SearchStrategy[list[KeyValue]]:
    return st.lists(st.builds(KeyValue, key=texts, value=values), max_size=3)


def number(base: dict[str, Any], value: dict[str, Any]) -> NumberDataPoint:
    return NumberDataPoint(**base, **value)


def metric(header: dict[str, Any], data: dict[str, Any]) -> Metric:
    return Metric(**header, **data)


attributes = key_values(any_values())
resources = st.builds(Resource, attributes=attributes, dropped_attributes_count=st.integers(0, 1))
scopes = st.builds(InstrumentationScope, name=texts, version=texts, attributes=attributes)
flag_words = st.sampled_from([0, 0, 0, 1, 2, 3, (1 << 32) - 1])
temporalities = st.integers(0, 3)
counts = st.lists(st.integers(0, 1 << 62), max_size=4)
numbers = st.builds(
    number,
    st.fixed_dictionaries(
        {"time_unix_nano": times, "attributes": attributes, "flags": flag_words},
        optional={
            "start_time_unix_nano": times,
            "exemplars": st.just([Exemplar(filtered_attributes=[KeyValue(key="é")])]),
        },
    ),
    st.one_of(
        st.just({}),
        st.fixed_dictionaries({"as_double": doubles}),
        st.fixed_dictionaries({"as_int": st.integers(-(1 << 63), (1 << 63) - 1)}),
    ),
)
histogram_points = st.builds(
    HistogramDataPoint,
    attributes=attributes,
    time_unix_nano=times,
    count=st.integers(0, 1 << 63),
    sum=st.none() | doubles,
    bucket_counts=counts,
    explicit_bounds=st.lists(doubles, max_size=4),
    flags=flag_words,
)
exponential_points = st.builds(
    ExponentialHistogramDataPoint,
    attributes=attributes,
    time_unix_nano=times,
    count=st.integers(0, 1 << 63),
    sum=st.none() | doubles,
    scale=st.integers(-(1 << 31), (1 << 31) - 1) | st.integers(-12, 24),
    zero_count=st.integers(0, 5),
    zero_threshold=doubles,
    positive=st.builds(
        ExponentialHistogramDataPoint.Buckets, offset=st.integers(-(1 << 31), (1 << 31) - 1), bucket_counts=counts
    ),
    negative=st.builds(ExponentialHistogramDataPoint.Buckets, offset=st.integers(-9, 9), bucket_counts=counts),
    flags=flag_words,
)
summary_points = st.builds(
    SummaryDataPoint,
    attributes=attributes,
    time_unix_nano=times,
    count=st.integers(0, 9),
    sum=doubles,
    quantile_values=st.lists(st.builds(SummaryDataPoint.ValueAtQuantile, quantile=doubles, value=doubles), max_size=3),
    flags=flag_words,
)
number_lists = st.lists(numbers, max_size=4)
data = st.one_of(
    st.fixed_dictionaries({}),
    st.fixed_dictionaries({"gauge": st.builds(Gauge, data_points=number_lists)}),
    st.fixed_dictionaries({"sum": st.builds(Sum, data_points=number_lists, aggregation_temporality=temporalities)}),
    st.fixed_dictionaries(
        {
            "histogram": st.builds(
                Histogram, data_points=st.lists(histogram_points, max_size=2), aggregation_temporality=temporalities
            )
        }
    ),
    st.fixed_dictionaries(
        {
            "exponential_histogram": st.builds(
                ExponentialHistogram,
                data_points=st.lists(exponential_points, max_size=2),
                aggregation_temporality=temporalities,
            )
        }
    ),
    st.fixed_dictionaries({"summary": st.builds(Summary, data_points=st.lists(summary_points, max_size=2))}),
)
metrics = st.builds(
    metric,
    st.fixed_dictionaries({"name": st.sampled_from(["", "m", "n", "ö"]), "unit": texts, "description": texts}),
    data,
)
metric_requests = st.builds(
    ExportMetricsServiceRequest,
    resource_metrics=st.lists(
        st.builds(
            ResourceMetrics,
            resource=st.none() | resources,
            schema_url=texts,
            scope_metrics=st.lists(
                st.builds(
                    ScopeMetrics, scope=st.none() | scopes, metrics=st.lists(metrics, max_size=3), schema_url=texts
                ),
                max_size=2,
            ),
        ),
        max_size=2,
    ),
)
log_records = st.builds(
    LogRecord,
    time_unix_nano=times,
    observed_time_unix_nano=times,
    severity_number=st.sampled_from([0, 9, 24, 25, 300, -1]),
    severity_text=texts,
    body=st.none() | any_values(),
    attributes=attributes,
    event_name=texts,
    trace_id=st.binary(max_size=16),
)
log_requests = st.builds(
    ExportLogsServiceRequest,
    resource_logs=st.lists(
        st.builds(
            ResourceLogs,
            resource=st.none() | resources,
            scope_logs=st.lists(
                st.builds(ScopeLogs, scope=st.none() | scopes, log_records=st.lists(log_records, max_size=3)),
                max_size=2,
            ),
        ),
        max_size=2,
    ),
)

# -- the same messages in protobuf that nobody sends but anybody may ----------------------------------------------------
FRAGMENTS = [
    b"\xa8\x06\x01",  # an unknown field with a tag of two bytes
    b"\x9b\x06\x08\x01\x9c\x06",  # an unknown group
    b"\x7d\x01\x02\x03\x04",  # an unknown fixed32
    b"\x78\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # an unknown varint of ten bytes
    b"\x8a\x00\x00",  # field 1, empty, its tag written with two bytes
    b"\x0a\x00",  # field 1, empty, once more
    b"\x0a\x80\x00",  # the same, its length written with two bytes
    b"\x08\x05",  # field 1 as a varint
    b"\x12\x00",
    b"\x3a\x00",
    b"\x2a\x00",
    b"\x19\x01\x00\x00\x00\x00\x00\x00\x00",
    b"\x40\x81\x80\x80\x80\x80\x80\x80\x80\x80\x01",  # field 8, a varint of ten bytes
    b"\x7a\x01\xff",  # an unknown field that is not UTF-8
    b"\x1a\x01\xff",  # a known string somewhere that is not UTF-8
    b"\x02\x00",  # field number 0: refused
    b"\x0b",  # a group that does not end: refused
]


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def odd(message: Message, draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
    """The message's bytes with fragments between its fields, at any depth."""
    parts = []
    for field, value in message.ListFields():
        if field.message_type is None:
            single = type(message)()
            if field.is_repeated:
                getattr(single, field.name).extend(value)
            else:
                setattr(single, field.name, value)
            parts.append(single.SerializeToString())
            continue
        for item in value if field.is_repeated else [value]:
            inner = odd(item, draw)
            parts.append(varint(field.number << 3 | 2) + varint(len(inner)) + inner)
    if draw(st.integers(0, 5)) == 0:
        parts = draw(st.permutations(parts))
    if draw(st.integers(0, 7)) == 0:
        parts.insert(draw(st.integers(0, len(parts))), draw(st.sampled_from(FRAGMENTS)))
    if parts and draw(st.integers(0, 15)) == 0:
        parts.append(draw(st.sampled_from(parts)))
    return b"".join(parts)


@st.composite
def odd_bytes(draw: Callable[[st.SearchStrategy[Any]], Any], requests: st.SearchStrategy[Any]) -> bytes:
    return odd(draw(requests), draw)


@st.composite
def broken_bytes(draw: Callable[[st.SearchStrategy[Any]], Any], requests: st.SearchStrategy[Any]) -> bytes:
    """A request of which bits are flipped, bytes cut out or put in."""
    body = bytearray(draw(requests).SerializeToString())
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 4]))):
        at = draw(st.integers(0, max(len(body) - 1, 0)))
        match draw(st.sampled_from(["flip", "cut", "splice", "truncate"])):
            case "flip" if body:
                body[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del body[at : at + draw(st.integers(1, 12))]
            case "splice":
                body[at:at] = draw(st.binary(max_size=8) | st.sampled_from(FRAGMENTS))
            case _:
                del body[max(at, len(body) - 20) :]
    return bytes(body)


# -- properties -------------------------------------------------------------------------------------------------------
def same(kind: OtlpKind, bodies: list[bytes]) -> None:
    kernel, oracle = Decoder("numba"), Decoder("python")
    for body in bodies:
        assert kernel(kind, body) == oracle(kind, body)


@MORE
@given(st.lists(metric_requests.map(lambda r: r.SerializeToString()), min_size=1, max_size=3))
def test_kernel_equals_oracle_on_metrics(bodies: list[bytes]) -> None:
    same("metrics", [*bodies, bodies[0]])


@MORE
@given(st.lists(odd_bytes(metric_requests), min_size=1, max_size=2))
def test_kernel_equals_oracle_on_odd_protobuf(bodies: list[bytes]) -> None:
    same("metrics", bodies)


@MORE
@given(broken_bytes(metric_requests))
def test_kernel_equals_oracle_on_broken_metrics(body: bytes) -> None:
    same("metrics", [body])


@SLOW
@given(metric_requests, broken_bytes(metric_requests), metric_requests)
def test_a_malformed_request_changes_nothing_for_the_next(first: Message, broken: bytes, second: Message) -> None:
    disturbed, quiet = Decoder("numba"), Decoder("numba")
    body = first.SerializeToString()
    assert disturbed("metrics", body) == quiet("metrics", body)
    if disturbed("metrics", broken) != "malformed":
        quiet("metrics", broken)
    body = second.SerializeToString()
    assert disturbed("metrics", body) == quiet("metrics", body)
    assert len(disturbed.series) == len(quiet.series)


@SLOW
@given(metric_requests, st.randoms(use_true_random=False))
def test_the_order_of_attributes_does_not_matter(request: ExportMetricsServiceRequest, random: Any) -> None:
    for rm in request.resource_metrics:
        _unique(rm.resource.attributes)
    decode = Decoder("numba")
    decode("metrics", request.SerializeToString())
    known = len(decode.series)
    for rm in request.resource_metrics:
        shuffled = list(rm.resource.attributes)
        random.shuffle(shuffled)
        del rm.resource.attributes[:]
        rm.resource.attributes.extend(shuffled)
    decode("metrics", request.SerializeToString())
    assert len(decode.series) == known


def _unique(pairs: Any) -> None:
    """Leave one attribute of each key: of two with one key, order decides which counts."""
    kept = {kv.key: kv for kv in [KeyValue.FromString(kv.SerializeToString()) for kv in pairs]}
    del pairs[:]
    pairs.extend(kept.values())


@MORE
@given(log_requests.map(lambda r: r.SerializeToString()) | odd_bytes(log_requests) | broken_bytes(log_requests))
def test_kernel_equals_oracle_on_logs(body: bytes) -> None:
    same("logs", [body])


@SLOW
@given(st.binary(max_size=64))
def test_arbitrary_bytes_never_raise(body: bytes) -> None:
    same("metrics", [body])
    same("logs", [body])
