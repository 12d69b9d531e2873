"""Slurm's JSON of all releases (data_parser v0.0.38 and later) as records.

What moved between releases: numbers became ``{"set", "infinite", "number"}``, a state became a list of state and flags,
``gres:gpu:2`` became ``gres/gpu:2``, and a job's resources were arranged anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from fallow.clients.slurm.hostlist import expand, indices
from fallow.clients.slurm.model import Exit, Job, Node, Phase, Reservation, SlurmError, Usage

T = TypeVar("T")

MIB: Final = 1 << 20
ENDED: Final = frozenset(
    {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "LAUNCH_FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "RECONFIG_FAIL",
        "REVOKED",
        "TIMEOUT",
    }
)
# 22.05 shows a flag in place of the state; what is not here (COMPLETING, STAGE_OUT) leaves the state open.
STATE_OF_FLAG: Final[Mapping[str, str]] = {
    "CONFIGURING": "RUNNING",
    "POWER_UP_NODE": "RUNNING",
    "RESIZING": "RUNNING",
    "SIGNALING": "RUNNING",
    "STOPPED": "SUSPENDED",
    "REQUEUED": "PENDING",
    "REQUEUE_FED": "PENDING",
    "REQUEUE_HOLD": "PENDING",
    "SPECIAL_EXIT": "PENDING",
    "RESV_DEL_HOLD": "PENDING",
}
REQUEUED: Final = "REQUEUED"

_GPU = re.compile(r"(?:^|,)(?:gres[:/])?gpu(?::[^:,()]*[^:,()\d][^:,()]*)?(?:[:=](\d+))?(?:\(IDX:([^)]*)\))?(?=$|,|\()")
_GPU_TRES = re.compile(r"(?:^|,)gres/gpu(:[^=,]*)?=(\d+)")
_CPUS = re.compile(r"(?:^|,)cpu=(\d+)")
_MEMORY = re.compile(r"(?:^|,)mem=([\d.]+)([KMGTP]?)")
_SIZE: Final = {"": MIB, "K": 1 << 10, "M": MIB, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}


def jobs(document: Any) -> list[Job]:
    """The jobs of ``squeue --json`` or ``GET /slurm/…/jobs``."""
    return _each(document, "jobs", _job)


def nodes(document: Any) -> list[Node]:
    """The nodes of ``sinfo --json`` (22.05), ``scontrol show nodes --json`` or ``GET /slurm/…/nodes``."""
    return _each(document, "nodes", _node)


def reservations(document: Any) -> list[Reservation]:
    """The reservations of ``GET /slurm/…/reservations``."""
    return _each(document, "reservations", _reservation)


def ended(document: Any) -> list[Job]:
    """The runs that are over, of ``sacct --json`` or ``GET /slurmdb/…/jobs``, in order of their end."""
    runs = _each(document, "jobs", lambda raw: _accounted(raw) if number(raw["time"]["end"]) else None)
    return sorted(filter(None, runs), key=lambda job: (job.end or 0, job.submit))


def number(value: Any) -> Any:
    """A number in either spelling; None where it is not set or has no limit."""
    if isinstance(value, Mapping):
        return None if value.get("infinite") or not value.get("set") else value.get("number")
    return value


def phase_of(state: str, completing: bool) -> Phase | None:
    """Where in its life a job of this state is."""
    if state in ENDED:
        return "ended"
    if state in ("RUNNING", "SUSPENDED"):
        return "running"
    # A requeued job is pending again only when its last run has been put away.
    return "pending" if state == "PENDING" and not completing else None


def gpus_of_tres(text: str | None) -> int | None:
    """GPUs in a list such as ``cpu=4,mem=8G,gres/gpu=2``; None where it has none.

    >>> gpus_of_tres("cpu=2,gres/gpu=4,gres/gpu:a100=4")
    4
    """
    found = _GPU_TRES.findall(text or "")
    whole = [int(count) for kind, count in found if not kind]
    return whole[0] if whole else sum(int(count) for _, count in found) if found else None


def cpus_of_tres(text: str | None) -> int | None:
    """CPUs in the same list."""
    found = _CPUS.search(text or "")
    return int(found[1]) if found else None


def memory_of_tres(text: str | None) -> int | None:
    """Bytes in the same list.

    >>> memory_of_tres("cpu=2,mem=62.50G") == 62.5 * 2**30
    True
    """
    found = _MEMORY.search(text or "")
    return round(float(found[1]) * _SIZE[found[2]]) if found else None


def gpus_of_gres(text: str | None) -> int:
    """GPUs in a list such as ``gpu:a100:4(S:0-1)`` or ``gres/gpu:2``; 0 where there are none.

    >>> [gpus_of_gres(t) for t in ("gpu:a100:4(S:0-1)", "gres/gpu:2,shard:8", "gres:gpu", "gpu:h100:1,gpu:a100:2", "")]
    [4, 2, 1, 3, 0]
    """
    return sum(count for count, _ in _gpus(text))


def _gpus(text: str | None) -> Iterator[tuple[int, tuple[int, ...]]]:
    for found in _GPU.finditer(text or ""):
        yield int(found[1] or 1), indices(found[2] or "")


def _each(document: Any, name: str, read: Callable[[Mapping[str, Any]], T]) -> list[T]:
    """Every record of the list of that name; raises SlurmError where the document is not what it should be."""
    problems = document.get("errors") if isinstance(document, Mapping) else None
    if problems:
        said = "; ".join(str(p.get("error") or p.get("description") or p) for p in problems)
        raise SlurmError(f"Slurm says: {said}")
    found = document.get(name) if isinstance(document, Mapping) else None
    if not isinstance(found, list):
        raise SlurmError(f"the answer of Slurm has no list {name!r}")
    made: list[T] = []
    for at, raw in enumerate(found):
        try:
            made.append(read(raw))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # To leave it out would make a job look ended that is not.
            raise SlurmError(f"{name}[{at}] in the answer of Slurm cannot be read: {error!r}") from error
    return made


def _states(value: Any, more: Iterable[str] = ()) -> tuple[str, frozenset[str]]:
    """(state, flags) in capitals."""
    given = [value] if isinstance(value, str) else list(value or [])
    first, *flags = [str(part).upper() for part in (*given, *more)] or [""]
    return first, frozenset(flags)


def _job(raw: Mapping[str, Any]) -> Job:
    state, flags = _states(raw["job_state"])
    state = STATE_OF_FLAG.get(state, state)
    start, end = number(raw.get("start_time")) or None, number(raw.get("end_time")) or None
    phase = phase_of(state, "COMPLETING" in flags)
    nodes, held = _allocation(raw)
    limit = number(raw.get("time_limit"))
    asked = raw.get("tres_alloc_str") or raw.get("tres_req_str")
    array = number(raw.get("array_job_id"))
    return Job(
        id=str(raw["job_id"]),
        state=state,
        phase=phase,
        submit=number(raw["submit_time"]) or 0,
        # Of what waits or runs they are only expected.
        start=start if phase != "pending" else None,
        end=end if phase == "ended" else None,
        eligible=number(raw.get("eligible_time")) or None,
        restarts=raw.get("restart_cnt"),
        name=raw.get("name") or "",
        user=raw.get("user_name") or "",
        account=raw.get("account") or "",
        partition=raw.get("partition") or "",
        qos=raw.get("qos") or "",
        reason=_reason(raw.get("state_reason")),
        reservation=raw.get("resv_name") or "",
        array_id=str(array) if array else "",
        array_index=_array_index(raw) if array else None,
        nodes=nodes,
        gpu_indices=held,
        gpus=_gpus_of_job(raw, asked),
        cpus=number(raw.get("cpus")) or cpus_of_tres(asked),
        memory=memory_of_tres(asked),
        time_limit=limit * 60 if limit else None,
        exit=_exit(raw.get("exit_code")) if phase == "ended" else None,
    )


def _array_index(raw: Mapping[str, Any]) -> int | None:
    """Which task of its array; None for what stands for several that wait."""
    index: int | None = number(raw.get("array_task_id"))
    waiting = str(raw.get("array_task_string") or "").partition("%")[0]
    return int(waiting) if index is None and waiting.isdigit() else index


def _reason(text: str | None) -> str:
    return "" if text in (None, "None") else str(text)


def _allocation(raw: Mapping[str, Any]) -> tuple[tuple[str, ...], dict[str, tuple[int, ...]]]:
    """The job's nodes, and which GPUs it holds on each: an entry of gres_detail for each node, in the controller's order."""
    nodes = expand(raw.get("nodes"))
    resources = raw.get("job_resources") or {}
    inner = resources.get("nodes")
    listed = inner.get("allocation") if isinstance(inner, Mapping) else resources.get("allocated_nodes")
    order = [entry.get("name") or entry.get("nodename") for entry in listed or ()]
    if sorted(order) != sorted(nodes):
        order = list(nodes)
    detail = raw.get("gres_detail") or ()
    if len(detail) != len(order):
        return nodes, {}
    held = {name: tuple(i for _, found in _gpus(text) for i in found) for name, text in zip(order, detail, strict=True)}
    return nodes, {name: found for name, found in held.items() if found}


def _gpus_of_job(raw: Mapping[str, Any], tres: str | None) -> int:
    tracked = gpus_of_tres(tres)
    if tracked is not None:
        return tracked
    if detail := raw.get("gres_detail"):
        return sum(map(gpus_of_gres, detail))
    if of_job := gpus_of_gres(raw.get("tres_per_job")):
        return of_job
    if of_node := gpus_of_gres(raw.get("tres_per_node")):
        return of_node * (number(raw.get("node_count")) or 1)
    return gpus_of_gres(raw.get("tres_per_task")) * (number(raw.get("tasks")) or 1)


def _exit(raw: Any) -> Exit | None:
    if isinstance(raw, int):  # as wait(2) gives it
        return Exit(code=raw >> 8 & 0xFF, signal=raw & 0x7F)
    if not isinstance(raw, Mapping):
        return None
    signal = raw.get("signal") or {}
    which = number(signal.get("id", signal.get("signal_id")))
    return Exit(code=number(raw.get("return_code")) or 0, signal=which or 0)


def _node(raw: Mapping[str, Any]) -> Node:
    state, flags = _states(raw.get("state"), raw.get("state_flags") or ())
    memory, allocated = number(raw.get("real_memory")), number(raw.get("alloc_memory"))
    return Node(
        name=raw["name"],
        state=state,
        flags=flags,
        reason=raw.get("reason") or "",
        reason_time=number(raw.get("reason_changed_at")) or None,
        gpus=gpus_of_gres(raw.get("gres")),
        gpus_allocated=gpus_of_gres(raw.get("gres_used")),
        cpus=number(raw.get("cpus")),
        cpus_allocated=number(raw.get("alloc_cpus")),
        memory=None if memory is None else memory * MIB,
        memory_allocated=None if allocated is None else allocated * MIB,
    )


def _reservation(raw: Mapping[str, Any]) -> Reservation:
    return Reservation(
        name=raw["name"],
        start=number(raw["start_time"]) or 0,
        end=number(raw["end_time"]) or 0,
        nodes=expand(raw.get("node_list")),
        users=raw.get("users") or "",
        accounts=raw.get("accounts") or "",
        flags=tuple(sorted(raw.get("flags") or ())),
    )


def _accounted(raw: Mapping[str, Any]) -> Job:
    state, _ = _states(raw["state"]["current"])
    times = raw["time"]
    array = raw.get("array") or {}
    master = number(array.get("job_id"))
    tres = raw.get("tres") or {}
    counts = _counts(tres.get("allocated")) or _counts(tres.get("requested"))
    memory, limit = counts.get("mem"), number(times.get("limit"))
    nodes = expand(raw.get("nodes"))
    exit = _exit(raw.get("exit_code"))
    if exit == Exit(code=0, signal=0) and state != "COMPLETED":
        exit = None  # 22.05 gives none here
    return Job(
        id=str(raw["job_id"]),
        # What is pending again or being requeued has an earlier run here, which is over.
        state=state if state in ENDED else REQUEUED,
        phase="ended",
        submit=number(times["submission"]) or 0,
        start=number(times["start"]) or None,
        end=number(times["end"]),
        eligible=number(times.get("eligible")) or None,
        restarts=raw.get("restart_cnt"),
        name=raw.get("name") or "",
        user=raw.get("user") or "",
        account=raw.get("account") or "",
        partition=raw.get("partition") or "",
        qos=raw.get("qos") or "",
        reason=_reason(raw["state"].get("reason")),
        array_id=str(master) if master else "",
        array_index=number(array.get("task_id")) if master else None,
        nodes=nodes,
        gpus=counts.get("gres/gpu"),
        cpus=counts.get("cpu"),
        memory=None if memory is None else memory * MIB,
        time_limit=limit * 60 if limit else None,
        exit=exit,
        usage=_usage(raw.get("steps") or ()),
    )


def _counts(tres: Iterable[Mapping[str, Any]] | None) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in tres or ():
        name, count = "/".join(filter(None, (one.get("type"), one.get("name")))), number(one.get("count"))
        if count is not None:
            found[name] = count
    return found


def _usage(steps: Sequence[Mapping[str, Any]]) -> Usage | None:
    if not steps:
        return None
    spent = [(step.get("time") or {}).get("total") for step in steps]
    seconds = [(number(t.get("seconds")) or 0) + (number(t.get("microseconds")) or 0) / 1e6 for t in spent if t]
    peaks = [_counts(((step.get("tres") or {}).get("requested") or {}).get("total")).get("mem") for step in steps]
    known = [peak for peak in peaks if peak]  # a step that ended before it was sampled has 0
    return Usage(cpu_s=round(sum(seconds), 3) if seconds else None, memory=max(known) if known else None)
