"""What a rule must keep beyond its shape, in the order in which the published compiler looks."""

from __future__ import annotations

from fallow import promql
from fallow_processors.cre.lower import Wrong, place_of
from fallow_processors.cre.patterns import WrongPattern, compiled
from fallow_processors.cre.rule import Extract, Item, Node, Pattern, Term, expanded, metrics, nodes

MAX_TERMS = 64


def check(root: Node) -> None:
    """Raises Wrong where the rule cannot be run."""
    _origins(root)
    for node in nodes(root):
        _items(node, is_root=node is root)
        _window(node)
        _negatives(node)
    for node in nodes(root):
        if node.is_log:
            _terms(node)
            _anchors(node)
    for metric in metrics(root):
        try:
            promql.check(metric.expr)
        except promql.PromqlError as error:
            raise Wrong("Promql", f"{error.message}, at character {error.position + 1}", metric.at) from error


def _wrong(node: Node, kind: str, message: str) -> Wrong:
    return Wrong(kind, message, place_of(node.at), value=True)


def _origins(root: Node) -> None:
    if root.is_log:
        return
    origins = sum(node.origin for node in nodes(root)) + sum(metric.origin for metric in metrics(root))
    if origins == 0 and any(isinstance(item, Term) for item in root.items):
        raise _wrong(root, "RootNodeWithoutEventSrc", "event.source is required where there are terms")
    if origins == 0:
        raise _wrong(root, "MissingOrigin", "one node needs event.origin: true, to say what is to blame")
    if origins > 1:
        raise _wrong(root, "MultipleOrigin", "only one node may have event.origin: true")


def _items(node: Node, *, is_root: bool) -> None:
    for item in node.items:
        if node.is_log != isinstance(item, Term):
            if is_root and not node.is_log:
                raise _wrong(node, "RootNodeWithoutEventSrc", "event.source is required where there are terms")
            said = "terms only" if node.is_log else "nodes and promql only; terms need an event.source"
            raise _wrong(node, "InvalidNodeType", f"may hold {said}")


def _window(node: Node) -> None:
    positives = len(expanded(node.positives))
    if node.is_log and node.ordered and positives < 2:
        raise _wrong(node, "SeqPosConditions", "a sequence needs at least two terms")
    if node.ordered and node.window == 0:
        raise _wrong(node, "InvalidWindow", "a sequence needs a window")
    if node.is_log and not node.ordered and positives == 1 and node.window != 0:
        raise _wrong(node, "InvalidWindow", "one term alone has no window")
    if node.is_log and not node.ordered and positives > 1 and node.window == 0:
        raise _wrong(node, "InvalidWindow", "more than one term needs a window")


def _negatives(node: Node) -> None:
    positives = len(expanded(node.positives))
    for item in node.negatives:
        if isinstance(item, Term) and item.count > 1:
            raise _wrong(node, "NegateCount", "a negative term has no count")
        if item.negate.anchor > 1 and item.negate.anchor >= positives:
            raise _wrong(node, "InvalidAnchor", f"anchor {item.negate.anchor} is beyond the {positives} terms")


def _anchors(node: Node) -> None:
    slots = expanded(node.positives)
    for item in node.negatives:
        anchor = item.negate.anchor
        if not 0 <= anchor < len(slots):
            raise _wrong(node, "AnchorRange", f"anchor {anchor} is beyond the {len(slots)} terms")
        if node.ordered and anchor and _same(slots[anchor - 1], slots[anchor]):
            raise _wrong(node, "AnchorNoDupes", f"anchor {anchor} lies within repeated terms; use the first of them")


def _same(a: Item, b: Item) -> bool:
    return isinstance(a, Term) and isinstance(b, Term) and a.pattern == b.pattern


def _terms(node: Node) -> None:
    if not node.positives:
        raise _wrong(node, "NoTerms", "nothing to look for: match is empty")
    patterns = {item.pattern for item in node.items if isinstance(item, Term)}
    if len(patterns) > MAX_TERMS:
        raise _wrong(node, "TooManyTerms", f"{len(patterns)} different terms, at most {MAX_TERMS}")
    for item in node.items:
        if not isinstance(item, Term):
            continue
        parts: list[Pattern | Extract] = [item.pattern, *item.extract]
        for part in parts:
            try:
                compiled(part.kind, part.text)
            except WrongPattern as error:
                raise _wrong(node, "TermCompile", str(error)) from error
