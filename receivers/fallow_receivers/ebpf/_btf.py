"""The kernel's own description of its types, for BCC: the structs of probes/kernel.h, filled out to the offsets of the
running kernel. What libbpf does for prebuilt objects this does for sources."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Final

_MAGIC: Final = 0xEB9F
_HEADER: Final = struct.Struct("<HBBIIIII")
_TYPE: Final = struct.Struct("<III")
_MEMBER: Final = struct.Struct("<III")
_STRUCT, _UNION, _ENUM, _ENUM64 = 4, 5, 6, 19
# Bytes behind a type's head, by kind: fixed, and for each of its members.
_TAIL: Final[Mapping[int, tuple[int, int]]] = {
    1: (4, 0),
    3: (12, 0),
    _STRUCT: (0, 12),
    _UNION: (0, 12),
    _ENUM: (0, 8),
    13: (0, 8),
    14: (4, 0),
    15: (0, 12),
    17: (4, 0),
    _ENUM64: (0, 12),
}
_DECLARED: Final = re.compile(r"^struct (\w+) \{\n(.*?)^\}.*?;\n", re.MULTILINE | re.DOTALL)
_FIELD: Final = re.compile(r"^\s+(.*?[\s*])(\w+)(\[\d+\])?;$", re.MULTILINE)
_CONTROLLER: Final = "memory_cgrp_id"


class BtfError(ValueError):
    """Type information that lacks what is needed."""


class Btf:
    """Type information as bytes; finding one type's place takes a walk over all that stand before it."""

    def __init__(self, data: bytes) -> None:
        magic, _, _, head, types, length, strings, strings_length = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise BtfError("no BTF of this machine's byte order")
        self._data = data
        self._strings = data[head + strings : head + strings + strings_length]
        self._at: list[int] = [0]
        at, end = head + types, head + types + length
        while at < end:
            self._at.append(at)
            _, info, _ = _TYPE.unpack_from(data, at)
            fixed, each = _TAIL.get(info >> 24 & 31, (0, 0))
            at += _TYPE.size + fixed + each * (info & 0xFFFF)

    def offsets(self, wanted: Mapping[str, object]) -> dict[str, dict[str, int]]:
        """Struct → field → offset in bytes, also of fields in nameless members."""
        names = {self._offset_of(name): name for name in wanted}
        found: dict[str, dict[str, int]] = {}
        for at in self._at[1:]:
            name, info, _ = _TYPE.unpack_from(self._data, at)
            if name in names and info >> 24 & 31 == _STRUCT and info & 0xFFFF:
                found.setdefault(names[name], self._fields(at, 0))
        return found

    def enumerator(self, name: str) -> int | None:
        """Value of a constant of any enum."""
        wanted = self._offset_of(name)
        for at in self._at[1:]:
            _, info, _ = _TYPE.unpack_from(self._data, at)
            if info >> 24 & 31 == _ENUM:
                for i in range(info & 0xFFFF):
                    key, value = struct.unpack_from("<Ii", self._data, at + _TYPE.size + 8 * i)
                    if key == wanted:
                        return int(value)
        return None

    def _fields(self, at: int, base: int) -> dict[str, int]:
        _, info, _ = _TYPE.unpack_from(self._data, at)
        fields: dict[str, int] = {}
        for i in range(info & 0xFFFF):
            name, type, bits = _MEMBER.unpack_from(self._data, at + _TYPE.size + 12 * i)
            offset = base + ((bits & 0xFFFFFF) if info >> 31 else bits) // 8
            if name:
                fields[self._name(name)] = offset
            elif _TYPE.unpack_from(self._data, self._at[type])[1] >> 24 & 31 in (_STRUCT, _UNION):
                fields |= self._fields(self._at[type], offset)
        return fields

    def _name(self, at: int) -> str:
        return self._strings[at : self._strings.index(b"\0", at)].decode()

    def _offset_of(self, name: str) -> int:
        at = self._strings.find(b"\0" + name.encode() + b"\0")
        return -1 if at < 0 else at + 1


def fill_out(header: str, data: bytes) -> str:
    """The structs of a header with each field where the kernel has it.

    Raises:
        BtfError: the kernel lacks a field.
    """
    btf = Btf(data)
    declared = [(m[1], [(f[1], f[2], f[3] or "") for f in _FIELD.finditer(m[2])]) for m in _DECLARED.finditer(header)]
    offsets = btf.offsets(dict(declared))
    controller = btf.enumerator(_CONTROLLER)
    if controller is None:
        raise BtfError("the kernel has no memory cgroups")
    lines = [f"#define MEMORY_CGRP_ID {controller}"]
    for name, fields in declared:
        lines.append(f"struct {name} {{ union {{")
        for type, field, size in fields:
            if field not in offsets.get(name, {}):
                raise BtfError(f"struct {name} of this kernel has no field {field}")
            at = offsets[name][field]
            before = f"char _before_{field}[{at}]; " if at else ""
            lines.append(f"    struct {{ {before}{type}{field}{size}; }} __attribute__((packed));")
        lines.append("}; };")
    return "\n".join(lines) + "\n"
