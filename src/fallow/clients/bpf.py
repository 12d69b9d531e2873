"""The kernel's bpf(2) and perf_event_open(2): attach loaded programs, read their maps.

Nothing here needs a library: programs come as file descriptors, from libbpf or from BCC. Whatever is attached ends
with the process that holds its descriptor, however it ends.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

# System call numbers: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h.
_SYSCALLS: Final = {"x86_64": (321, 298), "aarch64": (280, 241)}

# enum bpf_cmd and enum bpf_attach_type of include/uapi/linux/bpf.h.
_LOOKUP, _UPDATE, _DELETE = 1, 2, 3
_RAW_TRACEPOINT_OPEN, _LOOKUP_AND_DELETE, _LOOKUP_BATCH, _LINK_CREATE = 17, 21, 24, 28
ATTACH_PERF_EVENT: Final = 41
ATTACH_UPROBE_MULTI: Final = 48
_UPROBE_MULTI_RETURN: Final = 1
_NOT_SUPPORTED: Final = 524  # ENOTSUPP, which only the kernel knows

# enum perf_type_id, perf_hw_id and perf_sw_ids of include/uapi/linux/perf_event.h.
PERF_HARDWARE, PERF_SOFTWARE = 0, 1
HW_CYCLES, HW_INSTRUCTIONS, HW_CACHE_REFERENCES, HW_CACHE_MISSES = 0, 1, 2, 3
SW_CPU_CLOCK, SW_MAJOR_FAULTS = 0, 6
_PERF_ATTR_SIZE: Final = 128
_TOTAL_TIMES: Final = 3  # read_format: the time enabled and the time running
_CLOSE_ON_EXEC: Final = 8

UPROBE_MULTI_SINCE: Final = (6, 6)
"""First Linux with uprobe_multi: one descriptor for any number of functions, without CAP_SYS_ADMIN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Programs that the kernel has verified, and their maps, as file descriptors that are ours to close."""

    programs: Mapping[str, int]
    maps: Mapping[str, int]
    uprobe_multi: bool = False
    """Whether programs for functions are attached many at a time."""

    def close(self) -> None:
        for fd in (*self.programs.values(), *self.maps.values()):
            os.close(fd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in a file of machine code at which a program is run, and the cookie that it is told."""

    offset: int
    cookie: int


@dataclass(slots=True)
class Links:
    """What is attached; closing detaches it."""

    fds: list[int] = field(default_factory=list[int])

    def raw_tracepoint(self, program: int, name: str) -> None:
        """Run a program at a tracepoint; raises OSError (ENOENT: the kernel has none of that name)."""
        text = ctypes.create_string_buffer(name.encode())
        attr = struct.pack("<QII", ctypes.addressof(text), program, 0)
        self.fds.append(_bpf(_RAW_TRACEPOINT_OPEN, attr, f"attach to the tracepoint {name}"))

    def perf_event(self, program: int, event: int) -> None:
        """Run a program each time a perf event counts to its period; the event's descriptor is taken over."""
        try:
            attr = struct.pack("<IIIIQ", program, event, ATTACH_PERF_EVENT, 0, 0)
            self.fds.append(_bpf(_LINK_CREATE, attr, "attach to a perf event"))
        finally:
            os.close(event)

    def functions(self, program: int, path: str, places: Sequence[Place], *, on_return: bool, multi: bool) -> None:
        """Run a program when functions of a file are entered, or when they return."""
        if multi:
            self._uprobe_multi(program, path, places, on_return)
        else:
            for place in places:
                self._uprobe(program, path, place, on_return)

    def close(self) -> None:
        fds, self.fds = self.fds, []
        for fd in fds:
            os.close(fd)

    def _uprobe_multi(self, program: int, path: str, places: Sequence[Place], on_return: bool) -> None:
        name = ctypes.create_string_buffer(os.fsencode(path))
        offsets = (ctypes.c_uint64 * len(places))(*(p.offset for p in places))
        cookies = (ctypes.c_uint64 * len(places))(*(p.cookie for p in places))
        attr = struct.pack(
            "<IIIIQQQQIIII",
            *(program, 0, ATTACH_UPROBE_MULTI, 0),
            *(ctypes.addressof(name), ctypes.addressof(offsets), 0, ctypes.addressof(cookies)),
            *(len(places), _UPROBE_MULTI_RETURN if on_return else 0, 0, 0),
        )
        self.fds.append(_bpf(_LINK_CREATE, attr, f"attach to {len(places)} functions of {path}"))

    def _uprobe(self, program: int, path: str, place: Place, on_return: bool) -> None:
        source = Path("/sys/bus/event_source/devices/uprobe")
        kind = int((source / "type").read_text())
        bit = int((source / "format" / "retprobe").read_text().partition(":")[2])
        name = ctypes.create_string_buffer(os.fsencode(path))
        event = perf_event(
            kind, (1 << bit) if on_return else 0, cpu=0, config1=ctypes.addressof(name), config2=place.offset
        )
        try:
            attr = struct.pack("<IIIIQ", program, event, ATTACH_PERF_EVENT, 0, place.cookie)
            self.fds.append(_bpf(_LINK_CREATE, attr, f"attach to {path} at {place.offset:#x}"))
        finally:
            os.close(event)


