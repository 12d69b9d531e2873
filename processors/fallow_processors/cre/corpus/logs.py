"""Judges of rules over log files.

Every event of a file goes to every rule in the order of the file, as published engines do it: what is older than the newest
event is late for all but single terms. Stamps are read as those engines read them, since hits are compared with theirs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fallow.document import read_text
from fallow.errors import DocumentError, WrongStamp
from fallow.logfile import Records, log_batch
from fallow.testing.log_cases import entries
from fallow_processors.cre.document import parse_rules
from fallow_processors.cre.matchers import Defect, Matcher, Negative, Single, matcher
from fallow_processors.cre.rule import Item, Pattern, Rule, Term, expanded, nodes
from fallow_processors.cre.terms import TermIndex

Case = Mapping[str, Any]
Event = tuple[int, str]

NOW = 1_790_000_000_000_000_000
"""Unix ns; decides the year of stamps that have none."""
_END = 2**63 - 2  # what published engines set the clock to after the last file


@dataclass(slots=True)
class Played:
    """What a rule made of a log."""

    rule: Rule
    hits: list[list[Event]] = field(default_factory=list[list[Event]])
    callbacks: int = 0
    """Events and clocks that brought hits."""
    crashed: bool = False


class Logs:
    """Rules and logs below a folder.

    Args:
        defects: those of published engines that the matchers have.
    """

    def __init__(self, folder: Path, defects: frozenset[Defect]) -> None:
        self._folder = folder
        self._defects = defects
        self._logs: dict[str, tuple[str, list[Event]]] = {}
        self._rules: dict[str, _Rules | DocumentError] = {}

    def judge(self, case: Case) -> str:
        """A rule's document over a log."""
        expected = case["expect"]
        try:
            rules = self._of(case["rule"])
        except DocumentError as error:
            kind = error.problems[0].kind
            return "" if kind == expected.get("error") else f"{error.problems[0]} instead of {expected}"
        if "error" in expected:
            return f"accepted instead of {expected['error']}"
        format, events = self._log(case["log"])
        played = rules.play(events, self._defects)
        engine = case.get("engine", {})
        wrong = _differs({"format": format, "entries": len(events), **_identity(played, case)}, engine)
        return wrong or _verdict(played, expected, engine)

    def judge_all(self, case: Case) -> str:
        """Every rule over one log: hits by CRE id, those without left out."""
        played = self._of(case["rules"]).play(self._log(case["log"])[1], self._defects)
        found = {p.rule.cre: len(p.hits) for p in played if p.hits}
        expected = case["expect"]
        different = sorted(id for id in found.keys() | expected.keys() if found.get(id) != expected.get(id))
        return "; ".join(f"{id}: {found.get(id, 0)} hits instead of {expected.get(id, 0)}" for id in different)

    def judge_schedule(self, case: Case) -> str:
        """The rule in a folder over a log in the case."""
        played = self._of(case["rule"]).play(_entries(case["log_text"].encode())[1], self._defects)
        if "intended" in case and not self._defects:
            return _verdict(played, case["intended"], case["intended"])
        if case["expect"].get("crash"):
            return "" if any(p.crashed for p in played) else "no crash"
        return _verdict(played, case["expect"], case["engine"])

    def _of(self, name: str) -> _Rules:
        if name not in self._rules:
            try:
                self._rules[name] = _Rules(_read(self._folder / name))
            except DocumentError as error:
                self._rules[name] = error
        found = self._rules[name]
        if isinstance(found, DocumentError):
            raise found
        return found

    def _log(self, name: str) -> tuple[str, list[Event]]:
        if name not in self._logs:
            self._logs[name] = _entries((self._folder / name).read_bytes())
        return self._logs[name]


def _read(path: Path) -> list[Rule]:
    """The rules of a file, or of the files in a folder."""
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError(f"no rule in {path}")
    return [
        rule for file in files for rule in parse_rules(read_text(file), str(file), lenient=True, published=True).rules
    ]


def _entries(data: bytes) -> tuple[str, list[Event]]:
    try:
        return entries(data, NOW, published=True)
    except WrongStamp as error:
        return error.kind, []


# -- playing -----------------------------------------------------------------------------------------------------------


