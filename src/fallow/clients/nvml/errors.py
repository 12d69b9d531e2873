"""What the library answers where it gives no value, sorted by what follows from it; and the one way to call it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pynvml

from fallow.errors import FallowError


class NvmlError(FallowError):
    """What the library answered; ``reason`` is one lower-case word for it, from the name of its code."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.reason = _REASONS.get(code, f"error_{code}")
        super().__init__(self.reason)


class Unsupported(NvmlError):
    """This device, this driver or the rights of this process do not give it; the next call will not either."""


class DeviceGone(NvmlError):
    """The device does not answer until it is reset or comes back."""


class DriverGone(NvmlError):
    """There is no driver, or another one than the library's."""


class Failed(NvmlError):
    """This call failed; the next may not."""


_REASONS: Final[Mapping[int, str]] = {
    value: name.removeprefix("NVML_ERROR_").lower()
    for name, value in vars(pynvml).items()
    if name.startswith("NVML_ERROR_") and type(value) is int
}
SORTED: Final[Mapping[int, type[NvmlError]]] = {
    pynvml.NVML_ERROR_NOT_SUPPORTED: Unsupported,
    pynvml.NVML_ERROR_NO_PERMISSION: Unsupported,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: Unsupported,  # the driver is older than the function
    pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH: Unsupported,
    pynvml.NVML_ERROR_DEPRECATED: Unsupported,
    pynvml.NVML_ERROR_GPU_IS_LOST: DeviceGone,
    pynvml.NVML_ERROR_RESET_REQUIRED: DeviceGone,
    pynvml.NVML_ERROR_GPU_NOT_FOUND: DeviceGone,
    pynvml.NVML_ERROR_UNINITIALIZED: DriverGone,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: DriverGone,
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: DriverGone,
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: DriverGone,
}
FOREIGN_LIBRARY: Final = "lib_rm_version_mismatch"


def error_of(code: int) -> NvmlError:
    """The error that a code stands for."""
    return SORTED.get(code, Failed)(code)


def call(name: str, *args: Any) -> Any:
    """Call a function of pynvml.

    Raises:
        NvmlError: what the library answered.
    """
    try:
        return getattr(pynvml, name)(*args)
    except pynvml.NVMLError as error:
        raise error_of(int(vars(error)["value"])) from None
