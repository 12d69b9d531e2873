"""What the library gives, in plain values."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, Final, NewType

import pynvml

from fallow.clients.nvml.errors import NvmlError, Unsupported, error_of

Handle = NewType("Handle", object)
"""A GPU or a MIG instance, as the library knows it until it is opened again."""
EventSet = NewType("EventSet", object)

# NVML_VALUE_NOT_AVAILABLE: all bits set, in the width of the field.
NO_ULL: Final = (1 << 64) - 1
NO_UINT: Final = (1 << 32) - 1
_FIELD_MEMBERS: Final = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""By NVML_VALUE_TYPE_*."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes; ``reserved`` (by the driver, for page retirement) is part of no other, None where it is within ``used``."""

    total: int
    used: int
    reserved: int | None


@dataclass(frozen=True, slots=True)
class Process:
    """A process on a device; ``memory`` in bytes, None where the driver does not say."""

    pid: int
    memory: int | None


@dataclass(frozen=True, slots=True)
class ProcessSample:
    """What share of the time, in percent, a process had of each engine; ``time`` in µs of the driver's clock."""

    pid: int
    time: int
    sm: int
    memory: int
    encoder: int
    decoder: int


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """Something that the driver told of a device; ``instance`` is the GPU instance (MIG), None for the whole device."""

    device: int
    """``key`` of the device's handle."""
    type: int
    data: int
    instance: int | None


def key(device: Any) -> int:
    """The same number for each handle of one device, until the library is opened again."""
    return ctypes.cast(device, ctypes.c_void_p).value or 0


member_of: Final = object.__getattribute__
"""A number of a structure; pynvml's own way looks for text in each, at three times the cost."""


def field_value(found: Any) -> float | NvmlError:
    code = member_of(found, "nvmlReturn")
    if code:
        return error_of(code)
    kind = member_of(found, "valueType")
    member = _FIELD_MEMBERS[kind] if kind < len(_FIELD_MEMBERS) else "ullVal"
    value = getattr(member_of(found, "value"), member)
    if value == NO_ULL or (member == "uiVal" and value == NO_UINT):
        return Unsupported(pynvml.NVML_ERROR_NOT_SUPPORTED)
    return float(value) if member == "dVal" else int(value)
