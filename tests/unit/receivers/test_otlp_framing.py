"""The outermost framing of a request: what is whole passes, what is not is refused with its place."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from fallow.errors import MalformedRequest
from fallow_receivers.otlp._framing import check_framing
from helpers import otlp

REQUEST = otlp.metrics_request(nodes=3)
UNKNOWN = b"\x10\x96\x01" + b"\x19" + bytes(8) + b"\x25" + bytes(4) + b"\x2a\x03abc" + b"\xfa\x01\x01x"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(REQUEST, id="metrics"),
        pytest.param(otlp.logs_request(), id="logs"),
        pytest.param(b"\x0a\x00", id="empty-resource"),
        pytest.param(UNKNOWN + REQUEST + UNKNOWN, id="unknown-fields"),
        pytest.param(b"\x8a\x00\x01x", id="tag-in-two-bytes"),
        pytest.param(b"\x0a\x03\xff\xff\xff", id="inside-is-not-looked-at"),
    ],
)
def test_whole_frames_pass(body: bytes) -> None:
    check_framing(body)
    # What is whole can be joined: that is what the check is for.
    assert len(ExportMetricsServiceRequest.FromString(REQUEST + REQUEST).resource_metrics) == 6
    check_framing(body + body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(REQUEST[:-1], "goes beyond the end of", id="cut-off"),
        pytest.param(b"\x0a", "the field at byte 0 is cut off", id="no-length"),
        pytest.param(b"\x0a\x00\x10\x80", "the field at byte 2 is cut off", id="varint-cut-off"),
        pytest.param(b"\x0a" + b"\xff" * 11, "no varint ends", id="varint-too-long"),
        pytest.param(b"\x08\x01", "field 1 at byte 0 has wire type 0, 2 expected", id="wrong-type-of-field-1"),
        pytest.param(b"\x02\x00", "no field has the number 0", id="field-0"),
        pytest.param(b'{"resourceMetrics": []}', "wire type 3 at byte 0", id="json"),
        pytest.param(b"GET / HTTP/1.1\r\n", "not OTLP", id="text"),
        pytest.param(b"\x1f\x8b\x08\x00rest of gzip", "not OTLP", id="gzip"),
    ],
)
def test_what_is_not_otlp_is_refused_with_its_place(body: bytes, message: str) -> None:
    with pytest.raises(MalformedRequest, match=message):
        check_framing(body)


@given(st.binary(max_size=40), st.integers(0, len(REQUEST)))
def test_refuses_no_request_that_protobuf_reads_unless_by_design(junk: bytes, at: int) -> None:
    body = REQUEST[:at] + junk
    try:
        check_framing(body)
    except MalformedRequest as error:
        # Groups, and field 1 of another type, are legal protobuf but no request that anything sends.
        if "wire type" not in str(error):
            with pytest.raises(DecodeError):
                ExportMetricsServiceRequest.FromString(body)
