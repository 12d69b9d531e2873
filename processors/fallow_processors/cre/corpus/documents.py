"""Judges of documents and of single terms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from fallow.errors import DocumentError
from fallow_processors.cre.corpus.automata import KINDS
from fallow_processors.cre.document import lowered_rules, parse_rules, written
from fallow_processors.cre.patterns import WrongPattern, compiled
from fallow_processors.cre.rule import Metric, Node, expanded

Case = Mapping[str, Any]
_YAML_JQ = "jqyaml"
"""jq over a line of YAML: published matchers have it, no document can ask for it."""


def judge_document(case: Case) -> str:
    """Accepted, with its nodes and matchers, or refused with the expected kind at the expected place.

    Published compilers refuse more than they intend to (D5, D9); what is expected is what they say.
    """
    expected = case["expect"]
    wrong = _parsed(case["rule"], expected) if expected.get("parse_ok") else ""
    if wrong:
        return wrong
    if case["loader"] == "read" and not case["gen_ids"] and _repeats(case["rule"]):
        return _difference({"error": "DuplicateRule"}, expected) if not expected["ok"] else "an id stands there twice"
    try:
        rules = parse_rules(case["rule"], "", lenient=True, own_ids=not case["gen_ids"], published=True).rules
    except DocumentError as error:
        first = error.problems[0]
        found = {"error": first.kind, "line": first.line, "col": first.column}
        if expected["ok"]:
            return f"{first} instead of accepted"
        return _difference(found, expected)
    if not expected["ok"]:
        return f"accepted instead of {expected['error']}"
    nodes = [_with_machine(rule.root) for rule in rules]
    matchers = [kind for rule in rules for kind in _matchers(rule.root)]
    return _difference({"nodes": nodes, "matchers": matchers}, expected)


def _difference(found: Case, expected: Case) -> str:
    """What differs of what is expected. ``Other`` is every error that has no name there."""
    for key, value in found.items():
        if key == "error" and expected["error"] == "Other":
            return "" if value in UNNAMED else f"{value} instead of an error without a name"
        if key in expected and expected[key] != value:
            return f"{key} {value} instead of {expected[key]} ({found})"
    return ""


UNNAMED = frozenset({"", "Yaml", "DuplicateKey", "DuplicateRule", "RulesNotFound", "InvalidDuration"})
"""Our kinds of what published compilers refuse without a kind of its own."""


def _repeats(text: str) -> bool:
    """Whether an id or a hash stands there twice, or two are left out: published readers look at that first."""
    try:
        documents = list(written(text, "", lenient=True))
    except DocumentError:
        return False
    rules = [rule for _, document in documents for rule in document.rules]
    ids = [id for rule in rules for id in (rule.metadata.hash, rule.metadata.id, rule.cre.id)]
    return len(set(ids)) < len(ids)


def _parsed(text: str, expected: Case) -> str:
    """A document whose tree can be built, whatever the checks then say of it."""
    trees = [_tree(root) for root in lowered_rules(text, "")]
    found = [name for tree in trees for name, _ in tree]
    if "node_types" in expected and found != expected["node_types"]:
        return f"node types {found} instead of {expected['node_types']}"
    negatives = [first for tree in trees for _, first in tree]
    if "neg_index" in expected and negatives != expected["neg_index"]:
        return f"first negatives {negatives} instead of {expected['neg_index']}"
    return ""


def _tree(node: Node, bare: int = 1) -> list[tuple[str, int]]:
    """(type, number of its first negative or -1) of the node and of all below; promql without a source ``bare`` times."""
    found = [(_type(node), len(node.positives) if node.negatives else -1)]
    for item in node.items:
        if isinstance(item, Node):
            found += _tree(item, bare)
        elif isinstance(item, Metric):
            found += [("promql", -1)] * (1 if item.source else bare)
    return found


def _type(node: Node) -> str:
    return f"{'log' if node.is_log else 'machine'}_{'seq' if node.ordered else 'set'}"


def _with_machine(root: Node) -> list[str]:
    """The nodes as a published compiler lists them: a log node alone stands in a machine."""
    names = [name for name, _ in _tree(root, bare=2)]
    if root.is_log:
        names.insert(0, _type(root).replace("log", "machine"))
    return [f"{name}@{'node' if name.startswith('log') else 'cluster'}" for name in names]


def _matchers(node: Node) -> list[str]:
    if not node.is_log:
        return [kind for item in node.items if isinstance(item, Node) for kind in _matchers(item)]
    if node.negatives:
        return ["InverseSeq" if node.ordered else "InverseSet"]
    if node.ordered:
        return ["MatchSeq"]
    return ["MatchSingle" if len(expanded(node.positives)) == 1 else "MatchSet"]


def judge_term(case: Case) -> str:
    """One term on one text, or why it cannot be compiled."""
    of_yaml = case["type"] == _YAML_JQ
    kind = "jq" if of_yaml else KINDS[case["type"]]
    try:
        test = compiled(kind, case["value"])
    except WrongPattern as error:
        return (
            "" if case.get("error") == error.kind else f"{error.kind} ({error}) instead of {case.get('error', 'none')}"
        )
    if "error" in case:
        return f"compiled instead of {case['error']}"
    found = test(_as_json(case["line"]) if of_yaml else case["line"])
    return "" if found is case["expect"] else f"{found} instead of {case['expect']}"


def _as_json(line: str) -> str:
    try:
        return json.dumps(yaml.safe_load(line))
    except yaml.YAMLError:
        return ""
