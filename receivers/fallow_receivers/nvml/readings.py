"""What is read of a device, one by one, so that what one card lacks costs no other reading."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fallow import semconv
from fallow.clients.nvml import Failed, Nvml, Unsupported
from fallow.otlp_write import labels
from fallow_receivers.nvml import metrics as m
from fallow_receivers.nvml.device import Device
from fallow_receivers.nvml.fields import INSTANT_POWER, TRANSMITTED, read_fields
from fallow_receivers.nvml.metrics import Tick, ratio
from fallow_receivers.nvml.processes import ProcessReader
from fallow_receivers.nvml.profiling import read_profiling

GENERAL, ENCODER, DECODER = (labels({semconv.GPU_TASK: task}) for task in ("general", "encoder", "decoder"))
MEGA: Final = 1_000_000

# Bits of nvmlClocksEventReasons that hold a GPU back. GpuIdle (0x1) and ApplicationsClocksSetting (0x2) are not among
# them: an idle GPU lowers its clocks, and someone set the other on purpose.
THROTTLES: Final = {
    bit: labels({semconv.THROTTLE_REASON: reason})
    for bit, reason in (
        (0x4, "power"),
        (0x8, "hw_slowdown"),
        (0x10, "sync_boost"),
        (0x20, "sw_thermal"),
        (0x40, "hw_thermal"),
        (0x80, "power_brake"),
        (0x100, "display_clocks"),
    )
}
ANY_THROTTLE: Final = labels({semconv.THROTTLE_REASON: "any"})
_THROTTLING: Final = sum(THROTTLES)
LINK_UP, LINK_DOWN = (labels({semconv.GPU_LINK_STATE: state}) for state in ("up", "down"))
STATES: Final = {state: labels({semconv.HW_STATE: state}) for state in ("ok", "degraded", "failed")}

Read = Callable[[Nvml, Device, Tick], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One thing that is read.

    ``metrics`` are those that are absent where it is unsupported; a reading that notes itself what is absent names none.
    """

    name: str
    read: Read
    metrics: tuple[str, ...] = ()
    slow: bool = False
    of_instances: bool = False
    """It is read of MIG instances too."""
    of_divided: bool = True
    """It is read of a GPU that is divided into them."""


def _utilization(nvml: Nvml, device: Device, tick: Tick) -> None:
    gpu, memory = nvml.utilization(device.handle)
    tick.put(m.UTILIZATION, device.hw + GENERAL, ratio(gpu))
    tick.put(m.MEMORY_CONTROLLER, device.own, ratio(memory))


def _encoder(nvml: Nvml, device: Device, tick: Tick) -> None:
    tick.put(m.UTILIZATION, device.hw + ENCODER, ratio(nvml.encoder(device.handle)))


def _decoder(nvml: Nvml, device: Device, tick: Tick) -> None:
    tick.put(m.UTILIZATION, device.hw + DECODER, ratio(nvml.decoder(device.handle)))


def _memory(nvml: Nvml, device: Device, tick: Tick) -> None:
    found = nvml.memory(device.handle)
    if found.total <= 0 or found.used > found.total:
        tick.put(m.MEMORY_USAGE, device.hw, None)
        return
    tick.put(m.MEMORY_USAGE, device.hw, found.used)
    tick.put(m.MEMORY_LIMIT, device.hw, found.total)
    tick.put(m.MEMORY_UTILIZATION, device.hw, found.used / found.total)
    if found.reserved is not None:
        tick.put(m.MEMORY_RESERVED, device.own, found.reserved)
    else:
        device.absent[semconv.GPU_MEMORY_RESERVED] = "within_usage"


def _temperature(nvml: Nvml, device: Device, tick: Tick) -> None:
    tick.put(m.TEMPERATURE, device.hw, nvml.temperature(device.handle))


def _power(nvml: Nvml, device: Device, tick: Tick) -> None:
    """Where the field (instantaneous power, 525 and later) is not there: an average over a second on most cards."""
    if INSTANT_POWER in device.absent:
        tick.put(m.POWER, device.hw, nvml.power_mw(device.handle) / 1000)


def _power_limit(nvml: Nvml, device: Device, tick: Tick) -> None:
    tick.put(m.POWER_LIMIT, device.own, nvml.power_limit_mw(device.handle) / 1000)


def _sm_clock(nvml: Nvml, device: Device, tick: Tick) -> None:
    tick.put(m.SM_CLOCK, device.own, nvml.sm_clock_mhz(device.handle) * MEGA)


