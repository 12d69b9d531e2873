"""What the driver and the receiver tell of devices, as events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from fallow import semconv
from fallow.clients.nvml import DeviceEvent, DeviceGone, EventSet, Failed, Nvml, NvmlError, Unsupported
from fallow.otlp_write import ERROR, INFO, WARN, Event, Value
from fallow_receivers.nvml.device import Device

REASON: Final = "fallow.gpu.reason"
ABSENT_METRICS: Final = "fallow.gpu.absent.metrics"
ABSENT_REASONS: Final = "fallow.gpu.absent.reasons"
INSTANCE: Final = "fallow.gpu.mig.instance"
ACTION: Final = "fallow.gpu.recovery_action"
DRIVER: Final = "fallow.gpu.driver.version"

# nvmlEventType* of nvml.h.
XID: Final = 0x8
MIG_CHANGED: Final = 0x100
_UNCORRECTED, _UNAVAILABLE, _RECOVERY = 0x2, 0x4000, 0x8000
WATCHED: Final = XID | MIG_CHANGED | _UNCORRECTED | _UNAVAILABLE | _RECOVERY
MOST_AT_ONCE: Final = 1000  # a storm of events must not keep the samples from being taken


@dataclass(frozen=True, slots=True)
class _Told:
    name: str
    severity: int
    data: str
    """Attribute that holds the event's number."""


_TOLD: Final[Mapping[int, _Told]] = {
    XID: _Told(semconv.GPU_XID_EVENT, ERROR, semconv.GPU_XID_CODE),
    _UNCORRECTED: _Told(semconv.GPU_ECC_EVENT, ERROR, ""),
    MIG_CHANGED: _Told(semconv.GPU_MIG_EVENT, INFO, ""),
    _UNAVAILABLE: _Told(semconv.GPU_LOST, ERROR, ""),
    _RECOVERY: _Told(semconv.GPU_RECOVERY_EVENT, ERROR, ACTION),
}


class Listener:
    """The driver's own events; those of a driver that has none are simply not there."""

    def __init__(self, nvml: Nvml) -> None:
        self._nvml = nvml
        self._events: EventSet | None = None
        self.deaf = False
        """A GPU that is watched is lost, and the driver tells nothing of the others either."""

    def watch(self, device: Device) -> None:
        """Have the driver tell of a GPU."""
        try:
            if self._events is None:
                self._events = self._nvml.event_set()
            if not self._nvml.watch(device.handle, WATCHED, self._events):
                device.absent[semconv.GPU_XID_EVENT] = "not_supported"
        except (Unsupported, Failed) as error:
            device.absent[semconv.GPU_XID_EVENT] = error.reason

    def restart(self, devices: Iterable[Device]) -> None:
        """Listen anew, to these."""
        self.close()
        for device in devices:
            try:
                self.watch(device)
            except DeviceGone:  # its readings say so
                continue

    def take(self) -> Iterator[DeviceEvent]:
        """What was told since the last time; raises DriverGone."""
        if self._events is None:
            return
        for _ in range(MOST_AT_ONCE):
            try:
                event = self._nvml.next_event(self._events)
            except DeviceGone:  # one of those that are watched; its readings say which
                self.deaf = True
                return
            except Failed:
                return
            if event is None:
                return
            yield event

    def close(self) -> None:
        """Listen no more; safe twice."""
        self.deaf = False
        events, self._events = self._events, None
        if events is not None:
            try:
                self._nvml.free(events)
            except NvmlError:
                return


def told(event: DeviceEvent, device: Device, time: int) -> Event | None:
    """A driver's event of a device; None where it is of no kind that is passed on."""
    kind = _TOLD.get(event.type)
    if kind is None:
        return None
    found: dict[str, Value] = dict(device.attributes())
    if kind.data:
        found[kind.data] = event.data
    if event.instance is not None:
        found[INSTANCE] = event.instance
    if event.type == _UNAVAILABLE:
        found[REASON] = "unavailable"
    body = f"Xid {event.data}" if event.type == XID else ""
    return Event(name=kind.name, time=time, severity=kind.severity, attributes=found, body=body)


def lost(device: Device, reason: str, time: int) -> Event:
    """A GPU or MIG instance that answered does no more."""
    attributes = {**device.attributes(), REASON: reason}
    return Event(name=semconv.GPU_LOST, time=time, severity=ERROR, attributes=attributes, body=reason)


def silent(index: int, reason: str, time: int) -> Event:
    """There is a GPU that never answered, so that not even its id is known."""
    attributes: dict[str, Value] = {semconv.HW_TYPE: "gpu", semconv.GPU_INDEX: str(index), REASON: reason}
    return Event(name=semconv.GPU_LOST, time=time, severity=ERROR, attributes=attributes, body=reason)


def found(device: Device, time: int) -> Event:
    """A GPU or MIG instance answers that did not."""
    return Event(name=semconv.GPU_FOUND, time=time, severity=INFO, attributes=device.attributes())


def driver_lost(reason: str, time: int) -> Event:
    return Event(name=semconv.GPU_DRIVER_LOST, time=time, severity=WARN, attributes={REASON: reason}, body=reason)


def driver_found(version: str, time: int) -> Event:
    return Event(name=semconv.GPU_DRIVER_FOUND, time=time, severity=INFO, attributes={DRIVER: version}, body=version)


def absent(device: Device, time: int) -> Event:
    """What cannot be had of a device, and why, in two lists of one length; both are empty where there is all."""
    attributes: dict[str, Value] = {
        **device.attributes(),
        ABSENT_METRICS: tuple(sorted(device.absent)),
        ABSENT_REASONS: tuple(device.absent[name] for name in sorted(device.absent)),
    }
    return Event(name=semconv.GPU_ABSENT, time=time, severity=INFO, attributes=attributes)
