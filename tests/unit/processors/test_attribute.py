"""Whose a GPU is, in tables of what was said and what follows."""

from __future__ import annotations

import numpy as np
import pytest

from fallow import semconv
from fallow.batch import Batch
from fallow.semconv import GPU_MEMORY_USAGE, GPU_POWER, JOB_AGE, JOB_GPU_FIRST_ACTIVITY, JOB_RESTARTS
from fallow.state import Past
from fallow_processors.attribute import AttributeConfig
from helpers.attribution import Attribution, Event, Sample, event, every, gpu, ns

POD = {"k8s.namespace.name": "ml"}


def attribution(**config: object) -> Attribution:
    return Attribution(AttributeConfig.model_validate(config))


START = event("start", 10, "42", indices="n1:0", host="n1", user="ann", title="train", restarts="0")


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param([START, event("end", 30, "42", restarts="0")], "....42424....", id="from-start-to-before-end"),
        pytest.param([event("end", 30, "42", restarts="0"), START], "....42424....", id="told-backwards"),
        pytest.param([START, START, event("end", 30, "42", restarts="0")], "....42424....", id="told-twice"),
        pytest.param([START], "....42+", id="open"),
        pytest.param([event("end", 30, "42")], "....", id="an-end-alone"),
        pytest.param([event("start", 10, "42", indices="n1:1", host="n1")], "....", id="another-gpu"),
        pytest.param([event("start", 10, "42", nodes="n1", host="n1")], "....", id="no-gpu-named"),
    ],
)
def test_a_gpu_is_a_jobs_from_start_to_end(events: list[Event], expected: str) -> None:
    a = attribution().take(every(5, 60), events)
    held = {at for at, job in a.jobs() if job == "42"}
    until = 30 if "42424" in expected else 60 if "+" in expected else 0
    assert held == set(np.arange(10, until, 5).tolist())
    assert not any(s.is_ambiguous for s in a.out)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        # Each character is five seconds: A B are jobs, ? is ambiguous, . is nobody's.
        pytest.param([("start", 10, "A"), ("end", 20, "A"), ("start", 20, "B")], "..AABBBB", id="hand-over-at-once"),
        pytest.param([("start", 10, "A"), ("start", 20, "B"), ("end", 30, "A")], "..AA??BB", id="two-at-a-time"),
        pytest.param([("start", 10, "A"), ("end", 10, "A"), ("start", 20, "B")], "....BBBB", id="no-time-at-all"),
        pytest.param([("start", 10, "A"), ("requeue", 20, "A"), ("start", 30, "A")], "..AA..AA", id="requeued"),
        pytest.param([("start", 10, "A"), ("start", 30, "A")], "..AAAAAA", id="the-end-of-a-run-was-lost"),
    ],
)
def test_intervals(events: list[tuple[str, float, str]], expected: str) -> None:
    told = [event(name, at, job, indices="n1:0", host="n1") for name, at, job in events]
    a = attribution().take(every(5, 40), told)
    assert "".join(job or "." for _, job in a.jobs()) == expected


@pytest.mark.parametrize("indices", ["n1:0,n1:3", '["n1:0", "n1:3"]'], ids=["commas", "json"])
def test_the_names_of_nodes_have_the_domain_of_their_host(indices: str) -> None:
    told = event("start", 0, "42", indices=indices, nodes="n1", host="n1.example.org")
    a = attribution().take(every(5, 10, node="n1.example.org"), [told])
    assert [job for _, job in a.jobs()] == ["42", "42"]


def test_an_event_may_name_the_device_itself() -> None:
    a = attribution().take(every(5, 10), [event("start", 5, "42", id="GPU-n1-0")])
    assert [job for _, job in a.jobs()] == ["", "42"]


def test_names_go_with_the_job_and_the_series_before_ends() -> None:
    a = attribution().take(every(5, 40), [START, event("end", 30, "42", restarts="0")])
    held = next(s for s in a.said() if s.job == "42")
    assert held.labels == gpu() | {
        "fallow.job.id": "42",
        "fallow.job.name": "train",
        "fallow.user.name": "ann",
    }
    assert [(s.at, s.job) for s in a.out if s.stale] == [(10, ""), (30, "42")]


def test_a_second_run_is_another_series() -> None:
    told = [
        START,
        event("requeue", 20, "42", restarts="1", host="n1"),
        event("start", 30, "42", indices="n1:0", host="n1", restarts="1"),
    ]
    a = attribution().take(every(5, 40), told)
    assert {s.labels.get(semconv.JOB_RESTARTS) for s in a.said() if s.job} == {None, "1"}


