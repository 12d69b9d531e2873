"""The receiver against an API server that forgets, breaks off and refuses: each event once, in the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from fallow import semconv
from fallow.errors import PermanentError, TransientError
from fallow_receivers.kubernetes import KubernetesReceiver, KubernetesReceiverConfig, feed
from fallow_receivers.kubernetes.cursor import Cursor
from helpers.kubernetes import ApiServer, job, node, note, pod, serving
from helpers.otlp_server import Counters, Sink
from helpers.slurm import attributes_of, measured, told

RUNNING = {"phase": "Running", "node": "n1", "start": "2026-01-05T08:01:00Z"}
DONE = {"exitCode": 0, "finishedAt": "2026-01-05T08:30:00Z", "reason": "Completed"}
STARTED = [semconv.JOB_SUBMIT, semconv.POD_START, semconv.JOB_START]
ENDED = [semconv.POD_END, semconv.JOB_END]


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with serving(ApiServer()) as made:
        yield made


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries are of a test's length."""
    monkeypatch.setattr(feed, "FIRST_PAUSE_S", 0.02)


def receiver(api: ApiServer, folder: Path, counters: Counters | None = None, **settings: object) -> KubernetesReceiver:
    config = {"kubeconfig": api.kubeconfig(folder), "interval": "1s", "cluster": "lab", **settings}
    context = (counters or Counters()).context("kubernetes", folder)
    return KubernetesReceiver(KubernetesReceiverConfig.model_validate(config), context)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.02)


def names(sink: Sink, pod: str = "") -> list[str]:
    """Names of the events that were told, of one pod or of all."""
    return [
        record.event_name
        for _, record in told(sink.batches)
        if not pod or attributes_of(record).get(semconv.K8S_POD_NAME) == pod
    ]


def doubled(sink: Sink) -> list[str]:
    uids = [str(attributes_of(record)[semconv.RECORD_UID]) for _, record in told(sink.batches)]
    return [uid for uid in set(uids) if uids.count(uid) > 1]


def has(sink: Sink, count: int) -> bool:
    return len(names(sink)) == count


def watched(api: ApiServer, *kinds: str) -> bool:
    """Whether every kind is being watched by now."""
    return all(api.watches(kind) for kind in kinds or ("nodes", "jobs", "pods", "events"))


def test_a_cluster_at_work(api: ApiServer, tmp_path: Path) -> None:
    sink, counters = Sink(), Counters()
    api.put("nodes", node("n1"))
    api.put("nodes", node("n2", ready=False))
    api.put("pods", pod("old", **RUNNING | {"phase": "Succeeded"}, terminated=DONE))
    api.put("pods", pod("web", gpus=0, **RUNNING))
    api.put("events", note("e0"))

    async def run() -> None:
        one = receiver(api, tmp_path, counters, domain=".example.org")
        await one.start(sink.consume)
        await until(lambda: watched(api))
        api.put("jobs", job("train"))
        api.put("pods", pod("a", owner=("Job", "train", "uid-train"), **RUNNING))
        api.put("pods", pod("p", **RUNNING))
        api.put("pods", pod("waits", node="", created="2026-01-05T07:00:00Z"))
        api.put("events", note("e1"))
        api.put("events", note("e1", count=2))
        api.put("nodes", node("n1", cordoned=True))
        api.put("nodes", node("n2", since="2026-01-05T08:05:00Z"))
        await until(lambda: {semconv.NODE_RESUME, semconv.JOB_START} <= set(names(sink)) and len(names(sink)) >= 12)
        await until(lambda: sink.kinds[-1] == "metrics")
        await one.shutdown()

    asyncio.run(run())
    assert names(sink, "p")[-3:] == STARTED
    assert names(sink, "a") == [semconv.POD_START]
    assert names(sink, "old") == names(sink, "web") == []
    assert doubled(sink) == []
    events = told(sink.batches)
    assert {host for host, record in events if record.event_name == semconv.POD_START} == {"n1.example.org"}
    notes = [attributes_of(r) for _, r in events if r.event_name == semconv.KUBERNETES_EVENT]
    assert [one[semconv.K8S_EVENT_COUNT] for one in notes] == [1, 2]
    assert notes[0][semconv.K8S_EVENT_REASON] == "FailedScheduling"
    places = [(host, r.event_name) for host, r in events if r.event_name.startswith("fallow.node")]
    assert sorted(places) == [
        ("n1.example.org", semconv.NODE_DRAIN),
        ("n2.example.org", semconv.NODE_DOWN),
        ("n2.example.org", semconv.NODE_RESUME),
    ]
    points = list(measured([b for b in sink.batches if b.request and b.request.kind == "metrics"][-1]))
    values = {(name, a.get("host.name"), a.get(semconv.JOB_STATE)): value for name, a, value in points}
    assert values[semconv.NODE_GPUS, "n1.example.org", None] == 8
    assert values[semconv.NODE_GPUS_ALLOCATED, "n1.example.org", None] == 4
    assert values[semconv.NODE_AVAILABLE, "n1.example.org", None] == 0
    assert values[semconv.QUEUE_JOBS, None, "RUNNING"] == 2
    assert values[semconv.QUEUE_GPUS, None, "RUNNING"] == 6
    assert values[semconv.QUEUE_JOBS, None, "PENDING"] == 1
    assert {a[semconv.CLUSTER_NAME] for _, a, _ in points} == {"lab"}
    assert {a[semconv.K8S_CLUSTER_UID] for _, a, _ in points} == {"cluster-uid"}
    assert api.authorization == "Bearer secret"
    assert counters.values("fallow_kubernetes_events")[semconv.JOB_START,] == 2
    assert all("fieldSelector=type%3DWarning" in one for one in api.asked if "/events?" in one)


