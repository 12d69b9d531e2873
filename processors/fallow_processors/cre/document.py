"""Rule documents: YAML text → rules, with every error at its place and of a named kind.

Three steps, as in the published compiler, so that the first error found is the same: *read* (YAML and its shape),
*parse* (references, durations, what is missing), *check* (origins, windows, anchors, patterns).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from fallow.document import Document, Location, composed, not_yaml, placed, problems_of, read_text
from fallow.errors import DocumentError, Problem
from fallow_processors.cre.checks import check
from fallow_processors.cre.hashing import generated_id, rule_hashes
from fallow_processors.cre.lower import Lowering, Wrong
from fallow_processors.cre.optimize import optimize_block
from fallow_processors.cre.rule import Node, Rule
from fallow_processors.cre.schema import RuleDoc, RulesDoc, Scalar

_RULE_ID = re.compile(r"[1-9A-Za-z]{12,}")  # and of a hash
_CRE_ID = re.compile(r"[A-Za-z0-9-]{4,}")


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a document holds, and what was let pass (unknown keys, in lenient mode)."""

    rules: tuple[Rule, ...]
    warnings: tuple[Problem, ...] = field(default=())


def load_rules(path: Path, *, lenient: bool = False) -> Parsed:
    """The rules of a file; raises DocumentError with every problem found."""
    return parse_rules(read_text(path), str(path), lenient=lenient)


def parse_rules(
    text: str, file: str, *, lenient: bool = False, own_ids: bool = False, published: bool = False
) -> Parsed:
    """The rules in a text.

    Args:
        text: one YAML document with rules; others may follow where each is a ``section``.
        file: its name, for errors.
        lenient: let unknown keys pass, with a warning each.
        own_ids: every rule has to state its id and hash, as the published packer demands.
        published: refuse what published compilers refuse by mistake, too: negatives anchored beyond the second term
            (D5), rules in several YAML documents (D9).

    Raises:
        DocumentError: with every problem; each has a ``kind``.
    """
    rules: list[Rule] = []
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for document in _read(text, file, published):
        found = _model(document, lenient, warnings)
        terms = found.terms or {}
        for index, doc in enumerate(found.rules):
            try:
                rules.append(_rule(document, doc, index, terms, own_ids, published))
            except Wrong as wrong:
                problems.append(wrong.problem(document))
            except DocumentError as error:
                problems += error.problems
    if not published:
        problems += _twice(rules)
    if problems:
        raise DocumentError(problems)
    return Parsed(tuple(rules), tuple(warnings))


def written(text: str, file: str, *, lenient: bool = False) -> Iterator[tuple[Document, RulesDoc]]:
    """The documents with rules as they are written, each with the places of its parts; raises DocumentError."""
    for document in _read(text, file, published=False):
        yield document, _model(document, lenient, [])


def lowered_rules(text: str, file: str) -> list[Node]:
    """The conditions of a text's rules, without the checks that need all of a rule; raises DocumentError."""
    roots: list[Node] = []
    for document in _read(text, file, published=False):
        found = _model(document, True, [])
        for index, doc in enumerate(found.rules):
            try:
                roots.append(Lowering(found.terms or {}).root(doc.rule, ("rules", index, "rule")))
            except Wrong as wrong:
                raise DocumentError([wrong.problem(document)]) from wrong
    return roots


# -- read --------------------------------------------------------------------------------------------------------------


def _read(text: str, file: str, published: bool) -> list[Document]:
    """The documents that hold rules."""
    documents: list[Document] = []
    try:
        for node in composed(text):
            _tidy(node, file)
            found = Document(file, _data(node), node, text)
            if not _is_footer(found, published):
                documents.append(found)
    except yaml.YAMLError as error:
        raise not_yaml(error, file, "Yaml") from error
    if not documents:
        raise DocumentError([Problem(file=file, message="holds no rules", kind="RulesNotFound")])
    if published and len(documents) > 1:
        holds = all(isinstance(found.data, dict) and "rules" in found.data for found in documents)
        kind = "RuleNotFound" if holds else "RulesNotFound"
        raise DocumentError([placed(file, documents[1].node, "a second YAML document", kind=kind)])
    return documents


def _is_footer(document: Document, published: bool) -> bool:
    """Whether a YAML document is a section of its own, such as ``section: version``; published compilers know that one."""
    if not isinstance(document.data, dict) or "section" not in document.data:
        return False
    return str(document.data["section"]) == "version" if published else "rules" not in document.data


