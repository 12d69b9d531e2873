"""The metrics that the receiver brings in, and how a tick's values become points of them."""

from __future__ import annotations

from typing import Final

from fallow import semconv
from fallow.otlp_write import Instrument, Writer, labels

UTILIZATION: Final = Instrument(semconv.GPU_UTILIZATION, "1")
MEMORY_USAGE: Final = Instrument(semconv.GPU_MEMORY_USAGE, "By", "updowncounter")
MEMORY_LIMIT: Final = Instrument(semconv.GPU_MEMORY_LIMIT, "By", "updowncounter")
MEMORY_UTILIZATION: Final = Instrument(semconv.GPU_MEMORY_UTILIZATION, "1")
IO: Final = Instrument(semconv.GPU_IO, "By", "counter")
POWER: Final = Instrument(semconv.GPU_POWER, "W")
ENERGY: Final = Instrument(semconv.GPU_ENERGY, "J", "counter")
TEMPERATURE: Final = Instrument(semconv.GPU_TEMPERATURE, "Cel")
ERRORS: Final = Instrument(semconv.HW_ERRORS, "{error}", "counter")
STATUS: Final = Instrument(semconv.HW_STATUS, "1", "updowncounter")

MEMORY_CONTROLLER: Final = Instrument(semconv.GPU_MEMORY_CONTROLLER, "1")
MEMORY_RESERVED: Final = Instrument(semconv.GPU_MEMORY_RESERVED, "By")
MEMORY_TEMPERATURE: Final = Instrument(semconv.GPU_MEMORY_TEMPERATURE, "Cel")
SM_CLOCK: Final = Instrument(semconv.GPU_SM_CLOCK, "Hz")
SM_CLOCK_LIMIT: Final = Instrument(semconv.GPU_SM_CLOCK_LIMIT, "Hz")
MEMORY_CLOCK: Final = Instrument(semconv.GPU_MEMORY_CLOCK, "Hz")
POWER_LIMIT: Final = Instrument(semconv.GPU_POWER_LIMIT, "W")
THROTTLE_REASONS: Final = Instrument(semconv.GPU_THROTTLE_REASONS, "{bitmask}")
THROTTLE_ACTIVE: Final = Instrument(semconv.GPU_THROTTLE_ACTIVE, "{flag}")
THROTTLE_TIME: Final = Instrument(semconv.GPU_THROTTLE_TIME, "s", "counter")

ENGINE: Final = Instrument(semconv.GPU_ENGINE, "1")
SM: Final = Instrument(semconv.GPU_SM, "1")
OCCUPANCY: Final = Instrument(semconv.GPU_OCCUPANCY, "1")
TENSOR: Final = Instrument(semconv.GPU_TENSOR, "1")
DRAM: Final = Instrument(semconv.GPU_DRAM, "1")
FP64: Final = Instrument(semconv.GPU_FP64, "1")
FP32: Final = Instrument(semconv.GPU_FP32, "1")
FP16: Final = Instrument(semconv.GPU_FP16, "1")
INTEGER: Final = Instrument(semconv.GPU_INTEGER, "1")

PCIE: Final = Instrument(semconv.GPU_PCIE, "By/s")
PCIE_REPLAYS: Final = Instrument(semconv.GPU_PCIE_REPLAYS, "{replay}", "counter")
PCIE_GENERATION: Final = Instrument(semconv.GPU_PCIE_GENERATION, "{generation}")
PCIE_WIDTH: Final = Instrument(semconv.GPU_PCIE_WIDTH, "{lane}")
PCIE_GENERATION_LIMIT: Final = Instrument(semconv.GPU_PCIE_GENERATION_LIMIT, "{generation}")
PCIE_WIDTH_LIMIT: Final = Instrument(semconv.GPU_PCIE_WIDTH_LIMIT, "{lane}")
NVLINK: Final = Instrument(semconv.GPU_NVLINK, "By/s")
NVLINK_IO: Final = Instrument(semconv.GPU_NVLINK_IO, "By", "counter")
NVLINK_ERRORS: Final = Instrument(semconv.GPU_NVLINK_ERRORS, "{error}", "counter")
NVLINKS: Final = Instrument(semconv.GPU_NVLINKS, "{link}", "updowncounter")

