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
from dataclasses import dataclass, field
from functools import cache
from time import perf_counter
from typing import Literal

import numpy as np

from fallow import semconv
from fallow.batch import Float64Array, Int64Array, MetricBatch
from fallow.promql import ops
from fallow.promql._kernels import run_units, set_limits
from fallow.promql._pending import Pending
from fallow.promql.births import Births, Newborn
from fallow.promql.compile import Compiler
from fallow.promql.explain import explain, shared
from fallow.promql.failures import check_answer
from fallow.promql.forms import WindowForm, forms
from fallow.promql.graph import Graph
from fallow.promql.history import History
from fallow.promql.plan import ANY_NAME, Labels, Plan, Query
from fallow.promql.rhythm import classes_of
from fallow.promql.selectors import prom_name
from fallow.promql.state import BEGAN, ENDED, NODE, SAID_UNKNOWN, SETTING, grown
from fallow.series import Clocks, Rows, SeriesKey, SeriesTable, clock_of, layouts_of
from fallow.series.layout import FAR, NONE, SUMMARY_WORDS, Layouts, Records
from fallow.units import SECOND

logger = logging.getLogger(__name__)

MANY = 1000
"""Series seen for the first time in one batch, from which on the collector is kept off them."""
AT_ONCE = 100_000
"""Slots and samples across clocks that one call evaluates, some milliseconds; the next goes on from there."""
SLOW_S = 3.0
"""Kernels that take longer than this were not in the cache."""

EdgeState = Literal["began", "ended", "open", "unknown"]
_STATES: dict[int, EdgeState] = {BEGAN: "began", ENDED: "ended", SAID_UNKNOWN: "unknown"}


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
    of one span of holding, in every run over the same data.
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
        self._graph = Graph(plan, self._rows, len(classes), named=query is not None)
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
        self._primary = np.zeros(64, dtype=np.bool_)

    # -- samples in ----------------------------------------------------------------------------------------------------
    def append(self, metrics: MetricBatch) -> None:
        """Hold the samples until their clock has passed them."""
        if len(metrics) == 0:
            return
        new = self._pending.unseen(metrics.series)
        if len(new):
            with _without_collector(len(new) > MANY):
                self._born(new.tolist())
        clocks = self._clocks
        newest = int(metrics.time.max())
        if not self._begun:
            self._begun = True
            self._graph.columns_begin(int(metrics.time.min()), self._intervals)
        clocks.sample_latest = max(clocks.sample_latest, newest)
        graph = self._graph
        self._pending.regroup(len(graph.units), graph.merged)
        graph.merged.clear()
        self._pending.add(metrics, clocks.newest, graph.rows.rows)

    def _born(self, series: list[int]) -> None:
        by_clock: dict[int, list[tuple[int, bool]]] = {}
        for number in series:
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
                interval = int(self._nodes[self._graph.slots[slot]["node"]]["p0"])
                start, last, count, began = (int(found[name]) for name in ("start", "end", "count", "began"))
                time = -(-end // interval) * interval
                edges.append(self._edge("open", slot, time, start, last, count, began, float(found["value"])))
        return edges

    def _advance(self, *, final: bool, until: int | None = None) -> list[Edge]:
        graph, clocks, pending = self._graph, self._clocks, self._pending
        if clocks.sample_latest == NONE:
            return []
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
        living, *_, everywhere = graph.clock_columns()
        facts, values, late, self._turn, behind = run_units(
            living,
            len(living) - int(everywhere.sum()),
            self._turn,
            FAR if final or until is not None else AT_ONCE,
            pending.pool,
            pending.queues,
            pending.free,
            self._primary,
            final,
            units,
            graph.slots,
            self._nodes,
            graph.heads,
            graph.links,
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
        for (kind, slot, time, start, end, count, began), value in zip(facts.tolist(), values.tolist(), strict=True):
            self._history.note(kind, int(self._graph.slots[slot]["b"]), time)
            if kind in _STATES:
                edges.append(self._edge(_STATES[kind], slot, time, start, end, count, began, value))
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
        return int(self._nodes[self._graph.slots[slot]["node"]]["condition"])

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
            ref=_ref(condition, labels, began),
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
        return self._history.holds(condition, labels_subset, start, end)

    def explain(self, condition: int) -> str:
        """What is computed for a condition: windows, panes, interval, operands first."""
        return explain(self._plan, condition)

    def describe(self, condition: int) -> list[WindowForm]:
        """How everything that a condition reads is held: form, panes, how exact, bytes of one series."""
        return forms(self._plan, condition)

    def shared(self, condition: int) -> list[tuple[str, tuple[int, ...]]]:
        """What a condition computes together with others: (in words, the numbers of the others)."""
        return shared(self._plan, condition)

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


def describe(expr: str) -> list[WindowForm]:
    """How everything that an expression reads is held.

    Raises:
        PromqlError: it is not supported.
    """
    return Engine(SeriesTable(), [Condition(expr=expr)]).describe(0)


def _ref(condition: int, labels: Labels, began: int) -> int:
    digest = hashlib.blake2b(repr((condition, labels, began)).encode(), digest_size=8).digest()
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
            )
            for n in plan.nodes
        ],
        dtype=NODE,
    )


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
