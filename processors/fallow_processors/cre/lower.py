"""From the document as written to nodes: references resolved, durations read, what is missing found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

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
_TERM_DEPTH = len(("terms", "its name"))
_NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)


class Wrong(Exception):
    """One thing wrong with a rule.

    Args:
        at: what is wrong.
        value: the place is what stands at ``at``, not its key.
        place: the place is what stands there instead.
    """

    def __init__(
        self, kind: str, message: str, at: Location, *, value: bool = False, place: Location | None = None
    ) -> None:
        super().__init__(message)
        self.kind, self.message, self.at = kind, message, at
        self.place = at if value and place is None else place

    def problem(self, document: Document) -> Problem:
        """The problem at its line and column."""
        found = document.problem(self.at, self.message, kind=self.kind)
        if self.place is None:
            return found
        node = value_at(document.node, self.place)
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
        self._later: list[Wrong] = []
        """What published compilers find only once all conditions are read."""

    def root(self, doc: ConditionDoc, at: Location) -> Node:
        """The rule's outermost node."""
        found = self._condition(doc.sequence, doc.set, at, None)
        if found is None:
            raise Wrong("NotSupported", "a rule needs a sequence or a set", at, value=True)
        if self._later:
            raise self._later[0]
        return found if _says_origin(found) else _with_origin(found)

    def _condition(
        self,
        sequence: SequenceDoc | None,
        set_: SetDoc | None,
        at: Location,
        place: Location | None,
        negate: NegateOptions = _PLAIN,
    ) -> Node | None:
        if sequence is not None:
            return self._node(sequence, sequence.order, "order", (*at, "sequence"), place, negate)
        if set_ is not None:
            return self._node(set_, set_.match, "match", (*at, "set"), place, negate)
        return None

    def _node(
        self,
        doc: SequenceDoc | SetDoc,
        positives: list[ItemDoc] | None,
        key: str,
        at: Location,
        place: Location | None,
        negate: NegateOptions,
    ) -> Node:
        spot = _Spot.of(at, key, place, windowed=bool(doc.window))
        items = [self._item(item, spot, (*at, key, i)) for i, item in enumerate(positives or ())]
        negatives = [
            self._item(item, spot, (*at, "negate", i), negative=True) for i, item in enumerate(doc.negate or ())
        ]
        if positives is None:
            raise Wrong(f"Missing{key.capitalize()}", f"{key} is required", at, place=spot.start)
        if doc.event is not None and (any(isinstance(i, Node) for i in items + negatives) or not items + negatives):
            raise Wrong(
                "InnerEvent", "a node with an event holds terms, at least one, and nothing else", (*at, "event")
            )
        window = 0
        if doc.window:
            try:
                window = go_duration(doc.window)
            except ValueError as error:
                raise Wrong("InvalidWindow", str(error), (*at, "window"), place=spot.node) from error
        if doc.event is not None and not doc.event.source:
            self._later.append(Wrong("InvalidEventType", "event.source is empty", (*at, "event"), place=spot.node))
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
            place=spot.node,
        )
        return _over_signals(found) if found.source and any(isinstance(i, Metric) for i in found.items) else found

    def _item(self, doc: ItemDoc, spot: _Spot, at: Location, *, negative: bool = False) -> Item:
        if doc.value and doc.value in self._terms and doc.field != METRIC_FIELD:
            return self._referred(doc, str(doc.value), spot, negative)
        return self._resolved(doc, spot, spot.negatives if negative else spot.positives, at, negative)

    def _resolved(self, doc: ItemDoc, spot: _Spot, place: Location, at: Location, negative: bool) -> Item:
        options = _negate_options(doc, at) if negative else NegateOptions()
        node = self._condition(doc.sequence, doc.set, at, place, options)
        if node is not None:
            return node
        if doc.promql is not None:
            return self._metric(doc.promql, at, place, options)
        if doc.field == METRIC_FIELD and doc.value:
            return Metric(
                expr=str(doc.value),
                for_ns=0 if negative else _duration(doc.window or "", (*at, "window")),
                interval_ns=DEFAULT_INTERVAL,
                source="",
                origin=False,
                negate=options,
                at=(*at, "value"),
            )
        return self._term(doc, spot, place, at, options)

    def _term(self, doc: ItemDoc, spot: _Spot, place: Location, at: Location, options: NegateOptions) -> Term:
        scalars: tuple[tuple[TermKind, str], ...] = ("value", doc.value), ("regex", doc.regex), ("jq", doc.jq)
        given = [Pattern(kind, str(text), str(doc.field)) for kind, text in scalars if text]
        if not given:
            raise Wrong("TermNotFound", "a term needs a value, a regex, a jq, or a condition", at, place=place)
        if len(given) > 1:
            self._later.append(Wrong("InvalidNodeType", "a term has one of value, regex and jq", at, place=spot.node))
        extracts: list[Extract] = []
        for e in doc.extract or ():
            if not _NAME.fullmatch(e.name):
                message = f"{str(e.name)!r} found, expected a name of letters, digits and '_'"
                raise Wrong("ExtractName", message, (*at, "extract"))
            if bool(e.jq) == bool(e.regex):
                message = "an extract needs either a regex or a jq"
                self._later.append(Wrong("ExtractTerm", message, (*at, "extract"), place=spot.node))
            extracts.append(
                Extract(str(e.name), "jq", str(e.jq)) if e.jq else Extract(str(e.name), "regex", str(e.regex))
            )
        return Term(pattern=given[0], count=max(1, doc.count), negate=options, extract=tuple(extracts))

    def _metric(self, doc: PromqlDoc, at: Location, place: Location, options: NegateOptions) -> Metric:
        at = (*at, "promql")
        for_ns, interval_ns = (
            _duration(doc.for_, (*at, "for")),
            _duration(doc.interval, (*at, "interval"), DEFAULT_INTERVAL),
        )
        if doc.event is not None and not doc.event.source:
            self._later.append(Wrong("InvalidEventType", "event.source is empty", (*at, "event"), place=place))
        if not doc.expr:
            self._later.append(Wrong("MissingScalar", "promql needs an expr", at, place=place))
        return Metric(
            expr=str(doc.expr),
            for_ns=for_ns,
            interval_ns=interval_ns,
            source=str(doc.event.source) if doc.event else "",
            origin=bool(doc.event and doc.event.origin),
            negate=options,
            at=(*at, "expr"),
        )

    def _referred(self, doc: ItemDoc, name: str, spot: _Spot, negative: bool) -> Item:
        if name in self._open or len(self._open) > _DEPTH:
            raise Wrong("TermNotFound", f"the term {name!r} refers to itself", ("terms", name))
        self._open.append(name)
        try:
            target = self._terms[name]
            options = {"window": doc.window, "slide": doc.slide, "anchor": doc.anchor, "absolute": doc.absolute}
            if negative and any(value is not None for value in options.values()):
                target = target.model_copy(update=options)
            return self._resolved(target, spot, ("terms", name), ("terms", name), negative)
        finally:
            self._open.pop()


