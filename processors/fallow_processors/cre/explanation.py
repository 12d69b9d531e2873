"""A rule in plain words and numbers: what it looks for, what it needs, when it can speak, what it holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fallow import promql, semconv
from fallow.series import SeriesTable
from fallow.units import duration_text
from fallow_processors.cre.config import CreConfig
from fallow_processors.cre.rule import Item, Metric, NegateOptions, Node, Rule, Term, expanded, metrics, nodes
from fallow_processors.cre.selection import SLOW_TERM, is_columnar, selection

_KINDS = {"value": "the text", "regex": "the pattern", "jq": "jq"}


@dataclass(frozen=True, slots=True)
class Part:
    """A sentence, the facts in it for machines, and what belongs below it."""

    text: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A rule explained."""

    rule: Rule
    looks_for: Part
    conditions: tuple[Part, ...]
    """Each PromQL condition: how it is evaluated, held and shared."""
    needs: tuple[Part, ...]
    speaks: tuple[str, ...]
    holds: tuple[str, ...]

    def data(self) -> dict[str, Any]:
        """For machines."""
        rule = self.rule
        return {
            "rule": rule.cre,
            "title": rule.title,
            "severity": rule.severity,
            "id": rule.id,
            "hash": rule.hash,
            "stable_hash": rule.stable_hash,
            "file": rule.file,
            "line": rule.line,
            "looks_for": _data(self.looks_for),
            "conditions": [_data(part) for part in self.conditions],
            "needs": [_data(part) for part in self.needs],
            "speaks": list(self.speaks),
            "holds": list(self.holds),
            "suggests": dict(rule.optimize),
        }


def _data(part: Part) -> dict[str, Any]:
    return {"text": part.text, **part.facts} | ({"parts": [_data(p) for p in part.parts]} if part.parts else {})


def explain(rules: Sequence[Rule], config: CreConfig | None = None) -> list[Explanation]:
    """Each of the rules; what they compute together is found among them all."""
    settings = config or CreConfig()
    wanted = [(rule, metric) for rule in rules for metric in metrics(rule.root)]
    questions = [promql.Condition(expr=m.expr, for_ns=m.for_ns, interval_ns=m.interval_ns) for _, m in wanted]
    engine = promql.Engine(SeriesTable(), questions, coverage=settings.coverage, lookback_ns=settings.lookback)
    return [_Explainer(rule, wanted, engine, settings).explanation() for rule in rules]


