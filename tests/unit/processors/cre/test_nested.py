"""Nested rules as tables of timelines: one letter a second, ``-`` is a second without a record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from fallow.model import Detection
from fallow.units import SECOND
from helpers.cre_feed import Feed, Line, ruleset


def node(text: str, **more: Any) -> str:
    """A log node in YAML flow: ``a`` a set of one term, ``a>b`` a sequence, ``a+b`` a set; ``!x6`` a negative for 6 s."""
    positive, _, negative = text.partition("!")
    kind, key = ("sequence", "order") if ">" in positive else ("set", "match")
    terms = positive.replace("+", ">").split(">")
    parts = [f"event: {{source: any{', origin: true' if more.pop('origin', False) else ''}}}"]
    parts += [f"window: {more.pop('window', '10s')}"] if len(terms) > 1 else []
    parts += [f"{key}: [{', '.join(f'{{value: {term}}}' for term in terms)}]"]
    if negative:
        parts.append(f"negate: [{{value: {negative[0]}, window: {negative[1:] or 0}s}}]")
    parts += [f"{name}: {value}" for name, value in more.items()]
    return f"{kind}: {{{', '.join(parts)}}}"


def sequence(*nodes: str, window: str = "20s", negate: tuple[str, ...] = (), correlations: str = "[]") -> str:
    items = "".join(f"\n    - {one}" for one in nodes)
    vetoes = "".join(f"\n    - {one}" for one in negate)
    return f"sequence:\n  window: {window}\n  correlations: {correlations}\n  order:{items}" + (
        f"\n  negate:{vetoes}" if negate else ""
    )


@dataclass(frozen=True)
class Case:
    """A rule, what each host says second by second, and (first, last, decided) of every detection."""

    rule: str
    hosts: dict[str, str]
    found: list[tuple[int, int, int]]
    options: dict[str, Any] = field(default_factory=dict)


WAITS = sequence(node("a!x6", origin=True), node("b"))
VETO = sequence(node("a", origin=True), node("b"), negate=(node("x!y3"),))
PAIR = sequence(node("a>b", origin=True, correlations="[host.name]"), node("c"))
CASES = {
    "the-inner-hit-is-known-late-and-still-precedes": Case(WAITS, {"h1": "a---b------"}, [(0, 4, 6)]),
    "the-inner-hit-is-vetoed": Case(WAITS, {"h1": "a-x-b------"}, []),
    "a-vetoed-frame-makes-way-for-the-next": Case(WAITS, {"h1": "ax-a-b-------"}, [(3, 5, 9)]),
    "what-follows-in-the-wrong-order-does-not-count": Case(WAITS, {"h1": "b-a---------"}, []),
    "an-inner-veto-that-holds": Case(VETO, {"h1": "a-x-b------"}, []),
    "an-inner-veto-that-is-vetoed-itself": Case(VETO, {"h1": "a-xyb------"}, [(0, 4, 4)]),
    "an-inner-node-with-correlations-of-its-own": Case(PAIR, {"h1": "a---", "h2": "-bc-"}, []),
    "an-outer-node-without-correlations-joins-hosts": Case(PAIR, {"h1": "ab--", "h2": "--c-"}, [(0, 2, 2)]),
    "at-one-time-the-first-item-comes-first": Case(
        sequence(node("a", origin=True), node("b")), {"h1": "b", "h2": "a"}, [(0, 0, 0)]
    ),
    "three-levels": Case(
        sequence(sequence(node("a!x2", origin=True), node("b")).replace("\n", "\n      "), node("c")),
        {"h1": "a-bc----"},
        [(0, 3, 3)],
    ),
    "three-levels-vetoed-innermost": Case(
        sequence(sequence(node("a!x2", origin=True), node("b")).replace("\n", "\n      "), node("c")),
        {"h1": "axbc----"},
        [],
    ),
}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_timelines(case: Case) -> None:
    feed = Feed(ruleset(case.rule), **case.options)
    lines: list[Line] = [
        (second, text, host, "", {})
        for host, said in case.hosts.items()
        for second, text in enumerate(said)
        if text != "-"
    ]
    found = [d for line in sorted(lines, key=lambda line: line[0]) for d in feed.lines([line])] + feed.finish()
    assert [(d.start // SECOND, d.end // SECOND, d.time // SECOND) for d in found] == case.found


def test_an_anchor_beyond_the_only_item_is_the_item() -> None:
    rule = f"set:\n  match: [{{{node('a', origin=True)}}}]\n  negate: [{{anchor: 1, window: 2s, {node('x')}}}]"
    for said, found in (("a-x", 0), ("a--x", 1)):
        feed = Feed(ruleset(rule))
        for second, text in enumerate(said):
            feed.log(second, text)
        assert len(feed.finish()) == found


def test_negatives_alone_find_nothing() -> None:
    feed = Feed(ruleset(f"set:\n  match: []\n  negate: [{{{node('a', origin=True)}}}]"))
    assert feed.log(1, "a") + feed.finish() == []


def test_an_outer_hit_is_released_by_a_tick() -> None:
    feed = Feed(ruleset(WAITS), lateness="2s")
    assert feed.log(10, "a") + feed.log(14, "b") == []
    assert feed.tick(18) == [], "x may come until 16, and be 2 s late"
    (found,) = feed.tick(19)
    assert (found.start, found.end, found.time) == (10 * SECOND, 14 * SECOND, 16 * SECOND)


def test_blame_and_evidence_are_those_of_all_levels() -> None:
    feed = Feed(ruleset(sequence(node("a"), node("b>c", origin=True, correlations="[host.name]"))))
    for second, text, host in ((1, "a", "h1"), (2, "b", "h2"), (3, "c", "h2")):
        feed.log(second, text, host)
    (found,) = feed.finish()
    assert found.entity == {"host.name": "h2"}
    assert [e.text for e in found.evidence] == ["a", "b", "c"]


USERS = sequence(node("a", origin=True), node("b"), correlations="[user_name]")


@pytest.mark.parametrize(
    ("first", "second", "meet"),
    [
        pytest.param(("h1", {"user_name": "u"}), ("h2", {"user_name": "u"}), True, id="one-value"),
        pytest.param(("h1", {"user_name": "u"}), ("h1", {"user_name": "v"}), False, id="two-values"),
        pytest.param(("h1", {}), ("h2", {}), False, id="no-value-on-two-hosts"),
        pytest.param(("h1", {}), ("h1", {}), True, id="no-value-on-one-host"),
        pytest.param(("h1", {"user_name": "u"}), ("h1", {}), False, id="a-value-and-none"),
        pytest.param(("h1", {"user_name": ""}), ("h2", {"user_name": ""}), False, id="an-empty-value-is-none"),
    ],
)
def test_a_missing_value_meets_only_its_own_resource(
    first: tuple[str, dict[str, str]], second: tuple[str, dict[str, str]], meet: bool
) -> None:
    feed = Feed(ruleset(USERS))
    feed.log(1, "a", first[0], **first[1])
    feed.log(2, "b", second[0], **second[1])
    assert len(feed.finish()) == meet


def test_an_extract_and_an_attribute_of_one_name_meet() -> None:
    extract = "a, extract: [{name: user_name, jq: .who}]"
    feed = Feed(ruleset(USERS.replace("value: a", f"value: {extract}")))
    feed.log(1, '{"say": "a", "who": "u"}', "h1")
    feed.log(2, "b", "h2", user_name="u")  # as user.name
    (found,) = feed.finish()
    assert found.entity == {"host.name": "h1", "user_name": "u"}


def test_a_hit_over_several_hosts_without_the_value_takes_no_part_and_is_counted() -> None:
    feed = Feed(ruleset(USERS.replace(node("a", origin=True), node("a>c", origin=True, correlations="[rack]"))))
    for second, text, host in ((1, "a", "h1"), (2, "c", "h2"), (3, "b", "h1")):
        feed.log(second, text, host, rack="r1")
    assert feed.finish() == []
    assert feed.dropped["event without a correlated value"] == 1


INNER = """sequence: {window: 10s, correlations: [host.name], order: [
      {set: {event: {source: any, origin: true}, match: [{value: a}]}}, {set: {event: {source: any}, match: [{value: b}]}}],
      negate: [{promql: {expr: "m > 0", event: {source: cre.metrics}}}]}"""
UNKNOWN = sequence(INNER, node("c"), correlations="[host.name]")
UNKNOWN_VETO = sequence(
    node("a", origin=True),
    node("c"),
    negate=(INNER.replace(", origin: true", ""),),
    correlations="[host.name]",
)


@pytest.mark.parametrize(
    ("rule", "measured", "states"),
    [
        pytest.param(UNKNOWN, 0.0, ["fired"], id="known"),
        pytest.param(UNKNOWN, 1.0, [], id="vetoed"),
        pytest.param(UNKNOWN, None, ["unknown"], id="unknown-goes-up"),
        pytest.param(UNKNOWN_VETO, 0.0, [], id="a-veto-that-is-known"),
        pytest.param(UNKNOWN_VETO, 1.0, ["fired"], id="a-veto-that-is-vetoed"),
        pytest.param(UNKNOWN_VETO, None, ["unknown"], id="a-veto-that-is-unknown"),
    ],
)
def test_what_rests_on_an_unknown_hit_is_unknown(rule: str, measured: float | None, states: list[str]) -> None:
    feed = Feed(ruleset(rule))
    found: list[Detection] = []
    for second in range(40):
        for at, text in ((20, "a"), (22, "b"), (24, "c")):
            if second == at:
                found += feed.log(second, text)
        found += feed.metric(second, 1.0, name="other")
        if measured is not None:
            found += feed.metric(second, measured, name="m")
    assert [d.state for d in found + feed.finish()] == states


# -- order -------------------------------------------------------------------------------------------------------------
LOCAL = "sequence: {event: {source: any}, window: 10s, order: [{value: a}, {value: b}]}"
NEGATED = LOCAL[:-1] + ", negate: [{value: x}]}"


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("rule", "options", "said", "found", "late"),
    [
        pytest.param(LOCAL, {}, [(2, "b"), (1, "a")], 0, 0, id="as-they-come"),
        pytest.param(LOCAL, {}, [(2, "a"), (4, "-"), (3, "b")], 1, 0, id="late-for-the-resource-but-not-for-the-rule"),
        pytest.param(LOCAL, {}, [(2, "a"), (1, "b")], 0, 1, id="older-than-what-was-seen"),
        pytest.param(LOCAL, {"record_lateness": "2s"}, [(2, "b"), (1, "a"), (9, "-")], 1, 0, id="put-in-order"),
        pytest.param(LOCAL, {"record_lateness": "2s"}, [(4, "a"), (9, "-"), (3, "b")], 0, 1, id="later-than-that"),
        pytest.param(NEGATED, {}, [(1, "a"), (2, "b"), (9, "-"), (1, "x")], 1, 1, id="a-veto-that-comes-too-late"),
        pytest.param(
            NEGATED, {"record_lateness": "8s"}, [(1, "a"), (3, "b"), (9, "-"), (2, "x")], 0, 0, id="a-veto-in-time"
        ),
        pytest.param(USERS, {}, [(1, "a"), (9, "b"), (30, "a"), (2, "b")], 1, 1, id="across-resources"),
    ],
)
def test_records_out_of_order(
    rule: str, options: dict[str, Any], said: list[tuple[int, str]], found: int, late: int, together: bool
) -> None:
    feed = Feed(ruleset(rule), **options)
    lines: list[Line] = [(second, text, "h1", "", {}) for second, text in said]
    parts = [lines] if together and rule is not USERS else [[line] for line in lines]
    made = [d for part in parts for d in feed.lines(part)] + feed.finish()
    assert (len(made), feed.dropped.get("late record", 0)) == (found, late)


# -- bounds ------------------------------------------------------------------------------------------------------------
def test_the_oldest_of_a_tuple_go_beyond_its_limit() -> None:
    feed = Feed(ruleset(LOCAL.replace("10s", "1h")), max_tuple_events=3)
    for second in range(10):
        feed.log(second, f"a{second}")
    (found,) = feed.log(10, "b")
    assert [e.text for e in found.evidence] == ["a7", "b"]
    assert feed.dropped == {"event beyond max_tuple_events or max_events": 7}


def test_where_a_veto_may_have_gone_a_hit_is_unknown() -> None:
    for limit, states in ((10, []), (2, ["unknown"])):
        feed = Feed(ruleset(NEGATED.replace("value: x", "value: x, window: 8s, slide: -8s")), max_tuple_events=limit)
        for second, text in ((1, "x"), (2, "x"), (5, "a"), (6, "a"), (7, "b")):
            feed.log(second, text)
        assert [d.state for d in feed.finish()] == states


def test_events_of_a_condition_are_bounded() -> None:
    feed = Feed(ruleset(LOCAL.replace("10s", "1h")), max_events=3)
    for number in range(6):
        feed.log(number, "a", host=f"h{number}")
    found = [feed.log(10, "b", host=f"h{number}") for number in range(6)]
    assert [len(one) for one in found] == [0, 0, 0, 1, 1, 1], "the tuples that began first went"
    assert feed.dropped == {"partial match beyond max_partial or max_events": 3}


def test_what_waits_to_be_put_in_order_is_bounded() -> None:
    feed = Feed(ruleset(USERS), max_events=3)
    for second in range(4):
        feed.log(1 + second / 10, "a", user_name=f"u{second}")
    feed.log(2, "b", user_name="u0")
    assert feed.finish() == [], "the oldest a went, of the inner and of the outer node"
    assert feed.dropped == {"event beyond max_tuple_events or max_events": 2}


def test_tuples_in_which_nothing_matters_any_more_are_forgotten() -> None:
    feed = Feed(ruleset(USERS), max_partial=50, lateness="0s")
    for second in range(0, 4000, 20):
        feed.log(second, "a", user_name=f"u{second}")
    feed.finish()
    assert feed.dropped == {}, "200 users came, never more than a few at a time"