def _memory_clock(nvml: Nvml, device: Device, tick: Tick) -> None:
    tick.put(m.MEMORY_CLOCK, device.own, nvml.memory_clock_mhz(device.handle) * MEGA)


def _sm_clock_limit(nvml: Nvml, device: Device, tick: Tick) -> None:
    tick.put(m.SM_CLOCK_LIMIT, device.own, nvml.sm_clock_limit_mhz(device.handle) * MEGA)


def _throttle(nvml: Nvml, device: Device, tick: Tick) -> None:
    if device.state.clock_reasons is None:
        device.state.clock_reasons = nvml.clock_reasons_supported(device.handle)
    supported = device.state.clock_reasons & _THROTTLING
    now = nvml.clock_reasons(device.handle)
    tick.put(m.THROTTLE_REASONS, device.own, now)
    tick.put(m.THROTTLE_ACTIVE, device.own + ANY_THROTTLE, int(now & _THROTTLING != 0))
    for bit, suffix in THROTTLES.items():
        if supported & bit:
            tick.put(m.THROTTLE_ACTIVE, device.own + suffix, int(now & bit != 0))


def _fast_fields(nvml: Nvml, device: Device, tick: Tick) -> None:
    read_fields(nvml, device, tick, slow=False)


def _slow_fields(nvml: Nvml, device: Device, tick: Tick) -> None:
    read_fields(nvml, device, tick, slow=True)


def _ecc(nvml: Nvml, device: Device, tick: Tick) -> None:
    tick.count(m.ERRORS, device.hw + m.CORRECTED, nvml.ecc_errors(device.handle, corrected=True))
    tick.count(m.ERRORS, device.hw + m.UNCORRECTED, nvml.ecc_errors(device.handle, corrected=False))


def _rows(nvml: Nvml, device: Device, tick: Tick) -> None:
    corrected, uncorrected, pending, failed = nvml.remapped_rows(device.handle)
    device.state.rows_pending, device.state.rows_failed = pending, failed
    tick.put(m.ROWS_REMAPPED, device.own + m.CORRECTED, corrected)
    tick.put(m.ROWS_REMAPPED, device.own + m.UNCORRECTED, uncorrected)
    tick.put(m.ROW_REMAP_PENDING, device.own, int(pending))
    tick.put(m.ROW_REMAP_FAILED, device.own, int(failed))


def _pcie_link(nvml: Nvml, device: Device, tick: Tick) -> None:
    generation, width = nvml.pcie_link(device.handle)
    tick.put(m.PCIE_GENERATION, device.own, generation)
    tick.put(m.PCIE_WIDTH, device.own, width)


def _pcie_link_limit(nvml: Nvml, device: Device, tick: Tick) -> None:
    generation, width = nvml.pcie_link_limit(device.handle)
    tick.put(m.PCIE_GENERATION_LIMIT, device.own, generation)
    tick.put(m.PCIE_WIDTH_LIMIT, device.own, width)


def _pcie_throughput(nvml: Nvml, device: Device, tick: Tick) -> None:
    """Where neither GPM nor byte counters are: 20 ms a direction, so rarely."""
    if m.PCIE.name not in device.state.gpm_rates and TRANSMITTED in device.absent:
        for suffix, transmit in ((m.TRANSMIT, True), (m.RECEIVE, False)):
            tick.put(m.PCIE, device.own + suffix, nvml.pcie_throughput(device.handle, transmit=transmit))


def _nvlinks(nvml: Nvml, device: Device, tick: Tick) -> None:
    links = device.state.links = tuple(nvml.nvlinks(device.handle))
    if not links:
        device.absent[semconv.GPU_NVLINKS] = "no_nvlink"
        return
    tick.put(m.NVLINKS, device.own + LINK_UP, sum(links))
    tick.put(m.NVLINKS, device.own + LINK_DOWN, len(links) - sum(links))


def status(device: Device, tick: Tick, state: str = "") -> None:
    """Put the state of a device: what its readings say, unless it is given."""
    known = device.state
    if not state:
        state = "failed" if known.rows_failed else "degraded" if known.recovery or known.rows_pending else "ok"
    for name, suffix in STATES.items():
        tick.put(m.STATUS, device.hw + suffix, int(name == state))


def _status(nvml: Nvml, device: Device, tick: Tick) -> None:
    status(device, tick)


