"""Judges of the conformance cases about log files: stamps and their layouts, formats, folding, reordering."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from fallow.errors import WrongStamp
from fallow.logfile import (
    CRI,
    Fields,
    LogReader,
    Reorder,
    detect_format,
    epoch_any,
    first_stamp,
    in_latest_year,
    parser,
    pattern_format,
    read_cri,
)

Case = Mapping[str, Any]
_UNLIMITED = 1 << 30


def entries(data: bytes, now: int, *, published: bool) -> tuple[str, list[tuple[int, str]]]:
    """(format, [(Unix ns, text)]) of a log file; raises WrongStamp."""
    format = detect_format(data, now, published=published)
    return format.kind, [
        (time, str(text))
        for records in LogReader([data], format)
        for time, text in zip(records.time.tolist(), records.text.to_pylist(), strict=True)
    ]


def judge_time(case: Case) -> str:
    """A stamp, a layout, a guess of the year, a CRI line, or the format of a file."""
    # spec_index is a place in a table of stamps; ours is another.
    expected = {key: value for key, value in case["expect"].items() if key != "spec_index"}
    try:
        found = _ANSWERS[case["fn"]](case)
    except WrongStamp as error:
        wrong = expected.get("error")
        return "" if wrong in ("any", error.kind) else f"{error.kind} ({error}) instead of {expected}"
    return "" if found == expected else f"{found} instead of {expected}"


def _default(case: Case) -> Case:
    sample = case["data"].encode()
    return {"ns": first_stamp(detect_format(sample, case["now"], published=case["trim"]), sample)}


def _file(case: Case) -> Case:
    format, found = entries(case["data"].encode(), case["now"], published=case["trim"])
    return {"format": format, "entries": [list(entry) for entry in found]}


def _try(case: Case) -> Case:
    format = pattern_format(case["pattern"], case["format"], 0)
    return {"ns": first_stamp(format, case["data"].encode(), case["tries"])}


def _year(case: Case) -> Case:
    month, day, hour, minute, second, nano = case["stamp"]
    fields = Fields(month=month, day=day, hour=hour, minute=minute, second=second, nano=nano)
    return {"ns": in_latest_year(fields, case["now"], case["slop"])}


def _cri(case: Case) -> Case:
    line = read_cri(case["data"].encode())
    return {"ns": line.time, "stream": line.stream, "line": line.text.decode()}


_ANSWERS: Mapping[str, Callable[[Case], Case]] = {
    "parse": lambda case: {"ns": parser(case["format"], 0)(case["input"])},
    "epoch_any": lambda case: {"ns": epoch_any(case["value"])},
    "try": _try,
    "detect_default": _default,
    "detect_file": _file,
    "guess_year": _year,
    "cri": _cri,
}


def judge_scan(case: Case) -> str:
    """Lines folded into events, or events put in order."""
    if case["fn"] == "fold":
        reader = LogReader([case["data"].encode()], replace(CRI, folds=True))
        texts = [text for records in reader for text in records.text.to_pylist()][: case["stop_after"] or None]
        return "" if texts == case["expect"] else f"{texts} instead of {case['expect']}"
    buffer: Reorder[None] = Reorder(case["window"], case["memory_limit"] or _UNLIMITED)
    left = case["done_after"] or _UNLIMITED
    for number, step in enumerate(case["steps"]):
        flush = step.get("op") == "flush"
        released = buffer.flush() if flush else buffer.add(step["ts"], len(f"{step['ts']}.{number}"), None)
        times = [time for time, _ in islice(released, left)]
        left -= len(times)
        if times != step["out"]:
            return f"step {number}: {times} instead of {step['out']}"
    return ""


JUDGES: Mapping[str, Callable[[Case], str]] = {"timez.jsonl": judge_time, "scan.jsonl": judge_scan}
