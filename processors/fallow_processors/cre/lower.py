"""From the document as written to nodes: references resolved, durations read, what is missing found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import yaml

from fallow.document import Document, Location, placed
from fallow.errors import Problem
from fallow.units import SECOND
from fallow_processors.cre.rule import (
    Extract,
    Item,
    Metric,
    NegateOptions,
    Node,
    Pattern,
    Term,
    TermKind,
    metrics,
    nodes,
)
from fallow_processors.cre.schema import ConditionDoc, ItemDoc, PromqlDoc, SequenceDoc, SetDoc, go_duration

DEFAULT_INTERVAL = SECOND
METRIC_FIELD = "promql"
"""A term whose ``field`` is this is a metric condition, spelled with keys that the published schema allows."""
_PLAIN = NegateOptions()
_DEPTH = 32
_NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)


class Wrong(Exception):
    """One thing wrong with a rule.

    ``value``: the place is what stands at ``at``, not its key.
    """

    def __init__(self, kind: str, message: str, at: Location, *, value: bool = False) -> None:
        super().__init__(message)
        self.kind, self.message, self.at, self.value = kind, message, at, value

    def problem(self, document: Document) -> Problem:
        """The problem at its line and column."""
        found = document.problem(self.at, self.message, kind=self.kind)
        if not self.value:
            return found
        node = value_at(document.node, self.at)
        return placed(document.file, node, self.message, key=found.key, kind=self.kind)


def value_at(node: yaml.Node, at: Location) -> yaml.Node:
    """The value at a location, or the nearest above it."""
    for part in at:
        if isinstance(node, yaml.MappingNode):
            below = next((v for k, v in node.value if k.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            below = node.value[part]
        else:
            below = None
        if below is None:
            return node
        node = below
    return node


class Lowering:
    """Turns one rule's conditions into nodes.

    Args:
        terms: the document's definitions, by name.
    """

    def __init__(self, terms: Mapping[str, ItemDoc]) -> None:
        self._terms = terms
        self._open: list[str] = []

    def root(self, doc: ConditionDoc, at: Location) -> Node:
        """The rule's outermost node."""
        found = self._condition(doc.sequence, doc.set, at)
        if found is None:
            raise Wrong("NotSupported", "a rule needs a sequence or a set", at)
        return found if _says_origin(found) else _with_origin(found)

    def _condition(
        self, sequence: SequenceDoc | None, set_: SetDoc | None, at: Location, negate: NegateOptions = _PLAIN
    ) -> Node | None:
        if sequence is not None:
            return self._node(sequence, sequence.order, "order", (*at, "sequence"), negate)
        if set_ is not None:
            return self._node(set_, set_.match, "match", (*at, "set"), negate)
        return None

    def _node(
        self,
        doc: SequenceDoc | SetDoc,
        positives: list[ItemDoc] | None,
        key: str,
        at: Location,
        negate: NegateOptions,
    ) -> Node:
        if positives is None:
            raise Wrong(f"Missing{key.capitalize()}", f"{key} is required", at, value=True)
        window = 0
        if doc.event is not None and not doc.event.source:
            raise Wrong("InvalidEventType", "event.source is empty", place_of(at), value=True)
        if doc.window:
            try:
                window = go_duration(doc.window)
            except ValueError as error:
                raise Wrong("InvalidWindow", str(error), (*at, "window"), value=True) from error
        items = [self._item(item, at, (*at, key, i)) for i, item in enumerate(positives)]
        negatives = [self._item(item, at, (*at, "negate", i), negative=True) for i, item in enumerate(doc.negate or ())]
        found = Node(
            ordered=key == "order",
            window=window,
            positives=tuple(items),
            negatives=tuple(negatives),
            correlations=tuple(str(name) for name in doc.correlations or ()),
            source=str(doc.event.source) if doc.event else "",
            origin=bool(doc.event and doc.event.origin),
            negate=negate,
            at=at,
        )
        return _over_signals(found) if found.source and any(isinstance(i, Metric) for i in found.items) else found

    def _item(self, doc: ItemDoc, node_at: Location, at: Location, *, negative: bool = False) -> Item:
        options = _negate_options(doc) if negative else NegateOptions()
        if doc.value and doc.value in self._terms and doc.field != METRIC_FIELD:
            return self._referred(doc, str(doc.value), node_at, negative)
        node = self._condition(doc.sequence, doc.set, at, options)
        if node is not None:
            return node
        if doc.promql is not None:
            return _metric(doc.promql, at, options)
        if doc.field == METRIC_FIELD and doc.value:
            return Metric(
                expr=str(doc.value),
                for_ns=0 if negative else go_duration(doc.window or 0),
                interval_ns=DEFAULT_INTERVAL,
                source="",
                origin=False,
                negate=options,
                at=(*at, "value"),
            )
        return _term(doc, node_at, at, options)

    def _referred(self, doc: ItemDoc, name: str, node_at: Location, negative: bool) -> Item:
        if name in self._open or len(self._open) > _DEPTH:
            raise Wrong("TermNotFound", f"the term {name!r} refers to itself", ("terms", name))
        self._open.append(name)
        try:
            target = self._terms[name]
            options = {"window": doc.window, "slide": doc.slide, "anchor": doc.anchor, "absolute": doc.absolute}
            if negative and any(value is not None for value in options.values()):
                target = target.model_copy(update=options)
            return self._item(target, node_at, ("terms", name), negative=negative)
        finally:
            self._open.pop()


