"""The receiver in a pipeline: events before the cursor, patience, and what stands in the way of a start."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from fallow import semconv
from fallow.cursor import CursorFile
from fallow.errors import PermanentError, TransientError
from fallow_receivers.slurm import SlurmReceiver, SlurmReceiverConfig
from fallow_receivers.slurm.cursor import Cursor
from helpers.otlp_server import Counters, Sink
from helpers.slurm import GOLDEN, RecordedSlurm, attributes_of, measured, told

LOOKS = sorted((GOLDEN / "24.11").iterdir())


def receiver(slurm: RecordedSlurm, counters: Counters | None = None, **settings: object) -> SlurmReceiver:
    config = {"commands": "bin", "interval": "1s", "node_interval": "1s", "history": "none", **settings}
    context = (counters or Counters()).context("slurm", slurm.folder)
    return SlurmReceiver(SlurmReceiverConfig.model_validate(config), context)


@pytest.fixture
def slurm(tmp_path: Path) -> RecordedSlurm:
    made = RecordedSlurm(tmp_path)
    made.show(LOOKS[0])
    return made


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.02)


def test_events_and_metrics_go_into_the_pipeline(slurm: RecordedSlurm) -> None:
    sink, counters = Sink(), Counters()

    async def run() -> None:
        one = receiver(slurm, counters, domain=".cluster.example")
        await one.start(sink.consume)
        await until(lambda: "metrics" in sink.kinds)
        slurm.show(LOOKS[1])
        await until(lambda: sink.kinds.count("logs") == 2)
        await one.shutdown()

    asyncio.run(run())
    events = told(sink.batches)
    starts = [(host, record) for host, record in events if record.event_name == semconv.JOB_START]
    assert starts[0][0] == "n1.cluster.example"
    assert attributes_of(starts[0][1])[semconv.JOB_NODES] == ("n1",)
    assert len({attributes_of(record)[semconv.RECORD_UID] for _, record in events}) == len(events)
    points = list(measured(next(b for b in sink.batches if b.request and b.request.kind == "metrics")))
    gpus = {(a[semconv.HOST_NAME], a[semconv.GPU_INDEX]) for name, a, _ in points if name == semconv.JOB_GPU_ALLOCATED}
    assert ("n1.cluster.example", "0") in gpus
    assert {a[semconv.CLUSTER_NAME] for _, a, _ in points} == {"mini"}
    assert counters.values("fallow_slurm_events")[semconv.JOB_START,] == 3
    assert counters.values("fallow_slurm_looks")["success",] >= 2


def test_events_wait_for_a_pipeline_that_takes_nothing_and_the_cursor_waits_with_them(slurm: RecordedSlurm) -> None:
    sink = Sink(answers=[TransientError("full", retry_after_s=0.01)] * 5)
    cursor = slurm.folder / "slurm-cursor.json"
    seen: list[bool] = []

    async def consume(batch: object) -> bytes:
        seen.append(cursor.exists())
        return await sink.consume(batch)  # type: ignore[arg-type]  # passed on as it is

    async def run() -> None:
        one = receiver(slurm)
        await one.start(consume)
        await until(lambda: "metrics" in sink.kinds)
        await one.shutdown()

    asyncio.run(run())
    assert sink.kinds[:7] == ["logs"] * 6 + ["metrics"]
    assert len(set(sink.bodies[:6])) == 1
    assert seen[:7] == [False] * 6 + [True]
    assert set(Cursor.model_validate_json(cursor.read_bytes()).runs) == {"1", "2", "3", "4", "5"}


def test_a_restart_tells_nothing_twice(slurm: RecordedSlurm) -> None:
    sink = Sink()

    async def run(look: Path, looks: int) -> None:
        slurm.show(look)
        one = receiver(slurm)
        before = sink.kinds.count("metrics")
        await one.start(sink.consume)
        await until(lambda: sink.kinds.count("metrics") == before + looks)
        await one.shutdown()

    for look in LOOKS:
        asyncio.run(run(look, 1))
    asyncio.run(run(LOOKS[-1], 2))
    uids = [attributes_of(record)[semconv.RECORD_UID] for _, record in told(sink.batches)]
    assert len(set(uids)) == len(uids)
    ends = [
        attributes_of(record)[semconv.JOB_ID]
        for _, record in told(sink.batches)
        if record.event_name == semconv.JOB_END
    ]
    assert sorted(map(str, ends)) == ["1", "2", "2", "3", "4", "5"]


def test_a_refused_request_is_counted_and_metrics_are_not_kept(slurm: RecordedSlurm) -> None:
    sink, counters = Sink(answers=[PermanentError("no"), TransientError("full")]), Counters()

    async def run() -> None:
        one = receiver(slurm, counters)
        await one.start(sink.consume)
        await until(lambda: len(sink.batches) >= 3)
        await one.shutdown()

    asyncio.run(run())
    assert sink.kinds[:3] == ["logs", "metrics", "metrics"]
    assert counters.values("fallow_receiver_refused_requests") == {("logs",): 1, ("metrics",): 1}


def test_an_outage_is_said_once_and_so_is_its_end(slurm: RecordedSlurm, caplog: pytest.LogCaptureFixture) -> None:
    sink, counters = Sink(), Counters()
    slurm.fail("slurm_load_jobs error: Unable to contact slurm controller")

    async def run() -> None:
        one = receiver(slurm, counters)
        await one.start(sink.consume)
        await until(lambda: counters.values("fallow_slurm_looks").get(("failure",), 0) == 2)
        slurm.show(LOOKS[0])
        await until(lambda: bool(sink.batches))
        await one.shutdown()

    with caplog.at_level(logging.INFO):
        asyncio.run(run())
    said = [r.message for r in caplog.records if "read" in r.message]
    assert said == ["Slurm cannot be read; trying again.", "Slurm can be read again."]


def test_a_look_that_takes_long_does_not_hold_up_the_end(slurm: RecordedSlurm) -> None:
    program = slurm.commands / "squeue"
    program.write_text(f"#!/bin/sh\ntouch {slurm.folder}/began\nexec sleep 60\n")

    async def run() -> float:
        one = receiver(slurm)
        await one.start(Sink().consume)
        await until((slurm.folder / "began").exists)
        began = asyncio.get_running_loop().time()
        await one.shutdown()
        return asyncio.get_running_loop().time() - began

    assert asyncio.run(run()) < 8


def test_two_receivers_do_not_share_a_cursor(slurm: RecordedSlurm) -> None:
    async def run() -> None:
        one, other = receiver(slurm), receiver(slurm)
        await one.start(Sink().consume)
        with pytest.raises(OSError, match=r"another receiver uses the cursor .*; give each one of its own"):
            await other.start(Sink().consume)
        await one.shutdown()
        await other.start(Sink().consume)
        await other.shutdown()

    asyncio.run(run())


@pytest.mark.parametrize("text", ["{", '{"version": 2}', '{"version": 1, "runs": {"7": {}}}'])
def test_a_file_that_is_no_cursor_is_left_alone(text: str, tmp_path: Path) -> None:
    path = tmp_path / "cursor.json"
    path.write_text(text)
    with pytest.raises(OSError, match=r"is no cursor of this version .* move it away to begin anew"):
        CursorFile(path, Cursor).open()
    assert path.read_text() == text


def test_a_token_file_that_is_not_there_is_found_at_the_start(slurm: RecordedSlurm) -> None:
    rest = {"endpoint": "unix:/sock", "token_file": "token"}

    async def run() -> None:
        with pytest.raises(OSError, match="No such file"):
            await receiver(slurm, rest=rest).start(Sink().consume)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"interval": "500ms"}, "below the minimum 1s"),
        ({"history": "sacct"}, "'auto', 'slurmdbd', 'jobcomp' or 'none'"),
        ({"rest": {"endpoint": "localhost:6820"}}, "write unix:/path/of/socket or https://host:6820"),
        ({"rest": {"endpoint": "unix:/s", "token": "a", "token_file": "b"}}, "give token or token_file, not both"),
        ({"rest": {"endpoint": "unix:/s", "version": "0.0.40"}}, "should match pattern"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SlurmReceiverConfig.model_validate(settings)


def test_a_token_is_not_shown() -> None:
    config = SlurmReceiverConfig.model_validate({"rest": {"endpoint": "unix:/s", "token": "secret-jwt"}})
    assert "secret-jwt" not in repr(config)
    assert "secret-jwt" not in json.dumps(config.model_dump(mode="json"), default=str)
