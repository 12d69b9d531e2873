"""The service passes on first, analyses after, and drains before it ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fallow.batch import Batch, OtlpKind, OtlpRequest
from fallow.component import ComponentConfig, Consume, Context, Factory
from fallow.config import ComponentSettings, Config, Pipeline, ServiceSettings
from fallow.errors import PermanentError, TransientError
from fallow.service import Service


class NoConfig(ComponentConfig):
    """Nothing to set."""


@dataclass
class Inlet:
    """A receiver that a test feeds by hand."""

    consume: Consume | None = None
    stopped: int = 0

    async def start(self, consume: Consume) -> None:
        self.consume = consume

    async def shutdown(self) -> None:
        self.stopped += 1

    async def send(self, body: bytes, kind: OtlpKind = "metrics") -> bytes:
        assert self.consume is not None
        return await self.consume(Batch(request=OtlpRequest(kind=kind, body=body), arrival=1))


@dataclass
class Downstream:
    """A forwarder that answers what it is told to."""

    answer: bytes | Exception = b""
    taken: list[bytes] = field(default_factory=list)

    async def start(self) -> None: ...

    async def forward(self, request: OtlpRequest) -> bytes:
        if isinstance(self.answer, Exception):
            raise self.answer
        self.taken.append(request.body)
        return self.answer

    async def shutdown(self) -> None: ...


@dataclass
class Sink:
    """An exporter that keeps what it gets."""

    got: list[Batch] = field(default_factory=list)

    async def start(self) -> None: ...

    async def export(self, batch: Batch) -> None:
        self.got.append(batch)

    async def shutdown(self) -> None: ...


@dataclass
class Reader:
    """A processor that keeps what it sees, and waits while the gate is shut."""

    gate: threading.Event
    seen: list[bytes] = field(default_factory=list)
    ended: bool = False

    def process(self, batch: Batch) -> Batch:
        self.gate.wait(10)
        self.seen.append(batch.request.body if batch.request else b"")
        return batch

    def tick(self, now: int) -> Batch:
        return Batch()

    def finish(self) -> Batch:
        self.ended = True
        return Batch()


class World:
    """A service of one pipeline made of the parts above."""

    def __init__(self, tmp_path: Path, *, downstream: bool = True, queue_size: int = 100) -> None:
        self.inlet, self.downstream, self.sink = Inlet(), Downstream(), Sink()
        self.gate = threading.Event()
        self.gate.set()
        self.reader = Reader(self.gate)
        exporters: dict[str, Any] = {"sink": self.sink} | ({"down": self.downstream} if downstream else {})
        pipeline = Pipeline(receivers=("inlet",), processors=("reader",), exporters=tuple(exporters))
        self.service = Service(
            Config(
                path=tmp_path / "x.yaml",
                receivers={"inlet": settings(lambda: self.inlet)},
                processors={"reader": settings(lambda: self.reader)},
                exporters={id: settings(partial(_itself, e)) for id, e in exporters.items()},
                service=ServiceSettings(pipelines={"all": pipeline}, queue_size=queue_size),
            )
        )

    def run(self, scenario: Callable[[], Any]) -> Any:
        async def whole() -> Any:
            await self.service.start()
            try:
                return await scenario()
            finally:
                self.gate.set()
                await self.service.shutdown()

        return asyncio.run(whole())


def _itself(made: Any) -> Any:
    return made


def settings(make: Callable[[], Any]) -> ComponentSettings:
    def build(config: ComponentConfig, context: Context) -> Any:
        return make()

    return ComponentSettings(Factory(type="fake", config=NoConfig, build=build), NoConfig())


def test_what_came_is_passed_on_and_then_analysed(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.run(lambda: world.inlet.send(b"a")) == b""
    assert world.downstream.taken == world.reader.seen == [b"a"]
    assert [b.request.body for b in world.sink.got if b.request] == [b"a"]


def test_the_downstream_s_answer_is_the_sender_s(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.downstream.answer = b"partial"
    assert world.run(lambda: world.inlet.send(b"a")) == b"partial"


@pytest.mark.parametrize(
    "refusal", [TransientError("later", 2.0), PermanentError("never")], ids=["transient", "permanent"]
)
def test_what_the_downstream_refuses_is_not_analysed(tmp_path: Path, refusal: Exception) -> None:
    world = World(tmp_path)
    world.downstream.answer = refusal
    with pytest.raises(type(refusal), match=str(refusal)):
        world.run(lambda: world.inlet.send(b"a"))
    assert world.reader.seen == []


def test_a_full_queue_never_stops_the_flow(tmp_path: Path) -> None:
    world = World(tmp_path, queue_size=1)

    async def scenario() -> None:
        world.gate.clear()
        for i in range(10):
            await world.inlet.send(b"%d" % i)

    world.run(scenario)
    assert len(world.downstream.taken) == 10
    assert len(b"".join(world.reader.seen)) < 10


def test_a_full_queue_without_downstream_asks_the_sender_to_come_again(tmp_path: Path) -> None:
    world = World(tmp_path, downstream=False, queue_size=1)

    async def scenario() -> None:
        world.gate.clear()
        for i in range(10):
            await world.inlet.send(b"%d" % i)

    with pytest.raises(TransientError, match="the analysis queue is full"):
        world.run(scenario)


def test_traces_pass_without_analysis(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.run(lambda: world.inlet.send(b"t", "traces"))
    assert world.downstream.taken == [b"t"]
    assert world.reader.seen == []


def test_shutdown_drains_what_is_queued(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scenario() -> None:
        for i in range(50):
            await world.inlet.send(b"%d," % i)

    world.run(scenario)
    assert b"".join(world.reader.seen) == b"".join(b"%d," % i for i in range(50))
    assert world.inlet.stopped == 1
    assert not world.reader.ended


def test_shutdown_without_start(tmp_path: Path) -> None:
    asyncio.run(World(tmp_path).service.shutdown())
