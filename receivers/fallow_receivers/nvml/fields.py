"""Readings by NVML field value: many with one call, each with its own reason where it is absent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fallow import semconv
from fallow.clients.nvml import Nvml, NvmlError, Unsupported
from fallow.otlp_write import Instrument, labels
from fallow_receivers.nvml import metrics as m
from fallow_receivers.nvml.device import Device
from fallow_receivers.nvml.metrics import Tick

ALL_LINKS: Final = 0xFFFF_FFFF
KIB: Final = 1024
INSTANT_POWER: Final = f"{semconv.GPU_POWER}/instant"
NVLINK_BYTES: Final = (f"{semconv.GPU_NVLINK_IO}/transmit", f"{semconv.GPU_NVLINK_IO}/receive")
TRANSMITTED: Final = f"{semconv.GPU_IO}/transmit"

Take = Callable[[Device, Tick, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of nvml.h and what becomes of its value."""

    id: int
    scope: int = 0
    metric: str
    """As ``Device.absent`` names it: the metric, and which part of it."""
    take: Take
    slow: bool = False


def _gauge(instrument: Instrument, scale: float) -> Take:
    def take(device: Device, tick: Tick, value: float) -> None:
        tick.put(instrument, device.hw if instrument.name.startswith("hw.") else device.own, value * scale)

    return take


def _counter(instrument: Instrument, scale: float, suffix: bytes = b"") -> Take:
    def take(device: Device, tick: Tick, value: float) -> None:
        base = device.hw if instrument.name.startswith("hw.") else device.own
        tick.count(instrument, base + suffix, value * scale)

    return take


def _moved(counter: Instrument, throughput: Instrument, scale: int, suffix: bytes) -> Take:
    """A byte counter, and the throughput that follows from it where GPM does not give that."""

    def take(device: Device, tick: Tick, value: float) -> None:
        base = device.hw if counter.name.startswith("hw.") else device.own
        moved = int(value) * scale
        if (
            throughput.name not in device.state.gpm_rates
            and (rate := tick.rate(counter, base + suffix, moved)) is not None
        ):
            tick.put(throughput, device.own + suffix, rate)
        tick.count(counter, base + suffix, moved)

    return take


def _memory_temperature(device: Device, tick: Tick, value: float) -> None:
    if value == 0:  # what boards without such a sensor answer
        device.absent[semconv.GPU_MEMORY_TEMPERATURE] = "no_sensor"
    else:
        tick.put(m.MEMORY_TEMPERATURE, device.own, float(value))


def _recovery_action(device: Device, tick: Tick, value: float) -> None:
    device.state.recovery = int(value)
    tick.put(m.RECOVERY_ACTION, device.own, int(value))


def _throttled(id: int, reason: str) -> Field:
    suffix = labels({semconv.THROTTLE_REASON: reason})
    return Field(
        id=id, metric=f"{semconv.GPU_THROTTLE_TIME}/{reason}", take=_counter(m.THROTTLE_TIME, 1e-9, suffix), slow=True
    )


def _nvlink_errors(id: int, kind: str) -> Field:
    suffix = labels({semconv.ERROR_TYPE: kind})
    return Field(
        id=id, metric=f"{semconv.GPU_NVLINK_ERRORS}/{kind}", take=_counter(m.NVLINK_ERRORS, 1, suffix), slow=True
    )


# Numbers are NVML_FI_DEV_* of nvml.h; they do not change between versions.
FIELDS: Final[Sequence[Field]] = (
    Field(id=83, metric=semconv.GPU_ENERGY, take=_counter(m.ENERGY, 1e-3)),  # TOTAL_ENERGY_CONSUMPTION, mJ
    Field(id=186, metric=INSTANT_POWER, take=_gauge(m.POWER, 1e-3)),  # POWER_INSTANT, mW
    Field(id=82, metric=semconv.GPU_MEMORY_TEMPERATURE, take=_memory_temperature),  # MEMORY_TEMP
    # PCIE_COUNT_TX_BYTES and _RX_BYTES; transmit is from the GPU.
    Field(id=197, metric=TRANSMITTED, take=_moved(m.IO, m.PCIE, 1, m.TRANSMIT)),
    Field(id=198, metric=f"{semconv.GPU_IO}/receive", take=_moved(m.IO, m.PCIE, 1, m.RECEIVE)),
    # NVLINK_THROUGHPUT_DATA_TX and _RX, KiB over all links.
    Field(
        id=138,
        scope=ALL_LINKS,
        metric=NVLINK_BYTES[0],
        take=_moved(m.NVLINK_IO, m.NVLINK, KIB, m.TRANSMIT),
    ),
    Field(
        id=139,
        scope=ALL_LINKS,
        metric=NVLINK_BYTES[1],
        take=_moved(m.NVLINK_IO, m.NVLINK, KIB, m.RECEIVE),
    ),
    # PERF_POLICY_* and CLOCKS_EVENT_REASON_*, ns.
    _throttled(74, "power"),
    _throttled(75, "thermal"),
    _throttled(76, "sync_boost"),
    _throttled(77, "board_limit"),
    _throttled(78, "low_utilization"),
    _throttled(79, "reliability"),
    _throttled(269, "sw_thermal"),
    _throttled(270, "hw_thermal"),
    _throttled(271, "power_brake"),
    Field(id=94, metric=semconv.GPU_PCIE_REPLAYS, take=_counter(m.PCIE_REPLAYS, 1), slow=True),  # PCIE_REPLAY_COUNTER
    _nvlink_errors(38, "crc"),  # NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL
    _nvlink_errors(52, "replay"),  # NVLINK_REPLAY_ERROR_COUNT_TOTAL
    _nvlink_errors(59, "recovery"),  # NVLINK_RECOVERY_ERROR_COUNT_TOTAL
    Field(id=230, metric=semconv.GPU_RECOVERY_ACTION, take=_recovery_action, slow=True),  # GET_GPU_RECOVERY_ACTION
)


def read_fields(nvml: Nvml, device: Device, tick: Tick, *, slow: bool) -> None:
    """Put what the device's fields say; those it does not have are asked for once."""
    asked = device.state.fields.get(slow)
    if asked is None:
        asked = device.state.fields[slow] = [i for i, field in enumerate(FIELDS) if field.slow == slow]
    if not asked:
        return
    try:
        values = nvml.fields(device.handle, [(FIELDS[i].id, FIELDS[i].scope) for i in asked])
    except Unsupported as error:  # a driver without field values
        device.absent.update({FIELDS[i].metric: error.reason for i in asked})
        if not slow and device.state.gpm is None:
            device.absent[semconv.GPU_NVLINK] = error.reason
        raise
    missing: list[int] = []
    for i, value in zip(asked, values, strict=True):
        field = FIELDS[i]
        if not isinstance(value, NvmlError):
            field.take(device, tick, value)
        elif isinstance(value, Unsupported):
            missing.append(i)
            device.absent[field.metric] = value.reason
            if field.metric in NVLINK_BYTES and device.state.gpm is None:
                device.absent[semconv.GPU_NVLINK] = value.reason
    if missing:
        device.state.fields[slow] = [i for i in asked if i not in missing]
