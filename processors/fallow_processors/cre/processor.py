"""The rule engine: batches in, detections out.

Rules about the records of one resource, and rules that are one condition over signals, speak as soon as they can. All
others see what comes from several sources in order of time: it is held until time is safe, that is, until ``lateness``
after it (records) and until every host that is heard of has passed it (signals). What is older than that is late: it is
counted and left out.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from fallow import promql, semconv
from fallow.batch import Batch, LogBatch, MetricBatch
from fallow.component import Context
from fallow.model import Detection, DetectionState
from fallow.series import SeriesKey, SeriesTable
from fallow.state import Past, Saved, State
from fallow_processors.cre.config import CreConfig
from fallow_processors.cre.happening import Happening, correlated
from fallow_processors.cre.machine import LATE, Condition, Event, Key, Limits, Machine, Match
from fallow_processors.cre.no_signals import NoSignals
from fallow_processors.cre.order import FOREVER, NEVER, InOrder, Newest
from fallow_processors.cre.points import Points
from fallow_processors.cre.records import OWN_EVENTS, Found, Records, resource_keys
from fallow_processors.cre.rule import Metric
from fallow_processors.cre.ruleset import RuleSet
from fallow_processors.cre.saving import by_rule, detection, document

if TYPE_CHECKING:
    from fallow_processors.cre.timeline import Timeline

logger = logging.getLogger(__name__)

EVENT_LABELS = (*semconv.IDENTITY, semconv.JOB_NAME, semconv.USER_NAME)
"""Attributes of an event that conditions over ``fallow_event`` may name: those that tell whose event it is."""

_Reader = tuple[Machine, Metric, Condition, int]
_Local = tuple[Machine, Event]
_FIRST = (0, (), False)
LATE_SIGNAL = "late signal"
VERSION = 2


class CreProcessor:
    """Runs the rules over signals, records and events; records slowly, until ``prepare`` was called."""

    def __init__(self, ruleset: RuleSet, config: CreConfig, context: Context) -> None:
        self._series = context.series
        self._lateness = config.lateness
        defects = frozenset(config.published_defects)
        self._record_lateness = config.record_lateness
        self._unused: Counter[str] = Counter()
        """What could not be used, by reason."""
        self._limits = Limits(tuples=config.max_partial, tuple_events=config.max_tuple_events, events=config.max_events)
        self._machines = [Machine(rule, self._limits, self._holds, self._unused, defects) for rule in ruleset.rules]
        self._questions: dict[tuple[str, int, int], int] = {}
        self._readers: list[list[_Reader]] = []
        for machine in self._machines:
            for metric, condition, number in machine.metrics:
                self._reader(metric).append((machine, metric, condition, number))
        self._points = Points(self._machines, config.sources, context.series)
        asked = self._questions or len(self._points)
        self._engine = _engine(context.series, self._questions, config) if asked else NoSignals()
        self._records = Records(self._machines, config.sources)
        self._about_points = [m for m in self._machines if any(c.node.is_points for c in m.logs)]
        self._busy: dict[Machine, None] = {}
        """Rules in which something waits for time to pass; the others are not visited."""
        self._unordered: dict[Key, InOrder[_Local]] = {}
        """Records for rules about one resource that wait to be put in order, by resource."""
        self._newest = Newest()
        self._ticked = NEVER
        self._safe_logs = NEVER
        self._safe_signals = NEVER
        self._safe_both = NEVER
        self._open: dict[tuple[int, int], Detection] = {}
        self._ended: OrderedDict[tuple[int, int], int] = OrderedDict()
        self._max_partial = config.max_partial
        self._timeline: Timeline | None = None
        self._told: Counter[str] = Counter()
        self._detections = context.meter.create_counter(
            "fallow_processor_detections", unit="{detection}", description="Detections, by rule and state."
        )

    def watch(self, timeline: Timeline) -> None:
        """Have what conditions see from now on written into a timeline; before anything was processed."""
        self._timeline = timeline
        for machine in self._machines:
            for condition in reversed(machine.conditions):  # outermost first
                condition.variant = timeline.variant(machine.rule, condition)

    # -- the contract of processors ------------------------------------------------------------------------------------
    def prepare(self) -> None:
        if not isinstance(self._engine, NoSignals):
            promql.compile_kernels()
        self._records.load_kernels()

    def process(self, batch: Batch) -> Batch:
        found = self._run(batch)
        lost = self._lost()
        if not found and not lost:
            return batch
        return replace(batch, detections=(*batch.detections, *found), dropped=Counter(batch.dropped) + lost)

    def tick(self, now: int) -> Batch:
        self._ticked = max(self._ticked, now)
        found = self._edges(self._engine.tick(now)) + self._advance()
        return self._released(found)

    def finish(self) -> Batch:
        found = self._edges(self._engine.finish()) + self._advance(final=True)
        return self._released(found + self._still_open())

    def _released(self, found: list[Detection]) -> Batch:
        lost = self._lost()
        return Batch(detections=tuple(_in_order(found)), dropped=lost) if found or lost else Batch()

    # -- what comes in -------------------------------------------------------------------------------------------------
    def _run(self, batch: Batch) -> list[Detection]:
        found: list[Detection] = []
        if batch.logs is not None and len(batch.logs):
            events = self._events(batch.logs) if self._questions else None
            if events is not None:
                self._engine.append(events)
            keys = resource_keys(batch.logs)
            clocks: list[int] | None = None
            for record in self._records.find(batch.logs, keys):
                if clocks is None:
                    clocks = _clocks(batch.logs, [self._newest.of(key) for key in keys])
                found += self._record(record, clocks[record.index])
            found += self._passed(batch.logs, keys)
        if batch.metrics is not None:
            self._engine.append(batch.metrics)
            self._points.append(batch.metrics)
        if batch.metrics is not None or batch.logs is not None:
            found += self._edges(self._engine.advance())
            found += self._advance()
        return _in_order(found)

    def _events(self, logs: LogBatch) -> MetricBatch | None:
        """Records that are events, as samples of ``fallow.event``."""
        if not any(logs.event_name):
            return None
        series: list[int] = []
        times: list[int] = []
        for i, name in enumerate(logs.event_name):
            if not name or name in OWN_EVENTS:
                continue
            everything = {**logs.resources[int(logs.source[i])], **logs.attributes(i)}
            labels = {key: everything[key] for key in EVENT_LABELS if everything.get(key)}
            labels[semconv.EVENT_NAME] = name
            id = self._series.intern(
                SeriesKey(name=semconv.EVENT, unit="{event}", attributes=tuple(sorted(labels.items())))
            )
            if id >= 0:
                series.append(id)
                times.append(int(logs.time[i]))
        return MetricBatch.of(series, times, [1.0] * len(series)) if series else None

    def _record(self, record: Found, clock: int) -> list[Detection]:
        """``clock``: the time that the record's resource has come to."""
        machine, time = record.machine, record.happening.time
        resource = record.happening.resource or ()
        event = Event(record.mask, record.happening)
        if machine.is_local:
            return self._local_record(machine, time, resource, event, clock - self._record_lateness)
        self._hold(record, self._clock(machine))
        return []

    def _hold(self, found: Found, released: int) -> None:
        """Let a record or a point wait until time is safe, unless that has been ``released``."""
        if found.happening.time <= released:
            self._unused[LATE if found.index >= 0 else LATE_SIGNAL] += 1
            return
        rank = (0, found.happening.resource or (), False)
        found.condition.receive(found.happening.time, rank, Event(found.mask, found.happening))
        self._busy[found.machine] = None

    def _local_record(self, machine: Machine, time: int, resource: Key, event: Event, clock: int) -> list[Detection]:
        """What comes too late to be put in order is for the matcher to take or to refuse."""
        if not self._record_lateness:
            return self._offered(machine, time, event, clock)
        waiting = self._unordered.setdefault(resource, InOrder())
        found = self._in_order_until(waiting, clock)
        if time < clock:
            return found + self._offered(machine, time, event, clock)
        waiting.add(time, _FIRST, (machine, event))
        if len(waiting) > self._limits.events:
            oldest, (machine, event) = waiting.pop()
            found += self._offered(machine, oldest, event, oldest)
        return found

    def _in_order_until(self, waiting: InOrder[_Local], clock: int) -> list[Detection]:
        found: list[Detection] = []
        for time, (machine, event) in waiting.release(clock):
            found += self._offered(machine, time, event, time)
        return found

    def _offered(self, machine: Machine, time: int, event: Event, clock: int) -> list[Detection]:
        found = self._detected(machine, machine.root.offer(time, event, clock))
        if not machine.is_quiet:
            self._busy[machine] = None
        return found

    def _passed(self, logs: LogBatch, keys: Sequence[Key]) -> list[Detection]:
        """Time goes on in each resource, whatever its records say."""
        found: list[Detection] = []
        newest = np.full(len(keys), NEVER, dtype=np.int64)
        np.maximum.at(newest, logs.source, logs.time)
        clocks: dict[Key, int] = {}
        for key, time in zip(keys, newest.tolist(), strict=True):
            self._newest.see(key, time)
            clocks[key] = clock = self._newest.of(key) - self._record_lateness
            if key in self._unordered:
                found += self._in_order_until(self._unordered[key], clock)
        for machine in [m for m in self._busy if m.is_local]:
            found += self._detected(machine, machine.root.advance_each(clocks))
        return found

    # -- signals -------------------------------------------------------------------------------------------------------
    def _reader(self, metric: Metric) -> list[_Reader]:
        key = (metric.expr, metric.for_ns, metric.interval_ns)
        if key not in self._questions:
            self._questions[key] = len(self._questions)
            self._readers.append([])
        return self._readers[self._questions[key]]

    def _question(self, metric: Metric) -> int:
        return self._questions[metric.expr, metric.for_ns, metric.interval_ns]

    def _holds(self, metric: Metric, labels: Mapping[str, str], start: int, end: int) -> bool | None:
        return self._engine.holds(self._question(metric), labels, start, end)

    def _edges(self, edges: Sequence[promql.Edge]) -> list[Detection]:
        found: list[Detection] = []
        for edge in edges:
            for machine, metric, condition, number in self._readers[edge.condition]:
                if self._timeline is not None:
                    self._timeline.edge(machine, metric, edge)
                if edge.state in ("ended", "open"):
                    found += self._ceased(machine, edge)
                elif machine.is_metric:
                    found.append(self._of_edge(machine, metric, edge))
                elif edge.state == "began" and edge.seen:
                    self._began(machine, condition, number, _happening(metric, edge))
        return found

    def _began(self, machine: Machine, condition: Condition, number: int, item: Happening) -> None:
        if item.time <= self._clock(machine):
            self._unused[LATE_SIGNAL] += 1
            return
        whose = tuple(text for label in sorted(item.properties.items()) for text in label)
        condition.receive(item.time, (number, whose, False), Event(1 << number, item))
        self._busy[machine] = None

    def _of_edge(self, machine: Machine, metric: Metric, edge: promql.Edge) -> Detection:
        item = _happening(metric, edge)
        state: DetectionState = "unknown" if edge.state == "unknown" else "fired"
        found = _detection(machine, item, tuple(sorted(edge.labels.items())), edge.time, state)
        if state == "fired":
            self._open[id(machine), edge.ref] = found
        return self._counted(found)

    def _ceased(self, machine: Machine, edge: promql.Edge) -> list[Detection]:
        key = (id(machine), edge.ref)
        if edge.state == "open":
            fired = self._open.get(key)
            if fired is not None:
                self._open[key] = replace(fired, end=max(fired.end, edge.end))
            return []
        fired = self._open.pop(key, None)
        if fired is not None:
            return [self._resolved(fired, edge.end)]
        if not machine.is_metric:
            # The rule may yet match what began: it still waits for others.
            self._ended[key] = edge.end
            if len(self._ended) > self._max_partial:
                self._ended.popitem(last=False)
        return []

    def _resolved(self, fired: Detection, end: int) -> Detection:
        return self._counted(replace(fired, state="resolved", end=max(fired.end, end)))

    def _still_open(self) -> list[Detection]:
        found = [self._counted(replace(fired, state="open")) for fired in self._open.values()]
        self._open.clear()
        return found

    # -- time ----------------------------------------------------------------------------------------------------------
    def _advance(self, *, final: bool = False) -> list[Detection]:
        """Let rules over several sources see what is safe, and let hits go that waited for time to pass."""
        released = {machine: self._clock(machine) for machine in self._about_points}
        self._reach(final=final)
        for point in self._points.release(self._clock):
            self._hold(point, released[point.machine])
        local = FOREVER if final else self._ticked - self._lateness - 1
        found: list[Detection] = []
        for key in list(self._unordered):
            found += self._in_order_until(self._unordered[key], local)
            if not len(self._unordered[key]):
                del self._unordered[key]
        for machine in list(self._busy):
            clock = local if machine.is_local else self._clock(machine)
            found += self._detected(machine, machine.advance(clock))
            if machine.is_quiet:
                del self._busy[machine]
        return found

    def _reach(self, *, final: bool) -> None:
        """How far time is safe: records may still come that are ``lateness`` older than the newest, but no older ones."""
        if final:
            self._safe_logs = self._safe_signals = self._safe_both = FOREVER
            return
        settled, reached = self._engine.settled, max(self._newest.reached(), self._ticked)
        if reached > NEVER:
            self._safe_logs = max(self._safe_logs, reached - self._lateness - 1)
        both = min(settled, max(settled, reached) - self._lateness - 1) if settled > NEVER else self._safe_logs
        self._safe_signals = max(self._safe_signals, settled if settled > NEVER else self._safe_logs)
        self._safe_both = max(self._safe_both, both)

    def _clock(self, machine: Machine) -> int:
        """The time up to which a rule over several sources has seen everything."""
        if not machine.has_signals:
            return self._safe_logs
        return self._safe_both if machine.has_records else self._safe_signals

    # -- across a restart ----------------------------------------------------------------------------------------------
    def save(self) -> Saved:
        engine = self._engine.save()
        keys = {id(machine): key for key, machine in by_rule(self._machines).items()}
        machines = {keys[id(machine)]: machine.save() for machine in self._machines}
        points = self._points.save(keys)
        unordered = [
            (resource, [(time, keys[id(machine)], event) for time, _, (machine, event) in waiting.held()])
            for resource, waiting in self._unordered.items()
        ]
        opened = [(keys[machine], ref, found) for (machine, ref), found in self._open.items()]
        facts = {
            "busy": [keys[id(machine)] for machine in self._busy],
            "ended": [(keys[machine], ref, end) for (machine, ref), end in self._ended.items()],
            "newest": self._newest.times(),
            "clocks": [self._ticked, self._safe_logs, self._safe_signals, self._safe_both],
        }

        def made() -> State:
            return State(
                version=VERSION,
                document={
                    "rules": {key: one() for key, one in machines.items()},
                    "unordered": [
                        (resource, [(t, key, event.mask, event.happening.document()) for t, key, event in waiting])
                        for resource, waiting in unordered
                    ],
                    "open": [(key, ref, document(found)) for key, ref, found in opened],
                    **facts,
                },
                parts={"engine": engine(), "points": points()},
            )

        return made

    def restore(self, state: State, past: Past) -> Mapping[str, int]:
        saved = state.of(VERSION).document
        machines = by_rule(self._machines)
        known = {key: machine for key, machine in machines.items() if key in saved["rules"]}
        engine = state.parts["engine"]
        # Version 0: there was no rule over signals.
        cold = self._engine.restore(engine, past) if engine.version else len(self._questions)
        self._points.restore(state.parts["points"], past, {id(machine): key for key, machine in machines.items()})
        for key, machine in known.items():
            machine.restore(saved["rules"][key])
        for resource, waiting in saved["unordered"]:
            held = self._unordered.setdefault(tuple(resource), InOrder())
            for time, key, mask, item in waiting:
                if key in known:
                    held.add(time, _FIRST, (known[key], Event(mask, Happening.of(item))))
        self._busy.update((known[key], None) for key in saved["busy"] if key in known)
        for key, ref, found in saved["open"]:
            if key in known:
                self._open[id(known[key]), ref] = detection(found, known[key].rule)
        self._ended.update(((id(known[key]), ref), end) for key, ref, end in saved["ended"] if key in known)
        for source, time in saved["newest"]:
            self._newest.see(tuple(source), time)
        self._ticked, self._safe_logs, self._safe_signals, self._safe_both = saved["clocks"]
        self._missed(past, machines.keys() - known.keys())
        return {"rules": len(known), "rules that begin anew": len(machines) - len(known), "conditions that do": cold}

    def _missed(self, past: Past, new: Collection[str]) -> None:
        """Of a new rule nothing has been seen until now; after a gap of none."""
        now = max(self._newest.reached(), self._ticked)
        if past.gap is not None:
            now = max(now + past.gap.span, past.gap.until)
        for key, machine in by_rule(self._machines).items():
            if past.gap is not None or key in new:
                machine.missing(now, lambda m: m.for_ns + self._engine.reach(self._question(m)))

    # -- what goes out -------------------------------------------------------------------------------------------------
    def _detected(self, machine: Machine, matches: Iterable[Match]) -> list[Detection]:
        found: list[Detection] = []
        for match in matches:
            state: DetectionState = "unknown" if match.unknown else "fired"
            made = _detection(machine, match.happening, match.key, match.decided, state)
            found.append(self._counted(made))
            refs = [leaf.ref for leaf in match.happening.leaves() if leaf.ref is not None and leaf.origin]
            for ref in refs if state == "fired" else ():
                ended = self._ended.pop((id(machine), ref), None)
                if ended is None:
                    self._open[id(machine), ref] = made
                else:
                    found.append(self._resolved(made, ended))
        return found

    def _counted(self, found: Detection) -> Detection:
        self._detections.add(1, {"fallow.rule": found.rule, "fallow.state": found.state})
        return found

    def _lost(self) -> Counter[str]:
        """What could not be used since the last call, by reason; the first of each is said once."""
        totals = self._unused + Counter(
            {"late sample": self._engine.late, "series beyond max_series": self._engine.refused}
        )
        lost = totals - self._told
        for reason in lost.keys() - self._told.keys():
            logger.warning("Rules cannot use everything that comes.", extra={"reason": reason})
        self._told |= totals
        return lost