def _tidy(node: yaml.Node, file: str, path: tuple[str, ...] = ()) -> None:
    """Refuse keys that stand twice; let null items of lists vanish, as the published parser does."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                kind = "DuplicateTerm" if path == ("terms",) else "DuplicateKey"
                raise DocumentError([placed(file, key, "stands here twice", key=str(key.value), kind=kind)])
            seen.add(key.value)
            _tidy(value, file, (*path, str(key.value)))
    elif isinstance(node, yaml.SequenceNode):
        node.value = [item for item in node.value if not _is_null(item)]
        for item in node.value:
            _tidy(item, file, (*path, ""))


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and not node.style and node.value in ("", "~", "null", "Null", "NULL")


def _data(node: yaml.Node) -> Any:
    """Mappings, lists and scalars; every scalar is text that knows whether it was quoted, or None."""
    if isinstance(node, yaml.MappingNode):
        found = {str(key.value): _data(value) for key, value in node.value}
        return {key: value for key, value in found.items() if value is not None}
    if isinstance(node, yaml.SequenceNode):
        return [_data(item) for item in node.value]
    quoted = isinstance(node, yaml.ScalarNode) and node.style in ("'", '"')
    return None if _is_null(node) else Scalar.of(str(node.value), quoted=quoted)


def _model(document: Document, lenient: bool, warnings: list[Problem]) -> RulesDoc:
    if isinstance(document.data, dict) and isinstance(document.data.get("terms"), list):
        wrong = document.problem(("terms",), "has to be a mapping of name to term", kind="TermsMapping")
        raise DocumentError([wrong])
    while True:
        try:
            return RulesDoc.model_validate(document.data)
        except ValidationError as error:
            unknown = [entry["loc"] for entry in error.errors() if entry["type"] == "extra_forbidden"]
            if not lenient or not unknown:
                raise DocumentError(problems_of(error, document.problem, RulesDoc)) from error
            for location in unknown:
                warnings.append(document.problem(location, "unknown key, left out", kind="UnknownKey"))
                _remove(document.data, location)


def _remove(data: Any, location: Location) -> None:
    for part in location[:-1]:
        data = data[part]
    del data[location[-1]]


# -- one rule ----------------------------------------------------------------------------------------------------------


def _rule(
    document: Document, doc: RuleDoc, index: int, terms: Mapping[str, Any], own_ids: bool, published: bool
) -> Rule:
    at: Location = ("rules", index)
    if "rule" not in doc.model_fields_set:
        raise Wrong("RuleRootNotFound", "rule is required", at, value=True)
    if doc.rule.sequence or doc.rule.set:
        _check_ids(doc, (*at, "rule"), own_ids)
    root = Lowering(terms).root(doc.rule, (*at, "rule"))
    check(root, published=published)
    # The id belongs to what is hashed whether it is written out or not.
    stated = doc.metadata
    doc.metadata = stated.model_copy(update={"id": stated.id or generated_id(doc.cre.id)})
    hashes = rule_hashes(doc)
    mark = document.problem((*at, "rule"), "")
    return Rule(
        cre=doc.cre.id,
        id=str(doc.metadata.id),
        hash=hashes[0],
        stable_hash=hashes[1],
        stated_hash=str(stated.hash),
        version=doc.metadata.version,
        kind=doc.metadata.kind,
        title=doc.cre.title,
        severity=doc.cre.severity,
        tags=tuple(doc.cre.tags or ()),
        root=root,
        optimize=optimize_block(document, doc.cre.mitigation, (*at, "cre", "mitigation")),
        file=document.file,
        line=mark.line,
        column=mark.column,
    )


def _check_ids(doc: RuleDoc, at: Location, own_ids: bool) -> None:
    for name, value, kind in (("id", doc.metadata.id, "RuleId"), ("hash", doc.metadata.hash, "RuleHash")):
        if not value and own_ids:
            raise Wrong(f"Missing{kind}", f"metadata.{name} is required", at, value=True)
        if value and not _RULE_ID.fullmatch(value):
            message = f"metadata.{name}: {str(value)!r} found, expected at least twelve letters or digits, no 0"
            raise Wrong(f"Invalid{kind}", message, at, value=True)
    if not doc.cre.id:
        raise Wrong("MissingCreId", "cre.id is required", at, value=True)
    if not _CRE_ID.fullmatch(doc.cre.id):
        message = f"cre.id: {str(doc.cre.id)!r} found, expected at least four letters, digits or '-'"
        raise Wrong("InvalidCreId", message, at, value=True)


def _twice(rules: list[Rule]) -> list[Problem]:
    first: dict[str, Rule] = {}
    problems: list[Problem] = []
    for rule in rules:
        other = first.setdefault(rule.cre, rule)
        if other is not rule:
            problems.append(
                Problem(
                    file=rule.file,
                    line=rule.line,
                    key="cre.id",
                    message=f"{rule.cre} stands here twice",
                    kind="DuplicateRule",
                )
            )
    return problems
