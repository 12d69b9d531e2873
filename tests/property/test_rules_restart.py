"""Rules over signals, records and events: a graceful restart changes no detection, after a kill none is wrong."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fallow.batch import Batch, LogBatch, MetricBatch
from fallow.model import Detection
from fallow.series import SeriesKey, SeriesTable
from fallow.state import Gap, Past, State
from fallow.testing.components import context
from fallow.units import SECOND
from fallow_processors.cre import CreConfig, CreProcessor, RuleSet
from fallow_processors.cre.document import parse_rules
from fallow_processors.cre.rule import Rule

HEAD = """
rules:
  - metadata: {id: AAAAbbbbCCCC%(letter)s}
    cre: {id: CRE-2026-99%(number)02d, severity: 2, title: A title, tags: [gpu]}
    rule:
"""
RULES = (
    """
set:
  event: {source: cre.log.any}
  match: [out of memory]
""",
    """
set:
  event: {source: cre.log.any}
  window: 20s
  match: [first, {value: failed, count: 2}]
""",
    """
sequence:
  event: {source: cre.log.any}
  window: 15s
  order: [first, second]
  negate: [third]
""",
    """
set:
  event: {source: cre.log.any}
  window: 15s
  correlations: [user]
  match: [first, second]
  negate: [{value: third, window: 5s, slide: -10s}]
""",
    """
set:
  match:
    - promql: {expr: "a > 5", for: 2s, event: {source: cre.metrics, origin: true}}
""",
    """
set:
  match:
    - promql: {expr: "max_over_time(a[20s]) < 5", event: {source: cre.metrics, origin: true}}
""",
    """
sequence:
  window: 1m
  correlations: [host.name]
  order:
    - set: {event: {source: fallow.scheduler}, match: [{field: event.name, value: job.start}]}
    - promql: {expr: "a > 5", event: {source: cre.metrics, origin: true}}
  negate:
    - set: {event: {source: fallow.scheduler}, match: [{field: event.name, value: job.end}]}
""",
    """
sequence:
  window: 20s
  correlations: [host.name]
  order:
    - set: {event: {source: cre.log.any, origin: true}, match: [first]}
    - set: {event: {source: cre.log.any}, match: [failed]}
  negate:
    - promql: {expr: "a > 5", for: 1s, event: {source: cre.metrics}}
""",
    """
set:
  window: 30s
  correlations: [host.name]
  match:
    - sequence: {event: {source: cre.log.any, origin: true}, window: 10s, order: [first, failed]}
    - set: {event: {source: cre.log.any}, match: [out of memory]}
  negate:
    - sequence: {event: {source: cre.log.any}, window: 10s, order: [second, third]}
""",
    """
set:
  event: {source: cre.log.any}
  window: 1h
  correlations: [user, rank]
  match:
    - {value: failed, count: 2, extract: [{name: rank, regex: 'rank(\\d+)'}]}
""",
    """
set:
  window: 10s
  event: {source: cre.metrics}
  match: [{jq: 'select(.name == "a" and .value > 5)', count: 3}]
  negate: [{jq: 'select(.name == "a" and .value < 5)', window: 4s}]
""",
    """
sequence:
  window: 30s
  correlations: [host.name]
  order:
    - sequence: {event: {source: cre.log.any}, window: 15s, order: [first, second], negate: [{value: third, window: 9s}]}
    - set: {event: {source: cre.log.any, origin: true}, match: [failed]}
