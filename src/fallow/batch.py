"""What moves through a pipeline: requests as bytes, samples, logs and events as columns.

Times are int64 Unix nanoseconds of the event. Nothing here is changed after it was made: a processor returns a new
batch and leaves the arrays of the old one alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fallow.model import Detection, Event, Recommendation

if TYPE_CHECKING:
    import pyarrow as pa  # 30 MB, and a node agent has no logs in columns

Int8Array = NDArray[np.int8]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
Float64Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

OtlpKind = Literal["metrics", "logs", "traces"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpRequest:
    """One Export request as it came: protobuf bytes, never parsed and re-serialised on the way through."""

    kind: OtlpKind
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricBatch:
    """Samples as columns, (n,) each; series ids are those of the service's SeriesTable."""

    series: Int32Array
    time: Int64Array
    value: Float64Array
    stale: BoolArray
    """True where the source said NO_RECORDED_VALUE: the series ends here until its next sample; the value means nothing."""

    def __len__(self) -> int:
        return len(self.series)

    @classmethod
    def of(cls, series: Sequence[int], time: Sequence[int], value: Sequence[float]) -> MetricBatch:
        """A batch from plain sequences, none of them stale."""
        return cls(
            series=np.asarray(series, dtype=np.int32),
            time=np.asarray(time, dtype=np.int64),
            value=np.asarray(value, dtype=np.float64),
            stale=np.zeros(len(series), dtype=np.bool_),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBatch:
    """Log records as columns, (n,) each.

    ``body`` is an Arrow string array: the string body, else the body as canonical JSON, null where there is none.
    ``resources`` holds each distinct resource (merged with its scope) once, ``source`` indexes it.
    """

    time: Int64Array
    observed: Int64Array
    severity: Int8Array
    source: Int32Array
    resources: tuple[Mapping[str, str], ...]
    body: pa.Array[Any]
    event_name: tuple[str, ...]
    attributes: Callable[[int], Mapping[str, str]]
    """Attributes of record i, decoded on demand."""
    having: Callable[[str], Iterable[int]] | None = None
    """The records that may have an attribute of a name, known without decoding; None: all of them may."""

    def __len__(self) -> int:
        return len(self.time)

    def may_have(self, name: str) -> Iterable[int]:
        """The records, ascending, that may have an attribute of this name; no other has."""
        return range(len(self)) if self.having is None else self.having(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Everything that one request, one recording slice or one tick brought, as it grows through the processors."""

    request: OtlpRequest | None = None
    arrival: int = 0
    """Unix ns of the wall clock when the request arrived; 0 in replay. For measuring latency only."""
    metrics: MetricBatch | None = None
    logs: LogBatch | None = None
    events: tuple[Event, ...] = ()
    detections: tuple[Detection, ...] = ()
    recommendations: tuple[Recommendation, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    """What could not be used on the way, by reason; the service counts it."""
