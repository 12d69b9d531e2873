"""The same telemetry through gRPC, in requests of random size, and through replay gives the same detections."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc.aio as aio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from fallow.batch import Batch
from fallow.config import parse_config
from fallow.model import Detection
from fallow.otlp_json import json_to_protobuf
from fallow.replay import default_chain, read_recording, replay
from fallow.service import Service
from fallow.testing.components import context

pytestmark = pytest.mark.timeout(900)

RULES = Path(__file__).parents[2] / "rules"
CONFIG = """\
receivers:
  otlp: {protocols: {grpc: {endpoint: "127.0.0.1:0"}}}
processors:
  decode:
  normalise:
  attribute:
  health:
  baselines:
  rhythm:
  cre:
  recommender:
exporters:
  recommendations: {endpoint: "127.0.0.1:0"}
service:
  pipelines:
    telemetry: {receivers: [otlp], processors: [decode, normalise, attribute, health, baselines, rhythm, cre, recommender], exporters: [recommendations]}
"""
METHODS = {
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
Row = tuple[Any, ...]


def recording() -> list[str]:
    """The samples that fire of all rules at once, each as a host, GPUs and jobs of its own, in order of time."""
    lines: list[tuple[int, int, str]] = []
    for number, file in enumerate(sorted(RULES.glob("*/test.otlp.jsonl"))):
        text = file.read_text().replace("gpu-node-03", f"node-{number}").replace('"GPU-', f'"GPU-{number}-')
        for job in ("48213", "48219"):
            text = text.replace(f'"{job}"', f'"{job}-{number}"')
        text = text.replace('"llm-serve-0"', f'"llm-serve-{number}"')
        lines += [(_time(line), number, line) for line in text.splitlines()]
    return [line for _, _, line in sorted(lines)]


def _time(line: str) -> int:
    at = line.index('"timeUnixNano":"') + 16
    return int(line[at : line.index('"', at)])


LINES = recording()


def rows(found: Sequence[Detection]) -> list[Row]:
    return sorted(
        (d.rule, d.id, d.state, d.time, d.start, d.end, json.dumps(dict(d.entity), sort_keys=True)) for d in found
    )


def replayed() -> list[Row]:
    found: list[Detection] = []

    def observe(batch: Batch) -> None:
        found.extend(batch.detections)

    with TemporaryDirectory() as scratch:
        file = Path(scratch) / "recording.jsonl"
        file.write_text("\n".join(LINES) + "\n")
        base = context("replay", Path(scratch))
        replay(read_recording([file], None, base.series), default_chain(None, None, base), observe)
    return rows(found)


def requests(seed: int) -> list[tuple[str, bytes]]:
    """The recording in requests of random size: several lines in one, or one line's points over several."""
    rng = random.Random(seed)
    found: list[tuple[str, bytes]] = []
    largest = rng.choice((1, 3, 30, 400))
    at = 0
    while at < len(LINES):
        kind = "metrics" if '"resourceMetrics"' in LINES[at][:30] else "logs"
        bodies: list[bytes] = []
        wanted = rng.randint(1, largest)
        while at < len(LINES) and len(bodies) < wanted:
            here = "metrics" if '"resourceMetrics"' in LINES[at][:30] else "logs"
            if here != kind:
                break
            bodies.append(json_to_protobuf("metrics" if kind == "metrics" else "logs", LINES[at]))
            at += 1
        body = b"".join(bodies)  # messages that are joined are one message
        found += [(kind, part) for part in (_split(body, kind, rng) if rng.random() < 0.3 else [body])]
    return found


def _split(body: bytes, kind: str, rng: random.Random) -> list[bytes]:
    """The same resources over two requests."""
    whole: Any = ExportMetricsServiceRequest() if kind == "metrics" else ExportLogsServiceRequest()
    whole.ParseFromString(body)
    resources = list(whole.resource_metrics if kind == "metrics" else whole.resource_logs)
    cut = rng.randint(0, len(resources))
    parts: list[bytes] = []
    for half in (resources[:cut], resources[cut:]):
        made: Any = type(whole)()
        (made.resource_metrics if kind == "metrics" else made.resource_logs).extend(half)
        parts.append(made.SerializeToString())
    return parts


async def lived(sent: Sequence[tuple[str, bytes]]) -> list[Row]:
    found: list[Detection] = []

    def observe(batch: Batch) -> None:
        found.extend(batch.detections)

    with TemporaryDirectory() as scratch:
        service = Service(parse_config(CONFIG, Path(scratch) / "live.yaml"), observe=observe)
        await service.start()
        try:
            receiver: Any = service.receivers["otlp"]
            async with aio.insecure_channel(f"127.0.0.1:{receiver.grpc_port}") as channel:
                calls = {kind: channel.unary_unary(method, None, None) for kind, method in METHODS.items()}
                for kind, body in sent:
                    await calls[kind](body, timeout=30, wait_for_ready=True)
            await service.shutdown(finish=True)
        finally:
            await service.shutdown()
    return rows(found)


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_replay_is_live(seed: int) -> None:
    expected = replayed()
    assert len({row[0] for row in expected}) >= 9, "the recording makes the rules over signals fire"
    assert asyncio.run(lived(requests(seed))) == expected
