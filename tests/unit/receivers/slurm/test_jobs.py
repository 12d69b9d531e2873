"""Looks at jobs, in whatever order they come: each run is submitted, started and ended once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallow.clients.slurm import Job
from fallow_receivers.slurm.jobs import PATIENCE_S, Jobs
from fallow_receivers.slurm.said import Event

PENDING = Job(id="7", state="PENDING", phase="pending", submit=100, restarts=0, name="train", user="mkoch", gpus=2)
RUNNING = replace(PENDING, state="RUNNING", phase="running", start=110, nodes=("n1",), gpu_indices={"n1": (0, 1)})
ENDED = replace(RUNNING, state="TIMEOUT", phase="ended", end=200, gpu_indices={})
COMPLETING = replace(RUNNING, state="COMPLETING", phase=None)
AGAIN = replace(PENDING, submit=150, restarts=1)
AGAIN_RUNNING = replace(RUNNING, submit=150, restarts=1, start=160)
AGAIN_ENDED = replace(AGAIN_RUNNING, state="COMPLETED", phase="ended", end=300)
CANCELLED = replace(PENDING, state="CANCELLED", phase="ended", start=120, end=120)
# From a history: what the first run was when it was requeued; histories of 22.05 do not count restarts.
REQUEUED = replace(RUNNING, state="REQUEUED", phase="ended", end=150, restarts=None, gpu_indices={})


def said(events: list[Event]) -> list[str]:
    return [f"{e.name.rpartition('.')[2]}@{e.time_s}" for e in events]


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        # P--R--E
        pytest.param([PENDING, RUNNING, ENDED], ["submit@100", "start@110", "end@200"], id="one-after-another"),
        pytest.param([RUNNING, RUNNING, ENDED, ENDED], ["submit@100", "start@110", "end@200"], id="seen-again"),
        pytest.param([ENDED], ["submit@100", "start@110", "end@200"], id="short-between-two-looks"),
        pytest.param([PENDING, CANCELLED], ["submit@100", "end@120"], id="cancelled-in-the-queue"),
        pytest.param([RUNNING, COMPLETING, ENDED], ["submit@100", "start@110", "end@200"], id="completing"),
        pytest.param([COMPLETING], [], id="completing-when-first-seen"),
        # R--P'--R'--E'
        pytest.param(
            [RUNNING, AGAIN, AGAIN_RUNNING, AGAIN_ENDED],
            ["submit@100", "start@110", "end@150", "requeue@150", "start@160", "end@300"],
            id="requeued",
        ),
        pytest.param(
            [RUNNING, AGAIN_ENDED],
            ["submit@100", "start@110", "end@150", "requeue@150", "start@160", "end@300"],
            id="requeued-between-two-looks",
        ),
        pytest.param(
            [PENDING, REQUEUED, AGAIN_RUNNING],
            ["submit@100", "start@110", "end@150", "requeue@150", "start@160"],
            id="first-run-from-the-history",
        ),
        pytest.param(
            [RUNNING, AGAIN_RUNNING, REQUEUED, AGAIN_ENDED],
            ["submit@100", "start@110", "end@150", "requeue@150", "start@160", "end@300"],
            id="history-late",
        ),
        pytest.param(
            [ENDED, replace(AGAIN, submit=250)], ["submit@100", "start@110", "end@200", "requeue@250"], id="run-again"
        ),
        pytest.param(
            [RUNNING, replace(PENDING, submit=500, name="another")],
            ["submit@100", "start@110", "end@500", "submit@500"],
            id="numbers-begin-anew",
        ),
    ],
)
def test_runs(looks: list[Job], expected: list[str]) -> None:
    jobs = Jobs()
    assert [text for look in looks for text in said(jobs.observe([look]))] == expected


LIFE = [PENDING, RUNNING, COMPLETING, REQUEUED, AGAIN, AGAIN_RUNNING, AGAIN_ENDED]


@given(st.lists(st.sampled_from(range(len(LIFE))), max_size=12))
def test_whatever_is_seen_however_often_no_event_is_told_twice(order: list[int]) -> None:
    jobs = Jobs()
    told = [event.uid("c") for at in sorted(order) for event in jobs.observe([LIFE[at]])]
    assert len(told) == len(set(told))
    # And as if the rest of life were looked at too, all is told in the end.
    told += [event.uid("c") for event in jobs.observe([AGAIN_ENDED])]
    assert len(told) == len(set(told))
    assert jobs.runs["7"].phase == "ended"


@given(st.lists(st.sampled_from(range(len(LIFE))), max_size=12))
def test_looks_in_any_order_double_nothing(order: list[int]) -> None:
    jobs = Jobs()
    told = [event.uid("c") for at in order for event in jobs.observe([LIFE[at]])]
    assert len(told) == len(set(told))


def test_the_first_look_tells_what_is_there_but_not_what_is_over() -> None:
    jobs = Jobs()
    over = replace(ENDED, id="6")
    assert said(jobs.begin([over, RUNNING])) == ["submit@100", "start@110"]
    assert said(jobs.observe([over, ENDED])) == ["end@200"]


def test_a_job_that_is_nowhere_ends_when_the_history_has_had_its_time() -> None:
    jobs = Jobs()
    jobs.observe([RUNNING])
    missing = jobs.missing([])
    assert missing == ["7"]
    assert jobs.lost(missing, 1000, PATIENCE_S) == []
    (end,) = jobs.lost(missing, 1000 + PATIENCE_S, PATIENCE_S)
    assert (end.time_s, end.attributes["fallow.job.state"], end.node) == (1000, "UNKNOWN", "n1")
    assert "fallow.job.time.used" not in end.attributes
    assert jobs.observe([ENDED]) == []  # late, but it was told


def test_a_job_that_comes_back_was_not_lost() -> None:
    jobs = Jobs()
    jobs.observe([RUNNING])
    jobs.lost(jobs.missing([]), 1000, PATIENCE_S)
    jobs.observe([RUNNING])
    assert jobs.lost(jobs.missing([RUNNING]), 1000 + PATIENCE_S, PATIENCE_S) == []
    assert jobs.lost(jobs.missing([]), 2000, PATIENCE_S) == []


def test_ended_runs_are_forgotten_after_the_history_cannot_repeat_them() -> None:
    jobs = Jobs()
    jobs.observe([ENDED])
    jobs.forget([ENDED], ENDED.submit + 10_000_000)
    assert "7" in jobs.runs  # the controller still shows it
    jobs.forget([], 200 + 3600)
    assert "7" in jobs.runs
    jobs.forget([], 200 + 3601)
    assert jobs.runs == {}


def test_a_whole_run_between_two_looks_asks_for_the_history() -> None:
    jobs = Jobs()
    jobs.observe([RUNNING])
    assert not jobs.jumped([AGAIN])
    assert jobs.jumped([replace(AGAIN, submit=400, restarts=2)])
    waiting = Jobs()
    waiting.observe([PENDING])
    assert waiting.jumped([AGAIN])
