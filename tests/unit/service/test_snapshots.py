"""Snapshots on disk: what is whole is found, what is damaged is said, and the service goes on where it ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fallow.batch import Batch, OtlpRequest
from fallow.component import ComponentConfig, Consume, Context, Factory
from fallow.config import ComponentSettings, Config, Pipeline, ServiceSettings, SnapshotSettings
from fallow.service import Service
from fallow.service.snapshots import Snapshot, Snapshots
from fallow.state import Gap, Past, Saved, State
from fallow.units import SECOND

NOW = 1_700_000_000 * SECOND


def snapshot(value: int = 1, **changes: Any) -> Snapshot:
    part = State(
        version=2, document={"name": "ä", "value": value}, arrays={"a": np.arange(value), "b": np.zeros((2, 0))}
    )
    state = State(version=1, parts={"one": part})
    return replace(Snapshot(taken=NOW, newest=NOW - 5 * SECOND, graceful=True, state=state), **changes)


def value(found: Snapshot | None) -> int | None:
    return None if found is None else int(found.state.parts["one"].document["value"])


def test_what_was_written_is_read(tmp_path: Path) -> None:
    size = Snapshots(tmp_path / "deep" / "down", 2).write(snapshot(7))
    found = Snapshots(tmp_path / "deep" / "down", 2).newest()
    assert found is not None
    assert size > 0
    part = found.state.parts["one"]
    assert (part.version, part.document) == (2, {"name": "ä", "value": 7})
    assert [(k, str(a.dtype), a.tolist()) for k, a in part.arrays.items()] == [
        ("a", "int64", list(range(7))),
        ("b", "float64", [[], []]),
    ]


def test_the_newest_is_found_and_so_many_are_kept(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, 2)
    for number in range(12):
        snapshots.write(snapshot(number, taken=NOW - number))  # whatever the clock on the wall says
    assert len(list(tmp_path.iterdir())) == 2
    assert value(Snapshots(tmp_path, 2).newest()) == 11


def _cut(folder: Path) -> None:
    with (folder / "00000.npy").open("r+b") as file:
        file.truncate(10)


def _bit(folder: Path) -> None:
    content = bytearray((folder / "state.json").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "state.json").write_bytes(content)


def _gone(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def _instead(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        pytest.param(_cut, "00000.npy is damaged", id="cut-short"),
        pytest.param(_bit, "state.json is damaged", id="one-bit"),
        pytest.param(_gone("00001.npy"), "00001.npy is damaged", id="a-file-gone"),
        pytest.param(_instead("manifest.json", "{"), "Expecting", id="manifest-cut"),
        pytest.param(_gone("manifest.json"), "manifest.json", id="no-manifest"),
        pytest.param(_instead("manifest.json", '{"format": 99}'), "format 99 found, expected 1", id="format"),
    ],
)
def test_a_damaged_one_is_said_and_the_one_before_is_used(
    tmp_path: Path, harm: Callable[[Path], object], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    snapshots = Snapshots(tmp_path, 3)
    for number in (1, 2):
        snapshots.write(snapshot(number))
    harm(max(tmp_path.iterdir()))
    assert value(snapshots.newest()) == 1
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert said in record.__dict__["reason"]
    assert record.__dict__["folder"] == str(max(tmp_path.iterdir()))


def test_what_was_taken_up_once_is_not_graceful_any_more(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, 2)
    snapshots.write(snapshot())
    first, second = snapshots.newest(), snapshots.newest()
    assert first is not None
    assert second is not None
    assert first.gap(NOW + SECOND) is None
    assert second.gap(NOW + SECOND) == Gap(until=NOW + SECOND, span=SECOND)


@pytest.mark.parametrize(
    ("newest", "until"),
    [
        pytest.param(-5, 60, id="live"),
        pytest.param(30, 90, id="ahead-of-the-wall"),
        pytest.param(-86_400, -86_400 + 60 + 600, id="a-recording"),
    ],
)
def test_what_may_be_lost(newest: int, until: int) -> None:
    taken = snapshot(graceful=False, newest=NOW + newest * SECOND)
    assert taken.gap(NOW + 60 * SECOND) == Gap(until=NOW + until * SECOND, span=60 * SECOND)


# -- the service ---------------------------------------------------------------------------------------------------
class Inlet:
    """A receiver that a test feeds by hand."""

    consume: Consume

    async def start(self, consume: Consume) -> None:
        self.consume = consume

    async def shutdown(self) -> None: ...

    async def send(self, body: bytes) -> None:
        await self.consume(Batch(request=OtlpRequest(kind="metrics", body=body), arrival=1))


class Sink:
    """An exporter that takes everything."""

    async def start(self) -> None: ...

    async def export(self, batch: Batch) -> None: ...

    async def shutdown(self) -> None: ...


class Counter:
    """A processor that counts, and can be told to refuse what it is given."""

    def __init__(self, refuses: bool) -> None:
        self.count = 0
        self.past: Past | None = None
        self.ended = False
        self._refuses = refuses

    def process(self, batch: Batch) -> Batch:
        self.count += 1
        return batch

    def tick(self, now: int) -> Batch:
        return Batch()

    def finish(self) -> Batch:
        self.ended = True
        return Batch()

    def save(self) -> Saved:
        count = self.count
        return lambda: State(version=1, document={"count": count})

    def restore(self, state: State, past: Past) -> Mapping[str, int]:
        self.count = -1
        state.of(2 if self._refuses else 1)
        self.count, self.past = state.document["count"], past
        return {"counts": 1}


def _copied(source: Path, target: Path) -> None:
    """Copy what is there at one moment of the snapshots that come and go."""
    for _ in range(20):
        with contextlib.suppress(OSError):  # one that went meanwhile
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*"))
            return
        shutil.rmtree(target)
    raise AssertionError("snapshots come and go too fast")


class NoConfig(ComponentConfig):
    """Nothing to set."""


class World:
    """A service that counts requests; each ``live`` is a process."""

    def __init__(self, tmp_path: Path, interval: str = "1h") -> None:
        self.path = tmp_path
        self.interval = interval
        self.counter = Counter(False)

    def live(self, requests: int, *, killed: bool = False, refuses: bool = False, wait_s: float = 0) -> Counter:
        inlet = Inlet()

        def counter() -> Counter:
            self.counter = Counter(refuses)
            return self.counter

        def made(make: Any) -> ComponentSettings:
            def build(config: ComponentConfig, context: Context) -> Any:
                return make()

            return ComponentSettings(Factory(type="fake", config=NoConfig, build=build), NoConfig())

        pipeline = Pipeline(receivers=("inlet",), processors=("counter",), exporters=("sink",))
        kept = SnapshotSettings.model_validate({"directory": "state", "interval": self.interval})
        service = Service(
            Config(
                path=self.path / "x.yaml",
                receivers={"inlet": made(lambda: inlet)},
                processors={"counter": made(counter)},
                exporters={"sink": made(Sink)},
                service=ServiceSettings(pipelines={"all": pipeline}, snapshot=kept),
            )
        )

        async def whole() -> None:
            await service.start()
            for _ in range(requests):
                await inlet.send(b"")
            await asyncio.sleep(wait_s)
            before = self.path / "before"
            if killed:
                _copied(self.path / "state", before)
            await service.shutdown()
            if killed:  # nothing that happened at the end has happened
                shutil.rmtree(self.path / "state")
                before.rename(self.path / "state")

        asyncio.run(whole())
        return self.counter


def test_a_service_goes_on_where_it_ended(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.live(1).count == 1
    second = world.live(1)
    assert second.count == 2
    assert second.past is not None
    assert second.past.gap is None
    assert not second.ended, "nothing is released at the end"


def test_after_a_kill_the_last_periodic_one_is_taken_up_with_its_gap(tmp_path: Path) -> None:
    world = World(tmp_path, interval="50ms")
    assert world.live(1, killed=True, wait_s=1).count == 1
    second = world.live(0)
    assert second.count == 1
    assert second.past is not None
    assert second.past.gap is not None
    assert second.past.gap.span > 0


def test_a_processor_that_cannot_use_its_state_begins_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = World(tmp_path)
    world.live(3)
    assert world.live(0, refuses=True).count == 0
    (warning,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert warning.__dict__["reason"] == "version 1 found, expected 2"
    assert warning.__dict__["processor"] == "counter"


def test_a_directory_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    assert World(tmp_path).live(1).count == 1
    assert any("could not be written" in r.message for r in caplog.records)


# -- kill -9 -------------------------------------------------------------------------------------------------------
WRITER = """
import sys
from pathlib import Path
import numpy as np
from fallow.service.snapshots import Snapshot, Snapshots
from fallow.state import State
snapshots, number = Snapshots(Path(sys.argv[1]), 2), int(sys.argv[2])
while True:
    number += 1
    arrays = {str(i): np.full(20_000, number) for i in range(5)}
    state = State(version=1, document={"number": number}, arrays=arrays)
    snapshots.write(Snapshot(taken=number, newest=0, graceful=False, state=state))
    print(number, flush=True)
"""


def test_a_kill_while_one_is_written_leaves_the_one_before(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    last = 0
    for _ in range(4):
        command = [sys.executable, "-c", WRITER, str(tmp_path / "state"), str(last)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(rng.uniform(0, 0.03))
            os.kill(writer.pid, signal.SIGKILL)
            said = writer.stdout.read().split()
        found = Snapshots(tmp_path / "state", 2).newest()
        assert found is not None
        number = found.state.document["number"]
        assert number >= max([last, *(int(text) for text in said)]), "what was said to be safe is there"
        assert all((array == number).all() for array in found.state.arrays.values()), "and it is whole"
        last = number
