"""BCC as a compiler: a child compiles and loads, hands the descriptors over and ends.

BCC keeps LLVM in the process for good, some 110 MB; of the child nothing is left but what the kernel holds. The module
comes from the system's package (python3-bpfcc, bcc-tools): PyPI's ``bcc`` is something else.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fallow.clients.bpf import ATTACH_UPROBE_MULTI, Loaded

PLACES: Final = (
    "/usr/lib/python3/dist-packages",
    "/usr/lib/python3*/site-packages",
    "/usr/lib64/python3*/site-packages",
)
PATIENCE_S: Final = 60.0
_CHILD: Final = Path(__file__).with_name("bcc_child.py")
_LARGEST_WORD: Final = 1 << 16
_MOST_FDS: Final = 64

# enum bpf_prog_type of include/uapi/linux/bpf.h.
PROGRAM_TYPES: Final = {"function": 2, "perf_event": 7, "raw_tracepoint": 17}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Programs to compile together."""

    text: str
    programs: Mapping[str, str]
    """Name of each program → its kind: function, perf_event or raw_tracepoint."""
    maps: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why there are no programs."""

    permission: bool
    message: str


def find(places: Sequence[str] = PLACES) -> Path | None:
    """Folder in which the system's BCC module is; None where there is none."""
    for place in places:
        root = Path(place)
        for folder in sorted(root.parent.parent.glob(f"{root.parent.name}/{root.name}"), reverse=True):
            if (folder / "bcc" / "libbcc.py").exists():  # PyPI's module of this name has none
                return folder / "bcc"
    return None


def compile_all(
    sources: Mapping[str, Source], headers: Path, *, uprobe_multi: bool, module: Path
) -> dict[str, Loaded | Refused]:
    """Compile and load each source in a child of its own life; a source that fails leaves the others alone.

    Args:
        sources: by any name.
        headers: folder that stands in for the kernel's headers.
        uprobe_multi: prepare programs for functions to be attached many at a time.
        module: the folder that ``find`` gave.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    attach = ATTACH_UPROBE_MULTI if uprobe_multi else -1
    order = {
        "module": str(module),
        "sources": {
            name: {
                "text": source.text,
                "maps": list(source.maps),
                "programs": {
                    program: [PROGRAM_TYPES[kind], attach if kind == "function" else -1]
                    for program, kind in source.programs.items()
                },
            }
            for name, source in sources.items()
        },
    }
    environment = os.environ | {"BCC_KERNEL_SOURCE": str(headers)}
    results: dict[str, Loaded | Refused] = {}
    with (
        ours,
        subprocess.Popen(
            [sys.executable, "-I", str(_CHILD), str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
        ) as child,
    ):
        theirs.close()
        try:
            assert child.stdin is not None
            child.stdin.write(json.dumps(order).encode())
            child.stdin.close()
            ours.settimeout(PATIENCE_S)
            for _ in sources:
                word, fds, _, _ = socket.recv_fds(ours, _LARGEST_WORD, _MOST_FDS, socket.MSG_CMSG_CLOEXEC)
                if not word:
                    break
                name, result = _result(json.loads(word), fds, uprobe_multi)
                results[name] = result
        except (TimeoutError, BrokenPipeError):
            pass
        finally:
            child.kill()
        said = child.stderr.read().decode(errors="replace").strip() if child.stderr else ""
    missing = Refused(permission=False, message=f"BCC's child ended early: {said[-500:] or 'it said nothing'}")
    return {name: results.get(name, missing) for name in sources}


def _result(word: dict[str, object], fds: list[int], uprobe_multi: bool) -> tuple[str, Loaded | Refused]:
    name = str(word["name"])
    if "error" in word:
        return name, Refused(permission=bool(word["permission"]), message=str(word["error"]))
    programs, maps = word["programs"], word["maps"]
    assert isinstance(programs, list)
    assert isinstance(maps, list)
    return name, Loaded(
        programs=dict(zip(programs, fds, strict=False)),
        maps=dict(zip(maps, fds[len(programs) :], strict=True)),
        uprobe_multi=uprobe_multi,
    )