def _over_signals(node: Node) -> Node:
    """A node with a source whose terms are metric conditions: a machine over them, whose source and origin are theirs."""
    if not all(isinstance(item, Metric) for item in node.items):
        message = "conditions over signals and terms do not go together; give each a node of its own"
        raise Wrong("InvalidNodeType", message, node.at, place=node.place)
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


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where published compilers say that a node and its items stand.

    They know the keys of a rule's outermost node and of a term's; what stands in a list has the place of the list. A node
    with a window stands at the window, where they find it.
    """

    start: Location
    node: Location
    positives: Location
    negatives: Location

    @classmethod
    def of(cls, at: Location, key: str, place: Location | None, *, windowed: bool) -> _Spot:
        """``place``: what the node is said to stand at; None for the outermost."""
        if place is None:
            return cls(at, (*at, "window") if windowed and key == "match" else at, (*at, key), (*at, "negate"))
        start = (*place, at[-1]) if len(place) == _TERM_DEPTH else place
        return cls(start, (*start, "window") if windowed and start[0] == "terms" else start, start, start)


def _negate_options(doc: ItemDoc, at: Location) -> NegateOptions:
    if doc.anchor is not None and doc.anchor < 0:
        raise Wrong("", f"{doc.anchor} found, expected 0 or more", (*at, "anchor"))
    return NegateOptions(
        window=_duration(doc.window or "", (*at, "window")),
        slide=_duration(doc.slide or "", (*at, "slide")),
        anchor=doc.anchor or 0,
        absolute=bool(doc.absolute),
    )


def _duration(text: str, at: Location, default: int = 0) -> int:
    try:
        return go_duration(text) if text else default
    except ValueError as error:
        raise Wrong("InvalidDuration", str(error), at, value=True) from error
