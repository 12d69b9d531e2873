"""The ledger keeps what was committed, once, in order, within its limits."""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from fallow.errors import InvalidTransition, NotFound, PermanentError, TransientError
from fallow.ledger import Ledger
from fallow.ledger.states import FOLLOWING
from fallow.model import RECOMMENDATION_STATES, Detection, Outcome, Recommendation, RecommendationState
from helpers.model import HOUR, a_detection, a_recommendation


def test_what_is_recorded_comes_back_as_it_was(ledger: Ledger) -> None:
    detection, recommendation = a_detection(), a_recommendation()
    changes = ledger.record([detection], [recommendation])
    assert [c.revision for c in changes] == [1, 2]
    assert ledger.get("r1") == (2, recommendation)
    assert ledger.detection("d1") == detection
    assert ledger.changes(0) == changes
    assert ledger.changes(1) == changes[1:]


def test_what_is_known_is_not_recorded_again(ledger: Ledger) -> None:
    ledger.record([a_detection()], [a_recommendation()])
    assert ledger.record([a_detection()], [a_recommendation()]) == []
    assert ledger.record([], [a_recommendation("r2", dedupe_key="key of r1")]) == []
    assert ledger.revision() == 2


def test_a_closed_one_makes_room_for_another_about_the_same(ledger: Ledger) -> None:
    ledger.record([], [a_recommendation()])
    ledger.transition("r1", "dismissed", actor="ada", reason="night job", now=2 * HOUR)
    assert len(ledger.record([], [a_recommendation("r2", dedupe_key="key of r1")])) == 1


def apply(ledger: Ledger, id: str, now: int, *ending: RecommendationState) -> None:
    for state in ("approved", "applying", *ending):
        ledger.transition(id, state, actor="ada", reason="", now=now)


@pytest.mark.parametrize("ending", [("failed",), ("applied", "reverted"), ("applied", "failed")])
def test_what_was_tried_in_vain_is_held_off_for_longer_each_time(
    ledger: Ledger, ending: tuple[RecommendationState, ...]
) -> None:
    def propose(id: str, hour: int) -> Recommendation:
        ledger.record(
            [],
            [a_recommendation(id, dedupe_key="k", created=hour * HOUR, updated=hour * HOUR, expires=(hour + 4) * HOUR)],
        )
        return ledger.get(id)[1]

    propose("a", 1)
    apply(ledger, "a", 2 * HOUR, *ending)
    refused = propose("b", 5)
    assert (refused.state, refused.reason) == (
        "refused",
        "tried in vain before; not again before 1970-01-01T06:00:00+00:00",
    )
    assert propose("c", 6).state == "proposed"
    apply(ledger, "c", 7 * HOUR, *ending)
    assert [propose(f"d{hour}", hour).state for hour in (12, 14, 15)] == ["refused", "refused", "proposed"]


def test_a_resolved_detection_expires_what_was_proposed(ledger: Ledger) -> None:
    ledger.record([a_detection()], [a_recommendation(), a_recommendation("r2", dedupe_key="other")])
    ledger.transition("r2", "approved", actor="ada", reason="", now=2 * HOUR)
    changes = ledger.record([a_detection(state="resolved", time=3 * HOUR)], [])
    assert [c.recommendation.state for c in changes if c.recommendation] == ["expired"]
    assert ledger.get("r1")[1].reason == "the condition ceased"
    assert ledger.get("r2")[1].state == "approved"
    assert ledger.detection("d1").state == "resolved"


@pytest.mark.parametrize("found", RECOMMENDATION_STATES)
@pytest.mark.parametrize("wanted", RECOMMENDATION_STATES)
def test_states_follow_each_other_as_allowed(found: RecommendationState, wanted: RecommendationState) -> None:
    ledger = Ledger()
    ledger.record([], [a_recommendation(state=found)])
    if wanted in FOLLOWING[found]:
        change = ledger.transition("r1", wanted, actor="ada", reason="because", now=7)
        assert change.recommendation is not None
        assert (change.recommendation.state, change.recommendation.actor, change.time) == (wanted, "ada", 7)
    else:
        with pytest.raises(InvalidTransition, match=rf"recommendation r1 is {found}: it cannot become {wanted}; "):
            ledger.transition("r1", wanted, actor="ada", reason="", now=7)
        assert ledger.get("r1")[1].state == found