# -- late events -------------------------------------------------------------------------------------------------------
def test_what_waits_is_joined_by_its_own_time() -> None:
    a = attribution(lateness="20s")
    for at in range(0, 60, 5):
        a.take([Sample(at, gpu())], [START] if at == 25 else [])
    assert [job for _, job in a.jobs()] == ["", "", *["42"] * (len(a.jobs()) - 2)]
    assert max(at for at, _ in a.jobs()) == 30  # the newest is 55, and a second is let go as a whole
    a.finish()
    assert len(a.jobs()) == 12


def test_what_did_not_wait_has_gone_by() -> None:
    a = attribution()
    for at in range(0, 40, 5):
        a.take([Sample(at, gpu())], [START] if at == 25 else [])
    assert [at for at, job in a.jobs() if job == "42"] == [25, 30, 35]


def test_a_late_sample_is_joined_by_its_own_time_too() -> None:
    a = attribution().take(every(5, 40), [START, event("end", 30, "42", restarts="0")])
    a.take([Sample(22, gpu(), name=GPU_POWER)])
    a.take([Sample(22.5, gpu())])
    assert a.jobs()[-1] == (22.5, "42")
    assert a.said(GPU_POWER)[-1].job == "42"


def test_time_goes_on_by_itself() -> None:
    a = attribution(lateness="20s").take([Sample(0, gpu())])
    assert not a.out
    assert a.tick(21).jobs() == [(0, "")]


def test_too_many_do_not_wait() -> None:
    a = attribution(lateness="1h", max_waiting=10)
    for at in range(30):
        a.take([Sample(at, gpu())])
    assert [at for at, _ in a.jobs()] == list(range(20))


def test_one_clock_ahead_lets_nothing_go() -> None:
    a = attribution(lateness="20s")
    for node in ("n1", "n2", "n3"):
        a.take([Sample(0, gpu(node))])
    a.take([Sample(3600, gpu("n3"))])
    assert not a.out
    a.take([Sample(30, gpu("n1")), Sample(30, gpu("n2"))])
    assert len(a.jobs()) == 3


# -- labels ------------------------------------------------------------------------------------------------------------
def dcgm(at: float, value: float = 0.0, index: int = 0, name: str = GPU_MEMORY_USAGE, **labels: str) -> Sample:
    """As dcgm-exporter sends it, labels with ``_`` for dots."""
    return Sample(at, gpu("n1", index) | {k.replace("_", "."): v for k, v in labels.items()}, value, name)


def test_a_device_is_whose_its_labelled_series_say() -> None:
    told = [dcgm(at, fallow_job_id="42") for at in range(0, 60, 15)]
    a = attribution().take([*every(5, 60), *told])
    assert {job for _, job in a.jobs()} == {"42"}


def test_labels_hold_for_a_while() -> None:
    a = attribution(evidence="60s").take([dcgm(0, fallow_job_id="42"), *every(10, 100)])
    assert [at for at, job in a.jobs() if job == "42"] == [0, 10, 20, 30, 40, 50, 60]


def test_labels_of_a_job_that_has_ended_count_no_more() -> None:
    told = [dcgm(at, fallow_job_id="42") for at in range(0, 60, 5)]
    a = attribution().take([*every(5, 60), *told], [START, event("end", 30, "42", restarts="0")])
    assert [at for at, job in a.jobs() if job] == [0, 5, 10, 15, 20, 25]


def test_a_pod_is_named_on_what_others_measure() -> None:
    told = [dcgm(at, k8s_namespace_name="ml", k8s_pod_name="train-0") for at in range(0, 60, 15)]
    a = attribution().take([*every(5, 60), *told])
    assert {(s.labels["k8s.namespace.name"], s.labels["k8s.pod.name"]) for s in a.said()} == {("ml", "train-0")}


def test_names_of_a_job_that_only_labels_tell_come_from_its_scheduler() -> None:
    start = event("start", 0, "42", nodes="n1", host="n1", user="ann")
    a = attribution().take([dcgm(5, 0.5, name=semconv.GPU_UTILIZATION, fallow_job_id="42")], [start])
    assert a.said()[0].labels[semconv.USER_NAME] == "ann"


