"""OTLP as JSON ↔ OTLP as protobuf.

Protobuf's own JSON mapping, but for what the OTLP specification changes: trace and span ids are hex, enums are
numbers, unknown fields are passed over (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, cast

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from fallow.batch import OtlpKind
from fallow.errors import MalformedRequest

REQUESTS: Final[Mapping[OtlpKind, type[Message]]] = {
    "metrics": metrics_service_pb2.ExportMetricsServiceRequest,
    "logs": logs_service_pb2.ExportLogsServiceRequest,
    "traces": trace_service_pb2.ExportTraceServiceRequest,
}
RESPONSES: Final[Mapping[OtlpKind, type[Message]]] = {
    "metrics": metrics_service_pb2.ExportMetricsServiceResponse,
    "logs": logs_service_pb2.ExportLogsServiceResponse,
    "traces": trace_service_pb2.ExportTraceServiceResponse,
}
_HEX_IDS = frozenset({"trace_id", "span_id", "parent_span_id"})
_Convert = Callable[[str], str]


def json_to_protobuf(kind: OtlpKind, text: bytes | str) -> bytes:
    """The request of a kind, given as one JSON object, as protobuf bytes.

    Raises:
        MalformedRequest: it is not JSON or not such a request; the message says where.
    """
    try:
        data = json.loads(text)
    except RecursionError as error:
        raise MalformedRequest("not OTLP JSON: nested too deeply") from error
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"not OTLP JSON: byte {error.start} is not UTF-8") from error
    except ValueError as error:  # JSONDecodeError says line and column
        raise MalformedRequest(f"not OTLP JSON: {error}") from error
    if not isinstance(data, dict):
        raise MalformedRequest(f"not OTLP JSON: {type(data).__name__} found, an object expected")
    request = REQUESTS[kind]()
    _convert_ids(_descriptor(REQUESTS[kind]), data, _hex_to_base64, "")
    try:
        json_format.ParseDict(data, request, ignore_unknown_fields=True)
        return request.SerializeToString()
    except (json_format.ParseError, ValueError, TypeError, AttributeError, OverflowError) as error:
        # json_format lets Python's own errors through for some values of the wrong type.
        raise MalformedRequest(_placed(str(error))) from error


def protobuf_to_json(kind: OtlpKind, body: bytes) -> str:
    """The request of a kind, given as protobuf bytes, as one line of JSON; raises MalformedRequest."""
    return _to_json(REQUESTS[kind], body)


def response_to_json(kind: OtlpKind, body: bytes) -> str:
    """The response to a request of a kind as one line of JSON; raises MalformedRequest."""
    return _to_json(RESPONSES[kind], body)


def _to_json(made: type[Message], body: bytes) -> str:
    try:
        message = made.FromString(body)
    except DecodeError as error:
        raise MalformedRequest(f"not {made.DESCRIPTOR.name}: {error}") from error
    data = json_format.MessageToDict(message, use_integers_for_enums=True)
    _convert_ids(_descriptor(made), data, _base64_to_hex, "")
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _descriptor(made: type[Message]) -> Descriptor:
    return cast(Descriptor, made.DESCRIPTOR)  # upb's own class, of the same shape


def _convert_ids(descriptor: Descriptor, data: Any, convert: _Convert, place: str) -> None:
    """Rewrite the ids inside ``data`` in place; what has not the shape of its message is left for the parser."""
    if not isinstance(data, dict):
        return
    for name, field, inner in _ways_to_ids(descriptor):
        value = data.get(name)
        if value is None:
            continue
        if inner is None:
            data[name] = _converted(value, convert, f"{place}{name}")
        elif _is_repeated(field):
            for index, item in enumerate(value if isinstance(value, list) else ()):
                _convert_ids(inner, item, convert, f"{place}{name}[{index}].")
        else:
            _convert_ids(inner, value, convert, f"{place}{name}.")


def _converted(value: object, convert: _Convert, place: str) -> str:
    try:
        if isinstance(value, str):
            return convert(value)
    except ValueError:
        pass
    raise MalformedRequest(f"{place}: {value!r} found, hex digits expected")


def _hex_to_base64(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text)).decode()


def _base64_to_hex(text: str) -> str:
    return base64.b64decode(text).hex()


@cache
def _ways_to_ids(descriptor: Descriptor) -> tuple[tuple[str, FieldDescriptor, Descriptor | None], ...]:
    """The fields of a message, under each JSON name, that are ids (no inner message) or lead to some."""
    return tuple(
        (name, field, None if field.name in _HEX_IDS else field.message_type)
        for field in descriptor.fields
        if field.name in _HEX_IDS or (field.message_type and _leads_to_ids(field.message_type, frozenset()))
        for name in {field.json_name: None, field.name: None}
    )


def _leads_to_ids(descriptor: Descriptor, above: frozenset[str]) -> bool:
    if descriptor.full_name in above:  # AnyValue contains itself
        return False
    above |= {descriptor.full_name}
    return any(
        f.name in _HEX_IDS or (f.message_type and _leads_to_ids(f.message_type, above)) for f in descriptor.fields
    )


def _is_repeated(field: FieldDescriptor) -> bool:
    return bool(field.is_repeated)


def _placed(error: str) -> str:
    """The parser's chain of "Failed to parse X field: …" as one place and its reason."""
    chain, reason = _chain(error)
    exact = re.search(r' at "?\w+\.([\w.\[\]]+)"?$', reason)
    if exact:
        return f"{exact[1].rstrip('.')}: {reason[: exact.start()]}"
    return f"{'.'.join(chain)}: {reason}" if chain else reason


def _chain(error: str) -> tuple[list[str], str]:
    names: list[str] = []
    while found := re.match(r"Failed to parse (\w+) field: ", error):
        names.append(found[1])
        error = error[found.end() :]
    return names, error.rstrip(".")
