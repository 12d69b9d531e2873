"""Polling instants."""

from __future__ import annotations

from collections import Counter

from fallow.polling import Cadence
from fallow.units import SECOND

NOW = 1_760_000_000 * SECOND + 123


def test_instants_are_an_interval_apart_and_lie_ahead() -> None:
    cadence = Cadence(SECOND, "n1/nvml")
    first = cadence.after(NOW)
    assert NOW < first <= NOW + SECOND
    assert cadence.after(first) == first + SECOND
    assert cadence.after(first - 1) == first


def test_who_polls_keeps_the_phase_over_restarts() -> None:
    assert Cadence(SECOND, "n1").phase == Cadence(SECOND, "n1").phase != Cadence(SECOND, "n2").phase


def test_many_pollers_are_spread_over_the_interval() -> None:
    tenths = Counter(Cadence(SECOND, f"node{i}").phase * 10 // SECOND for i in range(1000))
    assert set(tenths) == set(range(10))
    assert max(tenths.values()) < 150


def test_a_clock_that_was_set_back_delays_by_an_interval_at_most() -> None:
    cadence = Cadence(SECOND, "n1")
    assert all(0 < cadence.wait_s(NOW - back) <= 1 for back in (0, 1, 3600 * SECOND))
