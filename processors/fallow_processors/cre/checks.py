"""What a rule must keep beyond its shape, in the order in which the published compiler looks."""

from __future__ import annotations

from collections.abc import Sequence

from fallow import promql
from fallow_processors.cre.lower import Wrong
from fallow_processors.cre.matchers import slots_of
from fallow_processors.cre.patterns import WrongPattern, compiled
from fallow_processors.cre.rule import Extract, Item, Node, Pattern, Term, expanded, metrics, nodes

MAX_TERMS = 64


def check(root: Node, *, published: bool = False) -> None:
    """Raises Wrong where the rule cannot be run, or (``published``) where published compilers would refuse it by mistake."""
    _shape(root, published)
    _origins(root)
    for node in nodes(root):
        if node.is_log:
            check_matcher(node)
    if published:
        return
    for node in nodes(root):
        for item in node.items:
            if isinstance(item, Term):
                _compile(node, item.extract)
    for metric in metrics(root):
        if metric.interval_ns <= 0 or metric.for_ns < 0:
            raise Wrong("InvalidDuration", "interval has to be more than 0, for at least 0", metric.at)
        try:
            promql.check(metric.expr)
        except promql.PromqlError as error:
            raise Wrong("Promql", f"{error.message}, at character {error.position + 1}", metric.at) from error


def _wrong(node: Node, kind: str, message: str) -> Wrong:
    return Wrong(kind, message, node.at, place=node.place)


def _shape(node: Node, published: bool) -> None:
    """What a node holds, what is below it first."""
    if node.items and all(isinstance(item, Term) for item in node.items):
        if not node.is_log:
            raise _wrong(node, "RootNodeWithoutEventSrc", "event.source is required where there are terms")
        _log_terms(node, published)
        _log_window(node)
        return
    positives = len(expanded(node.positives))
    for item in node.items:
        if isinstance(item, Term):
            raise _wrong(node, "InvalidNodeType", "may hold nodes and promql only; terms need an event.source")
        if item.negate.anchor >= max(2, len(node.items) + 1 if published else positives):
            raise _wrong(node, "InvalidAnchor", f"anchor {item.negate.anchor} is beyond the {positives} conditions")
        if isinstance(item, Node):
            _shape(item, published)
    if node.ordered and node.window == 0:
        raise _wrong(node, "InvalidWindow", "a sequence needs a window")


def _log_terms(node: Node, published: bool) -> None:
    positives = len(expanded(node.positives))
    for item in node.negatives:
        if isinstance(item, Term) and item.count > 1:
            raise _wrong(node, "NegateCount", "a negative term has no count")
        anchor = item.negate.anchor
        if anchor > 1 and (published or anchor >= positives):
            raise _wrong(node, "InvalidAnchor", f"anchor {anchor} is beyond the {positives} terms")


def _log_window(node: Node) -> None:
    positives = len(expanded(node.positives))
    if node.ordered and positives < 2:
        raise _wrong(node, "SeqPosConditions", "a sequence needs at least two terms")
    if node.ordered and node.window == 0:
        raise _wrong(node, "InvalidWindow", "a sequence needs a window")
    if not node.ordered and positives == 1 and node.window != 0:
        raise _wrong(node, "InvalidWindow", "one term alone has no window")
    if not node.ordered and positives > 1 and node.window == 0:
        raise _wrong(node, "InvalidWindow", "more than one term needs a window")


def _origins(root: Node) -> None:
    if root.is_log:
        return
    origins = sum(node.origin for node in nodes(root)) + sum(metric.origin for metric in metrics(root))
    if origins == 0:
        raise _wrong(root, "MissingOrigin", "one node needs event.origin: true, to say what is to blame")
    if origins > 1:
        raise _wrong(root, "MultipleOrigin", "only one node may have event.origin: true")


def check_matcher(node: Node) -> None:
    """Raises Wrong where no matcher can be made for a log node."""
    if not node.positives:
        raise _wrong(node, "NoTerms", "nothing to look for: match is empty")
    for item in node.positives:
        _compiles(node, item)
    counts = _slot_counts(node)
    if len(counts) > MAX_TERMS:
        raise _wrong(node, "TooManyTerms", f"{len(counts)} different terms, at most {MAX_TERMS}")
    for item in node.negatives:
        _compiles(node, item)
        anchor = item.negate.anchor
        if not 0 <= anchor < sum(counts):
            raise _wrong(node, "AnchorRange", f"anchor {anchor} is beyond the {sum(counts)} terms")
        if node.ordered and not may_anchor(counts, anchor):
            raise _wrong(node, "AnchorNoDupes", f"anchor {anchor} lies within repeated terms; use the first of them")


def may_anchor(counts: Sequence[int], anchor: int) -> bool:
    """Whether a negative of a sequence may be anchored there: at the first event of a slot, given what each slot counts."""
    starts = {sum(counts[:i]) for i in range(len(counts))}
    return anchor in starts or all(count == 1 for count in counts)


def _slot_counts(node: Node) -> list[int]:
    numbers: dict[Pattern, int] = {}
    terms = [
        numbers.setdefault(item.pattern, len(numbers)) for item in expanded(node.positives) if isinstance(item, Term)
    ]
    return [slot.need for slot in slots_of(terms, ordered=node.ordered)]


def _compiles(node: Node, item: Item) -> None:
    if isinstance(item, Term):
        _compile(node, [item.pattern])


def _compile(node: Node, parts: Sequence[Pattern | Extract]) -> None:
    for part in parts:
        try:
            compiled(part.kind, part.text)
        except WrongPattern as error:
            raise _wrong(node, error.kind, str(error)) from error
