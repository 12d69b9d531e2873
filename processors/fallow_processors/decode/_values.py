"""OTLP attribute values as text: a string as it is, everything else as canonical JSON."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from fallow.series.table import Pairs


def plain(value: AnyValue) -> Any:
    """The value as JSON has it: bytes as base64, NaN and infinities by name (as protobuf's JSON writes them)."""
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value if math.isfinite(value.double_value) else bound_text(value.double_value)
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode("ascii")
        case "array_value":
            return [plain(v) for v in value.array_value.values]
        case "kvlist_value":
            return {kv.key: plain(kv.value) for kv in value.kvlist_value.values}
        case _:
            return None


def canonical_json(value: AnyValue) -> str:
    """Compact JSON with sorted keys; the same text for the same value, whatever the order it came in."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def text(value: AnyValue) -> str:
    """A string value as it is, any other as canonical JSON."""
    return value.string_value if value.WhichOneof("value") == "string_value" else canonical_json(value)


def attribute_map(attributes: Iterable[KeyValue]) -> dict[str, str]:
    """Attributes as text; of a key that stands there twice the last counts."""
    return {kv.key: text(kv.value) for kv in attributes}


def attribute_pairs(attributes: Iterable[KeyValue]) -> Pairs:
    """Attributes as sorted pairs, as ``SeriesKey`` wants them."""
    return tuple(sorted(attribute_map(attributes).items()))


@lru_cache(maxsize=4096)
def bound_text(bound: float) -> str:
    """A bucket bound or quantile as Prometheus writes it in a label.

    >>> bound_text(0.5), bound_text(1e6), bound_text(float("inf")), bound_text(-0.0)
    ('0.5', '1000000', '+Inf', '0')
    """
    if math.isnan(bound):
        return "NaN"
    if math.isinf(bound):
        return "+Inf" if bound > 0 else "-Inf"
    return np.format_float_positional(bound + 0.0, trim="-")  # -0.0 is the same bound, and is cached as the same