""",
)
Line = tuple[float, str, tuple[Any, ...]]
"""Event time in seconds, host, and a value or (text, event name, user)."""


@cache
def rule(body: str) -> Rule:
    number = RULES.index(body) + 1
    text = HEAD % {"number": number, "letter": chr(ord("A") + number)}
    text += "\n".join("      " + line for line in body.strip("\n").splitlines())
    (found,) = parse_rules(text, f"rule{number}.yaml").rules
    return found


def ruleset(bodies: Sequence[str] = RULES) -> RuleSet:
    return RuleSet(tuple(rule(body) for body in bodies))


def story(seed: int, length: int) -> list[Line]:
    """What three hosts say: a signal each second while they have one, events and lines now and then."""
    rng = random.Random(seed)
    lines: list[Line] = []
    chatty = rng.choice((0.1, 0.3, 0.6))
    for host in ("h1", "h2", "h3"):
        begin = rng.choice((1, 1, rng.randrange(1, length)))
        value = 1.0
        for second in range(begin, length):
            at = second + rng.random() * 0.5
            value = rng.choice((1.0, 9.0)) if rng.random() < 0.15 else value
            if host != "h3":
                lines.append((at, host, (value,)))
            if rng.random() < chatty:
                event = rng.choice(("job.start", "job.end", "", "", "", ""))
                text = rng.choice(("first", "second", "third", "out of memory", "rank0 failed", "failed", "else"))
                lines.append((at + 0.25, host, ("" if event else text, event, rng.choice("xy"))))
    return sorted(lines)


def metrics(lines: Sequence[Line], table: SeriesTable) -> MetricBatch | None:
    rows = [(at, host, what[0]) for at, host, what in lines if len(what) == 1]
    keys = [SeriesKey(name="a", resource=(("host.name", host),)) for _, host, _ in rows]
    ids = [table.intern(key) for key in keys]
    return MetricBatch.of(ids, [int(at * SECOND) for at, *_ in rows], [v for *_, v in rows]) if rows else None


def logs(lines: Sequence[Line]) -> LogBatch | None:
    rows = [(at, host, what) for at, host, what in lines if len(what) == 3]
    if not rows:
        return None
    hosts = sorted({host for _, host, _ in rows})
    times = np.asarray([int(at * SECOND) for at, *_ in rows], dtype=np.int64)
    return LogBatch(
        time=times,
        observed=times,
        severity=np.zeros(len(rows), dtype=np.int8),
        source=np.asarray([hosts.index(host) for _, host, _ in rows], dtype=np.int32),
        resources=tuple({"host.name": host} for host in hosts),
        body=pa.array([text for *_, (text, _, _) in rows], pa.string()),
        event_name=tuple(event for *_, (_, event, _) in rows),
        attributes=lambda i: {"user": rows[i][2][2]},
    )


def as_read(state: State) -> State:
    """The state as it comes back from a file."""
    document, parts = json.loads(json.dumps(state.document)), {k: as_read(v) for k, v in state.parts.items()}
    return State(version=state.version, document=document, arrays=state.arrays, parts=parts)


class Run:
    """The rule engine in a process that may end and begin again."""

    def __init__(self, bodies: Sequence[str] = RULES, config: CreConfig | None = None) -> None:
        self.found: list[Detection] = []
        self.config = config or CreConfig()
        self._begin(bodies)

    def _begin(self, bodies: Sequence[str]) -> None:
        self.bodies = bodies
        self.table = SeriesTable()
        self.processor = CreProcessor(ruleset(bodies), self.config, context("cre", Path(), self.table))

    def send(self, lines: Sequence[Line]) -> None:
        self.found += self.processor.process(Batch(metrics=metrics(lines, self.table), logs=logs(lines))).detections

    def tick(self, second: float) -> None:
        self.found += self.processor.tick(int(second * SECOND)).detections

    def saved(self) -> tuple[State, State]:
        table, processor = self.table.save(), self.processor.save()
        return as_read(table()), as_read(processor())

    def restart(self, saved: tuple[State, State], gap: Gap | None = None, bodies: Sequence[str] | None = None) -> None:
        self._begin(self.bodies if bodies is None else bodies)
        self.table.intern(SeriesKey(name="another", resource=(("host.name", "h9"),)))  # ids need not be the same
        self.processor.restore(saved[1], Past(series=self.table.restore(saved[0]), gap=gap))

    def finish(self) -> None:
        self.found += self.processor.finish().detections

    def told(self) -> list[tuple[Any, ...]]:
        return sorted(
            (d.rule, d.id, d.state, d.time, d.start, d.end, repr(sorted(d.entity.items())), repr(d.evidence))
            for d in self.found
        )


SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def parts(lines: Sequence[Line], cuts: Sequence[int]) -> list[Sequence[Line]]:
    return [lines[a:b] for a, b in itertools.pairwise([0, *sorted(cuts), len(lines)]) if b > a]


@SETTINGS
@given(seed=st.integers(0, 2**32), length=st.integers(10, 120))
def test_rules_go_on_after_a_graceful_restart_as_if_there_had_been_none(seed: int, length: int) -> None:
    rng = random.Random(seed)
    lines = story(seed, length)
    lateness = rng.choice(("0s", "0s", "3s"))
    whole = Run(config=CreConfig.model_validate({"record_lateness": lateness}))
    broken = Run(config=CreConfig.model_validate({"record_lateness": lateness, "shards": rng.choice((1, 1, 2))}))
    for part in parts(lines, [rng.randint(0, len(lines)) for _ in range(rng.choice((2, 10, 40)))]):
        ticks = rng.random() < 0.05
        for run in (whole, broken):
            run.send(part)
            if ticks:
                run.tick(part[-1][0])
        if rng.random() < 0.3:
            broken.restart(broken.saved())
    whole.finish()
    broken.finish()
    assert broken.told() == whole.told()


@SETTINGS
@given(seed=st.integers(0, 2**32), length=st.integers(10, 120))
def test_other_rules_go_on_where_some_are_added_and_dropped(seed: int, length: int) -> None:
    rng = random.Random(seed)
    lines = story(seed, length)
    stay = [body for body in RULES if rng.random() < 0.5]
    before, after = ([body for body in RULES if body in stay or rng.random() < 0.5] for _ in range(2))
    whole, broken = Run(stay), Run(before)
    cut = rng.randint(0, len(lines))
    for part in parts(lines, [cut]):
        whole.send(part)
        broken.send(part)
        if part[-1] == lines[cut - 1]:
            broken.restart(broken.saved(), bodies=after)
    whole.finish()
    broken.finish()
    names = {rule.cre for rule in ruleset(stay).rules}
    assert [row for row in broken.told() if row[0] in names] == whole.told()


def entity(detection: Detection) -> str:
    return repr(sorted(detection.entity.items()))


def was_right(found: Detection, whole: Sequence[Detection]) -> bool:
    """Whether the run that lost nothing found the same, or fired for some of the same evidence, or held then."""
    same = [d for d in whole if d.rule == found.rule]
    fired = [d for d in same if d.state == "fired"]
    if any(d.id == found.id for d in fired):
        return True
    if found.evidence[0].kind == "signal" and len(found.evidence) == 1:
        ends = {d.id: d.end for d in same if d.state in ("resolved", "open")}
        return any(entity(d) == entity(found) and d.time <= found.time and found.start <= ends[d.id] for d in fired)
    parts = {(e.kind, e.start, e.text) for e in found.evidence}
    return any(parts & {(e.kind, e.start, e.text) for e in d.evidence} for d in fired)


def wrongs(seed: int, length: int) -> list[tuple[Any, ...]]:
    """What rules say wrongly after a kill that lost a while."""
    rng = random.Random(seed)
    lines = story(seed, length)
    taken = rng.randint(1, len(lines))
    lost = rng.randint(taken, min(len(lines), taken + 60))
    whole, broken = Run(), Run()
    at = before = 0
    for part in parts(lines, [taken, lost, *(rng.randint(0, len(lines)) for _ in range(rng.choice((0, 5, 30))))]):
        whole.send(part)
        if not taken <= at < lost:
            broken.send(part)
        at += len(part)
        if at == lost:
            before = len(broken.found)
            broken.restart(broken.saved(), Gap(until=int(lines[lost - 1][0] * SECOND)))
    whole.finish()
    broken.finish()
    return [
        (found.rule, found, lines[taken - 1][0], lines[lost - 1][0], [d for d in whole.found if d.rule == found.rule])
        for found in broken.found[before:]
        if found.state == "fired" and not was_right(found, whole.found)
    ]


@SETTINGS
@given(seed=st.integers(0, 2**32), length=st.integers(10, 120))
def test_rules_fire_for_nothing_wrong_after_a_kill(seed: int, length: int) -> None:
    assert wrongs(seed, length) == []
