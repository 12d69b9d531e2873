"""A GPU or a MIG instance: what it is called, and what is remembered of it between two samples."""

from __future__ import annotations

from dataclasses import dataclass, field

from fallow import semconv
from fallow.clients.nvml import GpmWindow, Handle, Nvml, NvmlError
from fallow.otlp_write import Attributes, labels

VENDOR = "NVIDIA"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The attributes of a device; a part of a GPU (MIG) has a parent."""

    id: str
    index: int
    model: str
    part: str = ""
    """Which part of the GPU it is."""
    parent: str = ""
    serial: str = ""
    driver: str = ""
    firmware: str = ""

    def short(self) -> dict[str, str]:
        """What tells it from others, and what it is."""
        found = {
            semconv.HW_ID: self.id,
            semconv.HW_TYPE: "gpu",
            semconv.HW_MODEL: self.model,
            semconv.GPU_INDEX: str(self.index),
        }
        return found | {semconv.HW_PARENT: self.parent} if self.parent else found

    def full(self) -> dict[str, str]:
        """All that the conventions recommend."""
        more = {
            semconv.HW_NAME: f"GPU {self.index} {self.part}".rstrip(),
            semconv.HW_VENDOR: VENDOR,
            semconv.HW_SERIAL_NUMBER: self.serial,
            semconv.HW_DRIVER_VERSION: self.driver,
            semconv.HW_FIRMWARE_VERSION: self.firmware,
        }
        return self.short() | {name: value for name, value in more.items() if value}


@dataclass(slots=True, kw_only=True)
class Device:
    """A device that answers; made anew when the library is opened again or its MIG mode changes."""

    handle: Handle
    gpu: Handle
    """The whole GPU: the device itself, unless that is a MIG instance."""
    identity: Identity
    instance: int | None = None
    """GPU instance id of a MIG instance."""
    shares_instance: bool = False
    """Other compute instances are in the same GPU instance."""
    mig: bool = False
    """It is divided into MIG instances."""
    instances: list[Device] = field(default_factory=list["Device"])
    absent: dict[str, str] = field(default_factory=dict[str, str])
    """Metric, or part of one → why it cannot be had of this device."""
    without: set[str] = field(default_factory=set[str])
    """Names of readings that this device does not have."""
    state: State = field(default_factory=lambda: State())
    hw: bytes = b""
    """Labels of hw.* points."""
    own: bytes = b""
    """Labels of fallow.* points: what does not change within a device's life is said once, by the hw.* points."""

    def __post_init__(self) -> None:
        self.hw, self.own = labels(self.identity.full()), labels(self.identity.short())

    def attributes(self) -> Attributes:
        """Of its events."""
        return self.identity.short()

    def close(self, nvml: Nvml) -> None:
        """Give back what it holds of the library."""
        for device in (self, *self.instances):
            window, device.state.gpm = device.state.gpm, None
            if window is not None:
                try:
                    window.close()
                except NvmlError:
                    continue


@dataclass(slots=True)
class State:
    """What readings remember from one sample to the next."""

    gpm: GpmWindow | None = None
    gpm_rates: set[str] = field(default_factory=set[str])
    """Throughputs that GPM gives, so that counters need not be turned into them."""
    clock_reasons: int | None = None
    """Bits that this device can set."""
    processes: dict[int, bytes] = field(default_factory=dict[int, bytes])
    """Process id → labels."""
    seen_samples: int = 0
    """Time of the newest process sample, µs of the driver's clock."""
    fields: dict[bool, list[int]] = field(default_factory=dict[bool, list[int]])
    """Slow or not → places in the table of those fields that the device has."""
    links: tuple[bool, ...] = ()
    recovery: int = 0
    rows_pending: bool = False
    rows_failed: bool = False
