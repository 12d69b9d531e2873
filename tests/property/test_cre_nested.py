"""Nested rules: the streaming engine against the definition, whatever the splits, the order of sources and the ticks."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fallow.model import Detection
from fallow.units import SECOND
from fallow_processors.cre import RuleSet
from helpers.cre_feed import Feed, Line, ruleset
from helpers.cre_oracle import Record, detections

pytestmark = pytest.mark.timeout(600)

LATENESS = 3
HOSTS: tuple[str, ...] = ("h1", "h2", "h3")
Row = tuple[Any, ...]
Doc = dict[str, Any]

Names = Sequence[Sequence[str]]
ANY: Names = ((), (), (), ("host.name",), ("user",), ("user", "rank"))
BELOW_HOST: Names = ((), (), ("host.name",), ("host.name", "rank"))


class Draw:
    """Random rules and streams in which there is something to find; a seed is all there is to them."""

    def __init__(self, seed: int, names: Names = ANY) -> None:
        self.rng = random.Random(seed)
        self.names = names

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def rule(self, correlations: Sequence[str] = ()) -> Doc:
        made = self.node(self.rng.choice((0, 1, 1, 2, 2, 3)))
        if correlations:
            next(iter(made.values()))["correlations"] = list(correlations)
        self.rng.choice(leaves(made))["event"]["origin"] = True
        return made

    def node(self, depth: int) -> Doc:
        return self.log_node() if depth == 0 else self.machine(depth)

    def machine(self, depth: int) -> Doc:
        ordered = self.chance(0.6)
        depths = [depth - 1, *(self.rng.randrange(depth) for _ in range(self.rng.choice((0, 1, 1, 1, 2))))]
        self.rng.shuffle(depths)
        negatives = [self.node(self.rng.randrange(depth)) for _ in range(self.rng.choice((0, 0, 1, 1, 2)))]
        for negative in negatives:
            negative |= self.options(range(len(depths)))
        return self.made(
            {"order" if ordered else "match": [self.node(d) for d in depths], "negate": negatives}, (3, 14)
        )

    def log_node(self) -> Doc:
        ordered = self.chance(0.3)
        terms: list[Doc] = []
        for letter in self.rng.choices("abc", k=1 + ordered + (self.rng.random() < 0.3)):
            count = 2 if self.chance(0.15) else 1
            terms.append({"value": letter, "count": count, "extract": [{"name": "rank", "regex": r"r(\d)"}]})
        places = [letter for term in terms for letter in [term["value"]] * term["count"]]
        anchors = [i for i, letter in enumerate(places) if not ordered or i == 0 or places[i - 1] != letter]
        letters = self.rng.choice(("", "", "d", "d", "bd"))
        negate = [{"value": letter, **self.options(anchors)} for letter in letters]
        key = "order" if ordered else "match"
        return self.made({"event": {"source": "cre.log.any"}, key: terms, "negate": negate}, (2, 8))

    def options(self, anchors: Sequence[int]) -> Doc:
        options: Doc = {}
        if self.chance(0.4):
            options["window"] = f"{self.rng.randint(1, 5)}s"
            options["absolute"] = self.chance(0.5)
        if self.chance(0.3):
            options["slide"] = f"{self.rng.randint(-3, 3)}s"
        if self.chance(0.4):
            options["anchor"] = self.rng.choice(anchors)
        return options

    def made(self, node: Doc, window: tuple[int, int]) -> Doc:
        positives = sum(item.get("count", 1) for item in node.get("order") or node["match"])
        if "order" in node or positives > 1:
            node["window"] = f"{self.rng.randint(*window)}s"
        names = self.rng.choice(self.names)
        if names and self.chance(0.5):
            node["correlations"] = list(names)
        if not node["negate"]:
            del node["negate"]
        return {"sequence" if "order" in node else "set": node}

    def lines(self, hosts: Sequence[str] = HOSTS) -> list[Line]:
        """Records in order of time, each with a text of its own."""
        found: list[Line] = []
        second = 1
        calm = self.rng.choice((0.0, 0.3, 0.7))
        for number in range(self.rng.randint(0, 70)):
            second += self.rng.choice((0, 0, 1, 1, 2)) if self.chance(0.98) else 30
            text = self.rng.choice(("a", "b", "c", "a", "b", "c", "ab", "bc", "d", "ad"))
            text = "-" if self.chance(calm) else text
            user = self.rng.choice(("x", "x", "x", "y", ""))
            rank = self.rng.choice((" ", " r0 ", " r0 ", " r1 "))
            host = self.rng.choice(hosts)
            found.append((second, f"{text}{rank}#{number}", host, "", {"user": user} if user else {}))
        return found

    def cuts(self) -> list[int]:
        return [self.rng.randrange(70) for _ in range(self.rng.choice((0, 3, 12)))]

    def delays(self) -> list[int]:
        return [self.rng.randint(0, LATENESS) for _ in HOSTS]


def leaves(node: Doc) -> list[Doc]:
    """The log nodes that a hit is made of."""
    inner = node.get("sequence") or node["set"]
    if "event" in inner:
        return [inner]
    return [leaf for item in inner.get("order") or inner["match"] for leaf in leaves(item)]


def expected(rules: RuleSet, lines: Sequence[Line]) -> list[Row]:
    records = [
        Record(
            time=int(second * SECOND),
            text=text,
            attributes={"host.name": host, **attributes},
            resource=(f"host.name={host}",),
        )
        for second, text, host, _, attributes in lines
    ]
    rows: list[Row] = []
    for rule in rules.rules:
        for hit in detections(rule.root, records):
            times = [records[number].time for number in hit.records]
            texts = tuple(records[number].text for number in hit.records)
            blamed = records[hit.blame[1]].attributes["host.name"]
            rows.append((rule.cre, "fired", hit.decided, min(times), max(times), texts, blamed))
    return sorted(rows)


def rows(found: Sequence[Detection]) -> list[Row]:
    return sorted(
        (d.rule, d.state, d.time, d.start, d.end, tuple(e.text for e in d.evidence), d.entity["host.name"])
        for d in found
    )


def told(
    rules: RuleSet,
    lines: Sequence[Line],
    cuts: Sequence[int] = (),
    delays: Sequence[int] = (0, 0, 0),
    ticks: Sequence[int] = (),
) -> list[Row]:
    """Hosts are late by a delay each; the stream is cut into batches; ticks come when that many records have come."""
    late = dict(zip(HOSTS, delays, strict=True))
    arriving = sorted(lines, key=lambda line: line[0] + late.get(line[2], 0))
    feed = Feed(rules, lateness=f"{LATENESS}s")
    found: list[Detection] = []
    start = 0
    for cut in sorted({*cuts, *ticks, len(arriving)}):
        if arriving[start:cut]:
            found += feed.lines(arriving[start:cut])
        start = max(start, cut)
        if cut in ticks and arriving[:cut]:
            last = arriving[min(cut, len(arriving)) - 1]
            found += feed.tick(last[0] + late.get(last[2], 0))
    found += feed.finish()
    assert "late record" not in feed.dropped
    return rows(found)


seeds = st.integers(0, 2**32)


@settings(max_examples=200, deadline=None)
@given(seed=seeds)
def test_the_stream_gives_what_the_definition_says(seed: int) -> None:
    draw = Draw(seed)
    rule, lines = ruleset(json.dumps(draw.rule())), draw.lines()
    whole = expected(rule, lines)
    assert told(rule, lines) == whole
    assert told(rule, lines, draw.cuts(), draw.delays(), draw.cuts()) == whole


@settings(max_examples=50, deadline=None)
@given(seed=seeds)
def test_other_rules_do_not_matter(seed: int) -> None:
    draw = Draw(seed)
    rule, other, lines = json.dumps(draw.rule()), json.dumps(draw.rule()), draw.lines()
    alone = told(ruleset(rule), lines)
    both = told(ruleset(rule, other), lines, draw.cuts(), draw.delays())
    assert [row for row in both if row[0] == "CRE-2026-9901"] == alone


@settings(max_examples=50, deadline=None)
@given(seed=seeds)
def test_other_hosts_do_not_matter(seed: int) -> None:
    draw = Draw(seed, BELOW_HOST)
    rule = ruleset(json.dumps(draw.rule(("host.name",))))
    lines, others = draw.lines(HOSTS[:2]), draw.lines(HOSTS[2:])
    mixed = told(rule, sorted([*lines, *others], key=lambda line: line[0]), draw.cuts())
    assert [row for row in mixed if row[-1] != HOSTS[2]] == told(rule, lines)


@settings(max_examples=50, deadline=None)
@given(seed=seeds)
def test_a_later_event_never_changes_an_earlier_detection(seed: int) -> None:
    draw = Draw(seed)
    rule, lines = ruleset(json.dumps(draw.rule())), draw.lines()
    feed = Feed(rule, lateness=f"{LATENESS}s")
    said = rows([d for line in lines[: draw.rng.randrange(70)] for d in feed.lines([line])])
    whole = told(rule, lines)
    assert [row for row in said if row not in whole] == []


def test_there_is_something_to_find() -> None:
    found = [Draw(seed) for seed in range(100)]
    hits = [len(expected(ruleset(json.dumps(draw.rule())), draw.lines())) for draw in found]
    assert sum(map(bool, hits)) > 30
