"""libbpf.so.1 by ctypes, as little of it as loading needs: relocate a prebuilt object to this kernel and load it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from ctypes import c_bool, c_char_p, c_int, c_size_t, c_void_p
from typing import Any, Final

from fallow.clients.bpf import ATTACH_UPROBE_MULTI, Loaded

NAME: Final = "libbpf.so.1"
_PRINT = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
_WORST_WORD: Final = 1  # enum libbpf_print_level: warnings, and information
_SIGNATURES: Final[dict[str, tuple[Any, list[Any]]]] = {
    "libbpf_set_print": (c_void_p, [_PRINT]),
    "bpf_object__open_mem": (c_void_p, [c_char_p, c_size_t, c_void_p]),
    "bpf_object__load": (c_int, [c_void_p]),
    "bpf_object__close": (None, [c_void_p]),
    "bpf_object__next_program": (c_void_p, [c_void_p, c_void_p]),
    "bpf_program__name": (c_char_p, [c_void_p]),
    "bpf_program__fd": (c_int, [c_void_p]),
    "bpf_program__section_name": (c_char_p, [c_void_p]),
    "bpf_program__set_autoload": (c_int, [c_void_p, c_bool]),
    "bpf_program__set_expected_attach_type": (c_int, [c_void_p, c_int]),
    "bpf_object__next_map": (c_void_p, [c_void_p, c_void_p]),
    "bpf_map__name": (c_char_p, [c_void_p]),
    "bpf_map__fd": (c_int, [c_void_p]),
}


class LibbpfError(OSError):
    """An object could not be loaded; ``said`` is the end of what libbpf and the verifier said."""

    def __init__(self, code: int, doing: str, said: str) -> None:
        super().__init__(code, f"{doing}: {os.strerror(code)}")
        self.said = said


class Libbpf:
    """The library, loaded; raises OSError where the system has none."""

    def __init__(self, name: str = NAME) -> None:
        self._library = ctypes.CDLL(name, use_errno=True)
        for function, (result, arguments) in _SIGNATURES.items():
            entry = getattr(self._library, function)
            entry.restype, entry.argtypes = result, arguments
        self._said: list[str] = []
        self._listener = _PRINT(self._listen)  # must outlive the library's use of it
        self._library.libbpf_set_print(self._listener)

    def load(self, data: bytes, *, programs: Sequence[str] | None = None, uprobe_multi: bool = False) -> Loaded:
        """Load an object; its memory in this process is given back before this returns.

        Args:
            data: the object file.
            programs: those to load; None for all.
            uprobe_multi: prepare programs for functions to be attached many at a time.

        Raises:
            LibbpfError: the kernel or libbpf refused it.
        """
        lib = self._library
        self._said.clear()
        opened = lib.bpf_object__open_mem(data, len(data), None)
        if not opened:
            raise LibbpfError(ctypes.get_errno(), "open the object", self._ending())
        try:
            wanted: dict[str, int] = {}
            for program in self._each("program", opened):
                name = lib.bpf_program__name(program).decode()
                if programs is not None and name not in programs:
                    lib.bpf_program__set_autoload(program, False)
                    continue
                wanted[name] = program
                if uprobe_multi and lib.bpf_program__section_name(program) in (b"uprobe", b"uretprobe"):
                    lib.bpf_program__set_expected_attach_type(program, ATTACH_UPROBE_MULTI)
            code = lib.bpf_object__load(opened)
            if code:
                raise LibbpfError(-code, "load the object", self._ending())
            maps = {lib.bpf_map__name(m).decode(): lib.bpf_map__fd(m) for m in self._each("map", opened)}
            return Loaded(
                programs={name: os.dup(lib.bpf_program__fd(program)) for name, program in wanted.items()},
                maps={name: os.dup(fd) for name, fd in maps.items()},
                uprobe_multi=uprobe_multi,
            )
        finally:
            lib.bpf_object__close(opened)

    def _each(self, kind: str, opened: int) -> Iterator[int]:
        following = getattr(self._library, f"bpf_object__next_{kind}")
        at = following(opened, None)
        while at:
            yield at
            at = following(opened, at)

    def _listen(self, level: int, format: bytes, arguments: int) -> int:
        if level <= _WORST_WORD and len(self._said) < 200:
            text = ctypes.create_string_buffer(4096)
            ctypes.CDLL(None).vsnprintf(text, c_size_t(len(text)), format, c_void_p(arguments))
            self._said.append(text.value.decode(errors="replace"))
        return 0

    def _ending(self) -> str:
        return "".join(self._said)[-2000:].strip()


def available(name: str = NAME) -> str | None:
    """Why the library cannot be used here; None where it can."""
    try:
        ctypes.CDLL(name)
    except OSError as error:
        return str(error)
    return None
