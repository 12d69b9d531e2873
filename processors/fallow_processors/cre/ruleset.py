"""The rules that run together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fallow.errors import DocumentError, Problem
from fallow_processors.cre.document import load_rules
from fallow_processors.cre.rule import Rule, Term, nodes
from fallow_processors.cre.selection import SLOW_TERM, is_columnar

TAXONOMY = "tags"
"""The folder, beside those of the rules, that says which tags and categories there are."""
_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules, each CRE id once."""

    rules: tuple[Rule, ...]
    warnings: tuple[Problem, ...] = ()

    @classmethod
    def load(cls, paths: Sequence[Path], *, lenient: bool = False) -> RuleSet:
        """The rules of files and of folders, with everything below them.

        Raises:
            DocumentError: with every problem of every file; a path that is not there; a CRE id that stands in two files.
        """
        rules: list[Rule] = []
        problems: list[Problem] = []
        warnings: list[Problem] = []
        for file in rule_files(paths):
            try:
                parsed = load_rules(file, lenient=lenient)
            except DocumentError as error:
                problems += error.problems
                continue
            rules += parsed.rules
            warnings += parsed.warnings
            warnings += [problem for rule in parsed.rules for problem in _slow(rule)]
        problems += _in_two_files(rules)
        if problems:
            raise DocumentError(problems)
        return cls(tuple(rules), tuple(warnings))


def rule_files(paths: Iterable[Path]) -> list[Path]:
    """The files named, and those in the folders named, sorted.

    Raises:
        DocumentError: a path that is not there, or a folder without rules.
    """
    found: list[Path] = []
    problems: list[Problem] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(f for f in path.rglob("*") if f.suffix in _SUFFIXES and f.is_file() and _is_rules(f))
            found += inside
            if not inside:
                problems.append(Problem(file=str(path), message="holds no rule file (.yaml)"))
        elif path.is_file():
            found.append(path)
        else:
            problems.append(Problem(file=str(path), message="no such file or folder"))
    if problems:
        raise DocumentError(problems)
    return list(dict.fromkeys(found))


def _is_rules(file: Path) -> bool:
    return file.parent.name != TAXONOMY


def _slow(rule: Rule) -> Iterator[Problem]:
    terms = [item for node in nodes(rule.root) if node.is_points for item in node.items if isinstance(item, Term)]
    for term in terms:
        if not is_columnar(term.pattern):
            message = f"{term.pattern.kind} {term.pattern.text!r} over metric points is slow: {SLOW_TERM}"
            yield Problem(file=rule.file, line=rule.line, column=rule.column, message=message, kind="SlowTerm")


def _in_two_files(rules: Sequence[Rule]) -> list[Problem]:
    first: dict[str, Rule] = {}
    problems: list[Problem] = []
    for rule in rules:
        other = first.setdefault(rule.cre, rule)
        if other.file != rule.file:
            message = f"{rule.cre} stands in {other.file} already"
            problems.append(Problem(file=rule.file, line=rule.line, key="cre.id", message=message))
    return problems