class _Explainer:
    def __init__(
        self, rule: Rule, wanted: Sequence[tuple[Rule, Metric]], engine: promql.Engine, config: CreConfig
    ) -> None:
        self._rule, self._wanted, self._engine, self._config = rule, wanted, engine, config
        self._own = [i for i, (of, _) in enumerate(wanted) if of is rule]
        self._windows = {i: engine.describe(i) for i in self._own}

    def explanation(self) -> Explanation:
        root = self._rule.root
        return Explanation(
            rule=self._rule,
            looks_for=_node(root),
            conditions=tuple(self._condition(i) for i in self._own),
            needs=tuple(self._needs()),
            speaks=tuple(self._speaks()),
            holds=tuple(self._holds()),
        )

    # -- conditions over signals ---------------------------------------------------------------------------------------
    def _condition(self, number: int) -> Part:
        metric = self._wanted[number][1]
        held = f", and has to be true for {duration_text(metric.for_ns)}" if metric.for_ns else ""
        parts = [Part(f"evaluated every {duration_text(metric.interval_ns)} of event time{held}")]
        parts += [_window(window) for window in self._windows[number]]
        parts += [self._shared(text, others) for text, others in self._engine.shared(number)]
        facts = {"expr": metric.expr, "for_ns": metric.for_ns, "interval_ns": metric.interval_ns}
        return Part(_one_line(metric.expr), facts, tuple(parts))

    def _shared(self, text: str, others: Sequence[int]) -> Part:
        names = sorted({self._wanted[i][0].cre for i in others} - {self._rule.cre})
        with_whom = f"with {', '.join(names)}" if names else "within this rule"
        return Part(f"computed once, {with_whom}: {text}", {"shared": text, "with": names})

    # -- what it needs -------------------------------------------------------------------------------------------------
    def _needs(self) -> Iterator[Part]:
        signals = self._signals()
        required = self._required()
        for name in signals:
            unit = semconv.SIGNALS.get(name)
            kind = f"signal, unit {unit}" if unit else "metric under its own name, no signal of ours"
            needed = promql.prom_name(name) in required
            without = "the rule never fires" if needed else "the rule still fires, on its other signals alone"
            facts = {"signal": name, "unit": unit or "", "required": needed}
            yield Part(f"{name} ({kind}): without it {without}", facts)
        for source in dict.fromkeys(node.source for node in nodes(self._rule.root) if node.is_log):
            yield Part(f"source {source}", {"source": source})
        if self._own:
            share = f"{self._config.coverage:.0%}"
            yield Part(
                f"Without samples a condition is never true. It is unknown where its window reaches before its series "
                f"began or holds under {share} of the samples expected: then nothing fires."
            )
        if any(isinstance(item, Metric) for node in nodes(self._rule.root) for item in node.negatives):
            yield Part(
                "A negative condition that is unknown holds the rule back: the detection is reported as unknown."
            )

    def _signals(self) -> list[str]:
        ours = {promql.prom_name(name): name for name in semconv.SIGNALS}
        names = [ours.get(name, name) for name in sorted(self._read())]
        for node in nodes(self._rule.root):
            for item in node.items if node.is_points else ():
                if isinstance(item, Term) and item.pattern.kind == "jq":
                    named = [c for c in selection(item.pattern.text).series if (c.path, c.op) == (("name",), "==")]
                    names += [str(c.constant) for c in named]
        return list(dict.fromkeys(names))

    def _required(self) -> frozenset[str]:
        """The metrics without which it never fires, by their PromQL names."""
        found: frozenset[str] = frozenset()
        for node in nodes(self._rule.root):
            for item in node.positives:
                if isinstance(item, Metric):
                    found |= promql.required(item.expr, self._read())
            if node.is_points:
                found |= frozenset(map(promql.prom_name, self._signals())) - self._read()
        return found

    def _read(self) -> frozenset[str]:
        return frozenset(
            name
            for i in self._own
            for name in promql.Engine(SeriesTable(), [promql.Condition(expr=self._wanted[i][1].expr)]).signals
        )

    # -- when it can speak ---------------------------------------------------------------------------------------------
    def _speaks(self) -> Iterator[str]:
        root, config = self._rule.root, self._config
        longest = max((w.width * w.panes for found in self._windows.values() for w in found), default=0)
        wait = longest + max((self._wanted[i][1].for_ns for i in self._own), default=0)
        if wait:
            yield (
                f"not before {duration_text(wait)} after its signals begin, unless what was seen decides sooner; "
                f"then within one interval"
            )
        only_metric = len(root.items) == 1 and isinstance(root.items[0], Metric)
        points = any(node.is_points for node in nodes(root))
        if only_metric:
            yield "once every host that it reads together has passed the instant"
        elif self._own or points:
            yield (
                "once every host that is heard of has passed the last event "
                f"(one unheard of for {duration_text(config.idle_after)} is not waited for)"
            )
        elif root.is_log and not root.correlations:
            yield "at the record that completes it"
        else:
            yield f"{duration_text(config.lateness)} after the record that completes it (lateness)"
        if any(node.negatives for node in nodes(root)):
            yield "where negatives could veto: only when time has passed the end of each of their intervals"

    # -- what it holds -------------------------------------------------------------------------------------------------
    def _holds(self) -> Iterator[str]:
        windows = [window for found in self._windows.values() for window in found]
        if windows:
            each = {window.text: window.bytes for window in windows}
            yield f"{sum(each.values()):,} bytes of samples for each entity, however often they come"
        root = self._rule.root
        if len(root.items) > 1 or not self._own:
            per = (
                f"tuple of {', '.join(root.correlations)}"
                if root.correlations
                else "resource"
                if root.is_log
                else "rule"
            )
            span = f"the last {duration_text(root.window)}" if root.window else "one event"
            yield f"events of {span} for each {per}, at most {self._config.max_partial:,} of these at a time"


def _window(window: promql.WindowForm) -> Part:
    facts = {
        "window": window.text,
        "form": window.form,
        "width_ns": window.width,
        "panes": window.panes,
        "exact": window.exact,
        "bound": window.bound,
        "bytes": window.bytes,
    }
    said = f"{window.panes} of {duration_text(window.width)}, " if window.panes else ""
    text = f"{window.text}: held as {window.form}, {said}{window.bound}, {window.bytes:,} bytes a series"
    return Part(text, facts)


# -- what it looks for -------------------------------------------------------------------------------------------------


