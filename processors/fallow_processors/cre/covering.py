"""Which rules can fire on what a deployment delivers, which cannot, and for want of what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from fallow import promql, semconv
from fallow_processors.cre.rule import Item, Metric, Node, Rule, Term
from fallow_processors.cre.selection import selection

CoverageState = Literal["can fire", "in part", "cannot fire"]
Test = Callable[[Mapping[str, str]], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """Something that a rule asks for and that is not delivered."""

    kind: Literal["signal", "labels", "event", "records"]
    name: str
    """The signal or event; of labels the signal that lacks them."""
    text: str
    """As the rule has it."""
    needed: bool
    """Without it the rule never fires; else it fires on what else it has, or with less to hold it back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered:
    """What a rule can do."""

    rule: Rule
    state: CoverageState
    wants: tuple[Want, ...]

    def data(self) -> dict[str, Any]:
        """For machines."""
        wants = [asdict(want) for want in self.wants]
        return {"rule": self.rule.cre, "title": self.rule.title, "state": self.state, "wants": wants}


def coverage(rules: Sequence[Rule], delivered: Mapping[str, Any]) -> list[Covered]:
    """What each rule can do on what is delivered, a document of ``fallow.delivered``."""
    there = _There(delivered)
    return [there.covered(rule) for rule in rules]


class _There:
    def __init__(self, delivered: Mapping[str, Any]) -> None:
        self._signals = {
            promql.prom_name(name): [{promql.prom_name(k): v for k, v in labels.items()} for labels in found["labels"]]
            for name, found in delivered["signals"].items()
        }
        # Conditions see an event as a sample of fallow.event, with its name and whatever identifies it.
        events = delivered["events"]
        known = dict.fromkeys(map(promql.prom_name, (*semconv.IDENTITY, semconv.JOB_NAME, semconv.USER_NAME)), "*")
        if events:
            self._signals[promql.prom_name(semconv.EVENT)] = [known | {"event_name": name} for name in events]
        self._events: Sequence[str] = list(events)
        self._records = int(delivered["records"])

    def covered(self, rule: Rule) -> Covered:
        """What a rule can do."""
        wants = list(dict.fromkeys(self._wants(rule.root, needed=True)))
        state: CoverageState = "can fire" if not wants else "in part"
        if any(want.needed for want in wants):
            state = "cannot fire"
        return Covered(rule=rule, state=state, wants=tuple(sorted(wants, key=lambda want: not want.needed)))

    def _wants(self, node: Node, *, needed: bool) -> Iterator[Want]:
        for items, is_needed in ((node.positives, needed), (node.negatives, False)):
            for item in items:
                yield from self._of_item(item, node, needed=is_needed)

    def _of_item(self, item: Item, node: Node, *, needed: bool) -> Iterator[Want]:
        if isinstance(item, Node):
            yield from self._wants(item, needed=needed)
        elif isinstance(item, Metric):
            yield from self._of_metric(item, needed=needed)
        elif node.is_points:
            yield from self._of_points(item, needed=needed)
        else:
            yield from self._of_record(item, needed=needed)

    def _of_metric(self, metric: Metric, *, needed: bool) -> Iterator[Want]:
        lacking = [(n, text) for n, text, accept in promql.selections(metric.expr) if not self._exists(n, accept)]
        dead = needed and not promql.can_select(metric.expr, self._exists)
        killers = {name for name, _ in lacking if dead and _kills(metric.expr, name)}
        for name, text in lacking:
            kind: Literal["signal", "labels"] = "labels" if name in self._signals else "signal"
            # Where none of them alone is to blame, all of them together are.
            blamed = name in killers or (dead and not killers)
            yield Want(kind=kind, name=_signal(name), text=text, needed=blamed)

    def _exists(self, name: str, accept: Test | None) -> bool:
        found = self._signals.get(name)
        return found is not None and (accept is None or any(accept(labels) for labels in found))

    def _of_points(self, term: Term, *, needed: bool) -> Iterator[Want]:
        if term.pattern.kind != "jq":
            return
        for one in selection(term.pattern.text).series:
            if (one.path, one.op) == (("name",), "==") and promql.prom_name(str(one.constant)) not in self._signals:
                yield Want(kind="signal", name=str(one.constant), text=term.pattern.text, needed=needed)

    def _of_record(self, term: Term, *, needed: bool) -> Iterator[Want]:
        pattern = term.pattern
        if pattern.field == semconv.EVENT_NAME and pattern.kind == "value":
            if not any(pattern.text in name for name in self._events):
                yield Want(kind="event", name=pattern.text, text=pattern.text, needed=needed)
        elif not self._records:
            yield Want(kind="records", name="", text=pattern.text, needed=needed)


def _kills(expr: str, name: str) -> bool:
    """Whether the expression has no value where only that metric is not there."""
    return not promql.can_select(expr, lambda n, _: n != name)


def _signal(name: str) -> str:
    """The signal of a PromQL name."""
    return _OURS.get(name, name)


_OURS: Mapping[str, str] = {promql.prom_name(name): name for name in semconv.SIGNALS}
