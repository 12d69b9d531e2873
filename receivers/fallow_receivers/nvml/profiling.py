"""Readings by the GPU performance monitor: what the multiprocessors, their pipes and the memory really did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fallow.clients.nvml import GpmWindow, Nvml, NvmlError, Unsupported
from fallow.otlp_write import Instrument
from fallow_receivers.nvml import metrics as m
from fallow_receivers.nvml.device import Device
from fallow_receivers.nvml.metrics import Tick, ratio

MIB: Final = 1 << 20

# NVML_GPM_METRIC_* of nvml.h, in percent.
SHARES: Final[Mapping[int, Instrument]] = {
    1: m.ENGINE,  # GRAPHICS_UTIL
    2: m.SM,  # SM_UTIL
    3: m.OCCUPANCY,  # SM_OCCUPANCY
    4: m.INTEGER,  # INTEGER_UTIL
    5: m.TENSOR,  # ANY_TENSOR_UTIL
    10: m.DRAM,  # DRAM_BW_UTIL
    11: m.FP64,
    12: m.FP32,
    13: m.FP16,
}
# In MiB/s; transmit is from the GPU.
RATES: Final[Mapping[int, tuple[Instrument, bytes]]] = {
    20: (m.PCIE, m.TRANSMIT),
    21: (m.PCIE, m.RECEIVE),
    60: (m.NVLINK, m.RECEIVE),
    61: (m.NVLINK, m.TRANSMIT),
}
COUNTERS: Final = {m.PCIE.name: m.IO.name, m.NVLINK.name: m.NVLINK_IO.name}
"""Throughput → the counter that it follows from where the monitor does not give it."""


def read_profiling(nvml: Nvml, device: Device, tick: Tick) -> None:
    """Put the averages since the last sample; nothing on the first.

    Raises:
        Unsupported: the GPU has no performance monitor (it came with Hopper).
    """
    state = device.state
    if device.shares_instance:
        # The monitor knows GPU instances only: the sum over several compute instances is nobody's.
        _absent(device, "shared_gpu_instance")
        return
    try:
        if state.gpm is None:
            state.gpm = GpmWindow(device.gpu, device.instance, (*SHARES, *RATES))
        values = state.gpm.read()
    except Unsupported as error:
        _absent(device, error.reason)
        raise
    rates: set[str] = set()
    for id, value in values.items():
        shown = SHARES[id] if id in SHARES else RATES[id][0]
        if isinstance(value, Unsupported):
            # Throughput may yet follow from counters.
            if id in SHARES or any(name.startswith(f"{COUNTERS[shown.name]}/") for name in device.absent):
                device.absent[shown.name] = value.reason
        elif isinstance(value, NvmlError):
            continue
        elif id in SHARES:
            tick.put(shown, device.own, ratio(value))
        else:
            rates.add(shown.name)
            tick.put(shown, device.own + RATES[id][1], value * MIB if value >= 0 else None)
    if values:
        state.gpm_rates = rates


def _absent(device: Device, reason: str) -> None:
    device.absent.update({instrument.name: reason for instrument in SHARES.values()})
