"""How far clocks are apart: the arithmetic on ways that are known, and the receiver against the real service."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import grpc.aio as aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallow import semconv
from fallow.clock.v1.clock_pb2 import ExchangeRequest, ExchangeResponse
from fallow.clock.v1.clock_pb2_grpc import ClockServiceServicer, add_ClockServiceServicer_to_server
from fallow.testing.components import context
from fallow.units import SECOND
from fallow_exporters.recommendations import RecommendationsConfig, RecommendationsExporter
from fallow_receivers.clock import ClockReceiver, ClockReceiverConfig
from fallow_receivers.clock.offset import Exchange, best
from helpers.otlp_server import Counters, Sink
from helpers.slurm import measured

NS = st.integers(0, 10 * SECOND)


def exchange(offset: int, there: int, service: int, back: int) -> Exchange:
    received = 1_000 + there + offset
    return Exchange(asked=1_000, received=received, sent=received + service, answered=1_000 + there + service + back)


@given(st.integers(-(10**12), 10**12), NS, NS, NS)
def test_the_truth_is_never_further_away_than_is_said(offset: int, there: int, service: int, back: int) -> None:
    found = exchange(offset, there, service, back)
    assert abs(found.offset - offset) <= found.uncertainty
    assert found.uncertainty == (there + back) / 2


def test_ways_of_the_same_length_give_the_offset_itself() -> None:
    assert exchange(-5 * SECOND, 300, 50, 300).offset == -5 * SECOND


def test_the_quickest_counts_and_a_clock_that_was_set_meanwhile_does_not() -> None:
    slow, quick = exchange(7, 900, 5, 10), exchange(7, 20, 5, 30)
    set_back = Exchange(asked=1_000, received=2_000, sent=2_005, answered=500)
    assert best([slow, set_back, quick]) is quick
    assert best([set_back]) is None
    assert best([]) is None


class Ahead(ClockServiceServicer):
    """A service whose clock is ahead."""

    def __init__(self, by_s: float) -> None:
        self._by = round(by_s * SECOND)

    async def Exchange(self, request: ExchangeRequest, context: Any) -> ExchangeResponse:
        now = time.time_ns() + self._by
        return ExchangeResponse(received_unix_nano=now, answered_unix_nano=now)


async def told(endpoint: str, folder: Path, counters: Counters | None = None) -> dict[str, float]:
    """What a receiver sends first."""
    sink = Sink()
    config = ClockReceiverConfig.model_validate({"endpoint": endpoint, "tls": {"insecure": True}, "host": "n1"})
    receiver = ClockReceiver(config, (counters or Counters()).context("clock", folder))
    await receiver.start(sink.consume)
    async with asyncio.timeout(20):
        await sink.entered.wait()
    await receiver.shutdown()
    points = list(measured(sink.batches[0]))
    assert all(attributes == {semconv.HOST_NAME: "n1"} for _, attributes, _ in points)
    return {name: value for name, _, value in points}


def test_a_clock_that_is_ahead_is_found_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    async def run() -> dict[str, float]:
        server = aio.server()
        add_ClockServiceServicer_to_server(Ahead(90.0), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        found = await told(f"127.0.0.1:{port}", tmp_path)
        await server.stop(0)
        return found

    found = asyncio.run(run())
    assert 0 < found[semconv.CLOCK_UNCERTAINTY] < 1
    assert abs(found[semconv.CLOCK_OFFSET] - 90) <= found[semconv.CLOCK_UNCERTAINTY]
    assert [r.message.partition(":")[0] for r in caplog.records] == ["This node's clock is off"]


def test_the_recommendations_exporter_answers_for_the_service(tmp_path: Path) -> None:
    async def run() -> dict[str, float]:
        exporter = RecommendationsExporter(
            RecommendationsConfig(endpoint="127.0.0.1:0"), context("recommendations", tmp_path)
        )
        await exporter.start()
        try:
            return await told(f"127.0.0.1:{exporter.port}", tmp_path)
        finally:
            await exporter.shutdown()

    found = asyncio.run(run())
    assert abs(found[semconv.CLOCK_OFFSET]) <= found[semconv.CLOCK_UNCERTAINTY] < 1


def test_a_service_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    counters, sink = Counters(), Sink()

    async def run() -> None:
        config = ClockReceiverConfig.model_validate(
            {"endpoint": "127.0.0.1:1", "tls": {"insecure": True}, "interval": "1s", "timeout": "1s"}
        )
        receiver = ClockReceiver(config, counters.context("clock", tmp_path))
        await receiver.start(sink.consume)
        async with asyncio.timeout(20):
            while not counters.values("fallow_clock_looks").get(("failure",)):
                await asyncio.sleep(0.05)
        await receiver.shutdown()

    asyncio.run(run())
    assert sink.batches == []


def test_a_certificate_that_is_missing_is_said_at_the_start(tmp_path: Path) -> None:
    async def run() -> None:
        config = ClockReceiverConfig.model_validate({"endpoint": "127.0.0.1:1", "tls": {"ca_file": "ca.pem"}})
        receiver = ClockReceiver(config, context("clock", tmp_path))
        with pytest.raises(FileNotFoundError):
            await receiver.start(Sink().consume)
        await receiver.shutdown()

    asyncio.run(run())