_CLOCK_NAMES: Final = (semconv.GPU_THROTTLE_REASONS, semconv.GPU_THROTTLE_ACTIVE)
_ROW_NAMES: Final = (semconv.GPU_ROWS_REMAPPED, semconv.GPU_ROW_REMAP_PENDING, semconv.GPU_ROW_REMAP_FAILED)
_LINK_NAMES: Final = (semconv.GPU_PCIE_GENERATION, semconv.GPU_PCIE_WIDTH)
_LINK_LIMIT_NAMES: Final = (semconv.GPU_PCIE_GENERATION_LIMIT, semconv.GPU_PCIE_WIDTH_LIMIT)
_MEMORY_NAMES: Final = (
    semconv.GPU_MEMORY_USAGE,
    semconv.GPU_MEMORY_LIMIT,
    semconv.GPU_MEMORY_UTILIZATION,
    semconv.GPU_MEMORY_RESERVED,
)


def readings(*, profiling: bool, processes: ProcessReader | None) -> Sequence[Reading]:
    """What is read, in the order in which it is."""
    found: list[Reading] = []
    if profiling:  # before the fields: throughput is taken from counters only where it gives none
        found.append(Reading(name="profiling", read=read_profiling, of_instances=True))
    found += [
        Reading(name="memory", read=_memory, metrics=_MEMORY_NAMES, of_instances=True),
        Reading(
            name="utilization",
            read=_utilization,
            metrics=(semconv.GPU_UTILIZATION, semconv.GPU_MEMORY_CONTROLLER),
        ),
        Reading(name="encoder", read=_encoder, metrics=(f"{semconv.GPU_UTILIZATION}/encoder",)),
        Reading(name="decoder", read=_decoder, metrics=(f"{semconv.GPU_UTILIZATION}/decoder",)),
        Reading(name="temperature", read=_temperature, metrics=(semconv.GPU_TEMPERATURE,)),
        Reading(name="sm_clock", read=_sm_clock, metrics=(semconv.GPU_SM_CLOCK,)),
        Reading(name="memory_clock", read=_memory_clock, metrics=(semconv.GPU_MEMORY_CLOCK,)),
        Reading(name="throttle", read=_throttle, metrics=_CLOCK_NAMES),
        Reading(name="fields", read=_fast_fields),
        Reading(name="power", read=_power, metrics=(semconv.GPU_POWER,)),
        Reading(name="power_limit", read=_power_limit, metrics=(semconv.GPU_POWER_LIMIT,), slow=True),
        Reading(name="sm_clock_limit", read=_sm_clock_limit, metrics=(semconv.GPU_SM_CLOCK_LIMIT,), slow=True),
        Reading(name="slow_fields", read=_slow_fields, slow=True),
        Reading(name="ecc", read=_ecc, metrics=(semconv.HW_ERRORS,), slow=True),
        Reading(name="rows", read=_rows, metrics=_ROW_NAMES, slow=True),
        Reading(name="pcie_link", read=_pcie_link, metrics=_LINK_NAMES, slow=True),
        Reading(name="pcie_link_limit", read=_pcie_link_limit, metrics=_LINK_LIMIT_NAMES, slow=True),
        Reading(name="nvlinks", read=_nvlinks, metrics=(semconv.GPU_NVLINKS,), slow=True),
        Reading(name="status", read=_status, slow=True),
    ]
    found.append(Reading(name="pcie_throughput", read=_pcie_throughput, metrics=(semconv.GPU_PCIE,), slow=True))
    if processes is not None:
        found.append(
            Reading(
                name="processes",
                read=processes.read,
                metrics=(semconv.PROCESS_GPU_MEMORY, semconv.PROCESS_GPU_UTILIZATION),
                of_instances=True,
                of_divided=False,  # the same processes are in its instances
            )
        )
    return found


class Reader:
    """Reads devices; what one does not have is asked of it once."""

    def __init__(self, nvml: Nvml, wanted: Sequence[Reading]) -> None:
        self._nvml, self._wanted = nvml, wanted

    def read(self, device: Device, tick: Tick, *, slow: bool) -> list[tuple[str, str]]:
        """Put what the device gives; returns (reading, reason) of those that failed this time.

        Raises:
            DeviceGone: it does not answer.
            DriverGone: the driver does not.
        """
        failed: list[tuple[str, str]] = []
        for reading in self._wanted:
            if (reading.slow and not slow) or reading.name in device.without:
                continue
            if (device.instance is not None and not reading.of_instances) or (device.mig and not reading.of_divided):
                continue
            try:
                reading.read(self._nvml, device, tick)
            except Unsupported as error:
                device.without.add(reading.name)
                device.absent.update(dict.fromkeys(reading.metrics, error.reason))
            except Failed as error:
                failed.append((reading.name, error.reason))
        return failed