def test_an_absence_is_made_up_for_from_where_it_was(api: ApiServer, tmp_path: Path) -> None:
    sink = Sink()

    async def run(until_told: int) -> None:
        one = receiver(api, tmp_path, watch=["pods", "events"])
        await one.start(sink.consume)
        await until(lambda: len(names(sink)) >= until_told and watched(api, "pods", "events"))
        await one.shutdown()

    api.put("pods", pod("p", **RUNNING))
    api.put("events", note("e0"))
    asyncio.run(run(3))
    lists = api.lists("pods")
    # All of a short life, and an event, while nobody looks.
    api.put("pods", pod("q", **RUNNING))
    api.put("pods", pod("q", **RUNNING | {"phase": "Succeeded"}, terminated=DONE))
    api.delete("pods", "uid-q")
    api.put("events", note("e1"))
    asyncio.run(run(9))
    assert sorted(names(sink)) == sorted([*STARTED, *STARTED, *ENDED, semconv.KUBERNETES_EVENT])
    assert (doubled(sink), api.lists("pods")) == ([], lists)
    asyncio.run(run(9))
    assert len(names(sink)) == 9


@pytest.mark.parametrize("in_stream", [False, True], ids=["status-410", "410-in-the-stream"])
def test_what_the_server_has_forgotten_is_listed_and_not_doubled(
    api: ApiServer, tmp_path: Path, in_stream: bool
) -> None:
    sink, counters = Sink(), Counters()
    api.gone_in_stream, api.page = in_stream, 1

    async def run(until_told: int) -> None:
        one = receiver(api, tmp_path, counters, watch=["pods", "events"])
        await one.start(sink.consume)
        await until(lambda: len(names(sink)) >= until_told and watched(api, "pods", "events"))
        await one.shutdown()

    for name in ("p", "q", "r"):
        api.put("pods", pod(name, **RUNNING))
    api.put("events", note("e0"))
    asyncio.run(run(9))
    api.put("pods", pod("p", **RUNNING | {"phase": "Succeeded"}, terminated=DONE))
    api.delete("pods", "uid-q")
    api.put("events", note("e1"))
    api.compact()
    asyncio.run(run(9 + 4 + 1))
    assert names(sink, "p")[-2:] == ENDED
    assert doubled(sink) == []
    ends = [attributes_of(r) for _, r in told(sink.batches) if r.event_name == semconv.JOB_END]
    assert {(one[semconv.K8S_POD_NAME], one[semconv.JOB_STATE]) for one in ends} == {
        ("p", "COMPLETED"),
        ("q", "UNKNOWN"),
    }
    assert names(sink).count(semconv.KUBERNETES_EVENT) == 1
    assert counters.values("fallow_kubernetes_reads")["pods", "expired"] == 1


def test_broken_connections_and_half_lines_lose_and_double_nothing(api: ApiServer, tmp_path: Path) -> None:
    sink, counters = Sink(), Counters()

    async def run() -> None:
        one = receiver(api, tmp_path, counters, watch=["pods"])
        await one.start(sink.consume)
        await until(lambda: watched(api, "pods"))
        for at in range(5):
            api.half_line = at % 2 == 0
            api.put("pods", pod(f"p{at}", **RUNNING))
            await until(partial(has, sink, 3 * (at + 1)))
            api.drop()
        api.unavailable = 3
        api.put("pods", pod("last", **RUNNING))
        await until(lambda: len(names(sink)) == 18)
        await one.shutdown()

    asyncio.run(run())
    assert doubled(sink) == []
    assert api.lists("pods") == 1
    assert counters.values("fallow_kubernetes_reads")["pods", "failure"] >= 5
    versions = [int(one) for one in api.watches("pods")]
    assert versions == sorted(versions)