def _over_signals(node: Node) -> Node:
    """A node with a source whose terms are metric conditions: a machine over them, whose source and origin are theirs."""
    if not all(isinstance(item, Metric) for item in node.items):
        message = "conditions over signals and terms do not go together; give each a node of its own"
        raise Wrong("InvalidNodeType", message, place_of(node.at), value=True)
    bare = replace(
        node,
        source="",
        origin=False,
        positives=tuple(_of_source(item, node.source) for item in node.positives),
        negatives=tuple(_of_source(item, node.source) for item in node.negatives),
    )
    return _with_origin(bare) if node.origin else bare


def _of_source(item: Item, source: str) -> Item:
    return replace(item, source=item.source or source) if isinstance(item, Metric) else item


def _says_origin(node: Node) -> bool:
    return node.is_log or any(one.origin for one in nodes(node)) or any(metric.origin for metric in metrics(node))


def _with_origin(node: Node) -> Node:
    """The node with its first metric condition as the origin, where that is spelled with published keys.

    They have no place to say it; where nothing else does either, it is meant.
    """
    for i, item in enumerate(node.positives):
        made = item
        if isinstance(item, Metric) and item.at[-1:] == ("value",):
            made = replace(item, origin=True)
        elif isinstance(item, Node):
            made = _with_origin(item)
        if made is not item:
            return replace(node, positives=(*node.positives[:i], made, *node.positives[i + 1 :]))
    return node


def _term(doc: ItemDoc, node_at: Location, at: Location, options: NegateOptions) -> Term:
    scalars: tuple[tuple[TermKind, str], ...] = ("value", doc.value), ("regex", doc.regex), ("jq", doc.jq)
    given = [Pattern(kind, str(text), str(doc.field)) for kind, text in scalars if text]
    if not given:
        raise Wrong("TermNotFound", "a term needs a value, a regex, a jq, or a condition", at[:-1], value=True)
    if len(given) > 1:
        raise Wrong("InvalidNodeType", "a term has one of value, regex and jq", place_of(node_at), value=True)
    extracts: list[Extract] = []
    for e in doc.extract or ():
        if not _NAME.fullmatch(e.name) or bool(e.jq) == bool(e.regex):
            message = "an extract needs a name and either a regex or a jq"
            raise Wrong("ExtractTerm", message, place_of(node_at), value=True)
        extracts.append(Extract(str(e.name), "jq", str(e.jq)) if e.jq else Extract(str(e.name), "regex", str(e.regex)))
    return Term(pattern=given[0], count=max(1, doc.count), negate=options, extract=tuple(extracts))


def place_of(node_at: Location) -> Location:
    """Where the published compiler says a node stands: at its window, else at its first key."""
    return (*node_at, "window")


def _negate_options(doc: ItemDoc) -> NegateOptions:
    return NegateOptions(
        window=go_duration(doc.window or 0),
        slide=go_duration(doc.slide or 0),
        anchor=doc.anchor or 0,
        absolute=bool(doc.absolute),
    )


def _metric(doc: PromqlDoc, at: Location, options: NegateOptions) -> Metric:
    at = (*at, "promql")
    durations: dict[str, int] = {}
    for key, text, default in (("for", doc.for_, 0), ("interval", doc.interval, DEFAULT_INTERVAL)):
        try:
            durations[key] = go_duration(text) if text else default
        except ValueError as error:
            raise Wrong("InvalidWindow", str(error), (*at, key), value=True) from error
    if durations["interval"] <= 0 or durations["for"] < 0:
        raise Wrong("InvalidWindow", "interval has to be more than 0, for at least 0", at)
    if not doc.expr:
        raise Wrong("TermNotFound", "promql needs an expr", at)
    return Metric(
        expr=str(doc.expr),
        for_ns=durations["for"],
        interval_ns=durations["interval"],
        source=str(doc.event.source) if doc.event else "",
        origin=bool(doc.event and doc.event.origin),
        negate=options,
        at=(*at, "expr"),
    )
