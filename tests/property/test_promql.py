"""The engine against its definition: plain Python, one entity and one instant at a time; and no order matters."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fallow.batch import MetricBatch
from fallow.promql import Condition, Edge, Engine
from fallow.series import SeriesKey, SeriesTable, pane_width
from fallow.units import SECOND

COVERAGE, LOOKBACK = 0.8, 300 * SECOND
ENTITIES = (("h1", "g1"), ("h1", "g2"), ("h2", "g3"))
NAMES = ("a.u", "a.m", "a.c", "fallow.event")


class Sample(NamedTuple):
    time: int
    entity: tuple[str, str]
    name: str
    value: float
    stale: bool


@dataclass(frozen=True)
class Element:
    """Present on the samples that are there, unknown, warming up; value and evidence (first, last, count)."""

    present: bool
    unknown: bool
    warming: bool
    value: float
    first: int
    last: int
    count: int


Vector = dict[tuple[str, ...], Element]


class Step(NamedTuple):
    """One instant of a subquery: what it gives, and what there is data for."""

    given: Vector
    data: Vector


class Oracle:
    """Every expression below, from the definition, at one instant."""

    def __init__(self, samples: Sequence[Sample], at: int, interval: int, steps: dict[int, Step] | None = None) -> None:
        self.at = at
        self._interval = interval
        self._all = samples
        self._steps: dict[int, Step] = {} if steps is None else steps
        self.series: dict[tuple[str, tuple[str, str]], list[Sample]] = {}
        for sample in sorted(samples, key=lambda s: s.time):
            if sample.time <= at:
                self.series.setdefault((sample.name, sample.entity), []).append(sample)

    def _cadence(self, samples: list[Sample]) -> int:
        times = [s.time for s in samples if not s.stale]
        gaps = sorted([b - a for a, b in itertools.pairwise(times)][-8:])
        return gaps[(len(gaps) - 1) // 2] if gaps else 0

    def instant(self, name: str) -> Vector:
        found: Vector = {}
        for (of, entity), samples in self.series.items():
            if of != name or samples[-1].stale:
                continue
            cadence = self._cadence(samples)
            lookback = min(LOOKBACK, max(5 * cadence, 15 * SECOND)) if cadence else LOOKBACK
            newest = samples[-1]
            if newest.time > self.at - lookback:
                found[entity] = Element(True, False, False, newest.value, newest.time, newest.time, 1)
        return found

    def window(self, fn: str, name: str, seconds: int) -> Vector:
        span = seconds * SECOND
        width = pane_width(span)
        end = self.at // width * width
        found: Vector = {}
        for (of, entity), everything in self.series.items():
            samples = [s for s in everything if not s.stale]
            inside = [s for s in samples if end - span < s.time <= end]
            if of != name or not inside:
                continue
            warming = low = False
            if name != "fallow.event" and fn != "present_over_time":
                # A window is looked at when it moves, where that is an instant: later gaps are not known to it.
                seen = end if width % self._interval == 0 else self.at
                cadence = self._cadence([s for s in samples if s.time <= seen])
                warming = end - span < samples[0].time - cadence
                low = len(inside) * cadence < COVERAGE * span
            present = len(inside) > 1 or fn not in ("rate", "increase", "delta", "deriv", "irate", "predict_linear")
            value = _over(fn, [(s.time, s.value) for s in inside], end, span) if present else 0.0
            found[entity] = Element(
                present, warming or low, warming, value, inside[0].time, inside[-1].time, len(inside)
            )
        return found

    def subquery(
        self, seconds: int, step: int, inner: Callable[[Oracle], Vector], data: Callable[[Oracle], Vector]
    ) -> Vector:
        """max_over_time of what ``inner`` gives at the multiples of the step; ``data``: what its elements are made of."""
        span, step = seconds * SECOND, step * SECOND
        first, last = min(s.time for s in self._all), max(s.time for s in self._all)
        instants = range(-(-first // step) * step, min(self.at, -(-last // step) * step) + 1, step)
        for m in instants:
            if m not in self._steps:
                then = Oracle(self._all, m, step)
                self._steps[m] = Step(inner(then), data(then))
        steps = self._steps
        found: Vector = {}
        for key in {key for m in instants for key in steps[m].data}:
            begun = next(m for m in instants if key in steps[m].data)
            missing = {
                m
                for m in instants
                if m >= begun and (key not in steps[m].data or (key in steps[m].given and steps[m].given[key].unknown))
            }
            seen = {
                m: steps[m].given[key]
                for m in instants
                if m > self.at - span and m not in missing and key in steps[m].given and steps[m].given[key].present
            }
            warming = begun - step > self.at - span
            unknown = warming or any(m > self.at - span for m in missing)
            if seen:
                values = [e.value for e in seen.values() if not math.isnan(e.value)]
                value = max(values) if values else math.nan
                found[key] = Element(True, unknown, warming, value, min(seen), max(seen), len(seen))
            elif unknown and not self._long_gone(key, instants, span):
                found[key] = Element(False, True, warming, 0.0, self.at, self.at, 0)
        return found

    def _long_gone(self, key: tuple[str, ...], instants: range, span: int) -> bool:
        """Whether there has been no data since before the window."""
        since = None
        for m in reversed(instants):
            if key in self._steps[m].data:
                break
            since = m
        return since is not None and since <= self.at - span


def chosen(vector: Vector, k: int) -> Vector:
    """The k largest: for certain where that is so whether what is unknown is not there or comes before all."""

    def place(key: tuple[str, ...]) -> tuple[bool, float, tuple[str, ...]]:
        value = vector[key].value
        return (True, 0.0, key) if math.isnan(value) else (False, -value, key)  # NaN has no order of its own

    seen = sorted((key for key, e in vector.items() if e.present), key=place)[:k]
    known = sorted((key for key, e in vector.items() if not e.unknown), key=place)
    unknown = len(vector) - len(known)
    found: Vector = {}
    for key, e in vector.items():
        if e.unknown or (known.index(key) < k) != (known.index(key) + unknown < k):
            found[key] = replace(e, present=key in seen, unknown=True)
        elif key in seen:
            found[key] = e
    return found


def mapped(vector: Vector, function: Callable[[float], float]) -> Vector:
    return {key: replace(e, value=function(e.value)) for key, e in vector.items()}


def relabelled(vector: Vector) -> Vector:
    """Each element with the last character of its second label."""
    return {(key[0], key[1][-1]): e for key, e in vector.items()}


def _over(fn: str, samples: list[tuple[int, float]], end: int, span: int) -> float:
    values = np.asarray([v for _, v in samples])
    pairs = list(itertools.pairwise(values))
    with np.errstate(all="ignore"):
        match fn:
            case "avg_over_time":
                return float(values.sum() / len(values))
            case "sum_over_time":
                return float(values.sum())
            case "count_over_time":
                return float(len(values))
            case "min_over_time" | "max_over_time":
                real = values[~np.isnan(values)]
                return math.nan if not len(real) else float(real.min() if fn[1] == "i" else real.max())
            case "stddev_over_time":
                return float(values.std())
            case "last_over_time":
                return float(values[-1])
            case "present_over_time":
                return 1.0
            case "changes":
                return float(sum(a != b and not (math.isnan(a) and math.isnan(b)) for a, b in pairs))
            case "resets":
                return float(sum(b < a for a, b in pairs))
            case "deriv":
                t = np.asarray([(t - samples[0][0]) / 1e9 for t, _ in samples])
                return float(((t - t.mean()) * (values - values.mean())).sum() / ((t - t.mean()) ** 2).sum())
            case "predict_linear":
                t = np.asarray([(t - end) / 1e9 for t, _ in samples])
                slope = ((t - t.mean()) * (values - values.mean())).sum() / ((t - t.mean()) ** 2).sum()
                return float(values.mean() + slope * (60 - t.mean()))
            case "mad_over_time" if np.isnan(values).any():
                return math.nan
            case "mad_over_time":
                middle = _over("quantile_over_time", samples, end, span)
                return _over("quantile_over_time", [(t, abs(v - middle)) for t, v in samples], end, span)
            case "quantile_over_time":
                ranked = sorted(values, key=lambda v: (not math.isnan(v), v))
                low = (len(ranked) - 1) // 2
                return float(ranked[low] + ranked[len(ranked) // 2]) / 2 if len(ranked) % 2 == 0 else float(ranked[low])
            case _ if fn.startswith("quantile "):
                rank = float(fn.split()[1]) * (len(values) - 1)
                ranked = sorted(values, key=lambda v: (not math.isnan(v), v))
                low, high = ranked[int(rank)], ranked[min(int(rank) + 1, len(values) - 1)]
                return float(low * (1 - rank % 1) + high * (rank % 1))
            case "irate":
                (t1, a), (t2, b) = samples[-2:]
                return (b if b < a else b - a) / ((t2 - t1) / 1e9)
            case _:
                return _extrapolated(fn, samples, end, span)


def _extrapolated(fn: str, samples: list[tuple[int, float]], end: int, span: int) -> float:
    (t1, first), (t2, last) = samples[0], samples[-1]
    raw = last - first
    if fn != "delta":
        raw += sum(a for (_, a), (_, b) in itertools.pairwise(samples) if b < a)
    sampled = (t2 - t1) / 1e9
    average = sampled / (len(samples) - 1)
    before, after = (t1 - end + span) / 1e9, (end - t2) / 1e9
    before = average / 2 if before >= 1.1 * average else before
    if fn != "delta" and raw > 0 and first >= 0:
        before = min(before, sampled * first / raw)
    after = average / 2 if after >= 1.1 * average else after
    found = raw * (sampled + before + after) / sampled
    return found / (span / 1e9) if fn == "rate" else found


Compare = Callable[[float, float], bool]
COMPARE: dict[str, Compare] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


def compare(vector: Vector, op: str, number: float, bound: int = 0) -> Vector:
    """A filter by a number; bound 1: the true value is not below the observed one, -1: not above."""
    found: Vector = {}
    for key, e in vector.items():
        true = COMPARE[op](e.value, number)
        if e.unknown and e.present and bound:
            # Decided where every value that the true one may have gives the same answer as the observed.
            others = [e.value, e.value + bound * 1e-9, e.value + bound * 0.5, e.value + bound * 1e9]
            near = [number, number + bound * 1e-9] if (number - e.value) * bound >= 0 else []
            if not math.isnan(e.value) and len({COMPARE[op](o, number) for o in others + near}) == 1:
                e = replace(e, unknown=False, warming=False)
        if e.unknown:
            found[key] = replace(e, present=e.present and true)
        elif true and e.present:
            found[key] = e
    return found


def _joined(a: Element, b: Element) -> Element:
    return replace(
        a,
        present=a.present and b.present,
        unknown=a.unknown or b.unknown,
        warming=a.warming or b.warming,
        first=min(a.first, b.first),
        last=max(a.last, b.last),
        count=a.count + b.count,
    )


def both(left: Vector, right: Vector) -> Vector:
    """The left element, with its evidence."""
    return {
        k: replace(
            a,
            present=a.present and right[k].present,
            unknown=a.unknown or right[k].unknown,
            warming=a.warming or right[k].warming,
        )
        for k, a in left.items()
        if k in right
    }


def unless(left: Vector, right: Vector) -> Vector:
    found: Vector = {}
    for key, a in left.items():
        b = right.get(key)
        if b is None:
            found[key] = a
        elif b.unknown:
            found[key] = replace(a, present=a.present and not b.present, unknown=True, warming=a.warming or b.warming)
    return found


def either(left: Vector, right: Vector) -> Vector:
    found = dict(right)
    for key, a in left.items():
        b = right.get(key)
        if b is not None and a.unknown and not a.present and b.present:
            found[key] = replace(b, unknown=True, warming=a.warming or b.warming)
        else:
            found[key] = a
    return found


def minus(left: Vector, right: Vector) -> Vector:
    return {k: replace(_joined(a, right[k]), value=a.value - right[k].value) for k, a in left.items() if k in right}


def summed(vector: Vector, by: int | None) -> Vector:
    groups: dict[tuple[str, ...], list[Element]] = {}
    for key, e in vector.items():
        groups.setdefault(() if by is None else (key[by],), []).append(e)
    return {
        key: Element(
            any(e.present for e in members),
            any(e.unknown for e in members),
            any(e.warming for e in members),
            sum(e.value for e in members if e.present),
            min(e.first for e in members),
            max(e.last for e in members),
            sum(e.count for e in members),
        )
        for key, members in groups.items()
    }


Case = tuple[str, Callable[[Oracle], Vector], tuple[str, ...]]
"""Text of the expression, the same in plain Python, names of the result's labels."""
CASES: tuple[Case, ...] = (
    ("a_u == 0", lambda o: compare(o.instant("a.u"), "==", 0), ("host.name", "hw.id")),
    (
        "max_over_time(a_u[30s]) < 0.6 and a_m > 0.4",
        lambda o: both(compare(o.window("max_over_time", "a.u", 30), "<", 0.6, 1), compare(o.instant("a.m"), ">", 0.4)),
        ("host.name", "hw.id"),
    ),
    (
        "max_over_time(a_u[150s]) > 0.6",
        lambda o: compare(o.window("max_over_time", "a.u", 150), ">", 0.6, 1),
        ("host.name", "hw.id"),
    ),
    (
        "min_over_time(a_u[30s]) >= 0.4 or avg_over_time(a_m[10s]) < 0.4",
        lambda o: either(
            compare(o.window("min_over_time", "a.u", 30), ">=", 0.4, -1),
            compare(o.window("avg_over_time", "a.m", 10), "<", 0.4),
        ),
        ("host.name", "hw.id"),
    ),
    (
        "avg_over_time(a_u[20s]) < 0.7 unless count_over_time(fallow_event[30s]) > 0",
        lambda o: unless(
            compare(o.window("avg_over_time", "a.u", 20), "<", 0.7),
            compare(o.window("count_over_time", "fallow.event", 30), ">", 0, 1),
        ),
        ("host.name", "hw.id"),
    ),
    ("rate(a_c[30s]) > 1.5", lambda o: compare(o.window("rate", "a.c", 30), ">", 1.5), ("host.name", "hw.id")),
    (
        "increase(a_c[150s]) > 90",
        lambda o: compare(o.window("increase", "a.c", 150), ">", 90, 1),
        ("host.name", "hw.id"),
    ),
    ("changes(a_u[30s]) > 2", lambda o: compare(o.window("changes", "a.u", 30), ">", 2, 1), ("host.name", "hw.id")),
    ("resets(a_c[150s]) == 0", lambda o: compare(o.window("resets", "a.c", 150), "==", 0, 1), ("host.name", "hw.id")),
    (
        "deriv(a_c[30s]) > 2.6180339",
        lambda o: compare(o.window("deriv", "a.c", 30), ">", 2.6180339),
        ("host.name", "hw.id"),
    ),
    (
        "irate(a_c[30s]) > 2.6180339",
        lambda o: compare(o.window("irate", "a.c", 30), ">", 2.6180339),
        ("host.name", "hw.id"),
    ),
    ("delta(a_m[30s]) < 0", lambda o: compare(o.window("delta", "a.m", 30), "<", 0), ("host.name", "hw.id")),
    (
        "stddev_over_time(a_u[30s]) > 0.4512345",
        lambda o: compare(o.window("stddev_over_time", "a.u", 30), ">", 0.4512345),
        ("host.name", "hw.id"),
    ),
    (
        "quantile_over_time(0.5, a_m[30s]) > 0.3",
        lambda o: compare(o.window("quantile_over_time", "a.m", 30), ">", 0.3),
        ("host.name", "hw.id"),
    ),
    (
        "predict_linear(a_c[30s], 60) > 161.80339",
        lambda o: compare(o.window("predict_linear", "a.c", 30), ">", 161.80339),
        ("host.name", "hw.id"),
    ),
    (
        "mad_over_time(a_u[30s]) > 0.3",
        lambda o: compare(o.window("mad_over_time", "a.u", 30), ">", 0.3),
        ("host.name", "hw.id"),
    ),
    ("a_u - a_m > 0.4", lambda o: compare(minus(o.instant("a.u"), o.instant("a.m")), ">", 0.4), ("host.name", "hw.id")),
    ("sum by (host_name) (a_u) > 0.9", lambda o: compare(summed(o.instant("a.u"), 0), ">", 0.9), ("host.name",)),
    (
        "topk(1, avg_over_time(a_m[20s])) > 0.3",
        lambda o: compare(chosen(o.window("avg_over_time", "a.m", 20), 1), ">", 0.3),
        ("host.name", "hw.id"),
    ),
    (
        "-bottomk(2, -min_over_time(a_u[30s])) > 0.1",
        lambda o: compare(chosen(o.window("min_over_time", "a.u", 30), 2), ">", 0.1),
        ("host.name", "hw.id"),
    ),
    (
        "max_over_time((a_u - a_m)[30s:5s]) > 0.4",
        lambda o: compare(
            o.subquery(30, 5, lambda i: minus(i.instant("a.u"), i.instant("a.m")), lambda i: i.instant("a.u")),
            ">",
            0.4,
        ),
        ("host.name", "hw.id"),
    ),
    (
        "max_over_time((avg_over_time(a_u[10s]) > 0.3)[24s:4s]) > 0.6",
        lambda o: compare(
            o.subquery(
                24,
                4,
                lambda i: compare(i.window("avg_over_time", "a.u", 10), ">", 0.3),
                lambda i: i.window("avg_over_time", "a.u", 10),
            ),
            ">",
            0.6,
        ),
        ("host.name", "hw.id"),
    ),
    (
        'cos(label_replace(a_u, "hw_id", "$1", "hw_id", "g(.)")) < 0.9',
        lambda o: compare(mapped(relabelled(o.instant("a.u")), math.cos), "<", 0.9),
        ("host.name", "hw.id"),
    ),
    (
        "sum(max_over_time(a_m[20s])) > 1.2",
        lambda o: compare(summed(o.window("max_over_time", "a.m", 20), None), ">", 1.2),
        (),
    ),
)


