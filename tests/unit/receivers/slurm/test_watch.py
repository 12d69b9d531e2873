"""What is asked of Slurm when, what follows from its answers, and from answers that do not come."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fallow import semconv
from fallow.clients.slurm import Job, Node, Reservation, Settings, SlurmError, Usage
from fallow_receivers.slurm import SlurmReceiverConfig
from fallow_receivers.slurm.cursor import Cursor
from fallow_receivers.slurm.watch import Look, Watch

NOW = 1_800_000_000
RUNNING = Job(
    id="7", state="RUNNING", phase="running", submit=NOW - 100, start=NOW - 90, restarts=0, nodes=("n1",), gpus=2
)
ENDED = replace(RUNNING, state="COMPLETED", phase="ended", end=NOW + 30, gpu_indices={})
SHORT = replace(ENDED, id="8", submit=NOW + 5, start=NOW + 6, end=NOW + 8, state="FAILED")
WITH_USE = replace(ENDED, usage=Usage(cpu_s=55.5, memory=3 << 30))


@dataclass
class Slurm:
    """A cluster that says what it is told to say, and notes what it is asked."""

    settings_: Settings = field(
        default_factory=lambda: Settings(
            cluster="mini", version="24.11.5", min_job_age_s=300, slurmdbd=True, jobcomp_file=""
        )
    )
    jobs_: Sequence[Job] = ()
    nodes_: Sequence[Node] = ()
    ended_: Sequence[Job] = ()
    used_: Sequence[Job] = ()
    broken: set[str] = field(default_factory=set)
    asked: list[tuple[str, object]] = field(default_factory=list)

    def settings(self) -> Settings:
        self._ask("settings")
        return self.settings_

    def jobs(self) -> Sequence[Job]:
        self._ask("jobs")
        return self.jobs_

    def nodes(self) -> Sequence[Node]:
        self._ask("nodes")
        return self.nodes_

    def reservations(self) -> Sequence[Reservation]:
        self._ask("reservations")
        return ()

    def ended(self, since: int) -> Sequence[Job]:
        self._ask("ended", since - NOW)
        return self.ended_

    def used(self, ids: Sequence[str], since: int) -> Sequence[Job]:
        self._ask("used", list(ids))
        return self.used_

    def close(self) -> None:
        pass

    def _ask(self, what: str, detail: object = None) -> None:
        self.asked.append((what, detail))
        if what in self.broken:
            raise SlurmError(f"no {what} today")

    def times(self, what: str) -> list[object]:
        """The details of what was asked of that kind."""
        return [detail for name, detail in self.asked if name == what]


def watch(slurm: Slurm, cursor: Cursor | None = None, **settings: object) -> Watch:
    config = SlurmReceiverConfig.model_validate(settings)
    return Watch(config, slurm, cursor or Cursor(), Path("/nowhere"))


def look(at: Watch, now: int) -> list[str]:
    """Look and note it; what was told of which job."""
    found = at.look(now)
    at.told(found)
    return told(found)


def told(found: Look) -> list[str]:
    return [
        f"{e.name.rpartition('.')[2]} {e.attributes.get(semconv.JOB_ID, '')} {e.attributes.get(semconv.JOB_STATE, '')}".strip()
        for e in found.events
    ]


def test_slurmdbd_is_left_alone_while_the_controller_tells_all() -> None:
    slurm = Slurm(jobs_=[RUNNING])
    at = watch(slurm)
    assert look(at, NOW) == ["submit 7", "start 7"]
    slurm.jobs_ = [ENDED]
    assert [look(at, NOW + t) for t in (15, 30, 45)] == [["end 7 COMPLETED"], [], []]
    assert slurm.times("ended") == []
    assert len(slurm.times("settings")) == 1


@pytest.mark.parametrize(
    ("pause_s", "min_job_age_s", "asks"),
    [
        pytest.param(15, 300, False, id="in-time"),
        pytest.param(200, 300, True, id="after-a-gap"),
        pytest.param(15, 20, True, id="controller-forgets-faster-than-it-is-asked"),
        pytest.param(15, None, False, id="unknown-age-is-slurms-own"),
    ],
)
def test_slurmdbd_is_asked_where_the_controller_may_have_forgotten(
    pause_s: int, min_job_age_s: int | None, asks: bool
) -> None:
    slurm = Slurm(jobs_=[RUNNING], ended_=[SHORT])
    slurm.settings_ = replace(slurm.settings_, min_job_age_s=min_job_age_s)
    at = watch(slurm)
    look(at, NOW)
    expected = ["submit 8", "start 8", "end 8 FAILED"] if asks else []
    assert look(at, NOW + pause_s) == expected
    assert bool(slurm.times("ended")) == asks


def test_slurmdbd_is_asked_for_some_time_after_a_gap_since_it_learns_late() -> None:
    slurm = Slurm(jobs_=[RUNNING])
    at = watch(slurm)
    look(at, NOW)
    assert look(at, NOW + 1000) == []
    slurm.ended_ = [SHORT]
    assert look(at, NOW + 1015) == ["submit 8", "start 8", "end 8 FAILED"]
    assert look(at, NOW + 1030) == []
    look(at, NOW + 1100)
    assert slurm.times("ended") == [-600, 400, 415]


def test_a_job_that_vanished_is_looked_up() -> None:
    slurm = Slurm(jobs_=[RUNNING])
    at = watch(slurm)
    look(at, NOW)
    slurm.jobs_, slurm.ended_ = [], [ENDED]
    assert look(at, NOW + 15) == ["end 7 COMPLETED"]


def test_a_restart_goes_on_where_the_cursor_is() -> None:
    slurm = Slurm(jobs_=[RUNNING])
    at = watch(slurm)
    first = at.look(NOW)
    at.told(first)
    slurm.jobs_, slurm.ended_ = [], [ENDED, SHORT]
    later = watch(slurm, Cursor.model_validate_json(first.cursor.model_dump_json()))
    assert look(later, NOW + 86400) == ["submit 8", "start 8", "end 8 FAILED", "end 7 COMPLETED"]


def test_what_was_not_noted_is_told_again_the_same() -> None:
    slurm = Slurm(jobs_=[RUNNING])
    at = watch(slurm)
    look(at, NOW)
    kept = at.look(NOW + 1).cursor.model_dump_json()
    slurm.jobs_ = [ENDED]
    one, again = at.look(NOW + 40), watch(slurm, Cursor.model_validate_json(kept)).look(NOW + 47)
    assert told(one) == told(again) == ["end 7 COMPLETED"]
    assert [e.uid("mini") for e in one.events] == [e.uid("mini") for e in again.events]


def test_a_controller_that_does_not_answer_changes_nothing() -> None:
    slurm = Slurm(jobs_=[RUNNING], broken={"jobs"})
    at = watch(slurm)
    with pytest.raises(SlurmError, match="no jobs today"):
        at.look(NOW)
    slurm.broken = set()
    assert look(at, NOW + 15) == ["submit 7", "start 7"]
    assert len(slurm.times("settings")) == 2  # it may have come back with others


def test_jobs_go_on_where_nodes_or_the_history_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    slurm = Slurm(jobs_=[RUNNING], broken={"nodes", "ended"})
    at = watch(slurm)
    with caplog.at_level(logging.WARNING):
        assert look(at, NOW) == ["submit 7", "start 7"]
        slurm.jobs_ = []
        assert [look(at, NOW + 30 * i) for i in (1, 2)] == [[], []]
    assert [r.message for r in caplog.records] == [
        "Nodes and reservations cannot be read.",
        "The history of jobs cannot be read.",
    ]
    slurm.broken, slurm.ended_ = set(), [ENDED]
    slurm.nodes_ = [Node(name="n1", state="DOWN", flags=frozenset(), reason_time=NOW + 20)]
    assert look(at, NOW + 90) == ["down", "end 7 COMPLETED"]


def test_without_a_history_it_says_that_jobs_can_be_missed(caplog: pytest.LogCaptureFixture) -> None:
    slurm = Slurm(jobs_=[RUNNING])
    slurm.settings_ = replace(slurm.settings_, slurmdbd=False)
    at = watch(slurm)
    look(at, NOW)
    assert [r.message[:42] for r in caplog.records if r.levelno == logging.WARNING] == [
        "There is neither slurmdbd nor a jobcomp lo"
    ]
    slurm.jobs_ = []
    assert [look(at, NOW + t) for t in (15, 30)] == [[], ["end 7 UNKNOWN"]]


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ("slurmdbd", "slurmdbd is asked for, but this cluster has no"),
        ("jobcomp", "the cluster's configuration names no jobcomp/filetxt log"),
    ],
)
def test_a_history_that_was_asked_for_has_to_be_there(history: str, message: str) -> None:
    slurm = Slurm()
    slurm.settings_ = replace(slurm.settings_, slurmdbd=False)
    with pytest.raises(SlurmError, match=message):
        watch(slurm, history=history).look(NOW)


def test_the_cursor_of_another_cluster_is_not_gone_on_from(caplog: pytest.LogCaptureFixture) -> None:
    slurm = Slurm(jobs_=[RUNNING])
    at = watch(slurm)
    cursor = at.look(NOW).cursor
    slurm.settings_ = replace(slurm.settings_, cluster="other")
    assert look(watch(slurm, cursor), NOW + 15) == ["submit 7", "start 7"]
    assert "The cursor is of another cluster; beginning anew." in caplog.messages


def test_what_ended_jobs_used_is_asked_for_all_of_them_at_once_until_it_is_known() -> None:
    slurm = Slurm(jobs_=[RUNNING, replace(RUNNING, id="9")])
    at = watch(slurm)
    look(at, NOW)
    slurm.jobs_ = [ENDED, replace(ENDED, id="9")]
    assert look(at, NOW + 15) == ["end 7 COMPLETED", "end 9 COMPLETED"]
    slurm.used_ = [WITH_USE, replace(WITH_USE, id="9", usage=None)]  # the second is not settled
    at_60 = at.look(NOW + 75)
    at.told(at_60)
    (event,) = at_60.events
    assert {name: event.attributes[name] for name in (semconv.JOB_ID, semconv.JOB_GPUS, semconv.JOB_CPU_TIME)} == {
        semconv.JOB_ID: "7",
        semconv.JOB_GPUS: 2,
        semconv.JOB_CPU_TIME: 55.5,
    }
    assert event.attributes[semconv.JOB_MEMORY_PEAK] == 3 << 30
    assert event.attributes[semconv.JOB_TIME_USED] == 120
    for t in range(90, 1200, 15):
        assert look(at, NOW + t) == []
    asked = slurm.times("used")
    assert asked[:3] == [["7", "9"], ["7", "9"], ["9"]]
    assert 5 < len(asked) < 15  # once a minute, and not for ever


def test_the_longest_wait_of_each_partition() -> None:
    waits = replace(
        RUNNING, state="PENDING", phase="pending", start=None, nodes=(), partition="a", eligible=NOW - 50, gpus=None
    )
    slurm = Slurm(
        jobs_=[
            waits,
            replace(waits, id="8", eligible=NOW - 70),
            replace(waits, id="9", eligible=NOW + 600),  # may not run yet
            replace(waits, id="10", partition="b", eligible=None),  # held
        ]
    )
    points = watch(slurm).look(NOW).points
    assert [(p.attributes, p.value) for p in points if p.name == semconv.QUEUE_WAIT] == [
        ({semconv.JOB_PARTITION: "a"}, 70)
    ]