class _Rules:
    """Rules whose terms are looked for in one pass."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._watched = [_Watched(rule) for rule in rules]

    @cached_property
    def _index(self) -> tuple[TermIndex, dict[int, list[tuple[int, int]]]]:
        """The index, and pattern → (rule, term) of each that has it."""
        index = TermIndex(pattern for watched in self._watched for pattern in watched.numbers)
        wanted: dict[int, list[tuple[int, int]]] = {}
        for i, watched in enumerate(self._watched):
            for pattern, number in watched.numbers.items():
                wanted.setdefault(index.id(pattern), []).append((i, number))
        return index, wanted

    def _matched(self, events: Sequence[Event]) -> list[list[tuple[int, int]]]:
        """For each event (rule, term) of each term that it matches."""
        index, wanted = self._index
        records = Records(
            np.array([time for time, _ in events], dtype=np.int64), pa.array([text for _, text in events], pa.string())
        )
        found: list[list[tuple[int, int]]] = [[] for _ in events]
        for event, pattern in zip(*index.match(log_batch(records, {})), strict=True):
            found[event] += wanted[int(pattern)]
        return found

    def play(self, events: Sequence[Event], defects: frozenset[Defect]) -> list[Played]:
        """What each rule makes of the events."""
        matchers = [watched.matcher(defects) for watched in self._watched]
        played = [Played(watched.rule) for watched in self._watched]
        holding: set[int] = set()
        clock = 0
        for event, found in zip(events, self._matched(events), strict=True):
            time, _ = event
            masks = dict.fromkeys(holding, 0)
            for i, number in found:
                masks[i] = masks.get(i, 0) | 1 << number
            for i, mask in masks.items():
                # A matcher that holds nothing does not see every event: its clock may be behind.
                if time >= clock or isinstance(matchers[i], Single):
                    _add(played[i], matchers[i].scan(time, mask, event))
                    (holding.discard if matchers[i].idle else holding.add)(i)
            clock = max(clock, time)
        for i in holding:
            _add(played[i], matchers[i].eval(_END))
        for one, made in zip(played, matchers, strict=True):
            one.crashed = made.crashed
        return played


class _Watched:
    """A rule as published engines run it: of several log nodes only the last (D6), whatever its source."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._node = [node for node in nodes(rule.root) if node.is_log][-1]
        self.numbers: dict[Pattern, int] = {}
        for item in self._node.items:
            self.numbers.setdefault(_pattern(item), len(self.numbers))

    def matcher(self, defects: frozenset[Defect]) -> Matcher[Event]:
        """A new matcher for the rule."""
        positives = [self.numbers[_pattern(item)] for item in expanded(self._node.positives)]
        negatives = [
            Negative(
                term=self.numbers[_pattern(item)],
                window=item.negate.window,
                slide=item.negate.slide,
                anchor=item.negate.anchor,
                absolute=item.negate.absolute,
            )
            for item in self._node.negatives
        ]
        return matcher(positives, negatives, self._node.window, ordered=self._node.ordered, defects=defects)


def _pattern(item: Item) -> Pattern:
    """What a term looks for; published engines have no use for its field."""
    assert isinstance(item, Term)
    return Pattern(item.pattern.kind, item.pattern.text)


def _add(played: Played, hits: Sequence[Sequence[tuple[int, Event]]]) -> None:
    played.hits += [[event for _, event in hit] for hit in hits]
    played.callbacks += bool(hits)


# -- judging -----------------------------------------------------------------------------------------------------------


def _verdict(played: Sequence[Played], expected: Case, engine: Case) -> str:
    """Problems (CRE ids with a hit) and, as far as they are stated, the hits and their events."""
    if any(p.crashed for p in played):
        return "crashed"
    hits = [hit for p in played for hit in p.hits]
    events = [[text if engine.get("yearless") else [time, text] for time, text in hit] for hit in hits]
    found: dict[str, Any] = {
        "problems": len({p.rule.cre for p in played if p.hits}),
        "hits": len(hits),
        "callbacks": sum(p.callbacks for p in played),
        "hit_sizes": [len(hit) for hit in hits],
        "hit_ts": [[time for time, _ in hit] for hit in hits],
        "hit_events": events,
        "hit_sha256": _digest(events),
    }
    return _differs(found, {**engine, "problems": expected["problems"]})


def _identity(played: Sequence[Played], case: Case) -> dict[str, Any]:
    rule = next((p.rule for p in played if p.rule.cre == case.get("cre")), None)
    return {} if rule is None else {"rule_hash": rule.hash, "stable_hash": rule.stable_hash}


def _digest(events: object) -> str:
    text = json.dumps(events, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _differs(found: Case, expected: Case) -> str:
    """The first that is stated and differs; what is too long is stated as null."""
    for key, value in found.items():
        if expected.get(key) is not None and expected[key] != value:
            return f"{key}: {value} instead of {expected[key]}"
    return ""
