"""Runs a folder of conformance cases for CRE: ``python -m fallow.testing.cre_corpus DIR [--published] [--json]``.

A file of the folder has one case, a JSON object, on each line: matchers, terms, documents, rules over logs, stamps, scanners.
What each file is judged by is said in docs/conformance.md. A file that is not there is not run; one that nobody can judge, a
line that is no case, and a case that lacks something fail.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from fallow.errors import FallowError
from fallow.registry import components
from fallow.testing import log_cases

Judge = Callable[[Mapping[str, Any]], str]
"""A case → "" where it passed, else what is wrong."""

_SHOWN = 200  # characters of a reason
_MALFORMED = (LookupError, TypeError, ValueError, AttributeError, OSError, FallowError)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one case; ``reason`` is "" where it passed."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """What came of a file of cases; ``file`` is its path from the folder."""

    file: str
    cases: tuple[Outcome, ...]

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The cases that failed."""
        return tuple(case for case in self.cases if case.reason)


def run_corpus(
    folder: Path, *, published: bool = False, only: Sequence[str] = (), progress: TextIO | None = None
) -> Iterator[FileOutcome]:
    """Every file of cases in a folder, judged.

    Args:
        published: with the mistakes of published engines, against what those answered; else as intended.
        only: paths from the folder of the files to run; all where empty.
        progress: where to write which case is running.
    """
    judges = _judges(folder, published)
    for path in sorted(folder.rglob("*.jsonl")):
        file = path.relative_to(folder).as_posix()
        if only and file not in only:
            continue
        cases: list[Outcome] = []
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
            if line.strip():
                cases.append(_outcome(line, number, judges.get(file)))
                if progress is not None:
                    print(f"\r\x1b[K{file} {len(cases)} {cases[-1].id[:60]}", end="", file=progress, flush=True)
        if progress is not None:
            print("\r\x1b[K", end="", file=progress, flush=True)
        yield FileOutcome(file, tuple(cases))


def _judges(folder: Path, published: bool) -> Mapping[str, Judge]:
    """Path from the folder → judge. The engine's are found by its name, as every component is."""
    engine = importlib.import_module(components("processors")["cre"] + ".corpus")
    return {**log_cases.JUDGES, **engine.judges(folder, published)}


def _outcome(line: str, number: int, judge: Judge | None) -> Outcome:
    name = f"line {number}"
    try:
        case = json.loads(line)
        name = str(case["id"])
        if judge is None:
            return Outcome(name, "nothing judges a file of this name")
        return Outcome(name, judge(case)[:_SHOWN])
    except _MALFORMED as error:
        return Outcome(name, f"cannot be judged: {type(error).__name__}: {error}"[:_SHOWN])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what came of each file; 1 where a case failed, 2 where the folder holds none."""
    parser = argparse.ArgumentParser(
        prog="python -m fallow.testing.cre_corpus", description="Run a folder of conformance cases for CRE."
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder with files of cases (*.jsonl)")
    parser.add_argument("--published", action="store_true", help="with the mistakes of published engines")
    parser.add_argument("--json", action="store_true", help="a JSON object for each file, and a summary")
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        parser.error(f"{options.folder} is no folder")
    progress = sys.stderr if sys.stderr.isatty() else None
    cases = failed = files = 0
    for outcome in run_corpus(options.folder, published=options.published, progress=progress):
        _print(outcome, as_json=options.json)
        cases += len(outcome.cases)
        failed += len(outcome.failed)
        files += 1
    if not files:
        parser.error(f"{options.folder} holds no file of cases (*.jsonl)")
    mode = "published" if options.published else "intended"
    if options.json:
        print(json.dumps({"type": "summary", "mode": mode, "files": files, "passed": cases - failed, "failed": failed}))
    else:
        print(f"{files} files, {mode}: {cases - failed} passed, {failed} failed")
    return int(failed > 0)


def _print(outcome: FileOutcome, *, as_json: bool) -> None:
    passed, failed = len(outcome.cases) - len(outcome.failed), outcome.failed
    if as_json:
        found = {"file": outcome.file, "passed": passed, "failed": len(failed), "failed_ids": [f.id for f in failed]}
        print(json.dumps({"type": "file", **found, "reasons": {f.id: f.reason for f in failed}}), flush=True)
        return
    print(f"{outcome.file}: {passed} passed, {len(failed)} failed", flush=True)
    for case in failed:
        print(f"    {case.id}: {case.reason}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