def _node(node: Node) -> Part:
    kind = "one after the other" if node.ordered else "in any order"
    count = len(expanded(node.positives))
    what = _what(node)
    within = f" within {duration_text(node.window)}" if node.window else ""
    said = f"{what}{within}, {kind}" if count > 1 else what
    if node.correlations:
        said += f"; all of one {', '.join(node.correlations)}"
    if node.origin:
        said += "; it is the origin"
    facts = {
        "kind": "points" if node.is_points else "log" if node.is_log else "machine",
        "ordered": node.ordered,
        "window_ns": node.window,
        "correlations": list(node.correlations),
        "source": node.source,
        "origin": node.origin,
    }
    parts = [_item(item, node) for item in node.positives]
    parts += [_negative(item, node) for item in node.negatives]
    return Part(said, facts, tuple(parts))


def _what(node: Node) -> str:
    count = len(expanded(node.positives))
    kind = "sequence" if node.ordered else "set"
    if node.is_points:
        return (
            f"metric points of {node.source}" if count == 1 else f"a {kind} of {count} metric points of {node.source}"
        )
    if node.is_log:
        return f"a record of {node.source}" if count == 1 else f"a {kind} of {count} records of {node.source}"
    return "one condition" if count == 1 else f"a {kind} of {count} conditions"


def _item(item: Item, node: Node) -> Part:
    if isinstance(item, Node):
        return _node(item)
    if isinstance(item, Term):
        return _term(item, node)
    held = f" for {duration_text(item.for_ns)}" if item.for_ns else ""
    origin = "; it is the origin" if item.origin else ""
    facts = {"kind": "promql", "expr": item.expr, "for_ns": item.for_ns, "origin": item.origin}
    return Part(f"{_one_line(item.expr)}  begins to hold{held}{origin}", facts)


def _term(term: Term, node: Node) -> Part:
    pattern = term.pattern
    where = f" in attribute {pattern.field}" if pattern.field else ""
    times = f"{term.count} × " if term.count > 1 else ""
    facts: dict[str, Any] = {"kind": pattern.kind, "pattern": pattern.text, "field": pattern.field, "count": term.count}
    parts = [
        Part(f"takes {e.name} from it by {e.kind} {e.text}", {"extract": e.name, e.kind: e.text}) for e in term.extract
    ]
    if node.is_points:
        facts["columns"] = is_columnar(pattern)
        parts.append(Part("compared as columns" if facts["columns"] else f"slow: {SLOW_TERM}"))
    return Part(f"{times}{_KINDS[pattern.kind]} {_one_line(pattern.text)}{where}", facts, tuple(parts))


def _negative(item: Item, node: Node) -> Part:
    interval = interval_text(item.negate, len(expanded(node.positives)))
    inner = _item(item, node)
    verb = "must not hold" if isinstance(item, Metric) else "must not occur"
    text = inner.text.replace("  begins to hold", "")
    options = item.negate
    facts = {
        "negative": True,
        "interval": interval,
        "window_ns": options.window,
        "slide_ns": options.slide,
        "anchor": options.anchor,
        "absolute": options.absolute,
    }
    return Part(f"not: {text}  {verb} {interval}", {**inner.facts, **facts}, inner.parts)


def interval_text(options: NegateOptions, events: int) -> str:
    """Where a negative is forbidden, for a frame of so many events.

    >>> interval_text(NegateOptions(), 2)
    'from the first to the last event'
    >>> interval_text(NegateOptions(slide=-30_000_000_000, window=30_000_000_000), 3)
    'from 30s before the first to the last event'
    >>> interval_text(NegateOptions(slide=5_000_000_000, window=60_000_000_000, absolute=True, anchor=1), 3)
    'from 5s after event 2 to 1m5s after event 2'
    """
    anchor = "the event" if events == 1 else "the first event" if options.anchor == 0 else f"event {options.anchor + 1}"
    if options.absolute or events == 1:
        width = max(0, options.window)
        if not options.slide and not width:
            return f"at the very time of {anchor}"
        start, end = _offset(options.slide, anchor), _offset(options.slide + width, anchor)
        return f"at {start}" if not width else f"from {start} to {end}"
    if options.anchor:
        more = f" {_signed(options.window)}" if options.window else ""
        return f"from {_offset(options.slide, anchor)} for as long as all events took{more}"
    start, end = _offset(options.slide, anchor), _offset(options.slide + options.window, "the last event")
    return f"from {start.removesuffix(' event') if end == 'the last event' else start} to {end}"


def _offset(ns: int, of: str) -> str:
    if not ns:
        return of
    return f"{duration_text(abs(ns))} {'before' if ns < 0 else 'after'} {of}"


def _signed(ns: int) -> str:
    return f"{'plus' if ns > 0 else 'less'} {duration_text(abs(ns))}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
