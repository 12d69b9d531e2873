"""Matchers against their definition, as intended and with the defects of published engines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fallow_processors.cre.matchers import INTENDED, Defect, Matcher, Negative, matcher
from helpers.matcher_oracle import Forbidden, Kind, Oracle

END = 2**62
MODES: dict[str, frozenset[Defect]] = {
    "intended": INTENDED,
    "D1": frozenset({"D1"}),
    "D2": frozenset({"D2"}),
    "D3": frozenset({"D3"}),
    "D4": frozenset({"D4"}),
    "published": frozenset({"D1", "D2", "D3", "D4"}),
}


@dataclass(frozen=True)
class Play:
    """A matcher's terms and what happens: (time since the step before, mask), a mask of None is time alone."""

    ordered: bool
    terms: tuple[int, ...]
    window: int
    negatives: tuple[Forbidden, ...]
    steps: tuple[tuple[int, int | None], ...]

    @property
    def kind(self) -> Kind:
        if self.negatives:
            return "negseq" if self.ordered else "negset"
        if self.ordered:
            return "seq"
        return "single" if len(self.terms) == 1 else "set"

    def made(self, defects: frozenset[Defect] = INTENDED) -> Matcher[int]:
        negatives = [Negative(**vars(negative)) for negative in self.negatives]
        return matcher(self.terms, negatives, self.window, ordered=self.ordered, defects=defects)


@st.composite
def plays(draw: st.DrawFn, *, late: bool = True) -> Play:
    terms = tuple(draw(st.lists(st.integers(0, 2), min_size=1, max_size=5)))
    least = -2 if late else 0
    negative = st.builds(
        Forbidden,
        term=st.integers(2, 4),  # 2 may be a positive, too
        window=st.sampled_from([0, 0, 1, 3, 6]),
        slide=st.sampled_from([0, 0, -3, -1, 2]),
        anchor=st.integers(0, len(terms) - 1),
        absolute=st.booleans(),
    )
    step = st.tuples(st.integers(least, 4) | st.just(9), st.none() | st.integers(0, 31))
    return Play(
        ordered=draw(st.booleans()),
        terms=terms,
        window=draw(st.sampled_from([1, 3, 5, 10])),
        negatives=tuple(draw(st.lists(negative, max_size=2))),
        steps=tuple(draw(st.lists(step, max_size=25))),
    )


@pytest.mark.parametrize("mode", MODES)
@given(play=plays())
@settings(max_examples=150, deadline=None)
def test_a_matcher_does_what_it_is_defined_to_do(mode: str, play: Play) -> None:
    defects = MODES[mode]
    found = play.made(defects)
    oracle = Oracle(play.kind, play.terms, play.window, play.negatives, frozenset(defects))
    time = 3
    for number, (later, mask) in enumerate((*play.steps, (END, None))):
        time = max(0, time + later)
        if mask is None:
            assert found.eval(time) == oracle.passes(time)
        else:
            assert found.scan(time, mask, number) == oracle.event(time, terms_of(mask), number)
        assert found.crashed == oracle.crashed


def terms_of(mask: int) -> list[int]:
    return [i for i in range(5) if mask >> i & 1]


def hits_of(play: Play) -> list[tuple[tuple[int, int], ...]]:
    found, time = play.made(), 3
    hits: list[Any] = []
    for number, (later, mask) in enumerate(play.steps):
        time += later
        hits += found.eval(time) if mask is None else found.scan(time, mask, number)
    return [*hits, *found.eval(END)]


@given(play=plays(late=False))
@settings(max_examples=200, deadline=None)
def test_a_hit_is_within_the_window_in_order_and_of_events_used_once(play: Play) -> None:
    used: list[tuple[int, int]] = []
    for hit in hits_of(play):
        times = [time for time, _ in hit]
        if play.kind != "single":
            assert max(times) - min(times) <= play.window
        if play.ordered:
            assert times == sorted(times)
        for place, (_, number) in enumerate(hit):
            mask = play.steps[number][1]
            assert mask is not None
            used.append((term_at(play, place), number))
            assert mask >> term_at(play, place) & 1
    if not play.ordered:
        assert len(used) == len(set(used))


