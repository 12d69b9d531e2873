"""What the probes measure: the kernel's sums on one side, metrics on the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal, NamedTuple

from fallow import semconv


class What(IntEnum):
    """As in probes/sums.h; from RUN_QUEUE on only user space has them."""

    CUDA_LAUNCH = 1
    CUDA_GRAPH = 2
    CUDA_COPY = 3
    CUDA_ALLOCATE = 4
    CUDA_FREE = 5
    CUDA_SYNCHRONISE = 6
    CALL_ERROR = 7
    NCCL_CALL = 8
    SCHED = 9
    BLOCK = 10
    BLOCK_LATENCY = 11
    BLOCK_ERROR = 12
    TCP_IO = 13
    TCP_RETRANSMIT = 14
    MAJOR_FAULT = 15
    COUNTER = 16
    RUN_QUEUE = 100
    BLOCK_BYTES = 101
    CPU_TIME = 102


class Key(NamedTuple):
    """Whose sum of what."""

    cgroup: int
    tgid: int
    what: int
    detail: int


class Sum(NamedTuple):
    """Three numbers that only grow; which of them are used follows from ``what``."""

    times: int
    amount: int
    ns: int

    def since(self, before: Sum) -> Sum:
        """What it grew by; where it shrank somebody began anew."""
        if self.times < before.times or self.amount < before.amount or self.ns < before.ns:
            return self
        return Sum(self.times - before.times, self.amount - before.amount, self.ns - before.ns)

    def plus(self, other: Sum) -> Sum:
        return Sum(self.times + other.times, self.amount + other.amount, self.ns + other.ns)


NOTHING: Final = Sum(0, 0, 0)

COPY_KINDS: Final = ("host_to_device", "device_to_host", "device_to_device", "peer_to_peer", "unspecified")
SYNCHRONISE: Final = ("stream", "context", "event")
COLLECTIVES: Final = (
    "all_reduce",
    "reduce_scatter",
    "all_gather",
    "broadcast",
    "reduce",
    "send",
    "receive",
    "all_to_all",
    "gather",
    "scatter",
)
DIRECTIONS: Final = ("read", "write")
TRANSMIT_RECEIVE: Final = ("transmit", "receive")
CYCLES, INSTRUCTIONS, CACHE_REFERENCES, CACHE_MISSES = range(4)

# CUresult of cuda.h and ncclResult_t of nccl.h that are worth a name; the others keep their number.
CUDA_ERRORS: Final = {
    1: "invalid_value",
    2: "out_of_memory",
    3: "not_initialized",
    4: "deinitialized",
    100: "no_device",
    201: "invalid_context",
    214: "ecc_uncorrectable",
    220: "nvlink_uncorrectable",
    400: "invalid_handle",
    700: "illegal_address",
    702: "launch_timeout",
    710: "assert",
    719: "launch_failed",
    999: "unknown",
}

Kind = Literal["sum", "gauge", "histogram"]
Number = int | float
Attributes = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric as it is sent."""

    name: str
    unit: str
    kind: Kind = "sum"


class Value(NamedTuple):
    """A point of a metric, but for whose it is."""

    metric: Metric
    attributes: Attributes
    value: Number


def _metric(name: str, kind: Kind = "sum") -> Metric:
    return Metric(name=name, unit=semconv.SIGNALS[name], kind=kind)


LAUNCHES: Final = _metric(semconv.CUDA_KERNEL_LAUNCHES)
GRAPHS: Final = _metric(semconv.CUDA_GRAPH_LAUNCHES)
COPIES: Final = _metric(semconv.CUDA_COPIES)
COPY_IO: Final = _metric(semconv.CUDA_COPY_IO)
ALLOCATIONS: Final = _metric(semconv.CUDA_ALLOCATIONS)
ALLOCATED: Final = _metric(semconv.CUDA_ALLOCATED)
FREES: Final = _metric(semconv.CUDA_FREES)
WAITS: Final = _metric(semconv.CUDA_WAITS)
WAIT_TIME: Final = _metric(semconv.CUDA_WAIT_TIME)
ERRORS: Final = _metric(semconv.CUDA_ERRORS)
NCCL_CALLS: Final = _metric(semconv.NCCL_CALLS)
NCCL_IO: Final = _metric(semconv.NCCL_IO)
RUN_QUEUE_TIME: Final = _metric(semconv.SCHED_RUN_QUEUE_TIME)
BLOCKED_TIME: Final = _metric(semconv.SCHED_BLOCKED_TIME)
MIGRATIONS: Final = _metric(semconv.SCHED_MIGRATIONS)
BLOCK_IO: Final = _metric(semconv.BLOCK_IO)
LATENCY: Final = _metric(semconv.BLOCK_LATENCY, "histogram")
BLOCK_ERRORS: Final = _metric(semconv.BLOCK_ERRORS)
TCP_IO: Final = _metric(semconv.TCP_IO)
RETRANSMITS: Final = _metric(semconv.TCP_RETRANSMITS)
MAJOR_FAULTS: Final = _metric(semconv.MAJOR_FAULTS)
COUNTERS: Final = tuple(
    _metric(name)
    for name in (semconv.CPU_CYCLES, semconv.CPU_INSTRUCTIONS, semconv.CACHE_REFERENCES, semconv.CACHE_MISSES)
)
CPU_TIME: Final = _metric(semconv.CPU_TIME)
IPC: Final = _metric(semconv.CPU_IPC, "gauge")
MISS_RATIO: Final = _metric(semconv.CACHE_MISS_RATIO, "gauge")