def test_allocations_of_slurm_are_labels() -> None:
    held = {"host.name": "n1", "fallow.gpu.index": "0", "fallow.job.id": "42", "fallow.user.name": "ann"}
    told = [Sample(at, held, 1.0, semconv.JOB_GPU_ALLOCATED) for at in range(0, 60, 15)]
    a = attribution().take([*every(5, 60), *told])
    assert {(s.job, s.labels[semconv.USER_NAME]) for s in a.said()} == {("42", "ann")}


# -- shared and split devices: guard G2 --------------------------------------------------------------------------------
def test_a_shared_gpu_is_ambiguous_and_bears_no_job() -> None:
    """F7 and G2: two jobs on one device, of which each sees the work of the other."""
    told = [Sample(at, gpu() | {"fallow.job.id": job}, 0.9) for at in range(0, 60, 15) for job in ("1", "2")]
    a = attribution().take([*every(5, 60), *told])
    assert all(s.is_ambiguous and not s.job for s in a.said())
    assert {s.labels.get(semconv.ATTRIBUTION_CANDIDATE) for s in a.said()} == {None, "1", "2"}


def test_pods_that_share_a_gpu_keep_their_names_and_are_ambiguous() -> None:
    told = [
        dcgm(at, 0.9, name=semconv.GPU_UTILIZATION, k8s_namespace_name="ml", k8s_pod_name=pod)
        for at in range(0, 60, 15)
        for pod in ("a", "b")
    ]
    a = attribution().take(told)
    assert {(s.labels["k8s.pod.name"], s.is_ambiguous) for s in a.said()} == {("a", True), ("b", True)}


def test_processes_decide_who_uses_a_shared_gpu() -> None:
    shared = [event("start", 0, job, indices="n1:0", host="n1") for job in ("1", "2")]
    cgroup = {"process.cgroup": "/system.slice/slurmstepd.scope/job_2/step_0/user/task_0"}
    process = {"host.name": "n1", "process.pid": "77"} | cgroup
    ebpf = [Sample(0, process, 1.0, semconv.CUDA_KERNEL_LAUNCHES)]
    on_gpu = [Sample(at, gpu() | {"process.pid": "77"}, 0.8, semconv.PROCESS_GPU_UTILIZATION) for at in range(0, 60, 5)]
    a = attribution().take([*ebpf, *on_gpu, *every(5, 60)], shared)
    assert {job for _, job in a.jobs()} == {"2"}
    assert {s.job for s in a.said(semconv.PROCESS_GPU_UTILIZATION)} == {"2"}


@pytest.mark.parametrize(
    "other", [pytest.param({}, id="of-nobody"), pytest.param({"fallow.job.id": "1"}, id="of-the-other-job")]
)
def test_another_process_on_it_leaves_it_ambiguous(other: dict[str, str]) -> None:
    shared = [event("start", 0, job, indices="n1:0", host="n1") for job in ("1", "2")]
    on_gpu = [
        Sample(at, gpu() | labels, 0.8, semconv.PROCESS_GPU_UTILIZATION)
        for at in range(0, 60, 5)
        for labels in ({"process.pid": "77", "fallow.job.id": "2"}, {"process.pid": "78"} | other)
    ]
    a = attribution().take([*on_gpu, *every(5, 60)], shared)
    assert {job for _, job in a.jobs()} == {"?"}
    mine = {s.job for s in a.said(semconv.PROCESS_GPU_UTILIZATION) if s.labels["process.pid"] == "77"}
    assert mine == {"2"}, "what a process does is its own job's, whoever shares the device"


def mig(instance: str, **labels: str) -> dict[str, str]:
    found = {"host.name": "n1", "hw.id": f"MIG-{instance}", "hw.parent": "GPU-n1-0", "hw.type": "gpu"}
    return found | {"fallow.gpu.index": "0"} | {k.replace("_", "."): v for k, v in labels.items()}


def test_instances_are_ambiguous_until_labels_or_processes_name_whose_they_are() -> None:
    start = event("start", 0, "42", indices="n1:0", host="n1")
    whole = [Sample(at, gpu(), 0.5) for at in range(0, 30, 5)]
    parts = [Sample(at, mig(i), 0.5, GPU_POWER) for at in range(0, 30, 5) for i in ("a", "b")]
    named = [Sample(at, mig("b", fallow_job_id="7"), 0.5, GPU_MEMORY_USAGE) for at in range(0, 30, 5)]
    a = attribution().take([*parts, *named, *whole], [start])
    whose = {(s.labels["hw.id"], "?" if s.is_ambiguous else s.job) for s in a.said(GPU_POWER)}
    assert whose == {("MIG-a", "?"), ("MIG-b", "7")}
    assert {job for _, job in a.jobs()} == {"?"}, "what all instances do together is nobody's alone"