def _engine(
    series: SeriesTable, questions: Iterable[tuple[str, int, int]], config: CreConfig
) -> promql.Engine | promql.Shards:
    made: Callable[..., promql.Engine | promql.Shards] = promql.Engine
    if config.shards > 1:
        made = partial(promql.Shards, shards=config.shards)
    return made(
        series,
        [promql.Condition(expr=e, for_ns=f, interval_ns=i) for e, f, i in questions],
        lateness_ns=config.metric_lateness,
        idle_after_ns=config.idle_after,
        coverage=config.coverage,
        lookback_ns=config.lookback,
        max_rows=config.max_series,
    )


def _happening(metric: Metric, edge: promql.Edge) -> Happening:
    return Happening(
        kind="signal",
        name=_first_signal(metric.expr) or metric.source,
        time=edge.time,
        start=edge.start,
        end=edge.end,
        properties=edge.labels,
        entity=edge.labels,
        text=metric.expr,
        value=edge.value,
        count=edge.count,
        ref=edge.ref,
        origin=metric.origin,
    )


@lru_cache(maxsize=4096)
def _first_signal(expr: str) -> str:
    """The signal that an expression names first, in our spelling; "" where it names none of ours."""
    found = {at: name for name in semconv.SIGNALS if (at := expr.find(promql.prom_name(name))) >= 0}
    return found[min(found)] if found else ""