def test_bookmarks_move_the_cursor_without_an_event(api: ApiServer, tmp_path: Path) -> None:
    sink = Sink()

    async def run() -> None:
        one = receiver(api, tmp_path, watch=["pods"])
        await one.start(sink.consume)
        await until(lambda: watched(api, "pods"))
        for _ in range(3):
            api.bookmark("pods")
        await asyncio.sleep(0.2)
        api.drop()
        await until(lambda: len(api.watches("pods")) == 2)
        await one.shutdown()

    asyncio.run(run())
    assert names(sink) == []
    assert api.watches("pods") == ["100", "103"]


def test_what_may_not_be_read_is_said_and_the_rest_goes_on(
    api: ApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink, counters = Sink(), Counters()
    api.forbidden = {"jobs", "events", "kube-system"}
    caplog.set_level(logging.WARNING)

    async def run() -> None:
        one = receiver(api, tmp_path, counters)
        await one.start(sink.consume)
        await until(lambda: watched(api, "nodes", "pods"))
        api.put("pods", pod("p", **RUNNING))
        await until(lambda: len(names(sink)) == 3)
        await one.shutdown()

    asyncio.run(run())
    complaints = {vars(r)["resource"]: vars(r)["error"] for r in caplog.records if "may not read" in r.message}
    assert set(complaints) == {"jobs.batch", "events"}
    assert complaints["events"] == 'events is forbidden: User "fallow" cannot list resource "events"'
    assert counters.values("fallow_kubernetes_reads")["jobs", "forbidden"] >= 1


def test_events_wait_for_a_pipeline_that_takes_nothing_and_the_cursor_waits_with_them(
    api: ApiServer, tmp_path: Path
) -> None:
    sink = Sink(answers=[TransientError("full", retry_after_s=0.01)] * 5)
    cursor, seen = tmp_path / "kubernetes-cursor.json", list[bool]()
    api.put("pods", pod("p", **RUNNING))

    async def consume(batch: object) -> bytes:
        seen.append(cursor.exists())
        return await sink.consume(batch)  # type: ignore[arg-type]  # passed on as it is

    async def run() -> None:
        one = receiver(api, tmp_path, watch=["pods"])
        await one.start(consume)
        await until(lambda: "metrics" in sink.kinds)
        await one.shutdown()

    asyncio.run(run())
    assert len(set(sink.bodies[:6])) == 1
    assert seen[:6] == [False] * 6
    assert set(Cursor.model_validate_json(cursor.read_bytes()).pods) == {"uid-p"}


def test_a_cursor_of_another_cluster_is_not_gone_on_with(
    api: ApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "kubernetes-cursor.json").write_text(Cursor(cluster="other", versions={"pods": "7"}).model_dump_json())
    sink = Sink()

    async def run() -> None:
        one = receiver(api, tmp_path, watch=["pods"])
        await one.start(sink.consume)
        await until(lambda: watched(api, "pods"))
        await one.shutdown()

    asyncio.run(run())
    assert api.watches("pods") == ["100"]
    assert "The cursor is of another cluster; beginning anew." in [r.message for r in caplog.records]


def test_two_receivers_do_not_share_a_cursor(api: ApiServer, tmp_path: Path) -> None:
    async def run() -> None:
        one, other = (receiver(api, tmp_path) for _ in range(2))
        await one.start(Sink().consume)
        with pytest.raises(OSError, match="another receiver uses the cursor"):
            await other.start(Sink().consume)
        await other.shutdown()
        await one.shutdown()

    asyncio.run(run())


def test_no_way_to_a_server_is_said_at_the_start(tmp_path: Path) -> None:
    async def run() -> None:
        config = KubernetesReceiverConfig(kubeconfig=Path("missing"))
        one = KubernetesReceiver(config, Counters().context("kubernetes", tmp_path))
        with pytest.raises(PermanentError, match=r"receiver kubernetes: no way to an API server: .*missing"):
            await one.start(Sink().consume)
        await one.shutdown()

    asyncio.run(run())


def test_something_has_to_be_asked_for() -> None:
    with pytest.raises(ValueError, match="it watches nothing"):
        KubernetesReceiverConfig.model_validate({"watch": []})
