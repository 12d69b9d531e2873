"""What Python does around the scan of a log request: sources, bodies as an Arrow array, attributes on demand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from fallow.batch import Int8Array, Int32Array, Int64Array, LogBatch
from fallow.series.table import Pairs, pairs
from fallow_processors.decode import _kernels as k
from fallow_processors.decode._logs import Sources, body_text, merged
from fallow_processors.decode._points import UInt8Array
from fallow_processors.decode._values import attribute_map

BYTES_PER_RECORD = 64  # a first guess of the output's size
MAX_SOURCES = 4096  # sources remembered from request to request


class LogScanner:
    """Decodes log requests with the kernel; remembers the sources it has decoded."""

    def __init__(self) -> None:
        self._state = np.zeros(k.L_STATE_SIZE, dtype=np.int64)
        self._groups = np.empty((256, k.GROUP_WIDTH), dtype=np.int64)
        self._sources: dict[tuple[bytes, bytes], tuple[Mapping[str, str], Pairs]] = {}
        self._make_output(0)

    def load_kernels(self) -> None:
        """Compile (or load) the kernels now, not while a request waits."""
        self._scan(np.frombuffer(b"\x08\x00", dtype=np.uint8))
        self._bodies(b"\x08", 0)

    def decode(self, body: bytes) -> tuple[LogBatch, Counter[str]] | None:
        """The log records and what was dropped; None where upb has to decode this request.

        Raises:
            DecodeError: it is not OTLP.
        """
        if not body:
            return None
        buf = np.frombuffer(body, dtype=np.uint8)
        n = self._scan(buf)
        if n == k.TO_UPB:
            return None
        if self._state[k.L_VERIFY]:
            ExportLogsServiceRequest.FromString(body)
        sources, index = self._index_sources(body)
        records = self._offsets[:n, : k.L_END + 1].copy()
        batch = LogBatch(
            time=self._time[:n].copy(),
            observed=self._observed[:n].copy(),
            severity=self._severity[:n].copy(),
            source=index[self._group[:n]],
            resources=tuple(sources.resources),
            body=self._bodies(body, n),
            event_name=self._event_names(body, n),
            attributes=lambda i: _attributes(body, *records[i].tolist()),
            having=lambda name: _having(body, records, name),
        )
        no_time = int(self._state[k.L_NO_TIME])
        return batch, Counter({"no_time": no_time} if no_time else {})

    def _scan(self, buf: UInt8Array) -> int:
        if len(self._time) * BYTES_PER_RECORD < len(buf):
            self._make_output(len(buf) // BYTES_PER_RECORD + 1)
        while True:
            columns = (self._time, self._observed, self._severity, self._group, self._kind, self._offsets)
            n = k.scan_logs(buf, self._state, *columns, self._groups)
            if n != k.FULL:
                return n
            if self._state[k.L_NEED] == k.NEED_GROUPS:
                self._groups = np.empty((4 * len(self._groups), k.GROUP_WIDTH), dtype=np.int64)
            else:
                self._make_output(2 * len(self._time))

    def _make_output(self, size: int) -> None:
        size = max(size, 1 << 10)
        self._time: Int64Array = np.empty(size, dtype=np.int64)
        self._observed: Int64Array = np.empty(size, dtype=np.int64)
        self._severity: Int8Array = np.empty(size, dtype=np.int8)
        self._group: Int32Array = np.empty(size, dtype=np.int32)
        self._kind: Int8Array = np.empty(size, dtype=np.int8)
        self._offsets: Int64Array = np.empty((size, k.RECORD_WIDTH), dtype=np.int64)

    def _index_sources(self, body: bytes) -> tuple[Sources, Int32Array]:
        """The request's sources, and for each group of records which one is theirs."""
        sources = Sources()
        groups = self._groups[: self._state[k.L_GROUPS]].tolist()
        index = np.empty(len(groups), dtype=np.int32)
        for i, (r0, r1, c0, c1) in enumerate(groups):
            key = (body[r0:r1], body[c0:c1])
            found = self._sources.get(key)
            if found is None:
                resource = merged(Resource.FromString(key[0]), InstrumentationScope.FromString(key[1]))
                found = (resource, pairs(resource))
                if len(self._sources) >= MAX_SOURCES:
                    self._sources.clear()
                self._sources[key] = found
            index[i] = sources.index(*found)
        return sources, index

    def _bodies(self, body: bytes, n: int) -> pa.Array[Any]:
        buf = np.frombuffer(body, dtype=np.uint8)
        kinds = self._kind[:n]
        data = np.empty(len(body), dtype=np.uint8)
        ends = np.empty(n + 1, dtype=np.int32)
        size = k.gathered(buf, n, self._kind, self._offsets, data, ends)
        null = kinds == k.NO_BODY
        valid = pa.py_buffer(np.packbits(~null, bitorder="little").data) if null.any() else None
        array = pa.Array.from_buffers(pa.string(), n, [valid, pa.py_buffer(ends.data), pa.py_buffer(data[:size].data)])
        if not self._state[k.L_COMPLEX]:
            return array
        texts = array.to_pylist()
        for i in np.flatnonzero(kinds == k.COMPLEX_BODY).tolist():
            start, stop = self._offsets[i, k.L_BODY], self._offsets[i, k.L_BODY_END]
            texts[i] = body_text(AnyValue.FromString(body[start:stop]))
        return pa.array(texts, type=pa.string())

    def _event_names(self, body: bytes, n: int) -> tuple[str, ...]:
        start, stop = self._offsets[:n, k.L_EVENT], self._offsets[:n, k.L_EVENT_END]
        names = [""] * n
        for i in np.flatnonzero(stop > start).tolist():
            names[i] = body[start[i] : stop[i]].decode()
        return tuple(names)


def _attributes(body: bytes, start: int, stop: int) -> Mapping[str, str]:
    return attribute_map(LogRecord.FromString(body[start:stop]).attributes)


def _having(body: bytes, records: Int64Array, name: str) -> list[int]:
    """The records in which the name stands where a key would: after its length, however that is spelled."""
    key = name.encode()
    before = {
        len(key) if len(key) < 0x80 else len(key) >> 7,
        0,
    }  # a varint's last byte; 0 where it is longer than needed
    at: list[int] = []
    found = body.find(key)
    while found >= 0:
        if body[found - 1] in before:
            at.append(found)
        found = body.find(key, found + 1)
    which = np.unique(np.searchsorted(records[:, 0], at, side="right") - 1)
    having: list[int] = which[which >= 0].tolist()
    return having
