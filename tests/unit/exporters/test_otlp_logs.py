"""Events reach the backend in order and none is lost while it is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fallow.component import Context
from fallow.testing.components import context as make_context
from fallow_exporters.otlp_logs import OtlpLogsConfig, OtlpLogsExporter
from helpers.model import HOUR, a_detection, a_recommendation
from helpers.sink import LogsSink, attributes


@pytest.fixture
def sink() -> Iterator[LogsSink]:
    made = LogsSink()
    made.up()
    yield made
    made.down()


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return make_context("otlp_logs", tmp_path)


def exporter(context: Context, port: int, **config: Any) -> OtlpLogsExporter:
    options = {"endpoint": f"127.0.0.1:{port}", "tls": {"insecure": True}, "timeout": "2s", "max_backoff": "500ms"}
    return OtlpLogsExporter(OtlpLogsConfig.model_validate(options | config), context)


async def until(true: Callable[[], bool], timeout_s: float = 15) -> None:
    async with asyncio.timeout(timeout_s):
        while not true():
            await asyncio.sleep(0.02)


def test_each_change_is_one_record_with_a_fixed_name(context: Context, sink: LogsSink) -> None:
    async def scenario() -> None:
        sending = exporter(context, sink.port)
        await sending.start()
        await asyncio.to_thread(context.ledger.record, [a_detection()], [a_recommendation()])
        await until(lambda: len(sink.records()) == 2)
        await sending.shutdown()

    asyncio.run(scenario())
    detection, recommendation = sink.records()
    assert (detection.event_name, recommendation.event_name) == ("fallow.detection", "fallow.recommendation")
    assert detection.time_unix_nano == HOUR
    assert detection.body.string_value == "GPU memory held, nothing computed"
    assert attributes(detection)["fallow.rule.id"] == "CRE-2026-9003"
    assert attributes(detection)["fallow.subject.hw.id"] == "GPU-1"
    assert attributes(recommendation)["fallow.saving.gpu_seconds"] == 3600.0
    resource = {a.key: a.value.string_value for a in sink.resources()[0].resource.attributes}
    assert resource["host.name"] == "n1"
    assert resource["service.name"] == "fallow"


def test_a_backend_that_was_away_gets_everything_in_order(
    context: Context, sink: LogsSink, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        sending = exporter(context, sink.port)
        await sending.start()
        await asyncio.to_thread(context.ledger.record, [a_detection("d0")], [])
        await until(lambda: len(sink.records()) == 1)
        await asyncio.to_thread(sink.down)
        for i in range(1, 400):
            await asyncio.to_thread(context.ledger.record, [a_detection(f"d{i}")], [])
        await until(lambda: "do not take" in caplog.text or "does not take" in caplog.text)
        await asyncio.to_thread(sink.up)
        await until(lambda: len(sink.records()) >= 400)
        await sending.shutdown()

    with caplog.at_level(logging.INFO, logger="fallow_exporters"):
        asyncio.run(scenario())
    assert [attributes(r)["fallow.detection.id"] for r in sink.records()] == [f"d{i}" for i in range(400)]
    said = [r.getMessage() for r in caplog.records if r.name.startswith("fallow_exporters")]
    assert said == [
        "The events backend does not take events; they are kept until it does.",
        "The events backend is back.",
    ]


def test_what_was_not_taken_is_sent_after_a_restart(context: Context, sink: LogsSink) -> None:
    async def first() -> None:
        sink.refusals = 1000
        sending = exporter(context, sink.port)
        await sending.start()
        await asyncio.to_thread(context.ledger.record, [a_detection()], [])
        await asyncio.sleep(0.3)
        await sending.shutdown()
        sink.refusals = 0

    async def second() -> None:
        sending = exporter(context, sink.port)
        await sending.start()
        await until(lambda: len(sink.records()) == 1)
        await sending.shutdown()

    asyncio.run(first())
    assert sink.records() == []
    asyncio.run(second())
    asyncio.run(second())
    assert len(sink.records()) == 1


def test_shutdown_sends_what_is_left(context: Context, sink: LogsSink) -> None:
    async def scenario() -> None:
        sending = exporter(context, sink.port)
        await sending.start()
        for i in range(600):
            await asyncio.to_thread(context.ledger.record, [a_detection(f"d{i}")], [])
        await sending.shutdown()

    asyncio.run(scenario())
    assert len(sink.records()) == 600