def _clocks(logs: LogBatch, before: Sequence[int]) -> list[int]:
    """For each record the newest time of its resource so far; ``before``: those before the batch."""
    if len(before) == 1:
        return list(np.maximum.accumulate(np.maximum(logs.time, before[0])).tolist())
    clocks = logs.time.copy()
    order = np.argsort(logs.source, kind="stable")
    for source, rows in enumerate(np.split(order, np.cumsum(np.bincount(logs.source, minlength=len(before)))[:-1])):
        clocks[rows] = np.maximum.accumulate(np.maximum(clocks[rows], before[source]))
    return list(clocks.tolist())


def _detection(
    machine: Machine, item: Happening, key: Key | tuple[tuple[str, str], ...], time: int, state: DetectionState
) -> Detection:
    rule = machine.rule
    entity = dict(item.entity)
    for name in rule.root.correlations:
        value = correlated(item.properties, name)
        if value and correlated(entity, name) != value:
            entity[name] = value
    identity = json.dumps([rule.hash, key, item.start, time])
    return Detection(
        id=hashlib.sha256(identity.encode()).hexdigest()[:24],
        rule=rule.cre,
        rule_hash=rule.hash,
        title=rule.title,
        severity=rule.severity,
        tags=rule.tags,
        entity=entity,
        time=time,
        start=item.start,
        end=item.end,
        state=state,
        evidence=tuple(leaf.evidence() for leaf in item.leaves()),
        optimize=rule.optimize,
        rule_stable_hash=rule.stable_hash,
    )


def _in_order(found: Iterable[Detection]) -> list[Detection]:
    return sorted(found, key=lambda d: (d.time, d.rule, d.id, d.state))
