"""NVIDIA's management library: the calls that Fallow makes, in plain values, with errors sorted by what follows from them.

Everything here blocks, some of it for long on a GPU that is unwell: never call it in an event loop.
"""

from fallow.clients.nvml.errors import FOREIGN_LIBRARY, DeviceGone, DriverGone, Failed, NvmlError, Unsupported
from fallow.clients.nvml.gpm import GpmWindow
from fallow.clients.nvml.library import Nvml
from fallow.clients.nvml.values import DeviceEvent, EventSet, Handle, Memory, Process, ProcessSample, key

__all__ = [
    "FOREIGN_LIBRARY",
    "DeviceEvent",
    "DeviceGone",
    "DriverGone",
    "EventSet",
    "Failed",
    "GpmWindow",
    "Handle",
    "Memory",
    "Nvml",
    "NvmlError",
    "Process",
    "ProcessSample",
    "Unsupported",
    "key",
]
