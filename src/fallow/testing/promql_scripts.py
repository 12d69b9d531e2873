"""Runs Prometheus' PromQL test scripts: ``python -m fallow.testing.promql_scripts FILE… [--json]``.

The language: ``load STEP`` with indented series and points, ``clear``, ``eval instant at TIME EXPR`` and ``eval range from A to
B step S EXPR`` with indented expectations. A case that needs native histograms is *unsupported*; so is one whose
expression is refused, or that has something unknown in it, each with the reason. Warnings are not compared.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fallow.promql import EvaluationError, PromqlError, UnsupportedError, prom_name
from fallow.promql.plan import Query
from fallow.promql.query import Answer, Sample, Vector, answer
from fallow.testing.promql_histograms import Series, view_of
from fallow.testing.promql_notation import (
    NUMBER,
    Command,
    NotationError,
    Point,
    commands,
    metric,
    number,
    points,
    seconds,
    unquoted,
)
from fallow.units import SECOND

Outcome = Literal["passed", "failed", "unsupported"]
Key = tuple[tuple[str, str], ...]

NATIVE = "native histograms"
"""The reason of cases that need them."""
_TOLERANCE = 1e-6
_COMMANDS = re.compile(r"clear$|(load|load_with_nhcb)\s+\S+$|eval(_fail|_warn|_info|_ordered)?\s")


@dataclass(frozen=True, slots=True)
class Case:
    """One ``eval`` and what came of it."""

    file: str
    line: int
    expr: str
    outcome: Outcome
    reason: str = ""


class _Unsupported(Exception):
    """Something in a case that is not run."""


class _Wrong(Exception):
    """An answer that is not the expected one."""


@dataclass(slots=True)
class _Loaded:
    """What a script has loaded since the last ``clear``."""

    series: dict[Series, list[tuple[int, Point]]] = field(default_factory=dict[Series, "list[tuple[int, Point]]"])
    unknown: str = ""
    """Something that was not understood, without which no answer is sure."""

    def load(self, command: Command) -> None:
        try:
            name, step = command.head.split()
            for text in command.body:
                self._take(text, round(seconds(step) * SECOND), customised=name == "load_with_nhcb")
        except NotationError as error:
            self.unknown = f"line {command.line}: {error}"

    def _take(self, text: str, step: int, *, customised: bool) -> None:
        name, labels, rest = metric(text)
        found: list[tuple[int, Point]] = [(i * step, p) for i, p in enumerate(points(rest)) if p is not None]
        self.series.setdefault((name, labels), []).extend(found)
        if customised and name.endswith("_bucket") and any(label == "le" for label, _ in labels):
            whole = name.removesuffix("_bucket"), tuple(pair for pair in labels if pair[0] != "le")
            histograms: list[tuple[int, Point]] = [(at, "histogram") for at, _ in found]
            self.series.setdefault(whole, []).extend(histograms)

    def samples(self, expr: str) -> list[Sample]:
        """What an expression sees; a histogram, where it is left out, ends its series."""
        histograms = [s for s, found in self.series.items() if any(p == "histogram" for _, p in found)]
        mixed = [s for s in histograms if any(isinstance(p, float) for _, p in self.series[s])]
        view = view_of(expr, histograms, mixed)
        if view == "needed":
            raise _Unsupported(NATIVE)
        instead: Mapping[Point, float | None] = {"stale": None, "histogram": 1.0 if view == "present" else None}
        return [
            Sample(name, labels, at, point if isinstance(point, float) else instead[point])
            for (name, labels), found in self.series.items()
            for at, point in found
        ]


def run_script(path: Path) -> Iterator[Case]:
    """Every case of a script, in order; a command that is not known is one too, and unsupported."""
    loaded = _Loaded()
    for command in commands(path.read_text(encoding="utf-8")):
        if not _COMMANDS.match(command.head):
            reason = f"{command.head[:40]!r} is no command of a script"
            loaded.unknown = f"line {command.line}: {reason}"
            yield Case(path.name, command.line, command.head, "unsupported", reason)
        elif command.head == "clear":
            loaded = _Loaded()
        elif command.head.startswith("load"):
            loaded.load(command)
        else:
            yield _run(path, command, loaded)


def _run(path: Path, command: Command, loaded: _Loaded) -> Case:
    def case(outcome: Outcome, reason: str = "") -> Case:
        return Case(path.name, command.line, expr, outcome, reason)

    expr = command.head
    try:
        query, expr = _when(command.head)
        _compare(command, query, expr, loaded)
    except (_Unsupported, NotationError) as reason:
        return case("unsupported", str(reason))
    except _Wrong as difference:
        return case("failed", str(difference))
    except PromqlError as error:
        return case("unsupported", f"{error.message}, at character {error.position + 1}")
    except Exception as error:  # noqa: BLE001 — a script goes on, whatever one case does to the engine
        return case("failed", f"{type(error).__name__}: {error}")
    return case("passed")


def _compare(command: Command, query: Query, expr: str, loaded: _Loaded) -> None:
    """Evaluate, and raise where what comes of it is not what is expected."""
    fails = command.head.startswith("eval_fail") or any(line.startswith("expect fail") for line in command.body)
    expected = None if fails else _expected(command.body, query)
    try:
        if loaded.unknown:
            raise _Unsupported(loaded.unknown)
        found = answer(expr, loaded.samples(expr), query)
    except UnsupportedError:
        raise
    except (PromqlError, EvaluationError) as error:
        if fails:
            return
        if isinstance(error, PromqlError):
            raise
        raise _Wrong(f"there is no answer: {error}") from error
    if expected is None:
        raise _Wrong("should fail")
    _check_same(found, expected, query, ordered=_is_ordered(command))


def _is_ordered(command: Command) -> bool:
    return command.head.startswith("eval_ordered") or "expect ordered" in command.body


# -- what is expected --------------------------------------------------------------------------------------------------


def _when(head: str) -> tuple[Query, str]:
    """The instants and the expression."""
    if found := re.match(r"eval\w*\s+instant\s+at\s+(\S+)\s+(.*)", head):
        at = _ns(found[1])
        return Query(at, at), found[2].strip()
    found = re.match(r"eval\w*\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.*)", head)
    if found is None:
        raise _Unsupported(f"{head[:40]!r} is no evaluation known here")
    return Query(_ns(found[1]), _ns(found[2]), _ns(found[3])), found[4].strip()


def _ns(text: str) -> int:
    return round(seconds(text) * SECOND)


def _expected(body: Sequence[str], query: Query) -> Answer:
    """What the lines below an evaluation say."""
    instants: Sequence[int] = query.instants
    rows: list[str] = []
    text: str | None = None
    ranges = False
    for line in body:
        if found := re.match(r"expect\s+string\s+(.*)", line):
            text = unquoted(found[1].strip())
        elif found := re.match(r"expect\s+range\s+vector\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)", line):
            instants, ranges = Query(_ns(found[1]), _ns(found[2]), _ns(found[3])).instants, True
        elif re.match(r"expect\s+(ordered|(no_)?(warn|info)\b)", line):
            continue
        elif re.match(r"expect|expected_", line):
            raise _Unsupported(f"{line[:40]!r}")
        else:
            rows.append(line)
    if text is not None:
        return Answer(text=text)
    series = dict(_row(line, len(instants)) for line in rows)
    if ranges:
        return Answer(
            series={
                key: [(at, point) for at, point in zip(instants, found, strict=False) if isinstance(point, float)]
                for key, found in series.items()
            }
        )
    vectors: list[Vector] = [{} for _ in instants]
    for key, row in series.items():
        for vector, point in zip(vectors, row, strict=False):
            if isinstance(point, float):
                vector[key] = point
    return Answer(vectors)


def _row(line: str, count: int) -> tuple[Key, list[Point]]:
    """(labels, points) of an expected series; a number alone is expected at every instant."""
    if re.fullmatch(NUMBER, line, re.IGNORECASE):
        return (), [number(line)] * count
    name, labels, rest = metric(line)
    found = points(rest)
    if "histogram" in found:
        raise _Unsupported(NATIVE)
    if "stale" in found:
        raise _Unsupported("a stale value as a result")
    names = (("__name__", name),) if name else ()
    return tuple(sorted((*((prom_name(k), v) for k, v in labels), *names))), found


# -- comparing ---------------------------------------------------------------------------------------------------------


def _check_same(have: Answer, want: Answer, query: Query, *, ordered: bool) -> None:
    if have.text is not None or want.text is not None:
        if have.text != want.text:
            raise _Wrong(f"{have.text!r} instead of {want.text!r}")
        return
    if have.series is not None or want.series is not None:
        _check_series(have.series or {}, want.series or {})
        return
    for at, found, wanted in zip(query.instants, have.vectors, want.vectors, strict=True):
        wrong = _difference(found, wanted)
        if not wrong and ordered and list(found) != list(wanted):
            wrong = f"in the order {list(found)}"
        if wrong:
            raise _Wrong(f"at {at / SECOND:g} s: {wrong}")


def _check_series(have: Mapping[Key, list[tuple[int, float]]], want: Mapping[Key, list[tuple[int, float]]]) -> None:
    flat_have, flat_want = (
        {(*key, ("", str(at))): value for key, row in side.items() for at, value in row} for side in (have, want)
    )
    if wrong := _difference(flat_have, flat_want):
        raise _Wrong(wrong)


def _difference(have: Vector, want: Vector) -> str:
    if have.keys() != want.keys():
        more, missing = sorted(have.keys() - want.keys())[:2], sorted(want.keys() - have.keys())[:2]
        return f"found besides {more}, missing {missing}"
    return next(
        (f"{key}: {have[key]!r} instead of {want[key]!r}" for key in want if not _equal(have[key], want[key])), ""
    )


def _equal(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=_TOLERANCE, abs_tol=1e-300)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what came of each script; 1 where a case failed."""
    parser = argparse.ArgumentParser(
        prog="python -m fallow.testing.promql_scripts", description="Run PromQL test scripts."
    )
    parser.add_argument("file", nargs="+", type=Path, help="script (*.test)")
    parser.add_argument("--json", action="store_true", help="a JSON object for each case, and one for each file")
    options = parser.parse_args(arguments)
    failed = False
    for path in options.file:
        cases = list(run_script(path))
        counts = Counter(case.outcome for case in cases)
        failed |= counts["failed"] > 0
        for case in cases:
            if options.json:
                print(json.dumps({"type": "case", **{name: getattr(case, name) for name in Case.__slots__}}))
            elif case.outcome != "passed":
                print(f"{case.file}:{case.line}: {case.outcome}: {case.expr}: {case.reason}")
        summary = {outcome: counts[outcome] for outcome in ("passed", "failed", "unsupported")}
        print(json.dumps({"type": "file", "file": str(path), **summary}) if options.json else f"{path}: {summary}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