def perf_event(kind: int, config: int, *, cpu: int, period: int = 0, config1: int = 0, config2: int = 0) -> int:
    """Descriptor of a counter of one CPU, over all processes; raises OSError (ENOENT: no such counter here)."""
    attr = struct.pack(
        "<IIQQQQQIIQQ", kind, _PERF_ATTR_SIZE, config, period, 0, _TOTAL_TIMES, 0, 0, 0, config1, config2
    ).ljust(_PERF_ATTR_SIZE, b"\0")
    buffer = ctypes.create_string_buffer(attr, len(attr))
    number = _numbers()[1]
    fd: int = _libc().syscall(number, buffer, -1, cpu, -1, _CLOSE_ON_EXEC)
    if fd < 0:
        raise _error("open a perf event")
    return fd


def read_all(fd: int, key_size: int, value_size: int) -> tuple[bytes, bytes]:
    """All keys and values of a hash map, one behind the other; what changes meanwhile is read before or after."""
    size, keys, values = 4096, bytearray(), bytearray()
    token = ctypes.create_string_buffer(max(key_size, 8))
    begun = False
    while True:
        some_keys = ctypes.create_string_buffer(key_size * size)
        some_values = ctypes.create_string_buffer(value_size * size)
        attr = ctypes.create_string_buffer(
            struct.pack(
                "<QQQQIIQQ",
                *(ctypes.addressof(token) if begun else 0, ctypes.addressof(token)),
                *(ctypes.addressof(some_keys), ctypes.addressof(some_values)),
                *(size, fd, 0, 0),
            )
        )
        result = _call(_LOOKUP_BATCH, attr)
        code = ctypes.get_errno() if result < 0 else 0
        if code == errno.ENOSPC and size < 1 << 20:  # a bucket is larger than the room
            size *= 2
            continue
        if code not in (0, errno.ENOENT):
            raise _error("read a map", code)
        count = struct.unpack_from("<I", attr.raw, 32)[0]
        keys += some_keys.raw[: key_size * count]
        values += some_values.raw[: value_size * count]
        begun = True
        if code == errno.ENOENT:
            return bytes(keys), bytes(values)


def get(fd: int, key: bytes, value_size: int) -> bytes | None:
    """The value of a key; None where there is none."""
    return _value(_LOOKUP, fd, key, value_size)


def take(fd: int, key: bytes, value_size: int) -> bytes | None:
    """The value of a key, which is gone afterwards; of a queue (its key is empty) the oldest. None: there is none."""
    try:
        return _value(_LOOKUP_AND_DELETE, fd, key, value_size)
    except OSError as error:  # hash maps can since Linux 5.14
        if not key or error.errno not in (errno.EINVAL, _NOT_SUPPORTED):
            raise
    value = _value(_LOOKUP, fd, key, value_size)
    _value(_DELETE, fd, key, 0)
    return value


def put(fd: int, key: bytes, value: bytes) -> None:
    """Set the value of a key."""
    k, v = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    _bpf(_UPDATE, struct.pack("<IIQQQ", fd, 0, ctypes.addressof(k), ctypes.addressof(v), 0), "write to a map")


def release() -> tuple[int, int]:
    """Version of the running kernel."""
    major, minor = platform.release().split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()))


def online_cpus(path: str = "/sys/devices/system/cpu/online") -> list[int]:
    """Numbers of the CPUs that run."""
    found: list[int] = []
    for part in Path(path).read_text().strip().split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _value(command: int, fd: int, key: bytes, value_size: int) -> bytes | None:
    k, v = ctypes.create_string_buffer(key, max(1, len(key))), ctypes.create_string_buffer(max(1, value_size))
    # A queue has no keys, and says so where it is given one.
    attr = struct.pack("<IIQQQ", fd, 0, ctypes.addressof(k) if key else 0, ctypes.addressof(v), 0)
    try:
        _bpf(command, attr, "read a map")
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return v.raw[:value_size]


def _bpf(command: int, attr: bytes, doing: str) -> int:
    result = _call(command, ctypes.create_string_buffer(attr, len(attr)))
    if result < 0:
        raise _error(doing)
    return result


def _call(command: int, attr: ctypes.Array[ctypes.c_char]) -> int:
    result: int = _libc().syscall(_numbers()[0], command, attr, len(attr))
    return result


def _error(doing: str, code: int | None = None) -> OSError:
    code = ctypes.get_errno() if code is None else code
    return OSError(code, f"{doing}: {os.strerror(code)}")


def _numbers() -> tuple[int, int]:
    machine = platform.machine()
    if machine not in _SYSCALLS:
        raise OSError(errno.ENOSYS, f"no system call numbers are known for {machine}; known: {', '.join(_SYSCALLS)}")
    return _SYSCALLS[machine]


_LIBC: list[ctypes.CDLL] = []


def _libc() -> ctypes.CDLL:
    if not _LIBC:
        _LIBC.append(ctypes.CDLL(None, use_errno=True))
    return _LIBC[0]
