"""Where programs come from: prebuilt objects through libbpf, or sources through BCC."""

from __future__ import annotations

import errno
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from fallow.clients import bcc, libbpf
from fallow.clients.bpf import UPROBE_MULTI_SINCE, Loaded, release
from fallow_receivers.ebpf import _btf

PROBES: Final = Path(__file__).with_name("probes")
VMLINUX: Final = Path("/sys/kernel/btf/vmlinux")

Reason = Literal["no_cap", "no_btf", "no_hook", "no_pmu", "no_library", "waiting"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a group does not measure."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """The programs of a group, in the file probes/NAME.bpf.c."""

    name: str
    kinds: Mapping[str, str]
    """Program → function, raw_tracepoint or perf_event."""
    maps: tuple[str, ...] = ("sums", "lost")
    needs_btf: bool = True


_CALLS: Final = Programs(
    name="calls", kinds=dict.fromkeys(("count_call", "enter_call", "leave_call"), "function"), needs_btf=False
)
BLOCK_ISSUE: Final = "on_block_rq_issue" if release() >= (5, 11) else "on_block_rq_issue_with_queue"

PROGRAMS: Final[Mapping[str, Programs]] = {
    "cuda": _CALLS,
    "nccl": _CALLS,
    "sched": Programs(name="sched", kinds={"on_sched_switch": "raw_tracepoint"}),
    "block": Programs(name="block", kinds=dict.fromkeys((BLOCK_ISSUE, "on_block_rq_complete"), "raw_tracepoint")),
    "net": Programs(
        name="net",
        kinds=dict.fromkeys(("on_sock_send_length", "on_sock_recv_length", "on_tcp_retransmit_skb"), "raw_tracepoint"),
    ),
    "memory": Programs(
        name="memory",
        kinds={"on_major_fault": "perf_event", "on_mark_victim": "raw_tracepoint"},
        maps=("sums", "lost", "victims"),
    ),
    "perf": Programs(name="perf", kinds={"on_sched_switch": "raw_tracepoint"}, maps=("sums", "lost", "counters")),
}


class Backend(Protocol):
    """Loads the programs of groups."""

    name: str

    def load(self, groups: Sequence[str]) -> dict[str, Loaded | Refusal]:
        """For each group its programs, or why there are none; never raises for what the system lacks."""
        ...


class LibbpfBackend:
    """Prebuilt objects, moved to this kernel by its type information."""

    name = "libbpf"

    def load(self, groups: Sequence[str]) -> dict[str, Loaded | Refusal]:
        try:
            library = libbpf.Libbpf()
        except (OSError, AttributeError) as error:  # AttributeError: a version that is too old
            return dict.fromkeys(groups, Refusal(reason="no_library", message=str(error)))
        return {group: self._load(library, PROGRAMS[group]) for group in groups}

    def _load(self, library: libbpf.Libbpf, programs: Programs) -> Loaded | Refusal:
        file = object_file(programs.name)
        if not file.exists():
            return Refusal(reason="no_library", message=f"{file} was not built: make probes")
        if programs.needs_btf and not VMLINUX.exists():
            return Refusal(reason="no_btf", message=f"{VMLINUX} is missing")
        try:
            return library.load(
                file.read_bytes(), programs=list(programs.kinds), uprobe_multi=release() >= UPROBE_MULTI_SINCE
            )
        except libbpf.LibbpfError as error:
            # The verifier's own refusals are EACCES and EINVAL.
            reason: Reason = "no_cap" if error.errno == errno.EPERM else "no_hook"
            return Refusal(reason=reason, message=f"{error}; {error.said[-300:]}")


class BccBackend:
    """Sources, compiled on this node."""

    name = "bcc"

    def load(self, groups: Sequence[str]) -> dict[str, Loaded | Refusal]:
        module = bcc.find()
        if module is None:
            return dict.fromkeys(groups, Refusal(reason="no_library", message="no BCC: install python3-bpfcc"))
        results: dict[str, Loaded | Refusal] = {}
        sources: dict[str, bcc.Source] = {}
        kernel = _kernel() if any(PROGRAMS[g].needs_btf for g in groups) else None
        for group in groups:
            programs = PROGRAMS[group]
            if programs.needs_btf and kernel is None:
                results[group] = Refusal(reason="no_btf", message=f"{VMLINUX} is missing or cannot be read")
            else:
                text = source(programs.name, kernel or "")
                sources[group] = bcc.Source(text=text, programs=programs.kinds, maps=programs.maps)
        built = bcc.compile_all(sources, PROBES / "bcc", uprobe_multi=release() >= UPROBE_MULTI_SINCE, module=module)
        for group, result in built.items():
            if isinstance(result, Loaded):
                results[group] = result
            else:
                reason: Reason = "no_cap" if result.permission else "no_hook"
                results[group] = Refusal(reason=reason, message=result.message)
        return results


def object_file(name: str) -> Path:
    """The prebuilt object; only that of calls reads registers and differs between machines."""
    machine = f".{platform.machine()}" if name == "calls" else ""
    return PROBES / f"{name}{machine}.bpf.o"


def source(name: str, kernel: str) -> str:
    """A source with its headers put in, as BCC wants it, and with the kernel's structs as this kernel has them."""
    return "#define FALLOW_BCC\n" + _inline(PROBES / f"{name}.bpf.c", kernel)


def _inline(file: Path, kernel: str) -> str:
    def included(match: re.Match[str]) -> str:
        return kernel if match[1] == "kernel.h" else _inline(PROBES / match[1], kernel)

    text = file.read_text().replace("#pragma once\n", "")
    return re.sub(r'#include "(.+)"\n', included, text)


def _kernel() -> str | None:
    try:
        return _btf.fill_out((PROBES / "kernel.h").read_text(), VMLINUX.read_bytes())
    except (OSError, _btf.BtfError):
        return None
