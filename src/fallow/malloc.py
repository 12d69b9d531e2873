"""Tuning of glibc's allocator for a process that receives requests of megabytes.

By default glibc gives the memory of each large request back to the kernel and faults it in again for the next one:
several hundred page faults a request, a third of the work of receiving it.
"""

from __future__ import annotations

import ctypes
import platform

# Parameter numbers of mallopt(3), from malloc.h. The order matters: the mmap threshold may not be above 32 MiB.
_M_MMAP_THRESHOLD = -3
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_ARENA_MAX = -8
_SETTINGS = (
    (_M_MMAP_THRESHOLD, 32 << 20),
    (_M_TRIM_THRESHOLD, 1 << 30),
    (_M_TOP_PAD, 64 << 20),
    (_M_ARENA_MAX, 2),
)


def tune() -> bool:
    """Keep freed memory for the next request; True where glibc took every setting, False where there is no glibc.

    Affects the whole process and cannot be undone: for the service's start, not for a library's import.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    return all(mallopt(parameter, value) == 1 for parameter, value in _SETTINGS)
