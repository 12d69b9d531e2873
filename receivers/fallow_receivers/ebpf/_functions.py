"""The functions of CUDA and NCCL that are probed, and what each of them means.

CUDA by its driver's library: libcudart calls it, linked in or not, and one file serves every container of the node.
Bytes are those that were asked for; what the GPU does with it later is not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fallow_receivers.ebpf._what import COLLECTIVES, COPY_KINDS, SYNCHRONISE, What


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """How one function is counted."""

    what: What
    detail: int = 0
    size: int = 0
    """Number of the argument that says how much, from 1; 0: none does."""
    type: int = 0
    """Number of the argument with NCCL's data type, by whose size ``size`` is multiplied."""
    timed: bool = False
    """Whether its return is probed too: for how long it took and whether it failed."""

    @property
    def cookie(self) -> int:
        """As probes/calls.bpf.c takes it apart."""
        return self.what | self.detail << 16 | self.size << 32 | self.type << 36


def _copy(kind: str, size: int = 3) -> Function:
    return Function(what=What.CUDA_COPY, detail=COPY_KINDS.index(kind), size=size)


def _wait(scope: str) -> Function:
    return Function(what=What.CUDA_SYNCHRONISE, detail=SYNCHRONISE.index(scope), timed=True)


def _collective(name: str, count: int, type: int) -> Function:
    return Function(what=What.NCCL_CALL, detail=COLLECTIVES.index(name), size=count, type=type)


_LAUNCH: Final = Function(what=What.CUDA_LAUNCH)
_GRAPH: Final = Function(what=What.CUDA_GRAPH)
_ALLOCATE: Final = Function(what=What.CUDA_ALLOCATE, size=2, timed=True)
_FREE: Final = Function(what=What.CUDA_FREE)
_STREAM: Final = "_ptsz"  # each also under this name: the variant of programs with a default stream for each thread
_DEFAULT: Final = "_ptds"

CUDA: Final[dict[str, Function]] = {
    **{
        name + variant: function
        for variant in ("", _STREAM)
        for name, function in {
            "cuLaunchKernel": _LAUNCH,
            "cuLaunchKernelEx": _LAUNCH,
            "cuLaunchCooperativeKernel": _LAUNCH,
            "cuGraphLaunch": _GRAPH,
            "cuMemcpyAsync": _copy("unspecified"),
            "cuMemcpyHtoDAsync_v2": _copy("host_to_device"),
            "cuMemcpyDtoHAsync_v2": _copy("device_to_host"),
            "cuMemcpyDtoDAsync_v2": _copy("device_to_device"),
            "cuMemcpyPeerAsync": _copy("peer_to_peer", 5),
            "cuStreamSynchronize": _wait("stream"),
            "cuMemAllocAsync": _ALLOCATE,
            "cuMemAllocFromPoolAsync": _ALLOCATE,
            "cuMemFreeAsync": _FREE,
        }.items()
    },
    **{
        name + variant: function
        for variant in ("", _DEFAULT)
        for name, function in {
            "cuMemcpy": _copy("unspecified"),
            "cuMemcpyHtoD_v2": _copy("host_to_device"),
            "cuMemcpyDtoH_v2": _copy("device_to_host"),
            "cuMemcpyDtoD_v2": _copy("device_to_device"),
            "cuMemcpyPeer": _copy("peer_to_peer", 5),
        }.items()
    },
    "cuLaunchCooperativeKernelMultiDevice": _LAUNCH,
    "cuCtxSynchronize": _wait("context"),
    "cuEventSynchronize": _wait("event"),
    "cuMemAlloc_v2": _ALLOCATE,
    "cuMemAllocManaged": _ALLOCATE,
    "cuMemCreate": _ALLOCATE,
    "cuMemFree_v2": _FREE,
    "cuMemRelease": _FREE,
}

# ncclBcast calls ncclBroadcast, and the pnccl names are the same code: probed as well they would count twice.
NCCL: Final[dict[str, Function]] = {
    "ncclAllReduce": _collective("all_reduce", 3, 4),
    "ncclReduceScatter": _collective("reduce_scatter", 3, 4),
    "ncclAllGather": _collective("all_gather", 3, 4),
    "ncclBroadcast": _collective("broadcast", 3, 4),
    "ncclReduce": _collective("reduce", 3, 4),
    "ncclSend": _collective("send", 2, 3),
    "ncclRecv": _collective("receive", 2, 3),
    "ncclAlltoAll": _collective("all_to_all", 3, 4),
    "ncclGather": _collective("gather", 3, 4),
    "ncclScatter": _collective("scatter", 3, 4),
}
