"""Functions of a shared library: where in the file a probe belongs."""

from __future__ import annotations

import mmap
import os
import platform
import struct
from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_HEADER: Final = struct.Struct("<16xHHIQQQIHHHHHH")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_SEGMENT: Final = struct.Struct("<IIQQQQQQ")
_SYMBOL: Final = struct.Struct("<IBBHQQ")
_DYNSYM, _LOAD, _FUNCTION, _INDIRECT = 11, 1, 2, 10
_MAGIC: Final = b"\x7fELF\x02\x01"  # 64 bits, little endian

_ENDBR: Final = b"\xf3\x0f\x1e\xfa"
_COMPARE: Final = b"\x81\x3d"  # cmpl $imm32, disp32(%rip): 10 bytes
_JUMPS: Final = (0x74, 0x75)
_LONGEST_NAME: Final = 256
_PROBE_SIZE: Final = 4  # a breakpoint has one byte on x86-64, four on arm64


class ElfError(ValueError):
    """A file that is no shared library of this machine."""


def functions(path: Path, wanted: Collection[str]) -> dict[str, int]:
    """Names that the library exports, of those wanted → offset in the file of the instruction to probe.

    Raises:
        OSError: the file cannot be read.
        ElfError: it is not what it should be.
    """
    try:
        with _opened(path) as fd, mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as data:
            return _functions(data, set(wanted))
    except (struct.error, IndexError, OverflowError, ValueError) as error:
        raise ElfError(f"{path} is damaged: {error}") from error


def is_probed(path: Path, offset: int) -> bool:
    """Whether the kernel has a probe at a place of a file: it puts it into every private mapping, not into the file."""
    page = offset - offset % mmap.PAGESIZE
    end = offset - page + _PROBE_SIZE
    with _opened(path) as fd, mmap.mmap(fd, end, mmap.MAP_PRIVATE, mmap.PROT_READ, offset=page) as mapped:
        return mapped[offset - page : end] != os.pread(fd, _PROBE_SIZE, offset)


def skip(code: bytes, machine: str = "") -> int:
    """Bytes to go past, so that the kernel need not single-step the instruction that the probe replaces.

    libcuda's functions begin with a comparison against memory, which costs ten microseconds a call to step; the jump
    behind it the kernel emulates in a twentieth of that. Stack and arguments are the same there. An unknown beginning
    is not skipped.
    """
    if (machine or platform.machine()) != "x86_64":
        return 0
    at = len(_ENDBR) if code.startswith(_ENDBR) else 0
    if code[at : at + 2] == _COMPARE and len(code) > at + 10 and code[at + 10] in _JUMPS:
        at += 10
    return at


@contextmanager
def _opened(path: Path) -> Generator[int]:
    """Its descriptor; what a process put there in the library's place must not make us wait."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _functions(data: mmap.mmap, wanted: set[str]) -> dict[str, int]:
    if data[:6] != _MAGIC:
        raise ElfError("no 64-bit little-endian ELF file")
    _, _, _, _, phoff, shoff, _, _, phsize, phnum, shsize, shnum, _ = _HEADER.unpack_from(data)
    sections = [_SECTION.unpack_from(data, shoff + i * shsize) for i in range(shnum)]
    segments = [s for i in range(phnum) if (s := _SEGMENT.unpack_from(data, phoff + i * phsize))[0] == _LOAD]
    symbols = next((s for s in sections if s[1] == _DYNSYM), None)
    if symbols is None:
        return {}
    names = sections[symbols[6]][4]
    found: dict[str, int] = {}
    for at in range(symbols[4], symbols[4] + symbols[5], _SYMBOL.size):
        name, info, _, _, address, _ = _SYMBOL.unpack_from(data, at)
        if info & 15 not in (_FUNCTION, _INDIRECT) or not address:
            continue
        text = data[names + name : names + name + _LONGEST_NAME].partition(b"\0")[0].decode(errors="replace")
        if text in wanted:
            offset = next((address - s[3] + s[2] for s in segments if s[3] <= address < s[3] + s[5]), None)
            if offset is not None:
                found[text] = offset + skip(data[offset : offset + 16])
    return found