SLOTS: Final = range(10, 35)
"""Buckets of the latency are bounded by 2**slot ns: a microsecond to 17 seconds."""


def values(what: int, detail: int, sum: Sum) -> Iterator[Value]:
    """The points of a sum; a histogram's buckets are put together elsewhere."""
    made = _VALUES.get(what)
    return iter(()) if made is None else made(detail, sum)


def _count(metric: Metric) -> Callable[[int, Sum], Iterator[Value]]:
    return lambda detail, sum: iter([Value(metric, (), sum.times)])


def _cuda_copy(detail: int, sum: Sum) -> Iterator[Value]:
    kind = ((semconv.CUDA_COPY_KIND, COPY_KINDS[detail]),)
    yield Value(COPIES, kind, sum.times)
    yield Value(COPY_IO, kind, sum.amount)


def _cuda_allocate(detail: int, sum: Sum) -> Iterator[Value]:
    yield Value(ALLOCATIONS, (), sum.times)
    yield Value(ALLOCATED, (), sum.amount)


def _cuda_synchronise(detail: int, sum: Sum) -> Iterator[Value]:
    scope = ((semconv.CUDA_WAIT_SCOPE, SYNCHRONISE[detail]),)
    yield Value(WAITS, scope, sum.times)
    yield Value(WAIT_TIME, scope, sum.ns / 1e9)


def _call_error(detail: int, sum: Sum) -> Iterator[Value]:
    yield Value(ERRORS, ((semconv.ERROR_TYPE, CUDA_ERRORS.get(detail, str(detail))),), sum.times)


def _nccl(detail: int, sum: Sum) -> Iterator[Value]:
    operation = ((semconv.NCCL_OPERATION, COLLECTIVES[detail]),)
    yield Value(NCCL_CALLS, operation, sum.times)
    yield Value(NCCL_IO, operation, sum.amount)


def _sched(detail: int, sum: Sum) -> Iterator[Value]:
    yield Value(RUN_QUEUE_TIME, (), sum.ns / 1e9)
    yield Value(BLOCKED_TIME, (), sum.amount / 1e9)
    yield Value(MIGRATIONS, (), sum.times)


def _run_queue(detail: int, sum: Sum) -> Iterator[Value]:
    yield Value(RUN_QUEUE_TIME, (), sum.ns / 1e9)


def _block(detail: int, sum: Sum) -> Iterator[Value]:
    yield Value(BLOCK_IO, ((semconv.DISK_IO_DIRECTION, DIRECTIONS[detail]),), sum.amount)


def _block_error(detail: int, sum: Sum) -> Iterator[Value]:
    yield Value(BLOCK_ERRORS, ((semconv.DISK_IO_DIRECTION, DIRECTIONS[detail]),), sum.times)


def _tcp(detail: int, sum: Sum) -> Iterator[Value]:
    yield Value(TCP_IO, ((semconv.NETWORK_IO_DIRECTION, TRANSMIT_RECEIVE[detail]),), sum.amount)


def _counter(detail: int, sum: Sum) -> Iterator[Value]:
    yield Value(COUNTERS[detail], (), sum.amount)


def _cpu_time(detail: int, sum: Sum) -> Iterator[Value]:
    yield Value(CPU_TIME, (), sum.amount / 1e9)


_VALUES: Final[Mapping[int, Callable[[int, Sum], Iterator[Value]]]] = {
    What.CUDA_LAUNCH: _count(LAUNCHES),
    What.CUDA_GRAPH: _count(GRAPHS),
    What.CUDA_COPY: _cuda_copy,
    What.CUDA_ALLOCATE: _cuda_allocate,
    What.CUDA_FREE: _count(FREES),
    What.CUDA_SYNCHRONISE: _cuda_synchronise,
    What.CALL_ERROR: _call_error,
    What.NCCL_CALL: _nccl,
    What.SCHED: _sched,
    What.BLOCK: _block,
    What.BLOCK_ERROR: _block_error,
    What.TCP_IO: _tcp,
    What.TCP_RETRANSMIT: _count(RETRANSMITS),
    What.MAJOR_FAULT: _count(MAJOR_FAULTS),
    What.COUNTER: _counter,
    What.RUN_QUEUE: _run_queue,
    What.BLOCK_BYTES: _block,
    What.CPU_TIME: _cpu_time,
}
