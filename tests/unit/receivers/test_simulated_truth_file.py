"""The truth file, and the choice of what is simulated."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fallow.semconv import JOB_ID
from fallow_receivers.simulated import Cluster, SimulatedReceiver, SimulatedReceiverConfig
from fallow_receivers.simulated.profiles import BEHAVIOURS, rule_of
from helpers.otlp_server import Counters, Sink

START = "2026-01-05T08:00:00Z"


def simulate(folder: Path, **settings: Any) -> list[dict[str, Any]]:
    """Lines of the truth file of two hours, as fast as it goes."""
    config = {"nodes": 2, "interval": "5m", "speed": 100_000, "start": START, "duration": "2h", "truth": "truth.jsonl"}

    async def run() -> None:
        made = SimulatedReceiverConfig.model_validate({**config, **settings})
        receiver = SimulatedReceiver(made, Counters().context("simulated", folder))
        await receiver.start(Sink().consume)
        await receiver.finished()
        await receiver.shutdown()

    asyncio.run(run())
    return [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]


def test_the_file_says_what_the_cluster_knows(tmp_path: Path) -> None:
    lines = simulate(tmp_path)
    cluster = Cluster(1, 2, 8)
    origin = round(datetime.fromisoformat(START).timestamp()) * 10**9
    spans = {(rule_of(s.pattern), *s.labels.values(), s.start // 10**6) for s in cluster.truth(7200, origin)}
    found = [one for one in lines if one["rule"] is not None]
    assert {
        (one["rule"], *one["entity"].values(), round(datetime.fromisoformat(one["from"]).timestamp() * 1000))
        for one in found
    } == spans
    assert all(one["from"] < one["to"] <= "2026-01-05T10:00:00.000Z" for one in lines)
    jobs = {job.id: job.behaviour for job in cluster.started(7200)}
    assert {one["entity"][JOB_ID]: one["behaviour"] for one in lines} == jobs
    assert "training" in jobs.values()  # the healthy are on it too


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    assert simulate(tmp_path, seed=7) == simulate(tmp_path, seed=7) != simulate(tmp_path, seed=8)


@pytest.mark.parametrize("name", sorted(BEHAVIOURS))
def test_every_behaviour_can_be_had_alone(name: str, tmp_path: Path) -> None:
    assert {one["behaviour"] for one in simulate(tmp_path, behaviours=[name], duration="1h")} == {name}


def test_an_unknown_behaviour_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValidationError, match=r"'idle' is no behaviour; there are batch, counters_stuck, .*training"):
        SimulatedReceiverConfig.model_validate({"behaviours": ["idle"]})


def test_a_file_that_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    async def run() -> None:
        config = SimulatedReceiverConfig.model_validate({"truth": "missing/truth.jsonl"})
        receiver = SimulatedReceiver(config, Counters().context("simulated", tmp_path))
        with pytest.raises(FileNotFoundError):
            await receiver.start(Sink().consume)
        await receiver.shutdown()

    asyncio.run(run())
