"""OTLP JSON ↔ protobuf."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from fallow.batch import OtlpKind
from fallow.errors import MalformedRequest
from fallow.otlp_json import REQUESTS, json_to_protobuf, protobuf_to_json, response_to_json
from helpers import otlp

REQUEST_BODIES: dict[OtlpKind, bytes] = {
    "metrics": otlp.metrics_request(),
    "logs": otlp.logs_request(("Grüße ☃", "")),
    "traces": otlp.traces_request(),
}


@pytest.mark.parametrize("kind", REQUEST_BODIES)
def test_to_json_and_back_is_the_same_message(kind: OtlpKind) -> None:
    body = REQUEST_BODIES[kind]
    again = json_to_protobuf(kind, protobuf_to_json(kind, body))
    assert REQUESTS[kind].FromString(again) == REQUESTS[kind].FromString(body)


def test_ids_are_hex_and_other_bytes_base64() -> None:
    text = """{"resourceSpans": [{"scopeSpans": [{"spans": [{
        "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "eee19b7ec3c1b174", "parentSpanId": "",
        "attributes": [{"key": "traceId", "value": {"bytesValue": "AAEC"}}],
        "links": [{"traceId": "5b8efff798038103d269b633813fc60d"}]}]}]}]}"""
    request = ExportTraceServiceRequest.FromString(json_to_protobuf("traces", text))
    span = request.resource_spans[0].scope_spans[0].spans[0]
    assert span.trace_id.hex() == "5b8efff798038103d269b633813fc60c"
    assert span.span_id.hex() == "eee19b7ec3c1b174"
    assert span.parent_span_id == b""
    assert span.links[0].trace_id.hex() == "5b8efff798038103d269b633813fc60d"
    assert span.attributes[0].value.bytes_value == b"\x00\x01\x02"
    assert "5b8efff798038103d269b633813fc60c" in protobuf_to_json("traces", request.SerializeToString())


def test_exemplars_have_ids_too() -> None:
    point = {"asDouble": 1, "exemplars": [{"spanId": "00000000000000ff", "asInt": "3"}]}
    text = json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"gauge": {"dataPoints": [point]}}]}]}]})
    body = json_to_protobuf("metrics", text)
    metric = ExportMetricsServiceRequest.FromString(body).resource_metrics[0].scope_metrics[0].metrics[0]
    assert metric.gauge.data_points[0].exemplars[0].span_id == bytes(7) + b"\xff"


def test_numbers_may_be_strings_and_enums_are_numbers() -> None:
    record = {"timeUnixNano": "1544712660300000000", "observedTimeUnixNano": 1544712660300000001, "severityNumber": 10}
    text = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})
    body = json_to_protobuf("logs", text.encode())
    found = ExportLogsServiceRequest.FromString(body).resource_logs[0].scope_logs[0].log_records[0]
    assert (found.time_unix_nano, found.observed_time_unix_nano) == (1544712660300000000, 1544712660300000001)
    assert found.severity_number == 10
    out = json.loads(protobuf_to_json("logs", body))["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    assert out["severityNumber"] == 10
    assert out["timeUnixNano"] == "1544712660300000000"


def test_unknown_fields_are_passed_over_even_where_they_look_like_ids() -> None:
    text = '{"news": {"traceId": 5}, "resourceMetrics": [{"traceId": "not hex", "schemaUrl": "s"}]}'
    request = ExportMetricsServiceRequest.FromString(json_to_protobuf("metrics", text))
    assert request.resource_metrics[0].schema_url == "s"


@pytest.mark.parametrize("text", ["{}", b'{"resourceMetrics": []}', '{"resourceMetrics": null}'])
def test_an_empty_request_is_no_bytes(text: str | bytes) -> None:
    assert json_to_protobuf("metrics", text) == b""


@pytest.mark.parametrize(
    ("text", "place"),
    [
        pytest.param("{", "line 1 column 2", id="not-json"),
        pytest.param("[]", "an object expected", id="not-an-object"),
        pytest.param(b"\xff{}", "byte 0 is not UTF-8", id="not-utf8"),
        pytest.param("[" * 100_000, "nested too deeply", id="deep"),
        pytest.param('{"resourceMetrics": {}}', "resourceMetrics: ", id="object-for-list"),
        pytest.param('{"resourceMetrics": [null]}', "resourceMetrics[0]: null", id="null-in-list"),
        pytest.param('{"resourceMetrics": [{"resource": 5}]}', "resourceMetrics.resource: ", id="number-for-object"),
        pytest.param(
            '{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[{"asInt":1.5}]}}]}]}]}',
            "resourceMetrics[0].scopeMetrics[0].metrics[0].gauge.dataPoints[0].asInt: ",
            id="fraction-for-int",
        ),
        pytest.param(
            '{"resourceMetrics":[{},{"scopeMetrics":[{"metrics":'
            '[{"gauge":{"dataPoints":[{"exemplars":[{"traceId":"x"}]}]}}]}]}]}',
            "resourceMetrics[1].scopeMetrics[0].metrics[0].gauge.dataPoints[0].exemplars[0].traceId: 'x' found",
            id="id-not-hex",
        ),
    ],
)
def test_what_is_wrong_names_its_place(text: str | bytes, place: str) -> None:
    with pytest.raises(MalformedRequest) as raised:
        json_to_protobuf("metrics", text)
    assert place in str(raised.value)


def test_bytes_that_are_no_request_are_refused() -> None:
    with pytest.raises(MalformedRequest, match="not ExportLogsServiceRequest"):
        protobuf_to_json("logs", b"\x0a\x7fcut off")


def test_a_partial_success_as_json() -> None:
    response = ExportMetricsServiceResponse()
    response.partial_success.rejected_data_points = 3
    response.partial_success.error_message = "too old"
    found = json.loads(response_to_json("metrics", response.SerializeToString()))
    assert found == {"partialSuccess": {"rejectedDataPoints": "3", "errorMessage": "too old"}}
    assert response_to_json("metrics", b"") == "{}"


NAMES = (
    "resourceLogs",
    "scopeLogs",
    "logRecords",
    "traceId",
    "body",
    "stringValue",
    "timeUnixNano",
    "attributes",
    "value",
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@given(TREES)
def test_any_json_is_a_request_or_malformed(tree: Any) -> None:
    try:
        body = json_to_protobuf("logs", json.dumps({"resourceLogs": [{"scopeLogs": [tree]}]}))
    except MalformedRequest:
        return
    assert ExportLogsServiceRequest.FromString(body) is not None