def test_an_outcome_is_kept_and_verifies_what_was_applied(ledger: Ledger) -> None:
    ledger.record([], [a_recommendation(state="applied"), a_recommendation("r2")])
    outcome = Outcome(result="success", gpu_seconds_saved=10.0, reporter="bot", time=9)
    assert ledger.report_outcome("r1", outcome).recommendation == replace(
        a_recommendation(state="verified"), outcome=outcome, updated=9
    )
    ledger.report_outcome("r2", outcome)
    assert (ledger.get("r2")[1].state, ledger.get("r2")[1].outcome) == ("proposed", outcome)


def test_an_outcome_without_a_time_leaves_the_time_of_the_change(ledger: Ledger) -> None:
    ledger.record([], [a_recommendation()])
    change = ledger.report_outcome("r1", Outcome(result="unknown"))
    assert change.recommendation is not None
    assert (change.time, change.recommendation.updated) == (HOUR, HOUR)


def test_what_nobody_decided_expires(ledger: Ledger) -> None:
    ledger.record([], [a_recommendation(), a_recommendation("r2", expires=9 * HOUR), a_recommendation("r3")])
    ledger.transition("r3", "approved", actor="ada", reason="", now=HOUR)
    expired = [c.recommendation for c in ledger.expire(5 * HOUR) if c.recommendation]
    assert [(r.id, r.state, r.reason) for r in expired] == [
        ("r1", "expired", "nobody decided in time"),
        ("r3", "expired", "it was not applied in time"),
    ]
    assert ledger.expire(5 * HOUR) == []


def test_one_whose_time_is_over_makes_room_for_another_about_the_same(ledger: Ledger) -> None:
    ledger.record([], [a_recommendation()])
    changes = ledger.record([], [a_recommendation("r2", dedupe_key="key of r1", created=6 * HOUR, expires=9 * HOUR)])
    assert [(c.recommendation.id, c.recommendation.state) for c in changes if c.recommendation] == [
        ("r1", "expired"),
        ("r2", "proposed"),
    ]


def test_how_a_stream_is_cut_into_batches_does_not_matter() -> None:
    """d1 fires and ceases, then d2 about the same device fires: -1-|-2-."""
    stream: list[tuple[Detection, list[Recommendation]]] = [
        (a_detection("d1"), [a_recommendation("r1", "d1", dedupe_key="gpu")]),
        (a_detection("d1", state="resolved", time=2 * HOUR), []),
        (a_detection("d2", time=3 * HOUR), [a_recommendation("r2", "d2", dedupe_key="gpu", created=3 * HOUR)]),
    ]
    one_by_one, at_once = Ledger(), Ledger()
    for detection, recommendations in stream:
        one_by_one.record([detection], recommendations)
    at_once.record([d for d, _ in stream], [r for _, some in stream for r in some])
    assert at_once.changes(0) == one_by_one.changes(0)
    assert [r.state for _, r in at_once.list().recommendations] == ["proposed", "expired"]


def test_a_command_that_fails_leaves_nothing(ledger: Ledger) -> None:
    ledger.record([], [a_recommendation()])
    with pytest.raises(PermanentError):
        ledger.record([a_detection()], [a_recommendation("r2", created=2**70)])
    assert ledger.revision() == 1
    ledger.record([a_detection()], [])
    assert ledger.revision() == 2


