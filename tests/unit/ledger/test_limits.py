"""Where the ledger is full, it says so, and readers can tell what they missed."""

from __future__ import annotations

import logging

import pytest

from fallow.ledger import Ledger
from helpers.model import a_detection, a_recommendation


def fill(ledger: Ledger, first: int, last: int) -> None:
    for i in range(first, last):
        ledger.record([a_detection(f"d{i}")], [])


def test_recommendations_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(max_recommendations=2)
    ledger.record([], [a_recommendation("r1"), a_recommendation("r2"), a_recommendation("r3")])
    ledger.record([], [a_recommendation("r3")])
    assert ledger.refused == 2
    assert [r.getMessage() for r in caplog.records] == [
        "The ledger is full of open recommendations; new ones are refused."
    ]
    ledger.transition("r1", "dismissed", actor="", reason="", now=1)
    ledger.record([], [a_recommendation("r4")])
    assert [r.id for _, r in ledger.list().recommendations] == ["r4", "r2"]


def test_what_one_command_closes_makes_room_for_what_it_adds() -> None:
    ledger = Ledger(max_recommendations=1)
    ledger.record([a_detection()], [a_recommendation()])
    resolved, other = a_detection(state="resolved"), a_detection("d2")
    ledger.record([resolved, other], [a_recommendation("r2", "d2")])
    assert [r.id for _, r in ledger.list().recommendations] == ["r2"]
    assert ledger.refused == 0


def test_a_reopened_ledger_knows_how_full_it_is(url: str) -> None:
    if url == "sqlite://":
        return
    first = Ledger(url)
    first.record([], [a_recommendation("r1"), a_recommendation("r2")])
    first.close()
    again = Ledger(url, max_recommendations=2)
    again.record([], [a_recommendation("r3")])
    assert again.refused == 1
    again.close()


def test_the_change_log_is_bounded_and_keeps_its_numbers() -> None:
    ledger = Ledger(max_changes=100)
    fill(ledger, 0, 600)
    kept = [c.revision for c in ledger.changes(0, 1000)]
    assert ledger.revision() == 600
    assert kept == list(range(ledger.first_revision(), 601))
    assert 100 <= len(kept) <= 100 + 256
    fill(ledger, 600, 601)
    assert ledger.revision() == 601


def test_what_a_reader_has_not_come_to_is_kept_for_it(caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(max_changes=1000)
    fill(ledger, 0, 100)
    ledger.set_cursor("events", 50)
    fill(ledger, 100, 1900)
    assert ledger.changes(50, 1)[0].revision == 51
    assert ledger.cut == 0
    fill(ledger, 1900, 2400)
    assert ledger.cut == ledger.first_revision() - 51 > 0
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [
        (logging.ERROR, "A reader of the change log is too far behind; changes it has not read are dropped.")
    ]


def test_a_reader_that_keeps_up_keeps_nothing() -> None:
    ledger = Ledger(max_changes=100)
    for i in range(600):
        fill(ledger, i, i + 1)
        ledger.set_cursor("events", i + 1)
    assert len(ledger.changes(0, 1000)) <= 100 + 256
    assert ledger.cut == 0
