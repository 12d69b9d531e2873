"""All corpus rules at once over OTLP log batches in memory, beside one RE2 set and, where Go is there, the published engine."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import re2

from fallow.batch import Batch, LogBatch, OtlpRequest
from fallow.regex import options
from fallow.series import SeriesTable
from fallow.testing.components import context
from fallow_processors.cre import CreConfig, CreProcessor, RuleSet
from fallow_processors.cre.patterns import WrongPattern, compiled
from fallow_processors.cre.rule import Item, Node, Pattern, Rule, Term, nodes
from fallow_processors.cre.terms import TermIndex
from fallow_processors.decode import DecodeConfig
from fallow_processors.decode.processor import DecodeProcessor
from helpers.logs import corpus_lines, lines, log_request
from helpers.preq import preq, preq_run

CORPUS = Path(__file__).parents[2].parent / "shared" / "cre" / "corpus"
ALL_RULES = CORPUS / "cre" / "all-rules.yaml"
BATCHES, LINES = 20, 1000
ROUNDS, PROCESS_ROUNDS = 7, 3
TERMS_FLOOR, PROCESS_FLOOR = 350_000, 100_000  # lines/s of one core
SET_RATIO, TENFOLD_RATIO, PREQ_RATIO = 5.0, 1.5, 20.0
PREQ_LINES = 2000

pytestmark = [
    pytest.mark.bench,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not ALL_RULES.exists(), reason="the conformance corpus is not beside this checkout"),
]


@dataclass(frozen=True)
class Subject:
    """The same lines as requests and as decoded batches."""

    requests: Sequence[bytes]
    batches: Sequence[Batch]

    @property
    def logs(self) -> Iterator[LogBatch]:
        """The log columns of each batch."""
        return (batch.logs for batch in self.batches if batch.logs is not None)


@cache
def subject() -> Subject:
    texts = lines(BATCHES * LINES, corpus_lines(CORPUS))
    requests = [log_request(texts[i * LINES : (i + 1) * LINES], i) for i in range(BATCHES)]
    decode = decoder()
    made = Subject(requests, [decode.process(_batch(request)) for request in requests])
    size = sum(len(text.encode()) for text in texts) / len(texts)
    print(f"\n{len(texts)} lines of {size:.0f} B in batches of {LINES}, CPU time of one core, best of {ROUNDS} rounds")
    print(f"  {platform.machine()}, Python {platform.python_version()}")
    return made


def decoder() -> DecodeProcessor:
    return DecodeProcessor(DecodeConfig(kernel="numba"), context("decode", Path(), SeriesTable()))


def engine(rules: Sequence[Rule]) -> CreProcessor:
    made = CreProcessor(RuleSet(tuple(rules)), CreConfig(), context("cre", Path(), SeriesTable()))
    made.prepare()
    return made


def _batch(request: bytes) -> Batch:
    return Batch(request=OtlpRequest(kind="logs", body=request))


@cache
def corpus_rules() -> tuple[Rule, ...]:
    return RuleSet.load([ALL_RULES], lenient=True).rules


def patterns(rules: Sequence[Rule]) -> list[Pattern]:
    terms = (item for rule in rules for node in nodes(rule.root) for item in node.items if isinstance(item, Term))
    return list(dict.fromkeys(term.pattern for term in terms))


def rates(runs: dict[str, Callable[[], object]], count: int, rounds: int = ROUNDS) -> dict[str, float]:
    """Lines/s of each: the best of rounds in which all take turns."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - start)
    return {name: count / seconds for name, seconds in best.items()}


def one_set(wanted: Sequence[Pattern]) -> Callable[[str], object]:
    """All patterns in one RE2 set: what is usually done."""
    made = re2.Set.SearchSet(options(512 << 20))
    for pattern in wanted:
        made.Add(pattern.text if pattern.kind == "regex" else re2.escape(pattern.text))
    made.Compile()
    match: Callable[[str], object] = made.Match
    return match


# -- ten times the rules -----------------------------------------------------------------------------------------------
_WORD = re.compile(r"(?<![\\(?:\[])[A-Za-z]{3,}(?![^\[]*:?\])")


def tenfold(rules: Sequence[Rule]) -> list[Rule]:
    """The rules, and nine more of each whose terms are of words that no other has: "disk" becomes "diskaq", "diskbq", …"""
    return [*rules, *(_renamed(rule, letter + "q") for letter in "abcdefghi" for rule in rules)]


def _renamed(rule: Rule, suffix: str) -> Rule:
    return replace(rule, cre=f"{rule.cre}-{suffix}", hash=f"{rule.hash}{suffix}", root=_renamed_node(rule.root, suffix))


