"""Packs rule files into one document, with ids and hashes filled in; no rule means anything else in it than before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fallow.document import Document, read_text
from fallow.errors import Problem
from fallow_processors.cre.document import parse_rules, written
from fallow_processors.cre.hashing import generated_id
from fallow_processors.cre.lower import METRIC_FIELD
from fallow_processors.cre.rule import Rule
from fallow_processors.cre.ruleset import RuleSet, rule_files
from fallow_processors.cre.schema import RuleDoc, RulesDoc
from fallow_processors.cre.taxonomy import check_taxonomy

Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Built:
    """One document, the rules in it, and what there is to say about it."""

    text: str
    rules: tuple[Rule, ...]
    notes: tuple[Problem, ...]
    """Unknown keys left out, terms renamed."""


@dataclass(slots=True)
class _File:
    """One document of a file: as it is written, and how its terms are to be called."""

    document: Document
    doc: RulesDoc
    names: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def terms(self) -> Mapping[str, Any]:
        return self.doc.terms or {}

    def literals(self) -> set[str]:
        """Texts that are looked for and that no term of this document explains."""
        dumped = [_plain(rule) for rule in self.doc.rules] + [_plain(term) for term in self.terms.values()]
        return {str(item["value"]) for data in dumped for item in _items(data) if "value" in item} - self.terms.keys()


def build(paths: Sequence[Path], *, taxonomy: Sequence[Path] | None = None, lenient: bool = False) -> Built:
    """The rules of files and folders as one document.

    Args:
        paths: rule files, and folders with everything below them.
        taxonomy: files that say which tags and categories there are; None: as ``check_taxonomy`` finds them.
        lenient: leave unknown keys out instead of refusing them.

    Raises:
        DocumentError: what ``RuleSet.load`` refuses, and tags and categories that the taxonomy does not know.
    """
    before = RuleSet.load(paths, lenient=lenient)
    files = [
        _File(document, doc)
        for path in rule_files(paths)
        for document, doc in written(read_text(path), str(path), lenient=lenient)
    ]
    check_taxonomy(paths, taxonomy)
    renamed = _name_terms(files)
    rules = sorted((_rule(file, doc) for file in files for doc in file.doc.rules), key=lambda r: str(r["cre"]["id"]))
    terms = {file.names[name]: _called(_plain(term), file) for file in files for name, term in file.terms.items()}
    text = _text(rules, terms)
    made = parse_rules(text, "the built document").rules
    with_hashes = {rule.cre: rule for rule in made}
    for rule in rules:
        rule["metadata"]["hash"] = with_hashes[str(rule["cre"]["id"])].hash
    notes = (*before.warnings, *renamed, *_changed(before.rules, with_hashes))
    return Built(_text(rules, terms), made, notes)


def _name_terms(files: Sequence[_File]) -> list[Problem]:
    """Give each term the name that it has in the built document; what is said about those that get another one.

    A name is free where nobody else means something else by it: neither another definition nor a text to look for.
    """
    taken: dict[str, Data] = {}
    literals = [file.literals() for file in files]
    notes: list[Problem] = []
    for number, file in enumerate(files):
        elsewhere = set[str]().union(*(found for i, found in enumerate(literals) if i != number))
        for name in sorted(file.terms):
            definition = _plain(file.terms[name])
            chosen, count = name, 1
            while chosen in elsewhere or taken.get(chosen, definition) != definition:
                count += 1
                chosen = f"{name}-{count}"
            taken[chosen] = definition
            file.names[name] = chosen
            if chosen != name:
                said = f"renamed to {chosen!r}: elsewhere {name!r} is something else"
                notes.append(file.document.problem(("terms", name), said, kind="TermRenamed"))
    return notes


def _changed(before: Sequence[Rule], after: Mapping[str, Rule]) -> Iterator[Problem]:
    for rule in before:
        if rule.hash != after[rule.cre].hash:
            said = f"{rule.cre} names a renamed term: its hash is {after[rule.cre].hash}, was {rule.hash}"
            yield Problem(file=rule.file, line=rule.line, message=said, kind="HashChanged")


def _rule(file: _File, doc: RuleDoc) -> Data:
    """The rule with its id; its hash is known only when all is in its place."""
    data = _called(_plain(doc), file)
    metadata = data.pop("metadata", {}) | {"id": str(doc.metadata.id) or generated_id(str(doc.cre.id)), "hash": ""}
    first = {key: metadata[key] for key in ("id", "hash")}
    return {"metadata": first | metadata, **data}


def _called(data: Data, file: _File) -> Data:
    """The data with its references to terms by the names that they have in the built document."""
    for item in _items(data):
        if str(item.get("value", "")) in file.names and item.get("field") != METRIC_FIELD:
            item["value"] = file.names[str(item["value"])]
    return data


def _items(data: Any) -> Iterator[Data]:
    """Every mapping below ``rule``, or in a term, that may be a term."""
    if isinstance(data, list):
        for one in data:
            yield from _items(one)
    elif isinstance(data, dict):
        yield data
        for key, one in data.items():
            if key not in ("cre", "metadata"):
                yield from _items(one)


def _plain(model: Any) -> Any:
    """What was written, as plain data: mappings, lists, text and numbers."""
    return _text_only(model.model_dump(by_alias=True, exclude_unset=True, exclude_none=True))


def _text_only(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(key): _text_only(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_text_only(value) for value in data]
    return str(data) if isinstance(data, str) else data


class _Dumper(yaml.SafeDumper):
    """Text of several lines as it is, lists below their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def _text(rules: Sequence[Data], terms: Data) -> str:
    document: Data = {"rules": list(rules)}
    if terms:
        document["terms"] = dict(sorted(terms.items()))
    return str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))