def test_instances_by_number_as_dcgm_exporter_has_them() -> None:
    parts = [
        Sample(at, gpu() | {"GPU_I_ID": i, "k8s.pod.name": f"p{i}", "k8s.namespace.name": "ml"}, 0.5, GPU_POWER)
        for at in range(0, 30, 5)
        for i in ("1", "2")
    ]
    a = attribution().take(parts)
    assert {(s.labels["k8s.pod.name"], s.is_ambiguous) for s in a.said(GPU_POWER)} == {("p1", False), ("p2", False)}


# -- what is said of jobs ----------------------------------------------------------------------------------------------
def test_age_restarts_and_first_activity() -> None:
    start = event("start", 5, "42", indices="n1:0", nodes="n1", host="n1", restarts="2")
    samples = [Sample(at, gpu(), 0.5 if at >= 25 else 0.0) for at in range(0, 65, 5)]
    a = attribution().take(samples, [start])
    assert [(s.at, s.value) for s in a.said(JOB_AGE)] == [(15, 10), (30, 25), (45, 40), (60, 55)]
    assert [s.value for s in a.said(JOB_RESTARTS)] == [2, 2, 2, 2]
    assert [(s.at, s.value) for s in a.said(JOB_GPU_FIRST_ACTIVITY)] == [(30, 20), (45, 20), (60, 20)]
    assert a.said(JOB_GPU_FIRST_ACTIVITY)[0].labels.items() >= (gpu() | {"fallow.job.id": "42"}).items()


def test_a_job_that_never_worked_has_no_first_activity() -> None:
    a = attribution().take(every(5, 65), [START])
    assert a.said(JOB_AGE)
    assert not a.said(JOB_GPU_FIRST_ACTIVITY), "absent, not 0"


# -- bounds ------------------------------------------------------------------------------------------------------------
def test_ended_jobs_are_forgotten() -> None:
    a = attribution(forget_after="5m")
    for number in range(50):
        at = number * 60
        told = [event("start", at, str(number), indices="n1:0"), event("end", at + 50, str(number))]
        a.take([Sample(at, gpu())], told)
    assert len(a.processor.save()().document["runs"]) < 10


def test_jobs_are_bounded() -> None:
    a = attribution(max_jobs=5)
    a.take(events=[event("start", 1, str(n), indices=f"n1:{n}") for n in range(8)])
    a.take([Sample(2, gpu(index=n)) for n in range(8)])
    assert [job for _, job in a.jobs()] == ["0", "1", "2", "3", "4", "", "", ""]
    assert len(a.processor.save()().document["runs"]) == 5


def test_devices_are_bounded() -> None:
    a = attribution(max_devices=2).take([Sample(0, gpu(index=n)) for n in range(4)])
    assert len(a.jobs()) == 4


def test_what_is_of_no_gpu_stays_as_it_is() -> None:
    a = attribution()
    batch = a.batch([Sample(0, {"host.name": "n1"}, 0.5, semconv.CPU_UTILIZATION), Sample(0, {"a": "b"}, 1, "vendor")])
    out = a.processor.process(batch).metrics
    assert batch.metrics is not None
    assert out is not None
    assert out.series.tolist() == batch.metrics.series.tolist()


def test_events_without_anybody_are_passed_on() -> None:
    a = attribution()
    batch = a.batch(events=[(semconv.JOB_START, 0.0, {}), event("start", 0, "1", indices="[")])
    assert a.processor.process(batch) == Batch(logs=batch.logs)


def test_a_restart_goes_on_where_it_was() -> None:
    before = attribution(lateness="20s").take(every(5, 30), [START])
    state = before.processor.save()()
    after = attribution(lateness="20s")
    ids = [after.series.intern(before.series.key(i)) for i in range(len(before.series))]
    told = after.processor.restore(state, Past(series=np.asarray(ids, dtype=np.int32)))
    assert told == {"jobs": 1, "devices": 1}
    after.take(every(5, 60, 30)).finish()
    held = [at for at, job in before.jobs() + after.jobs() if job == "42"]
    assert held == list(range(10, 60, 5))
    assert ns(0) % 15_000_000_000 == 0
