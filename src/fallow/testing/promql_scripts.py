"""Runs Prometheus' PromQL test scripts: ``python -m fallow.testing.promql_scripts FILE… [--json]``.

The language: ``load STEP`` with indented series and points, ``clear``, ``eval instant at TIME EXPR`` and ``eval range from A to
B step S EXPR`` with indented expectations. A case that needs native histograms or annotations is *unsupported*; so is one
whose expression is refused, with the reason.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fallow.errors import DocumentError, Problem
from fallow.promql import PromqlError
from fallow.promql.instant import Sample, Vector, instant_query
from fallow.units import SECOND

Outcome = Literal["passed", "failed", "unsupported"]
Point = float | Literal["stale"] | None
Labels = tuple[tuple[str, str], ...]

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0, "y": 31_536_000.0}
_NUMBER = r"[-+]?(?:inf|nan|0x[0-9a-f]+|(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)"
_REPEATED = re.compile(rf"({_NUMBER})([-+](?:{_NUMBER[5:]}))?x(\d+)", re.IGNORECASE)
_LABEL = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[\w.:]+)\s*(?:=\s*("(?:[^"\\]|\\.)*"|\'[^\']*\'))?\s*,?')
_TOLERANCE = 1e-6


class Unsupported(Exception):
    """Something in a case that is not run."""


@dataclass(frozen=True, slots=True)
class Case:
    """One ``eval`` and what came of it."""

    file: str
    line: int
    expr: str
    outcome: Outcome
    reason: str = ""


@dataclass(slots=True)
class _Eval:
    line: int
    head: str
    body: list[str] = field(default_factory=list[str])


def run_script(path: Path) -> Iterator[Case]:
    """Every case of a script, in order.

    Raises:
        DocumentError: a line that is none of the language's.
    """
    series: dict[tuple[str, Labels], list[Sample]] = {}
    histograms = False
    for command in _commands(path):
        if command.head == "clear":
            series.clear()
            histograms = False
        elif command.head.startswith("load"):
            histograms |= _load(command, series)
        else:
            yield _run(path, command, [s for samples in series.values() for s in samples], histograms)


def _commands(path: Path) -> Iterator[_Eval]:
    current: _Eval | None = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if line[0] in " \t" and current is not None:
            current.body.append(text)
            continue
        if current is not None:
            yield current
        if not re.match(r"clear$|load|eval", text):
            raise DocumentError(
                [Problem(file=str(path), line=number, message=f"{text[:40]!r} is no command of a script")]
            )
        current = _Eval(number, text)
    if current is not None:
        yield current


# -- loading -----------------------------------------------------------------------------------------------------------


def _load(command: _Eval, series: dict[tuple[str, Labels], list[Sample]]) -> bool:
    """Take the series in; True where some have native histograms, which are left out."""
    step = seconds(command.head.split()[1])
    histograms = command.head.startswith("load_with_nhcb")
    for text in command.body:
        name, labels, rest = metric(text)
        try:
            found = points(rest)
        except Unsupported:
            histograms = True
            continue
        samples = series.setdefault((name, labels), [])
        for i, point in enumerate(found):
            if point is not None:
                value = None if point == "stale" else float(point)
                samples.append(Sample(name, labels, round(i * step * SECOND), value))
    return histograms


def seconds(text: str) -> float:
    """A duration such as ``5m`` or ``1h30m``, or a number of seconds."""
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|[smhdwy])", text)
    return sum(float(n) * _SECONDS[unit] for n, unit in parts) * (-1 if text.startswith("-") else 1)


def metric(text: str) -> tuple[str, Labels, str]:
    """(name, sorted labels, what stands behind) of ``name{label="value"} rest``."""
    found = re.match(r"([A-Za-z_:][\w:]*)?\s*", text)
    name = (found[1] or "") if found else ""
    rest = text[found.end() :] if found else text
    labels: dict[str, str] = {}
    if rest.startswith("{") and not rest.startswith("{{"):
        at = 1
        while at < len(rest) and rest[at] != "}":
            pair = _LABEL.match(rest, at)
            if pair is None or pair.end() == at:
                raise Unsupported(f"labels {rest[:40]!r}")
            key = _text(pair[1]) if pair[1].startswith('"') else pair[1]
            if pair[2] is None:
                name = key
            else:
                labels[key] = _text(pair[2])
            at = pair.end()
        rest = rest[at + 1 :]
    name = labels.pop("__name__", name)
    return name, tuple(sorted((k, v) for k, v in labels.items() if v)), rest.strip()


def _text(quoted: str) -> str:
    return str(json.loads(quoted)) if quoted.startswith('"') else quoted[1:-1]


def points(text: str) -> list[Point]:
    """The points of the expanding notation; None where there is no sample.

    Raises:
        Unsupported: native histograms.
    """
    if "{{" in text:
        raise Unsupported("native histograms")
    found: list[Point] = []
    for word in text.split():
        if blank := re.fullmatch(r"_(?:x(\d+))?", word):
            found += [None] * int(blank[1] or 1)
        elif ended := re.fullmatch(r"stale(?:x(\d+))?", word):
            found.extend("stale" for _ in range(int(ended[1]) + 1 if ended[1] else 1))
        elif repeated := _REPEATED.fullmatch(word):
            first, step = number(repeated[1]), number(repeated[2]) if repeated[2] else 0.0
            found += [first + step * i if repeated[2] else first for i in range(int(repeated[3]) + 1)]
        else:
            found.append(number(word))
    return found


def number(text: str) -> float:
    """A number as scripts write it."""
    plain = text.lower().replace("_", "")
    return float(int(plain, 16)) if "0x" in plain else float(plain)


# -- evaluating --------------------------------------------------------------------------------------------------------


def _run(path: Path, command: _Eval, samples: Sequence[Sample], histograms: bool) -> Case:
    at, expr = _when(command.head)

    def case(outcome: Outcome, reason: str = "") -> Case:
        return Case(path.name, command.line, expr, outcome, reason)

    fails = command.head.startswith("eval_fail") or any(line.startswith("expect fail") for line in command.body)
    try:
        wanted = [] if fails else _wanted(command.body, len(at))
        found = [instant_query(expr, samples, t) for t in at]
    except PromqlError as error:
        return case("passed") if fails else case("unsupported", f"{error.message}, at character {error.position + 1}")
    except Unsupported as reason:
        return case("unsupported", str(reason))
    if fails:
        return case("failed", "should be refused")
    for t, have, want in zip(at, found, wanted, strict=True):
        wrong = _difference(have, want)
        if wrong:
            if histograms and not want.keys() <= have.keys():
                return case("unsupported", "native histograms")
            return case("failed", f"at {t / SECOND:g} s: {wrong}")
    return case("passed")


def _when(head: str) -> tuple[list[int], str]:
    """The times, in ns, and the expression."""
    if found := re.match(r"eval\w*\s+instant\s+at\s+(\S+)\s+(.*)", head):
        return [round(seconds(found[1]) * SECOND)], found[2].strip()
    found = re.match(r"eval\w*\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.*)", head)
    if found is None:
        return [], head
    first, last, step = (round(seconds(part) * SECOND) for part in (found[1], found[2], found[3]))
    return list(range(first, last + 1, step)), found[4].strip()


def _wanted(body: Sequence[str], steps: int) -> list[Vector]:
    wanted: list[Vector] = [{} for _ in range(steps)]
    for line in body:
        if re.match(r"expect (string|range vector)", line):
            raise Unsupported(line.split(" ")[0] + " " + line.split(" ")[1])
        if line.startswith("expect"):
            continue  # order and annotations; the values are compared all the same
        if re.fullmatch(_NUMBER, line, re.IGNORECASE):
            for vector in wanted:
                vector[()] = number(line)
            continue
        name, labels, rest = metric(line)
        key = tuple(sorted((*labels, *((("__name__", name),) if name else ()))))
        for vector, point in zip(wanted, points(rest), strict=False):
            if point == "stale":
                raise Unsupported("a stale value as a result")
            if point is not None:
                vector[key] = point
    return wanted


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