ROWS_REMAPPED: Final = Instrument(semconv.GPU_ROWS_REMAPPED, "{row}", "updowncounter")
ROW_REMAP_PENDING: Final = Instrument(semconv.GPU_ROW_REMAP_PENDING, "{flag}")
ROW_REMAP_FAILED: Final = Instrument(semconv.GPU_ROW_REMAP_FAILED, "{flag}")
RECOVERY_ACTION: Final = Instrument(semconv.GPU_RECOVERY_ACTION, "{action}")
XID_ERRORS: Final = Instrument(semconv.GPU_XID_ERRORS, "{error}", "counter")

PROCESS_MEMORY: Final = Instrument(semconv.PROCESS_GPU_MEMORY, "By", "updowncounter")
PROCESS_UTILIZATION: Final = Instrument(semconv.PROCESS_GPU_UTILIZATION, "1")

INSTRUMENTS: Final = tuple(i for i in list(globals().values()) if isinstance(i, Instrument))

RECEIVE: Final = labels({semconv.IO_DIRECTION: "receive"})
TRANSMIT: Final = labels({semconv.IO_DIRECTION: "transmit"})
CORRECTED: Final = labels({semconv.ERROR_TYPE: "corrected"})
UNCORRECTED: Final = labels({semconv.ERROR_TYPE: "uncorrected"})

# A share that a driver gives may be off by its rounding; beyond that it is not one.
_MOST_PERCENT: Final = 100.5


def ratio(percent: float) -> float | None:
    """A share from percent; None where it cannot be one (drivers have been seen to answer 2³²-ish)."""
    return min(percent / 100, 1.0) if 0 <= percent <= _MOST_PERCENT else None


class Epochs:
    """Since when each counter counts: since its first sample, and anew whenever it has gone down or may have."""

    def __init__(self) -> None:
        self._known: dict[tuple[Instrument, bytes], tuple[int, int, float]] = {}
        self.own: dict[tuple[Instrument, bytes], tuple[int, int]] = {}
        """Counters of what the receiver itself has seen: since when, and how many."""

    def since(self, instrument: Instrument, labels: bytes, time: int, value: float) -> int:
        """Start time of the sample, Unix ns."""
        start, last, seen = self._known.get((instrument, labels), (time, time, value))
        if value < seen:  # reset or wrapped somewhen after the last sample
            start = last
        self._known[instrument, labels] = (start, time, value)
        return start

    def forget(self, *prefixes: bytes) -> None:
        """Counters whose labels begin so were reset, though they may be higher by now; without any, all of the driver's."""
        self._known = {k: v for k, v in self._known.items() if prefixes and not k[1].startswith(prefixes)}

    def rate(self, instrument: Instrument, labels: bytes, time: int, value: float) -> float | None:
        """Per second since the last sample, asked for before ``since``; None where that cannot be said."""
        known = self._known.get((instrument, labels))
        if known is None or value < known[2] or time <= known[1]:
            return None
        return (value - known[2]) * 1e9 / (time - known[1])


class Tick:
    """Takes the values of one time."""

    def __init__(self, writer: Writer, epochs: Epochs, time: int) -> None:
        self._writer, self._epochs, self.time = writer, epochs, time
        self.implausible = 0
        """Values that were left out because they cannot be."""

    def put(self, instrument: Instrument, labels: bytes, value: float | None) -> None:
        """A gauge's or an up-down counter's value; None is left out as implausible."""
        if value is None:
            self.implausible += 1
        else:
            self._writer.put(instrument, labels, self.time, value)

    def count(self, instrument: Instrument, labels: bytes, value: float) -> None:
        """A counter's value."""
        start = self._epochs.since(instrument, labels, self.time, value)
        self._writer.put(instrument, labels, self.time, value, start)

    def saw(self, counter: Instrument, labels: bytes) -> None:
        """Count one more of what the driver does not count."""
        since, n = self._epochs.own.get((counter, labels), (self.time, 0))
        self._epochs.own[counter, labels] = since, n + 1

    def put_seen(self) -> None:
        """Put all counts of what was seen."""
        for (counter, place), (since, n) in self._epochs.own.items():
            self._writer.put(counter, place, self.time, n, since)

    def rate(self, counter: Instrument, labels: bytes, value: float) -> float | None:
        """Growth per second of a counter whose value is not yet counted."""
        return self._epochs.rate(counter, labels, self.time, value)
