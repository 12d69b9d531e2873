"""What a signal may be: its kind, the values that it can have, how often it is expected, and how it can be at fault.

A value outside the range is a fault of the telemetry (a unit that changed, a blank that was sent as a number), never a
reading. Ranges are wide on purpose: they tell nonsense from readings, not healthy devices from sick ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

from fallow import semconv
from fallow.semconv import SIGNALS

Kind = Literal["gauge", "counter", "state", "event"]
HealthState = Literal["ok", "warming_up", "stale", "profiler_held", "contradictory", "out_of_range"]
HEALTH_STATES: Final[tuple[HealthState, ...]] = get_args(HealthState)
"""The place of a state here is the value of ``fallow.signal.health``: above 0, a signal is not to be believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A quantity with one name and one unit."""

    name: str
    unit: str
    kind: Kind
    low: float
    """Smallest value that can be, inclusive; in ``unit``."""
    high: float
    """Largest value that can be, inclusive; in ``unit``."""
    cadence_s: float
    """How far apart samples are expected to be until the source's own rhythm is known."""


PROFILING: Final = frozenset(
    {
        semconv.GPU_ENGINE,
        semconv.GPU_SM,
        semconv.GPU_OCCUPANCY,
        semconv.GPU_TENSOR,
        semconv.GPU_DRAM,
        semconv.GPU_FP64,
        semconv.GPU_FP32,
        semconv.GPU_FP16,
    }
)
"""Read from hardware counters that one client at a time can have: a profiler takes them away (NVIDIA/DCGM#56, #62)."""

_COUNTERS: Final = frozenset(
    {
        semconv.GPU_ENERGY,
        semconv.GPU_IO,
        semconv.GPU_PCIE_REPLAYS,
        semconv.GPU_NVLINK_ERRORS,
        semconv.GPU_THROTTLE_TIME,
        semconv.GPU_XID_ERRORS,
        semconv.HW_ERRORS,
        semconv.GPU_ROWS_REMAPPED,
        semconv.GPU_PAGES_RETIRED,
        semconv.CUDA_KERNEL_LAUNCHES,
        semconv.CUDA_GRAPH_LAUNCHES,
        semconv.CUDA_ALLOCATED,
        semconv.CUDA_COPY_IO,
        semconv.CUDA_OPERATIONS,
        semconv.SYSTEM_CPU_TIME,
        semconv.HOST_PRESSURE,
        semconv.DISK_IO,
        semconv.NETWORK_IO,
        semconv.NETWORK_ERRORS,
        semconv.CONTAINER_CPU_TIME,
        semconv.CONTAINER_RESTARTS,
        semconv.SERVING_REQUESTS,
        semconv.SERVING_PREEMPTIONS,
        semconv.SERVING_TOKENS,
    }
)
_STATES: Final = frozenset({semconv.GPU_XID, semconv.GPU_THROTTLE_REASONS, semconv.SIGNAL_HEALTH})

# By unit, where no other is said below.
_RANGES: Final[dict[str, tuple[float, float]]] = {
    "1": (0.0, 1.0),
    "{flag}": (0.0, 1.0),
    "W": (0.0, 20_000.0),  # a rack's shelf of GPUs, not one
    "Cel": (-50.0, 200.0),
    "Hz": (0.0, 1e11),
    "By/s": (0.0, 1e14),
}
_ANY: Final = (0.0, math.inf)
_OWN_RANGES: Final[dict[str, tuple[float, float]]] = {
    # Memory of one device: 16 TiB. A blank of DCGM (2^31 - 16 and up) in MiB is more than that.
    semconv.GPU_MEMORY_USAGE: (0.0, 2.0**44),
    semconv.GPU_MEMORY_LIMIT: (0.0, 2.0**44),
    semconv.GPU_MEMORY_FREE: (0.0, 2.0**44),
    semconv.GPU_MEMORY_RESERVED: (0.0, 2.0**44),
    semconv.GPU_PCIE_GENERATION: (0.0, 16.0),
    semconv.GPU_PCIE_WIDTH: (0.0, 32.0),
    semconv.GPU_PCIE_WIDTH_LIMIT: (0.0, 32.0),
    semconv.GPU_THROTTLE_REASONS: (0.0, 2.0**53),
    semconv.CLOCK_OFFSET: (-math.inf, math.inf),
    semconv.SIGNAL_HEALTH: (0.0, float(len(HEALTH_STATES) - 1)),
}
DEFAULT_CADENCE_S: Final = 60.0


def signal(name: str) -> Signal:
    """What is known of a signal; raises KeyError where there is none of that name.

    >>> signal("hw.gpu.utilization").high
    1.0
    """
    unit = SIGNALS[name]
    low, high = _OWN_RANGES.get(name, _RANGES.get(unit, _ANY))
    return Signal(name=name, unit=unit, kind=_kind(name), low=low, high=high, cadence_s=DEFAULT_CADENCE_S)


def _kind(name: str) -> Kind:
    if name == semconv.EVENT:
        return "event"
    return "counter" if name in _COUNTERS else "state" if name in _STATES else "gauge"
