"""Conditions over signals, evaluated incrementally and for all entities at once.

Decisions (they are what replay, batching and interleaving rest on):

* **Windows** are left-open, (T−W, T], as in Prometheus 3. Conditions are evaluated at instants T = k·interval of event
  time. A window ends at the newest pane boundary B ≤ T (P ≤ W/10, see ``pane_width``): exact PromQL at B, at most P old.
* **Clocks.** A series belongs to the clock of its host, else node, container, pod, device, job. A clock's watermark is
  max(newest sample − lateness, newest of all − idle_after), where one clock ahead of all others does not count as the
  newest. Everything that is evaluated together is a *unit*
  with one event time: all series of a clock, and what matching or aggregation links to them. An instant is evaluated
  once the watermark of each of the unit's clocks that is still heard of is past it. Events (``fallow.event``) wait for
  clocks, they do not move one. Samples are held until then and applied in order of time, so the state at T depends on
  samples up to T alone, whatever the requests were.
* **Late** samples, not newer than the unit's newest instant, are appended or merged where order does not matter; past
  instants stay as they were decided.
* **Unknown.** Each element is absent, present or unknown. A window is unknown where it holds less than ``coverage`` of
  the samples that the series' cadence (median of its last 8 gaps) lets expect, or reaches before its first sample.
  What was seen may decide nevertheless: a maximum above a limit stays above it. Unknown freezes a pending result and
  lets a holding one hold. An empty window is absent.
* **Subqueries** are evaluated at the multiples of their step, in a class of their own that comes before their readers';
  what they give becomes samples of a derived series. A step that is unknown or has no data is no sample, and makes the
  windows over it unknown. After the last sample they are evaluated up to the step that sees it.
* **Choices.** An element of ``topk`` is in or out for certain where that is so whatever the unknown ones are.
* **Queries** (``Query``) are the same evaluator stepped through given instants over samples that are all there.
* Instants at which nothing can differ (no sample, no pane boundary, no deadline) are skipped; they would change nothing.
"""

from __future__ import annotations

import gc
import hashlib
import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from time import perf_counter
from typing import Literal

import numpy as np

from fallow import semconv
from fallow.batch import Float64Array, Int32Array, Int64Array, MetricBatch
from fallow.errors import StateError
from fallow.promql import ops
from fallow.promql._kernels import reached, run_units, set_limits
from fallow.promql._pending import Pending
from fallow.promql.births import Births, Newborn
from fallow.promql.compile import Compiler
from fallow.promql.explain import explain, shared
from fallow.promql.failures import check_answer
from fallow.promql.forms import WindowForm, forms
from fallow.promql.graph import Graph
from fallow.promql.history import History
from fallow.promql.plan import ANY_NAME, Labels, Node, Plan, Query, below
from fallow.promql.rhythm import classes_of
from fallow.promql.selectors import prom_name
from fallow.promql.state import BEGAN, BEGAN_UNSEEN, ENDED, NODE, SAID_UNKNOWN, SETTING, grown
from fallow.series import Clocks, Rows, SeriesKey, SeriesTable, clock_of, layouts_of
from fallow.series.layout import FAR, NONE, SUMMARY_WORDS, Layouts, Records
from fallow.state import Gap, Past, Saved, State
from fallow.units import SECOND

logger = logging.getLogger(__name__)

MANY = 1000
"""Series seen for the first time in one batch, from which on the collector is kept off them."""
AT_ONCE = 100_000
"""Slots and samples across clocks that one call evaluates, some milliseconds; the next goes on from there."""
SETTLED = 600 * SECOND
"""After a restart a series has that long to let its cadence be known again."""
SLOW_S = 3.0
"""Kernels that take longer than this were not in the cache."""

