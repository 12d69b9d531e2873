"""What is seen of pods and Jobs, in whatever order: each is submitted, started and ended once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallow import semconv
from fallow.clients.kubernetes import Gpus, Job, Pod
from fallow.clients.kubernetes import job as read_job
from fallow.clients.kubernetes import pod as read_pod
from fallow_receivers.kubernetes.said import Event
from fallow_receivers.kubernetes.work import Work
from helpers.kubernetes import condition, job, pod

GPUS = Gpus(names=("nvidia.com/gpu", "nvidia.com/mig-*"))
T0 = 1767600000  # 2026-01-05T08:00:00Z
NOW = T0 + 3600
RUNNING: dict[str, Any] = {"phase": "Running", "node": "n1", "start": "2026-01-05T08:01:00Z"}
DONE = {"exitCode": 0, "finishedAt": "2026-01-05T08:30:00Z", "reason": "Completed"}
KILLED = {"exitCode": 137, "finishedAt": "2026-01-05T08:30:00Z", "reason": "OOMKilled"}
BROKEN = {"exitCode": 1, "finishedAt": "2026-01-05T08:30:00Z", "reason": "Error"}


def of(object: dict[str, Any]) -> Pod:
    found = read_pod(object, GPUS)
    assert found is not None
    return found


def of_job(object: dict[str, Any]) -> Job:
    found = read_job(object, GPUS)
    assert found is not None
    return found


def said(events: list[Event]) -> list[str]:
    return [f"{e.name.removeprefix('fallow.')}@{e.time // 10**9 - T0}" for e in events]


PENDING, STARTED = of(pod("p")), of(pod("p", **RUNNING))
ENDED = of(pod("p", **{**RUNNING, "phase": "Succeeded"}, terminated=DONE))
WHOLE = ["job.submit@0", "pod.start@60", "job.start@60", "pod.end@1800", "job.end@1800"]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param([PENDING, STARTED, ENDED], WHOLE, id="one-after-another"),
        pytest.param([STARTED, STARTED, ENDED, ENDED], WHOLE, id="seen-again"),
        pytest.param([ENDED], WHOLE, id="first-seen-when-over"),
    ],
)
def test_a_pod_is_a_job_of_its_own(seen: list[Pod], expected: list[str]) -> None:
    work = Work(10)
    assert [text for one in seen for text in said(work.pod(one))] == expected
    assert (work.pods, work.over) == ({}, {"uid-p": "pod"})
    assert work.pod_deleted(ENDED, NOW) == []
    assert work.over == {}


@pytest.mark.parametrize(
    ("object", "state", "reason", "error"),
    [
        pytest.param(pod("p", **RUNNING | {"phase": "Succeeded"}, terminated=DONE), "COMPLETED", None, None, id="ok"),
        pytest.param(pod("p", **RUNNING | {"phase": "Failed"}, terminated=BROKEN), "FAILED", "Error", "FAILED", id="failed"),
        pytest.param(
            pod("p", **RUNNING | {"phase": "Failed"}, terminated=KILLED),
            "OUT_OF_MEMORY",
            "OOMKilled",
            "OUT_OF_MEMORY",
            id="memory",
        ),
        pytest.param(
            pod("p", **RUNNING | {"phase": "Failed", "reason": "DeadlineExceeded"}),
            "TIMEOUT",
            "DeadlineExceeded",
            "TIMEOUT",
            id="deadline",
        ),
        pytest.param(
            pod(
                "p",
                **RUNNING | {"phase": "Failed"},
                terminated=BROKEN,
                conditions=[condition("DisruptionTarget", "2026-01-05T08:29:00Z", "PreemptionByScheduler")],
            ),
            "PREEMPTED",
            "PreemptionByScheduler",
            None,
            id="preempted",
        ),
        pytest.param(
            pod(
                "p",
                **RUNNING | {"phase": "Failed"},
                conditions=[condition("DisruptionTarget", "2026-01-05T08:29:00Z", "TerminationByKubelet")],
            ),
            "NODE_FAIL",
            "TerminationByKubelet",
            "NODE_FAIL",
            id="node",
        ),
    ],
)  # fmt: skip
def test_ends_are_told_in_the_words_of_every_scheduler(
    object: dict[str, Any], state: str, reason: str | None, error: str | None
) -> None:
    end = Work(10).pod(of(object))[-1]
    assert end.name == semconv.JOB_END
    assert end.attributes[semconv.JOB_STATE] == state
    assert end.attributes.get(semconv.JOB_REASON) == reason
    assert end.attributes.get(semconv.ERROR_TYPE) == error


def test_a_pod_that_is_deleted_while_it_runs_is_cancelled() -> None:
    work = Work(10)
    work.pod(STARTED)
    gone = pod("p", **RUNNING)
    gone["metadata"]["deletionTimestamp"] = "2026-01-05T08:20:30Z"
    events = work.pod_deleted(of(gone), NOW)
    assert said(events) == ["pod.end@1230", "job.end@1230"]
    assert events[0].attributes[semconv.JOB_STATE] == "CANCELLED"
    assert semconv.ERROR_TYPE not in events[0].attributes
    assert events[0].attributes[semconv.JOB_TIME_USED] == 1170


def test_a_pod_that_never_had_a_node_is_no_pod_that_ends() -> None:
    work = Work(10)
    work.pod(PENDING)
    assert said(work.pod_deleted(PENDING, NOW)) == ["job.end@3600"]


def test_attributes_say_who_asks_for_what() -> None:
    submit, pod_start, start = Work(10).pod(of(pod("p", **RUNNING, owner=("StatefulSet", "llm", "u"))))
    assert submit.attributes == {
        semconv.JOB_ID: "uid-p",
        semconv.JOB_NAME: "llm",
        semconv.K8S_NAMESPACE_NAME: "ml",
        semconv.K8S_POD_NAME: "p",
        semconv.K8S_POD_UID: "uid-p",
        "k8s.statefulset.name": "llm",
        semconv.JOB_PARTITION: "team-a",
        semconv.JOB_GPUS: 2,
        semconv.JOB_CPUS: 3.5,
        semconv.JOB_MEMORY_LIMIT: 8 << 30,
    }
    assert pod_start.node == start.node == "n1"
    assert start.attributes[semconv.JOB_NODES] == ("n1",)
    assert start.attributes[semconv.JOB_WAIT] == 60


def test_restarts_of_containers() -> None:
    work = Work(10)
    work.pod(STARTED)
    (again,) = work.pod(of(pod("p", **RUNNING, restarts=2, last=KILLED)))
    assert (again.name, again.attributes[semconv.K8S_RESTARTS]) == (semconv.CONTAINER_RESTART, 2)
    assert (again.attributes[semconv.JOB_REASON], again.attributes[semconv.JOB_EXIT_CODE]) == ("OOMKilled", 137)
    assert work.pod(of(pod("p", **RUNNING, restarts=2, last=KILLED))) == []
    # What was restarted before the first look of all is not news.
    fresh = Work(10)
    listed = fresh.pods_listed([of(pod("p", **RUNNING, restarts=9, last=KILLED))], NOW, first=True)
    assert said(listed) == ["job.submit@0", "pod.start@60", "job.start@60"]


def test_the_first_list_does_not_tell_what_is_over_and_a_later_one_finds_what_is_missing() -> None:
    work = Work(10)
    assert said(work.pods_listed([ENDED, of(pod("q", **RUNNING))], NOW, first=True)) == [
        "job.submit@0",
        "pod.start@60",
        "job.start@60",
    ]
    assert work.pods_listed([ENDED, of(pod("q", **RUNNING))], NOW, first=False) == []
    lost = work.pods_listed([], NOW + 60, first=False)
    assert said(lost) == ["pod.end@3660", "job.end@3660"]
    assert lost[0].attributes[semconv.JOB_STATE] == "UNKNOWN"
    assert semconv.JOB_TIME_USED not in lost[0].attributes
    assert work.pods_listed([], NOW + 60, first=False) == []
    assert work.over == {}  # what is not there any more cannot be told again


def test_a_limit_holds_and_counts() -> None:
    work = Work(1)
    work.pod(PENDING)
    assert work.pod(of(pod("q"))) == []
    assert work.refused == 1
    assert said(work.pod(STARTED)) == ["pod.start@60", "job.start@60"]  # what is known goes on


# -- Jobs --------------------------------------------------------------------------------------------------------------
MINE = ("Job", "train", "uid-train")
COMPLETE = {"conditions": [condition("Complete", "2026-01-05T08:40:00Z")], "completionTime": "2026-01-05T08:40:00Z"}
FAILED = {"conditions": [condition("Failed", "2026-01-05T08:40:00Z", "DeadlineExceeded")]}


def test_a_job_starts_with_its_first_pod_and_its_pods_are_no_jobs() -> None:
    work = Work(10)
    assert said(work.job(of_job(job("train")), NOW)) == ["job.submit@-60"]
    first = work.pod(of(pod("a", **RUNNING, owner=MINE)))
    assert said(first) == ["pod.start@60", "job.start@60"]
    assert {event.attributes[semconv.JOB_ID] for event in first} == {"uid-train"}
    assert first[1].attributes[semconv.JOB_GPUS] == 4
    later = {**RUNNING, "node": "n2", "start": "2026-01-05T08:02:00Z"}
    assert said(work.pod(of(pod("b", **later, owner=MINE)))) == ["pod.start@120"]
    (end,) = work.job(of_job(job("train", **COMPLETE)), NOW)
    assert said([end]) == ["job.end@2400"]
    assert end.attributes[semconv.JOB_NODES] == ("n1", "n2")
    assert end.attributes[semconv.JOB_TIME_USED] == 2340
    assert end.node == "n1"


def test_a_job_that_is_seen_after_its_pods() -> None:
    work = Work(10)
    assert said(work.pod(of(pod("a", **RUNNING, owner=MINE)))) == ["pod.start@60"]
    assert said(work.job(of_job(job("train")), NOW)) == ["job.submit@-60", "job.start@60"]


def test_a_job_that_is_suspended_waits_again() -> None:
    work = Work(10)
    work.job(of_job(job("train")), NOW)
    work.pod(of(pod("a", **RUNNING, owner=MINE)))
    held = of_job(job("train", suspend=True, conditions=[condition("Suspended", "2026-01-05T08:10:00Z")]))
    events = work.job(held, NOW)
    assert said(events) == ["job.end@600", "job.requeue@600"]
    assert events[0].attributes[semconv.JOB_STATE] == "REQUEUED"
    assert events[1].attributes[semconv.JOB_RESTARTS] == 1
    assert work.job(held, NOW) == []
    # A pod of before does not start the new run; one of after does.
    assert work.pod(of(pod("a", **RUNNING, owner=MINE))) == []
    anew = {**RUNNING, "start": "2026-01-05T08:20:00Z", "created": "2026-01-05T08:19:00Z"}
    start = work.pod(of(pod("b", **anew, owner=MINE)))
    assert said(start) == ["pod.start@1200", "job.start@1200"]
    assert (start[1].attributes[semconv.JOB_RESTARTS], start[1].attributes[semconv.JOB_WAIT]) == (1, 600)


def test_a_job_that_fails_and_one_that_is_deleted() -> None:
    work = Work(10)
    (_, end) = work.job(of_job(job("train", **FAILED)), NOW)
    assert (end.attributes[semconv.JOB_STATE], end.attributes[semconv.JOB_REASON]) == ("TIMEOUT", "DeadlineExceeded")
    work.job(of_job(job("other")), NOW)
    (gone,) = work.job_deleted(of_job(job("other")), NOW)
    assert gone.attributes[semconv.JOB_STATE] == "CANCELLED"


LIFE = [PENDING, STARTED, of(pod("p", **RUNNING, restarts=1, last=BROKEN)), ENDED]


@given(st.lists(st.sampled_from(range(len(LIFE))), max_size=10), st.booleans())
def test_whatever_is_seen_however_often_no_event_is_told_twice(order: list[int], listed: bool) -> None:
    work = Work(10)
    told: list[str] = []
    for at in order:
        events = work.pods_listed([LIFE[at]], NOW, first=False) if listed else work.pod(LIFE[at])
        told += [event.uid() for event in events]
    assert len(told) == len(set(told))
