"""Which tags and categories there are, so that rules which mean the same say the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from fallow.document import Document, Location, parse, read_text
from fallow.errors import DocumentError, Problem
from fallow_processors.cre.document import written
from fallow_processors.cre.ruleset import TAXONOMY, rule_files
from fallow_processors.cre.schema import RulesDoc

Names = Mapping[str, str]
"""Name → what it means; in the order of the files."""


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """The tags and categories there are; None where nothing is said of them."""

    tags: Names | None = None
    categories: Names | None = None

    @classmethod
    def load(cls, files: Iterable[Path]) -> Taxonomy:
        """From YAML with lists ``tags`` and ``categories`` of names, or of entries with a ``name`` and a ``description``."""
        found: dict[str, dict[str, str]] = {}
        for file in files:
            data = parse(read_text(file), str(file)).data
            for kind in ("tags", "categories"):
                entries = data.get(kind) if isinstance(data, Mapping) else None
                if entries is not None:
                    found.setdefault(kind, {}).update(_names(entries, file, kind))
        return cls(found.get("tags"), found.get("categories"))


def check_taxonomy(paths: Sequence[Path], files: Sequence[Path] | None = None) -> None:
    """That the tags and the category of each rule are known.

    Args:
        paths: rule files, and folders with everything below them.
        files: what the taxonomy stands in; None: the files in folders named ``tags``, below the paths or beside the
            rules' own folders, if any.

    Raises:
        DocumentError: with every tag and category that is not, its place, and the nearest that is.
    """
    known = Taxonomy.load(taxonomy_files(paths) if files is None else files)
    problems = [
        problem
        for file in rule_files(paths)
        for document, doc in written(read_text(file), str(file), lenient=True)
        for problem in _unknown(document, doc, known)
    ]
    if problems:
        raise DocumentError(problems)


def taxonomy_files(paths: Sequence[Path]) -> list[Path]:
    """The files that say which tags and categories there are for rules in these files and folders."""
    folders = [folder for path in paths if path.is_dir() for folder in sorted(path.rglob(TAXONOMY)) if folder.is_dir()]
    rules = {file.resolve().parent for file in rule_files(paths)}
    beside = [place / TAXONOMY for folder in sorted(rules) for place in (folder, folder.parent)]
    found = [
        file.resolve() for folder in (*folders, *beside) if folder.is_dir() for file in sorted(folder.glob("*.y*ml"))
    ]
    return list(dict.fromkeys(found))


def _names(entries: Any, file: Path, kind: str) -> Iterator[tuple[str, str]]:
    for entry in entries if isinstance(entries, list) else [None]:
        name = entry.get("name") if isinstance(entry, Mapping) else entry
        if not isinstance(name, str):
            said = "has to be a list of names, or of entries with a name"
            raise DocumentError([Problem(file=str(file), key=kind, message=said)])
        yield name, str(entry.get("description", "")) if isinstance(entry, Mapping) else ""


def _unknown(document: Document, doc: RulesDoc, known: Taxonomy) -> Iterator[Problem]:
    for index, rule in enumerate(doc.rules):
        at: Location = ("rules", index, "cre")
        for i, tag in enumerate(rule.cre.tags or ()):
            if known.tags is not None and tag not in known.tags:
                said = _said(str(tag), "tag", known.tags)
                yield document.problem((*at, "tags", i), said, kind="UnknownTag")
        category = str(rule.cre.category)
        if known.categories is not None and category not in known.categories:
            yield document.problem(
                (*at, "category"), _said(category, "category", known.categories), kind="UnknownCategory"
            )


def _said(name: str, kind: str, known: Names) -> str:
    near = get_close_matches(name, known, 1)
    return f"{name!r} is no {kind} of the taxonomy; {'nearest is ' + repr(near[0]) if near else 'known are ' + ', '.join(known)}"
