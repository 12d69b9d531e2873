"""From a receiver into the pipeline: in order, patient, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from opentelemetry.metrics import NoOpMeter

from fallow.batch import Batch, OtlpKind, OtlpRequest
from fallow.delivery import Delivery
from fallow.errors import PermanentError, TransientError


def request(number: int, kind: OtlpKind = "metrics") -> OtlpRequest:
    return OtlpRequest(kind=kind, body=b"%d" % number)


class Pipeline:
    """Remembers what it took; raises what ``answer`` gives for a body."""

    def __init__(self, answer: Callable[[bytes], Exception | None] = lambda body: None) -> None:
        self.taken: list[bytes] = []
        self._answer = answer

    async def __call__(self, batch: Batch) -> bytes:
        assert batch.request is not None
        if (error := self._answer(batch.request.body)) is not None:
            raise error
        self.taken.append(batch.request.body)
        return b""


def delivered(pipeline: Pipeline, requests: list[OtlpRequest], capacity: int = 10) -> list[bytes]:
    async def run() -> None:
        delivery = Delivery(NoOpMeter("t"), {"receiver": "t"}, capacity)
        delivery.start(pipeline)
        for one in requests:
            delivery.offer(one)
        await delivery.close(2)
        await delivery.close(2)

    asyncio.run(run())
    return pipeline.taken


def test_requests_arrive_in_order_before_the_end() -> None:
    assert delivered(Pipeline(), [request(i) for i in range(5)]) == [b"0", b"1", b"2", b"3", b"4"]


def test_one_is_tried_until_it_is_taken() -> None:
    answers = [TransientError("busy", 0.01), TransientError("busy", 0.01), None]
    assert delivered(Pipeline(lambda body: answers.pop(0) if answers else None), [request(1), request(2)]) == [
        b"1",
        b"2",
    ]


def test_one_that_is_refused_does_not_hold_up_the_others() -> None:
    refusing = Pipeline(lambda body: PermanentError("no") if body == b"1" else None)
    assert delivered(refusing, [request(1), request(2)]) == [b"2"]


def test_at_the_limit_the_oldest_metrics_go_and_events_stay(caplog: pytest.LogCaptureFixture) -> None:
    waiting = [request(0, "logs"), *(request(i) for i in range(1, 5))]
    assert delivered(Pipeline(), waiting, capacity=3) == [b"0", b"3", b"4"]
    assert [r.message for r in caplog.records] == ["The pipeline takes nothing; the oldest requests are dropped."]


def test_closing_does_not_wait_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        delivery = Delivery(NoOpMeter("t"), {}, 10)
        delivery.start(Pipeline(lambda body: TransientError("busy", 0.01)))
        delivery.offer(request(1))
        await delivery.close(0.1)

    asyncio.run(run())
    assert "Requests were not handed over before the end." in caplog.text