def _renamed_node(node: Node, suffix: str) -> Node:
    def item(one: Item) -> Item:
        if isinstance(one, Term):
            return replace(one, pattern=_renamed_pattern(one.pattern, suffix))
        return _renamed_node(one, suffix) if isinstance(one, Node) else one

    return replace(node, positives=tuple(map(item, node.positives)), negatives=tuple(map(item, node.negatives)))


def _renamed_pattern(pattern: Pattern, suffix: str) -> Pattern:
    text = _WORD.sub(rf"\g<0>{suffix}", pattern.text)
    if text == pattern.text:
        text = f"(?:{text}){suffix}" if pattern.kind == "regex" else text + suffix
    try:
        compiled(pattern.kind, text)
    except WrongPattern:
        text = f"(?:{pattern.text}){suffix}"
    return replace(pattern, text=text)


# -- what is measured --------------------------------------------------------------------------------------------------
def test_all_corpus_rules_at_once() -> None:
    data = subject()
    rules = corpus_rules()
    wanted = patterns(rules)
    index, decode, match_set = TermIndex(wanted), decoder(), one_set(wanted)
    new = iter([engine(rules) for _ in range(2 * PROCESS_ROUNDS)])  # one that has seen the lines would find them late

    def processed() -> None:
        processor = next(new)
        for batch in data.batches:
            processor.process(batch)

    def decoded_and_processed() -> None:
        processor = next(new)
        for request in data.requests:
            processor.process(decode.process(_batch(request)))

    count = BATCHES * LINES
    found = rates({"terms": lambda: [index.match(logs) for logs in data.logs]}, count)
    found |= rates({"rule engine": processed, "decode, rule engine": decoded_and_processed}, count, PROCESS_ROUNDS)
    # The set's automaton is made as texts come: a quarter of the lines warms it, the others are new to it.
    texts = [str(text) for logs in data.logs for text in logs.body.to_pylist()]
    for text in texts[: count // 4]:
        match_set(text)
    unseen = texts[count // 4 :]
    found |= rates({"one RE2 set": lambda: [match_set(text) for text in unseen]}, len(unseen), 1)
    matched = sum(len(np.unique(index.match(logs)[0])) for logs in data.logs)
    print(f"{len(rules)} rules, {len(wanted)} terms; {matched / count:.1%} of the lines match one")
    for name, rate in found.items():
        print(f"  {name}: {rate:,.0f} lines/s")
    print(f"  terms / one RE2 set: {found['terms'] / found['one RE2 set']:.1f}")
    assert found["terms"] >= TERMS_FLOOR
    assert found["rule engine"] >= PROCESS_FLOOR
    assert found["terms"] / found["one RE2 set"] >= SET_RATIO


def test_ten_times_the_rules() -> None:
    data = subject()
    once, ten = patterns(corpus_rules()), patterns(tenfold(corpus_rules()))
    assert len(ten) >= 9.9 * len(once)
    few, many = TermIndex(once), TermIndex(ten)
    found = rates(
        {
            "1": lambda: [few.match(logs) for logs in data.logs],
            "10": lambda: [many.match(logs) for logs in data.logs],
        },
        BATCHES * LINES,
        2 * ROUNDS,
    )
    ratio = found["1"] / found["10"]
    print(f"\n{len(once)} terms: {found['1']:,.0f} lines/s; {len(ten)}: {found['10']:,.0f}; {ratio:.2f} times the time")
    assert ratio <= TENFOLD_RATIO


def test_beside_the_published_engine(tmp_path: Path) -> None:
    program = preq()
    texts = lines(PREQ_LINES, corpus_lines(CORPUS))
    start = datetime(2026, 1, 5, 8, tzinfo=UTC)
    log = tmp_path / "lines.log"
    log.write_text(
        "".join(f"{start.replace(microsecond=100 * i).isoformat()} {text}\n" for i, text in enumerate(texts))
    )
    published = preq_run(program, ALL_RULES, log, timeout=300)
    request, processor, decode = log_request(texts, 0), engine(corpus_rules()), decoder()
    processor.process(decode.process(_batch(request)))
    ours = rates({"ours": lambda: processor.process(decode.process(_batch(request)))}, PREQ_LINES)["ours"]
    theirs = PREQ_LINES / published.cpu_s
    print(
        f"\n{PREQ_LINES} lines: published engine {theirs:,.0f} lines/s ({published.fired} rules fired), here {ours:,.0f}"
    )
    assert published.fired > 0
    assert ours / theirs >= PREQ_RATIO
