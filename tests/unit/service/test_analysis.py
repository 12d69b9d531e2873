"""Joining what waits, guarding what raises, draining what is queued."""

from __future__ import annotations

import threading

import pytest
from opentelemetry.metrics import NoOpMeter

from fallow.batch import Batch, OtlpKind, OtlpRequest
from fallow.service.analysis import Analysis, Chain, joined
from fallow.telemetry import ServiceMetrics


def request(body: bytes, kind: OtlpKind = "metrics") -> Batch:
    return Batch(request=OtlpRequest(kind=kind, body=body))


class Tag:
    """A processor that writes down what it sees and marks what it passes on."""

    def __init__(self, name: str, *, raises: bool = False) -> None:
        self.name = name
        self.raises = raises
        self.seen: list[Batch] = []

    def process(self, batch: Batch) -> Batch:
        if self.raises:
            raise ZeroDivisionError
        self.seen.append(batch)
        return Batch(request=batch.request, dropped={**batch.dropped, self.name: 1})

    def tick(self, now: int) -> Batch:
        return Batch(dropped={f"{self.name} at": now})

    def finish(self) -> Batch:
        return Batch(dropped={f"{self.name} end": 1})


def bodies(items: list[Batch | int]) -> list[object]:
    return [(i.request.body if i.request else b"") if isinstance(i, Batch) else i for i in joined(items)]


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        pytest.param([request(b"a"), request(b"b")], [b"ab"], id="neighbours-of-one-kind"),
        pytest.param(
            [request(b"a"), request(b"b", "logs"), request(b"c")], [b"a", b"b", b"c"], id="order-between-kinds"
        ),
        pytest.param([request(b"a"), 5, request(b"b")], [b"a", 5, b"b"], id="a-tick-stays-in-place"),
        pytest.param([Batch(), request(b"a")], [b"", b"a"], id="a-batch-without-request"),
        pytest.param([request(b"x" * 3_000_000)] * 2, [b"x" * 3_000_000] * 2, id="not-beyond-4-MiB"),
        pytest.param([], [], id="nothing"),
    ],
)
def test_what_waits_is_joined(items: list[Batch | int], expected: list[bytes | int]) -> None:
    assert bodies(items) == expected


def test_a_processor_that_raises_is_left_out_and_counted() -> None:
    failed: list[str] = []
    last = Tag("last")
    out = Chain({"bad": Tag("bad", raises=True), "last": last}, failed.append).process(request(b"a"))
    assert failed == ["bad"]
    assert out.dropped == {"last": 1}
    assert last.seen[0].request == OtlpRequest(kind="metrics", body=b"a")


def test_what_a_tick_releases_passes_the_later_processors() -> None:
    first, second = Tag("first"), Tag("second")
    out = Chain({"first": first, "second": second}).tick(7)
    assert [b.dropped for b in out] == [{"first at": 7, "second": 1}, {"second at": 7}]


def test_stopping_processes_what_is_queued_and_then_finishes() -> None:
    out: list[Batch] = []
    gate = threading.Event()

    def done(batch: Batch) -> None:
        gate.wait(5)
        out.append(batch)

    analysis = Analysis("t", Chain({"tag": Tag("tag")}), done, ServiceMetrics(NoOpMeter("t")), queue_size=10)
    analysis.start()
    assert all(analysis.offer(request(b"a", kind)) for kind in ("metrics", "logs", "metrics"))
    gate.set()
    assert analysis.stop(5, finish=True)
    assert [b.request.kind if b.request else "end" for b in out] == ["metrics", "logs", "metrics", "end"]


def test_a_full_queue_refuses() -> None:
    analysis = Analysis("t", Chain({}), lambda _: None, ServiceMetrics(NoOpMeter("t")), queue_size=1)
    assert analysis.offer(Batch())
    assert not analysis.offer(Batch())
