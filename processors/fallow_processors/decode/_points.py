"""What comes out of decoding before ids are given back: rows of (series, time, value, flags), and what was dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fallow.batch import Float64Array, Int32Array, Int64Array

UInt8Array = NDArray[np.uint8]

STALE = 1  # the value means nothing: NO_RECORDED_VALUE
DELTA = 2  # the value is the change since the last one of its series
NO_RECORDED_VALUE = 1  # DataPointFlags of opentelemetry/proto/metrics/v1/metrics.proto
DELTA_TEMPORALITY = 1  # AggregationTemporality, same file
MAX_TIME = 1 << 63  # times are fixed64 on the wire and int64 here


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Points as (n,) columns, in the order of the request for each series; ``flags`` holds STALE and DELTA bits."""

    series: Int32Array
    time: Int64Array
    value: Float64Array
    flags: UInt8Array

    @classmethod
    def joined(cls, parts: Sequence[Columns]) -> Columns:
        """The columns one behind the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            series=np.concatenate([p.series for p in parts]),
            time=np.concatenate([p.time for p in parts]),
            value=np.concatenate([p.value for p in parts]),
            flags=np.concatenate([p.flags for p in parts]),
        )


@dataclass(slots=True)
class Rows:
    """Points collected one by one."""

    series: list[int] = field(default_factory=list)
    time: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)

    def add(self, series: int, time: int, value: float, flags: int) -> None:
        """One point; a series that the table refused (below 0) is dropped and counted."""
        if series < 0:
            self.dropped["series_limit"] += 1
            return
        self.series.append(series)
        self.time.append(time)
        self.value.append(value)
        self.flags.append(flags)

    def columns(self) -> Columns:
        """What was collected, as arrays."""
        return Columns(
            series=np.array(self.series, dtype=np.int32),
            time=np.array(self.time, dtype=np.int64),
            value=np.array(self.value, dtype=np.float64),
            flags=np.array(self.flags, dtype=np.uint8),
        )