def expected(samples: Sequence[Sample], case: Case, condition: Condition) -> list[tuple[object, ...]]:
    """The edges of one condition, from its definition."""
    _, evaluate, names = case
    step = condition.interval_ns
    end = -(-max(s.time for s in samples) // step) * step
    states: dict[tuple[str, ...], dict[str, object]] = {}
    edges: list[tuple[object, ...]] = []
    at = -(-min(s.time for s in samples) // step) * step
    steps: dict[int, Step] = {}
    while at <= end:
        vector = evaluate(Oracle(samples, at, step, steps))
        for key in vector.keys() | states.keys():
            state = states.setdefault(key, {"true": 0, "holding": False, "run": None, "unknown": None, "said": False})
            edges += _step(state, vector.get(key), at, condition, dict(zip(names, key, strict=True)))
        at += step
    for key, state in states.items():
        if state["holding"]:
            edges.append(_edge("open", dict(zip(names, key, strict=True)), end, state))
    return edges


def _edge(kind: str, labels: dict[str, str], at: int, state: dict[str, object]) -> tuple[object, ...]:
    e = state["seen"]
    assert isinstance(e, Element)
    return kind, tuple(sorted(labels.items())), at, state["start"], e.last, e.count, e.value


def _step(
    state: dict[str, object], e: Element | None, at: int, c: Condition, labels: dict[str, str]
) -> list[tuple[object, ...]]:
    """One instant of one result. ``run``: instants it has been true, None where it is not."""
    if e is not None and e.unknown:
        state["was_true"] = False
        would = e.present and not e.warming and not state["holding"]
        state["unknown"] = (state["unknown"] or at) if would else None
        since = state["unknown"]
        if would and isinstance(since, int) and not state["said"] and at - since >= max(c.for_ns, c.interval_ns):
            state["said"] = True
            return [_edge("unknown", labels, at, {"seen": e, "start": e.first})]
        return []
    state["unknown"], state["said"] = None, False
    if e is None or not e.present:
        found = [_edge("ended", labels, at, state)] if state["holding"] else []
        state.update(run=None, holding=False, was_true=False)
        return found
    run = state["run"]
    if run is None:
        state["start"] = e.first
    # Time counts from a true instant to the next one; what was unknown between them does not.
    held = (
        0 if not isinstance(run, int) else run + (c.interval_ns if state.get("was_true") else int(str(state["owed"])))
    )
    state.update(run=held, seen=e, was_true=True, owed=c.interval_ns)
    if not state["holding"] and held >= c.for_ns:
        state["holding"] = True
        return [_edge("began", labels, at, state)]
    return []


def told(edges: Sequence[Edge]) -> list[tuple[object, ...]]:
    return [(e.state, tuple(sorted(e.labels.items())), e.time, e.start, e.end, e.count, e.value) for e in edges]


def assert_same(found: list[tuple[object, ...]], wanted: list[tuple[object, ...]]) -> None:
    def key(edge: tuple[object, ...]) -> str:
        return repr(edge[2:3]).rjust(30) + repr(edge[:2])

    found, wanted = sorted(found, key=key), sorted(wanted, key=key)
    assert [e[:-1] for e in found] == [e[:-1] for e in wanted]
    np.testing.assert_allclose(
        [float(str(e[-1])) for e in found], [float(str(e[-1])) for e in wanted], rtol=1e-9, atol=1e-9
    )


def stream(seed: int, length: int) -> list[Sample]:
    """Jittery series with gaps, ends, resets, NaN and stale marks; each clock has a sample at the first second."""
    rng = random.Random(seed)
    samples: list[Sample] = []
    for entity in ENTITIES:
        for name in NAMES:
            if name != "a.u" and rng.random() < 0.15:
                continue
            cadence = rng.choice((1, 1, 2, 5, 13)) * SECOND * (20 if name == "fallow.event" else 1)
            at = SECOND if name == "a.u" else rng.randrange(SECOND, 20 * SECOND)
            value = 0.0
            while at < length * SECOND:
                stale = rng.random() < 0.01
                if name == "a.c":
                    value = 0.0 if rng.random() < 0.03 else value + rng.choice((0, 1, 5)) * cadence / SECOND
                elif rng.random() < 0.3:
                    value = rng.choice((0.0, 0.0, 0.5, 1.0)) if rng.random() > 0.03 else math.nan
                samples.append(Sample(at, entity, name, 1.0 if name == "fallow.event" else value, stale))
                at += cadence + rng.choice((0, 0, rng.randrange(-cadence // 3, cadence // 3)))
                if rng.random() < 0.02:
                    at += rng.randrange(40) * SECOND
    samples.sort(key=lambda s: (s.time, s.entity, s.name))
    return samples or [Sample(SECOND, ENTITIES[0], "a.u", 0.0, False)]


def run(samples: Sequence[Sample], conditions: Sequence[Condition], cuts: Sequence[int]) -> tuple[list[Edge], Engine]:
    """The engine's edges over the samples in this order, in batches that end at the cuts."""
    table = SeriesTable()
    engine = Engine(table, conditions, idle_after_ns=10_000 * SECOND, coverage=COVERAGE, lookback_ns=LOOKBACK)
    edges: list[Edge] = []
    start = 0
    for cut in [*sorted(cuts), len(samples)]:
        part = samples[start:cut]
        start = max(cut, start)
        series = [
            table.intern(
                SeriesKey(name=s.name, resource=(("host.name", s.entity[0]),), attributes=(("hw.id", s.entity[1]),))
            )
            for s in part
        ]
        batch = MetricBatch.of(series, [s.time for s in part], [s.value for s in part])
        engine.append(replace(batch, stale=np.asarray([s.stale for s in part], dtype=np.bool_)))
        edges += engine.advance()
    return edges + engine.finish(), engine


SEEDS, LENGTHS = st.integers(0, 2**32), st.integers(20, 260)
SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("index", range(len(CASES)), ids=[case[0] for case in CASES])
@SETTINGS
@given(seed=SEEDS, length=LENGTHS, hold=st.sampled_from((0, 0, 5, 30)), interval=st.sampled_from((1, 1, 3, 10)))
@example(seed=5586, length=202, hold=0, interval=1)  # two elements of NaN among which topk chooses
def test_engine_is_its_definition(index: int, seed: int, length: int, hold: int, interval: int) -> None:
    samples = stream(seed, length)
    condition = Condition(expr=CASES[index][0], for_ns=hold * SECOND, interval_ns=interval * SECOND)
    edges, engine = run(samples, [condition], [])
    assert engine.late == 0
    assert_same(told(edges), expected(samples, CASES[index], condition))


@SETTINGS
@example(seed=1301745, length=260, q=0.0, op="<", number=0.25)  # coverage by gaps after the window's end
@given(
    seed=SEEDS,
    length=LENGTHS,
    q=st.sampled_from((0.0, 0.1, 0.5, 0.9, 0.99, 1.0)),
    op=st.sampled_from(("<", "<=", ">", ">=")),
    number=st.sampled_from((0.0, 0.25, 0.5, 0.75, 1.0)),
)
def test_a_long_quantile_is_on_its_side(seed: int, length: int, q: float, op: str, number: float) -> None:
    """A window of more than two minutes decides by counts: the same edges, with another value on the same side."""
    samples = stream(seed, length)
    case: Case = (
        f"quantile_over_time({q}, a_m[150s]) {op} {number}",
        lambda o: compare(o.window(f"quantile {q}", "a.m", 150), op, number),
        ("host.name", "hw.id"),
    )
    condition = Condition(expr=case[0])
    edges, engine = run(samples, [condition], [])
    assert engine.describe(0)[0].form == "threshold"
    found = [e[:-1] for e in told(edges)]
    assert sorted(found, key=repr) == sorted((e[:-1] for e in expected(samples, case, condition)), key=repr)
    assert all(COMPARE[op](e.value, number) for e in edges if e.state != "unknown")


@SETTINGS
@given(seed=SEEDS, length=LENGTHS, data=st.data())
def test_no_split_and_no_interleaving_matters(seed: int, length: int, data: st.DataObject) -> None:
    samples = stream(seed, length)
    conditions = [
        Condition(expr=case[0], for_ns=(i % 3) * 5 * SECOND, interval_ns=(1, 7)[i % 2] * SECOND)
        for i, case in enumerate(CASES)
    ]
    whole, _ = run(samples, conditions, [])
    cuts = data.draw(st.lists(st.integers(0, len(samples)), max_size=12))
    split, _ = run(samples, conditions, cuts)
    # One host behind the other by some seconds, each in its own order; both are there from the first second.
    behind = data.draw(st.integers(0, 30)) * SECOND
    woven = sorted(samples, key=lambda s: s.time + (behind if s.entity[0] == "h2" and s.time > SECOND else 0))
    other, engine = run(woven, conditions, cuts)
    assert engine.late == 0

    def order(edges: list[Edge]) -> list[tuple[object, ...]]:
        return sorted((e.condition, repr(t), e.ref) for e, t in zip(edges, told(edges), strict=True))

    assert order(split) == order(whole)
    assert order(other) == order(whole)
