"""What three releases of Slurm printed of the same scenario gives the same events and measurements."""

from __future__ import annotations

from collections import defaultdict

import pytest

from fallow import semconv
from fallow.clients.slurm import Cli
from fallow.reference import metadata
from fallow_receivers.slurm import SlurmReceiverConfig
from fallow_receivers.slurm.cursor import Cursor
from fallow_receivers.slurm.said import Value
from fallow_receivers.slurm.watch import Look, Watch
from helpers.slurm import GOLDEN, RELEASES, RecordedSlurm

# Slurm's clock at the time of the recording: seconds more or less are no difference.
TIMES = (semconv.JOB_WAIT, semconv.JOB_TIME_USED, semconv.RESERVATION_START, semconv.RESERVATION_END)
Plain = tuple[str, str, dict[str, Value]]


@pytest.fixture(scope="module")
def looks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Look]]:
    """The four looks at each release."""
    found: dict[str, list[Look]] = defaultdict(list)
    for release in RELEASES:
        folder = tmp_path_factory.mktemp("slurm")
        slurm = RecordedSlurm(folder)
        config = SlurmReceiverConfig.model_validate({"node_interval": "1s", "history": "none"})
        watch = Watch(config, Cli(commands=slurm.commands), Cursor(), folder)
        for recorded in sorted((GOLDEN / release).iterdir()):
            slurm.show(recorded)
            found[release].append(watch.look(int((recorded / "time").read_text())))
            watch.told(found[release][-1])
    return found


def events(look: Look) -> list[Plain]:
    """Sorted: which of two jobs came first is a matter of the second in which they did."""
    found = [(e.name, e.node, {k: v for k, v in e.attributes.items() if k not in TIMES}) for e in look.events]
    return sorted(found, key=str)


def points(look: Look) -> list[tuple[str, str, object, float | None]]:
    timed = (*TIMES, semconv.QUEUE_WAIT)
    return sorted(((p.name, p.node, p.attributes, None if p.name in timed else p.value) for p in look.points), key=str)


@pytest.mark.parametrize("release", RELEASES[1:])
def test_every_release_tells_the_same(release: str, looks: dict[str, list[Look]]) -> None:
    assert [events(look) for look in looks[release]] == [events(look) for look in looks["22.05"]]


@pytest.mark.parametrize("release", RELEASES[1:])
def test_every_release_measures_the_same(release: str, looks: dict[str, list[Look]]) -> None:
    assert [points(look) for look in looks[release]] == [points(look) for look in looks["22.05"]]


@pytest.mark.parametrize("release", RELEASES)
def test_what_happened_to_each_job_in_its_order(release: str, looks: dict[str, list[Look]]) -> None:
    told: dict[object, list[str]] = defaultdict(list)
    for look in looks[release]:
        assert [e.time_s for e in look.events] == sorted(e.time_s for e in look.events)
        for event in look.events:
            if semconv.JOB_ID in event.attributes:
                state = event.attributes.get(semconv.JOB_STATE, "")
                told[event.attributes[semconv.JOB_ID]].append(f"{event.name.rpartition('.')[2]} {state}".strip())
    assert told == {
        "1": ["submit", "start", "end FAILED"],
        "2": ["submit", "start", "end REQUEUED", "requeue", "start", "end CANCELLED"],
        "3": ["submit", "end CANCELLED"],  # cancelled in the queue: it never started
        "4": ["submit", "end CANCELLED"],  # the array's second task, which waited for its first
        "5": ["submit", "start", "end CANCELLED"],
    }


def test_what_is_said_of_a_job(looks: dict[str, list[Look]]) -> None:
    (start,) = [
        e for e in looks["26.05"][0].events if e.name == semconv.JOB_START and e.attributes[semconv.JOB_ID] == "2"
    ]
    assert {k: v for k, v in start.attributes.items() if k not in TIMES} == {
        "fallow.job.id": "2",
        "fallow.job.name": "two nodes",
        "fallow.user.name": "root",
        "fallow.job.partition": "main",
        "fallow.job.gpus": 4,
        "fallow.job.cpus": 2,
        "fallow.job.memory.limit": 2 * 1000 * 2**20,
        "fallow.job.time.limit": 90 * 60,
        "fallow.job.nodes": ("n1", "n2"),
        "fallow.job.gpu.indices": ["n1:1", "n1:2", "n2:0", "n2:1"],
        "fallow.job.restarts": 0,
    }
    (end,) = [e for e in looks["22.05"][1].events if e.attributes.get(semconv.ERROR_TYPE)]
    said = {name: end.attributes[name] for name in (semconv.JOB_ID, semconv.JOB_EXIT_CODE, semconv.ERROR_TYPE)}
    assert said == {semconv.JOB_ID: "1", semconv.JOB_EXIT_CODE: 3, semconv.ERROR_TYPE: "FAILED"}
    assert end.attributes[semconv.JOB_TIME_USED] in (4, 5)


def test_which_gpus_are_whose(looks: dict[str, list[Look]]) -> None:
    held = {
        (p.node, p.attributes[semconv.GPU_INDEX], p.attributes[semconv.JOB_ID])
        for p in looks["24.11"][0].points
        if p.name == semconv.JOB_GPU_ALLOCATED
    }
    assert held == {("n1", "0", "1"), ("n1", "1", "2"), ("n1", "2", "2"), ("n2", "0", "2"), ("n2", "1", "2")}
    given = {p.node: p.value for p in looks["24.11"][0].points if p.name == semconv.NODE_GPUS_ALLOCATED}
    assert given == {"n1": 3, "n2": 2, "n3": 0, "n4": 0}


def test_the_queue(looks: dict[str, list[Look]]) -> None:
    def queue(name: str) -> dict[object, float]:
        return {p.attributes[semconv.JOB_STATE]: p.value for p in looks["22.05"][0].points if p.name == name}

    assert queue(semconv.QUEUE_JOBS) == {"RUNNING": 3, "PENDING": 2}
    assert queue(semconv.QUEUE_GPUS) == {"RUNNING": 5, "PENDING": 4}
    available = {p.node: p.value for p in looks["22.05"][1].points if p.name == semconv.NODE_AVAILABLE}
    assert available == {"n1": 1, "n2": 1, "n3": 0, "n4": 0}


def test_all_that_is_told_and_measured_is_documented(looks: dict[str, list[Look]]) -> None:
    about = metadata("receivers", "slurm").emits
    assert about is not None
    metrics = {name: of for group in about.groups for name, of in group.metrics.items()}
    told = [event for release in looks.values() for look in release for event in look.events]
    found = [point for release in looks.values() for look in release for point in look.points]
    assert {event.name for event in told} == set(about.events) - {semconv.JOB_USAGE, semconv.RESERVATION_UPDATE}
    # In what was recorded no job waits that could run.
    assert {point.name for point in found} == set(metrics) - {semconv.QUEUE_WAIT}
    assert {name: of.unit for name, of in metrics.items()} == {name: semconv.SIGNALS[name] for name in metrics}
    attributes = [*(event.attributes for event in told), *(point.attributes for point in found)]
    assert {name for one in attributes for name in one} <= set(about.attributes)
    used = {name for of in about.events.values() for name in of.attributes}
    assert used <= set(about.attributes)