def term_at(play: Play, place: int) -> int:
    """The term of the event at a place of a hit: slot by slot."""
    if play.ordered:
        return play.terms[place]
    folded = sorted(play.terms, key=play.terms.index)
    return folded[place]


@given(play=plays(late=False), wait=st.integers(1, 30))
@settings(max_examples=200, deadline=None)
def test_what_time_decides_a_later_event_decides_too(play: Play, wait: int) -> None:
    by_clock, by_event = play.made(), play.made()
    time = 3
    for number, (later, mask) in enumerate(play.steps):
        time += later
        for found in (by_clock, by_event):
            _ = found.eval(time) if mask is None else found.scan(time, mask, number)
    decided = by_clock.eval(time + wait)
    assert by_event.scan(time + wait + 1, 0, len(play.steps))[: len(decided)] == decided


def test_a_crashed_matcher_says_nothing_more_and_is_not_forgotten() -> None:
    # D4, window 10: -A-------A--B-, the first A is too old when B comes
    play = Play(False, (0, 0, 1), 10, (Forbidden(term=3),), ())
    found = play.made(MODES["D4"])
    for time, mask in ((0, 1), (8, 1), (11, 16), (12, 2)):
        assert found.scan(time, mask, time) == []
    assert found.crashed
    for time in (13, 14, 15):
        assert found.scan(time, 3, time) == []
    assert (found.eval(END), found.idle, found.crashed) == ([], False, True)


def test_a_sequence_of_one_repeated_term_has_a_window() -> None:
    # D1: -A----------A-
    steps = ((0, 1), (20, 1))
    play = Play(ordered=True, terms=(0, 0), window=5, negatives=(), steps=steps)
    for defects, hits in ((INTENDED, 0), (MODES["D1"], 1)):
        found = play.made(defects)
        assert len([*found.scan(1, 1, 0), *found.scan(21, 1, 1)]) == hits


def test_the_order_of_a_sequence_whose_start_was_dropped() -> None:
    # D2, window 50: -A-B-A------B-, the first A is too old when the second B comes, B before A is left
    found = {name: Play(True, (0, 1, 1), 50, (), ()).made(MODES[name]) for name in ("intended", "D2")}
    for time, mask in ((1, 1), (3, 2), (5, 1)):
        assert all(one.scan(time, mask, time) == [] for one in found.values())
    assert found["intended"].scan(53, 2, 53) == []
    assert found["D2"].scan(53, 2, 53) == [((5, 5), (3, 3), (53, 53))]


def test_a_negative_between_two_of_a_count() -> None:
    # D3: -A-N-A-
    play = Play(False, (0, 0), 10, (Forbidden(term=3),), ())
    for mode, hits in (("intended", 0), ("D3", 1)):
        found = play.made(MODES[mode])
        for time, mask in ((1, 1), (2, 8), (3, 1)):
            assert found.scan(time, mask, time) == []
        assert len(found.eval(END)) == hits


def test_the_order_of_a_negated_sequence_whose_start_was_dropped() -> None:
    # D2: -A--AB-A-N-, N vetoes the first A; B is before the last A that is left
    play = Play(True, (0, 0, 1), 50, (Forbidden(term=3, window=1, slide=3, absolute=True),), ())
    for mode, hits in (("intended", []), ("D2", [((4, 1), (5, 3), (4, 2))])):
        found = play.made(MODES[mode])
        for number, (time, mask) in enumerate(((1, 1), (4, 1), (4, 2), (5, 1), (5, 8))):
            assert found.scan(time, mask, number) == []
        assert found.eval(END) == hits