EdgeState = Literal["began", "ended", "open", "unknown"]
_STATES: dict[int, EdgeState] = {
    BEGAN: "began",
    BEGAN_UNSEEN: "began",
    ENDED: "ended",
    SAID_UNKNOWN: "unknown",
}
_BY_ITSELF = frozenset(
    {
        *(ops.INSTANT, ops.RANGE, ops.MAP, ops.WITH_NUMBER, ops.CONSTANT, ops.TIME, ops.COPY),
        *(ops.RELABEL, ops.STAMP, ops.BUCKET, ops.TOP, ops.FEED, ops.SUBRANGE),
    }
)
"""What gives an element of it its value reads no other element."""
VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """An expression that has to be true for ``for_ns`` of event time, looked at every ``interval_ns``."""

    expr: str
    for_ns: int = 0
    interval_ns: int = SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A result of a condition that began or ceased to hold, still holds at the end, or cannot be known.

    ``time`` is the instant of the decision; ``start`` and ``end`` the first and last sample of its evidence, ``count``
    how many samples the expression rested on at ``end``, ``value`` its value there. ``ref`` is the same for the edges
    of one span of holding, in every run over the same data. ``seen`` is False where it may have begun before ``time``,
    in a gap.
    """

    condition: int
    state: EdgeState
    labels: Mapping[str, str]
    time: int
    start: int
    end: int
    count: int
    value: float
    ref: int
    seen: bool = True


@dataclass(frozen=True, slots=True)
class Common:
    """What engines over the same samples share: how far each clock has come, and what has been measured at all."""

    clocks: Clocks = field(default_factory=Clocks)
    seen: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])


class Engine:
    """Evaluates conditions over the samples that it is given; a function of them alone.

    Args:
        table: interns the series that batches name.
        conditions: what to evaluate.
        lateness_ns: how far samples of one clock may come out of order.
        idle_after_ns: a clock unheard of for so long no longer holds anything back.
        coverage: share of the expected samples that a window needs to be known.
        lookback_ns: how old the newest sample of an instant selector may be.
        max_rows: bound on series held; the newest beyond it are refused and counted.
        query: the instants of a query, instead of conditions that are evaluated as time passes. It is PromQL as
            Prometheus has it: nothing is unknown, the lookback is as it stands, a window ends at its instant.
        numbers: what the conditions are called in edges and questions; left out: 0, 1, ….
        common: what this engine shares with others over the same samples.

    Raises:
        PromqlError: a condition's expression is not supported.
    """

    def __init__(
        self,
        table: SeriesTable,
        conditions: Sequence[Condition],
        *,
        lateness_ns: int = 0,
        idle_after_ns: int = 120 * SECOND,
        coverage: float = 0.8,
        lookback_ns: int = 300 * SECOND,
        max_rows: int = 2_000_000,
        query: Query | None = None,
        numbers: Sequence[int] | None = None,
        common: Common | None = None,
    ) -> None:
        common = common or Common()
        self.late = 0
        """Samples that came after their instant had been evaluated."""
        self.unknown = 0
        """Edges of state unknown."""
        self.settled = NONE
        """Every instant up to this time has been decided, for everything that is measured."""
        self.refused = 0
        """Series not held because of ``max_rows``."""
        self.table = table
        self._lateness, self._idle_after = lateness_ns, idle_after_ns
        self._plan = plan = Plan()
        for condition in conditions:
            compiler = Compiler(condition.expr, plan, lookback_ns, query)
            compiler.root(compiler.vector(), condition.for_ns, condition.interval_ns)
        classes = classes_of(plan)
        self.numbers = tuple(range(len(conditions)) if numbers is None else numbers)
        self.signals = frozenset(signal.name for signal in plan.signals)
        self._layouts = layouts_of(signal.stores for signal in plan.signals)
        self._rows = Rows(self._layouts, max_rows)
        self._graph = Graph(plan, self._rows, classes, named=query is not None)
        self._nodes = node_records(plan, self._layouts, self.numbers)
        self._intervals: Int64Array = np.asarray([c.interval for c in classes], dtype=np.int64)
        self._rhythms: Int64Array = np.asarray([c.rhythm for c in classes], dtype=np.int64)
        self._summary = np.zeros(SUMMARY_WORDS, dtype=np.float64)
        self._setting: Records = np.asarray([(coverage, query is not None)], dtype=SETTING)
        self._clocks = common.clocks
        self._births = Births(self._graph)
        self._pending = Pending()
        self._history = History(common.seen)
        self._known_results = 0
        self._turn = 0
        self._begun = False
        self._dotted: dict[str, str] = {}
        self._conditions = tuple(conditions)
        self._local = {number: i for i, number in enumerate(self.numbers)}
        self._born_together: list[Int32Array] = []
        """Series that were seen for the first time, by batch."""
        self._reach = [reach(root, plan) for root in plan.roots]
        self._missing: dict[int, tuple[int, int]] = {}
        """By a condition's place, a span in which it is not known to have been false."""
        self._gap: Gap | None = None
        self._warm_at = FAR
        self._primary = np.zeros(64, dtype=np.bool_)

    # -- samples in ----------------------------------------------------------------------------------------------------
    def append(self, metrics: MetricBatch) -> None:
        """Hold the samples until their clock has passed them."""
        if len(metrics) == 0:
            return
        new = self._pending.unseen(metrics.series)
        if len(new):
            with _without_collector(len(new) > MANY):
                self._born(new)
        clocks = self._clocks
        newest = int(metrics.time.max())
        if not self._begun:
            self._begun = True
            self._graph.columns_begin(int(metrics.time.min()), self._intervals)
        clocks.sample_latest = max(clocks.sample_latest, newest)
        self._regroup()
        self._pending.add(metrics, clocks.newest, self._rows.rows, self._graph.columns.wake)

    def _regroup(self) -> None:
        graph = self._graph
        self._pending.regroup(len(graph.units), graph.merged)
        graph.merged.clear()

    def _born(self, series: Int32Array) -> None:
        by_clock: dict[int, list[tuple[int, bool]]] = {}
        known = len(self._rows)
        for number in series.tolist():
            key = self.table.key(number)
            event = key.name == semconv.EVENT
            clock = self._clocks.intern(clock_of(key.labels), sampled=not event)
            if prom_name(key.name) in self.signals or ANY_NAME in self.signals:
                by_clock.setdefault(clock, []).append((number, event))
            else:
                self._pending.enter(number, -1 if event else clock, [])
        for clock, members in by_clock.items():
            found = self._births.add(clock, [self._newborn(self.table.key(number)) for number, _ in members])
            for (number, event), wants in zip(members, found, strict=True):
                self.refused += wants is None
                self._pending.enter(number, -1 if event else clock, wants or [])
                if wants:
                    self._primary = grown(self._primary, len(self._rows))
                    self._primary[wants[0][0]] = True
        self._born_together.append(series)
        if self._gap is not None and len(self._rows) > known:
            self._rows.rows["sure"][known : len(self._rows)] = NONE
            self._doubt(np.arange(known, len(self._rows)), np.int64(self._gap.until))

    def _newborn(self, key: SeriesKey) -> Newborn:
        plain = {prom_name(label): value for label, value in key.labels.items() if value}
        for label in key.labels:
            self._dotted.setdefault(prom_name(label), label)
        self._history.add_series(plain)
        return Newborn(prom_name(key.name), tuple(sorted(plain.items())), plain)

    # -- event time ----------------------------------------------------------------------------------------------------
    def advance(self) -> list[Edge]:
        """Evaluate every instant that watermarks have passed; edges in order of time."""
        return self._advance(final=False)

    def tick(self, now: int) -> list[Edge]:
        """Event time has reached ``now`` with nothing arriving."""
        if self._clocks.sample_latest != NONE:
            self._clocks.ticked = max(self._clocks.ticked, now)
        return self._advance(final=False)

    def finish(self) -> list[Edge]:
        """The stream ends: evaluate up to the instant that sees its last sample; then an ``open`` edge for what holds."""
        edges = self._advance(final=True)
        results, end = self._graph.results, self._clocks.sample_latest
        for result, slot in enumerate(self._graph.result_slots):
            found = results[result]
            if found["state"] == 2:
                interval = int(self._nodes[self._graph.node_of(slot)]["p0"])
                start, last, count, began = (int(found[name]) for name in ("start", "end", "count", "began"))
                time = -(-end // interval) * interval
                edges.append(self._edge("open", slot, time, start, last, count, began, float(found["value"])))
        return edges

    def _advance(self, *, final: bool, until: int | None = None) -> list[Edge]:
        graph, clocks, pending = self._graph, self._clocks, self._pending
        if clocks.sample_latest == NONE:
            return []
        if self.settled > self._warm_at:
            self._be_warm()
        graph.flush()
        units = graph.columns
        if until is not None:
            np.maximum(units.limit, until, out=units.limit)
            settled = NONE
        elif final:
            np.maximum(units.limit, clocks.sample_latest, out=units.limit)
            settled = clocks.sample_latest
        else:
            settled = set_limits(
                *graph.clock_columns(),
                clocks.newest,
                clocks.sampled,
                clocks.ticked,
                self._lateness,
                self._idle_after,
                units,
            )
        store = self._rows
        slots, groups, members = graph.arrays
        living, *_, everywhere = graph.clock_columns()
        facts, values, late, self._turn, behind = run_units(
            living,
            len(living) - int(everywhere.sum()),
            self._turn,
            FAR if final or until is not None else AT_ONCE,
            pending.pool,
            pending.stretches,
            pending.queues,
            pending.free,
            self._primary,
            final,
            units,
            slots,
            self._nodes,
            groups,
            members,
            graph.results,
            store.ints,
            store.floats,
            store.rows,
            self._layouts.stores,
            self._setting,
            self._intervals,
            self._rhythms,
            self._summary,
        )
        self.late += late
        self.settled = max(self.settled, min(settled, behind))
        return self._edges(facts[1 : facts[0, 0] + 1], values[1 : facts[0, 0] + 1])

    # -- edges out -----------------------------------------------------------------------------------------------------
    def _edges(self, facts: Int64Array, values: Float64Array) -> list[Edge]:
        self._note_results()
        edges: list[Edge] = []
        for (kind, result, time, start, end, count, began), value in zip(facts.tolist(), values.tolist(), strict=True):
            self._history.note(kind, result, time)
            if kind in _STATES:
                slot = self._graph.result_slots[result]
                edge = self._edge(_STATES[kind], slot, time, start, end, count, began, value)
                edges.append(replace(edge, seen=False) if kind == BEGAN_UNSEEN else edge)
        self.unknown += sum(edge.state == "unknown" for edge in edges)
        edges.sort(key=lambda edge: (edge.time, edge.condition, sorted(edge.labels.items()), edge.state))
        return edges

    def _note_results(self) -> None:
        graph = self._graph
        for result in range(self._known_results, len(graph.result_slots)):
            slot = graph.result_slots[result]
            self._history.add_result(result, self._condition(slot), graph.labels[slot])
        self._known_results = len(graph.result_slots)

    def _condition(self, slot: int) -> int:
        return int(self._nodes[self._graph.node_of(slot)]["condition"])

    def _edge(
        self, state: EdgeState, slot: int, time: int, start: int, end: int, count: int, began: int, value: float
    ) -> Edge:
        condition, labels = self._condition(slot), self._graph.labels[slot]
        return Edge(
            condition=condition,
            state=state,
            labels={self._dotted.get(label, label): text for label, text in labels},
            time=time,
            start=start,
            end=end,
            count=count,
            value=value,
            ref=_ref(self._conditions[self._local[condition]], labels, began),
        )

    def evaluate(self, at: int) -> None:
        """Evaluate up to an instant, of which everything that it depends on has been appended."""
        self._advance(final=False, until=at)

    def vector(self) -> list[tuple[str, Mapping[str, str], float]]:
        """(metric name or "", labels, value) of every result that holds."""
        graph = self._graph
        found: list[tuple[str, Mapping[str, str], float]] = []
        for i in np.flatnonzero(graph.results["state"][: len(graph.result_slots)] == 2).tolist():
            labels, name, drops = graph.element(graph.result_slots[i])
            found.append(("" if drops else name, dict(labels), float(graph.results[i]["value"])))
        return found

    def check_answer(self) -> None:
        """Raise EvaluationError where PromQL has no answer at the newest instant, UnsupportedError where this has none."""
        check_answer(self._plan, self._graph)

    # -- questions -----------------------------------------------------------------------------------------------------
    def holds(self, condition: int, labels_subset: Mapping[str, str], start: int, end: int) -> bool | None:
        """Whether the condition held anywhere in [start, end] for a result with these labels, as far as evaluated.

        None: that is unknown, because windows were, or because nothing with these labels has ever been measured.
        """
        held = self._history.holds(condition, labels_subset, start, end)
        first, last = self._missing.get(self._local[condition], (FAR, NONE))
        return None if held is False and start <= last and end > first else held

    def reach(self, condition: int) -> int:
        """How long ago (ns) a sample may have been taken that a result of the condition depends on."""
        return self._reach[self._local[condition]]

    def explain(self, condition: int) -> str:
        """What is computed for a condition: windows, panes, interval, operands first."""
        return explain(self._plan, condition)

    def describe(self, condition: int) -> list[WindowForm]:
        """How everything that a condition reads is held: form, panes, how exact, bytes of one series."""
        return forms(self._plan, condition)

    def shared(self, condition: int) -> list[tuple[str, tuple[int, ...]]]:
        """What a condition computes together with others: (in words, the numbers of the others)."""
        return shared(self._plan, condition)

    # -- across a restart ----------------------------------------------------------------------------------------------
    def save(self) -> Saved:
        """All that the edges to come depend on."""
        rows, pending, clocks, history = (p.save() for p in (self._rows, self._pending, self._clocks, self._history))
        graph = self._graph.save(self._history.results)
        births, makers = self._born_together[:], self._makers()
        document = {
            "conditions": [[c.expr, c.for_ns, c.interval_ns] for c in self._conditions],
            "signals": [[signal.name, signal.offset, signal.domain] for signal in self._plan.signals],
            "settled": self.settled,
            "turn": self._turn,
            "gap": None if self._gap is None else [self._gap.until, self._gap.span],
            "missing": [[condition, *span] for condition, span in self._missing.items()],
            "warm_at": self._warm_at,
        }

        def made() -> State:
            arrays = {
                "births": _joined(births),
                "together": np.asarray([len(some) for some in births], dtype=np.int64),
                "makers": makers,
            }
            parts = {
                "rows": rows(),
                "pending": pending(),
                "clocks": clocks(),
                "history": history(),
                "graph": graph(),
            }
            return State(version=VERSION, document=document, arrays=arrays, parts=parts)

        return made

    def restore(self, state: State, past: Past) -> int:
        """Go on from there; returns how many of its conditions were not in the state. Called before the first sample.

        What the state has nothing of, because it is new or (``past.gap``) was lost, is unknown until nothing that it
        depends on is missing.

        Raises:
            StateError: it is of another version.
        """
        saved = state.of(VERSION)
        parts, document = saved.parts, saved.document
        if "shards" in document:
            raise StateError(f"state of {document['shards']} shards found, there is one")
        self._clocks.restore(parts["clocks"])
        whole = self._bear(saved, past)
        self.settled, self.refused, self._begun = document["settled"], 0, self._clocks.sample_latest != NONE
        self._turn = document["turn"]
        known = [Condition(expr=e, for_ns=f, interval_ns=i) for e, f, i in document["conditions"]]
        here = {i: self._conditions.index(c) for i, c in enumerate(known) if c in self._conditions}
        same = whole and past.gap is None and tuple(known) == self._conditions
        same = same and self._graph.size == parts["graph"].document["size"]
        old, new = (np.arange(len(self._rows)),) * 2 if same else self._same_rows(saved, past)
        cold = self._rows.restore(parts["rows"], old, new)
        became = np.full(len(saved.arrays["makers"]), -1, dtype=np.int64)
        became[old] = new
        self._regroup()
        self._pending.restore(parts["pending"], became, self._rows.rows, self._graph.columns.wake)
        if same:
            results = self._graph.resume(parts["graph"])
        else:
            results = self._graph.restore(parts["graph"], old, new, here, self.settled, at_once=past.gap is not None)
        self._note_results()
        self._history.restore(parts["history"], results)
        self._missing = {here[i]: (first, last) for i, first, last in document["missing"] if i in here}
        self._warm_at = document["warm_at"]
        if document["gap"] is not None:
            until, span = document["gap"]
            self._beware(Gap(until=until, span=span))
        unknown = set(range(len(self._conditions))) - set(here.values())
        if past.gap is not None:
            self._after(past.gap)
        elif unknown or cold or len(new) < len(self._rows):
            self._begin_cold(new, cold, unknown)
        return len(unknown)

    def begin(self, others: Sequence[Engine]) -> int:
        """Begin now, where others go on that read the same samples; returns how many conditions it has."""
        births = [series for other in others for series in other._born_together]
        for series in births:
            self._pending.reserve(int(series.max(initial=-1)) + 1)
            self._born(series)
        self._regroup()
        self._graph.flush()
        self._begun = self._clocks.sample_latest != NONE
        if self._begun:
            self._graph.columns_begin(self._reached() + 1, self._intervals)
        self._begin_cold(np.zeros(0, dtype=np.int64), set(), set(range(len(self._conditions))))
        return len(self._conditions)

    def _bear(self, saved: State, past: Past) -> bool:
        """Give birth again to what the state has, in its order; whether all of it is there."""
        births = past.series[saved.arrays["births"]]
        self._pending.reserve(int(births.max(initial=-1)) + 1)
        ends = np.cumsum(saved.arrays["together"])
        for some in np.split(births, ends[:-1]) if len(ends) else ():
            self._born(some[some >= 0])
        return not len(births) or int(births.min()) >= 0

    def _makers(self) -> Int64Array:
        """(rows,) the series that each row was made for; -1 where a subquery feeds it."""
        return self._pending.makers(_joined(self._born_together), len(self._rows))

    def _same_rows(self, saved: State, past: Past) -> tuple[Int64Array, Int64Array]:
        """(rows of the state, the same rows now)."""
        graph, signals = self._graph, [tuple(signal) for signal in saved.document["signals"]]
        fed = graph.fed_in(saved.parts["graph"])
        there: dict[object, int] = {}
        layouts = saved.parts["rows"].arrays["rows"]["layout"].tolist()
        for row, (signal, series) in enumerate(zip(layouts, saved.arrays["makers"].tolist(), strict=True)):
            there[signals[signal], int(past.series[series]) if series >= 0 else fed.get(row)] = row
        fed, found = graph.fed, [(s.name, s.offset, s.domain) for s in self._plan.signals]
        pairs: list[tuple[int, int]] = []
        layouts = self._rows.rows["layout"][: len(self._rows)].tolist()
        for row, (signal, series) in enumerate(zip(layouts, self._makers().tolist(), strict=True)):
            of = series if series >= 0 else fed.get(row)
            before = None if of is None else there.get((found[signal], of))
            if before is not None:
                pairs.append((before, row))
        both = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
        return both[:, 0], both[:, 1]

    def _reached(self) -> int:
        clocks = self._clocks
        return int(max(clocks.ticked, reached(clocks.newest, clocks.sampled)))

    def _row_clocks(self) -> Int64Array:
        """(rows,) the newest sample time of each row's clock, NONE where it has none."""
        series = self._makers()
        clock = np.where(series < 0, -1, self._pending.clocks_of(series))
        return np.where(clock < 0, NONE, self._clocks.newest[clock])

    def _begin_cold(self, warm: Int64Array, cold: set[int], conditions: set[int]) -> None:
        """Rows that are not among the warm ones, these stores and these conditions know of nothing before now."""
        now = self._reached()
        rows = np.setdiff1d(np.arange(len(self._rows)), warm)
        self._doubt(rows, np.maximum(self._row_clocks(), now)[rows])
        for store in cold:
            layout = next(i for i, stop in enumerate(self._layouts.stop) if store < stop)
            self._layouts.stores[store]["sure"] = now + self._plan.signals[layout].offset
            if self._plan.signals[layout].derived:
                self._graph.distrust_fed(now)
        for condition in conditions:
            self._missing[condition] = NONE, now + self._reach[condition]
        changed = {int(self._rows.rows["layout"][row]) for row in rows.tolist()}
        changed |= {next(i for i, stop in enumerate(self._layouts.stop) if store < stop) for store in cold}
        for condition, root in enumerate(self._plan.roots):
            if condition in conditions or any(node.signal in changed for node in below(root)):
                self._nodes[root.index]["sure"] = now + self._reach[condition] + SETTLED
        self._be_warm_after(now)

    def _after(self, gap: Gap) -> None:
        """Nothing is sure until what the gap swallowed has no part in it any more."""
        clock = self._row_clocks()
        ahead = np.where(clock == NONE, NONE, clock + gap.span)
        self._doubt(np.arange(len(self._rows)), np.maximum(ahead, gap.until))
        self._beware(gap)
        for condition, span in enumerate(self._reach):
            first, last = self._missing.get(condition, (self.settled, NONE))
            self._missing[condition] = first, max(last, gap.until + span)
        results = self._graph.results[: len(self._graph.result_slots)]
        results["unseen"] |= results["state"] != 2
        results["state"][results["state"] == 1] = 0
        results["frozen"] = NONE
        results["unknown"][results["unknown"] == 2] = 1
        self._graph.rouse()
        self._graph.distrust_fed(gap.until)
        self._be_warm_after(max(self._reached() + gap.span, gap.until))

    def _doubt(self, rows: Int64Array, until: Int64Array | np.int64) -> None:
        """Samples up to then may be missing in these rows."""
        of = np.asarray([signal.offset for signal in self._plan.signals], dtype=np.int64)
        marks = self._rows.rows["sure"]
        marks[rows] = np.maximum(marks[rows], until + of[self._rows.rows["layout"][rows]])

    def _beware(self, gap: Gap) -> None:
        """What is made of several elements, and what is born, may lack what the gap swallowed."""
        self._gap, self._graph.unseen_births = gap, True
        for node in self._plan.nodes:
            if node.op not in _BY_ITSELF:
                settled = SETTLED if node.op == ops.ROOT else 0
                self._nodes[node.index]["sure"] = gap.until + reach(node, self._plan) + settled

    def _be_warm_after(self, time: int) -> None:
        warm_at = time + max(self._reach, default=0) + SETTLED
        self._warm_at = warm_at if self._warm_at == FAR else max(warm_at, self._warm_at)

    def _be_warm(self) -> None:
        """Nothing that is missing matters any more."""
        self._gap, self._warm_at, self._graph.unseen_births = None, FAR, False
        self._missing.clear()
        for marked in (self._rows.rows, self._layouts.stores, self._nodes):
            marked["sure"] = NONE

    @property
    def nbytes(self) -> int:
        """Bytes of sample state in use."""
        return self._rows.nbytes


@contextmanager
def _without_collector(switch: bool) -> Generator[None]:
    """Let Python's collector of cycles neither look at what is made meanwhile nor ever again: millions of labels and keys,
    which live as long as their engine, would cost it seconds.
    """
    switch = switch and gc.isenabled()
    if switch:
        gc.disable()
    try:
        yield
    finally:
        if switch:
            gc.freeze()
            gc.enable()


def _joined(some: Sequence[Int32Array]) -> Int64Array:
    return np.concatenate((np.zeros(0, dtype=np.int64), *some)).astype(np.int64)


def describe(expr: str) -> list[WindowForm]:
    """How everything that an expression reads is held.

    Raises:
        PromqlError: it is not supported.
    """
    return Engine(SeriesTable(), [Condition(expr=expr)]).describe(0)


def _ref(condition: Condition, labels: Labels, began: int) -> int:
    identity = (condition.expr, condition.for_ns, condition.interval_ns, labels, began)
    digest = hashlib.blake2b(repr(identity).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def node_records(plan: Plan, layouts: Layouts, numbers: Sequence[int]) -> Records:
    """The plan's nodes as the kernels read them."""
    conditions = {root.index: number for root, number in zip(plan.roots, numbers, strict=True)}
    return np.asarray(
        [
            (
                n.op,
                n.fn,
                n.flags,
                *n.p,
                n.ns,
                layouts.first[n.signal] + n.store if n.op == ops.RANGE else -1,
                conditions.get(n.index, -1),
                n.held,
                NONE,
                sum(1 << statistic for statistic in ops.statistics_of(n.fn)) if n.op == ops.RANGE else 0,
            )
            for n in plan.nodes
        ],
        dtype=NODE,
    )


def reach(node: Node, plan: Plan) -> int:
    """How long ago (ns) a sample may have been taken that the node's value depends on."""
    return _own_reach(node, plan) + max((reach(child, plan) for child in node.children), default=0)


def _own_reach(node: Node, plan: Plan) -> int:
    if node.op == ops.INSTANT:
        return node.ns + plan.signals[node.signal].offset
    if node.op == ops.RANGE:
        signal, store = plan.signals[node.signal], plan.signals[node.signal].stores[node.store]
        return store.window + signal.offset + store.width
    return node.ns if node.op in (ops.FEED, ops.SUBRANGE) else 0


@cache
def compile_kernels() -> None:
    """Compile what evaluates conditions, or load it from the cache, once in a process: now, not while samples wait."""
    began = perf_counter()
    table = SeriesTable()
    series = table.intern(SeriesKey(name="a", resource=((semconv.HOST_NAME, "n"),)))
    engine = Engine(table, [Condition(expr="max_over_time(a[5s]) > 0 and a > 0")])
    for at in (1, 2, 3, 1):
        engine.append(MetricBatch.of([series], [at * SECOND], [1.0]))
        engine.advance()
    engine.finish()
    taken = perf_counter() - began
    if taken > SLOW_S:
        logger.info("Kernels were compiled; the next start finds them.", extra={"seconds": round(taken)})