def test_a_listing_is_paged_newest_first(ledger: Ledger) -> None:
    ledger.record([], [a_recommendation(f"r{i}", created=i, rule="A" if i % 2 else "B") for i in range(7)])
    seen: list[str] = []
    token = ""
    while True:
        page = ledger.list(page_size=3, page_token=token)
        seen += [r.id for _, r in page.recommendations]
        token = page.next_token
        if not token:
            break
    assert seen == [f"r{i}" for i in reversed(range(7))]
    assert [r.id for _, r in ledger.list(rule="A").recommendations] == ["r5", "r3", "r1"]
    assert ledger.list(target={"hw.id": "GPU-2"}).recommendations == ()
    assert ledger.list(states=["approved"]).recommendations == ()
    with pytest.raises(PermanentError, match="'nonsense' is not a page token"):
        ledger.list(page_token="nonsense")
    with pytest.raises(PermanentError, match="is not a page token"):
        ledger.list(page_token=base64.urlsafe_b64encode(f"{10**30} r1".encode()).decode())


def test_a_missing_one_is_named(ledger: Ledger) -> None:
    with pytest.raises(NotFound, match="no recommendation r9"):
        ledger.get("r9")
    with pytest.raises(NotFound, match="no recommendation r9"):
        ledger.transition("r9", "approved", actor="", reason="", now=1)


def test_a_cursor_moves(ledger: Ledger) -> None:
    assert ledger.cursor("events") == 0
    ledger.set_cursor("events", 5)
    ledger.set_cursor("events", 7)
    assert (ledger.cursor("events"), ledger.cursor("other")) == (7, 0)


def test_subscribers_hear_after_the_commit(ledger: Ledger) -> None:
    heard: list[int] = []
    stop = ledger.subscribe(lambda: heard.append(ledger.revision()))
    ledger.record([a_detection()], [])
    ledger.record([a_detection()], [])
    stop()
    ledger.record([a_detection("d2")], [])
    assert heard == [1]


def test_many_threads_write_at_once(ledger: Ledger) -> None:
    def work(name: int) -> None:
        for i in range(20):
            ledger.record([a_detection(f"d{name}-{i}")], [])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [c.revision for c in ledger.changes(0)] == list(range(1, 81))


def test_two_ledgers_on_one_file_number_one_after_the_other(tmp_path: Path) -> None:
    ledgers = [Ledger(f"sqlite:///{tmp_path}/ledger.db") for _ in range(2)]

    def work(name: int) -> None:
        for i in range(20):
            ledgers[name].record([a_detection(f"d{name}-{i}")], [])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [c.revision for c in ledgers[0].changes(0)] == list(range(1, 41))
    for ledger in ledgers:
        ledger.close()


def test_a_database_that_somebody_holds_is_transient(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db?timeout=0.05")
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TransientError, match="the ledger does not answer: database is locked"):
            ledger.record([a_detection()], [])
    assert len(ledger.record([a_detection()], [])) == 1
    ledger.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("not a url", "is not an SQLAlchemy URL"),
        ("sqlite:////no/such/folder/x.db", "cannot be opened"),
        ("nosuchdb://", "is no database that SQLAlchemy knows"),
    ],
)
def test_a_ledger_that_cannot_be_had(url: str, said: str) -> None:
    with pytest.raises(PermanentError, match=said):
        Ledger(url)


WRITER = """
import sys
sys.path[:0] = sys.argv[2:]
from helpers.model import a_detection, a_recommendation
from fallow.ledger import Ledger
ledger = Ledger("sqlite:///" + sys.argv[1])
for i in range(100000):
    ledger.record([a_detection(f"d{i}")], [a_recommendation(f"r{i}", f"d{i}")])
    print(i, flush=True)
"""


def test_kill_9_loses_nothing_that_was_committed_and_repeats_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    tests = str(Path(__file__).parents[2])
    committed = 0
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), tests], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        assert writer.stdout is not None
        for _ in range(50):
            committed = max(committed, int(writer.stdout.readline()))
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
        writer.wait()
        writer.stdout.close()
        committed = max([committed, *map(int, rest[:-1])])
    ledger = Ledger(f"sqlite:///{path}")
    changes = ledger.changes(0, 1_000_000)
    detections = [c.detection.id for c in changes if c.detection]
    recommendations = [c.recommendation.id for c in changes if c.recommendation]
    assert len(detections) == len(set(detections)) == len(recommendations) == len(set(recommendations))
    assert {f"d{i}" for i in range(committed + 1)} <= set(detections)
    ledger.close()
