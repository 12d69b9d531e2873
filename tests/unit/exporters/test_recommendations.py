"""The recommendation service as its clients meet it: over real gRPC."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio as aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from fallow.component import Context
from fallow.ledger import Ledger
from fallow.recommend.v1 import recommend_pb2 as pb
from fallow.recommend.v1.recommend_pb2_grpc import RecommendationServiceStub
from fallow.testing.components import context as make_context
from fallow_exporters.recommendations import RecommendationsConfig, RecommendationsExporter
from helpers.model import HOUR, a_detection, a_recommendation


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return make_context("recommendations", tmp_path)


@asynccontextmanager
async def serving(context: Context, **config: Any) -> AsyncGenerator[aio.Channel]:
    exporter = RecommendationsExporter(
        RecommendationsConfig.model_validate({"endpoint": "127.0.0.1:0", **config}), context
    )
    await exporter.start()
    try:
        async with aio.insecure_channel(f"127.0.0.1:{exporter.port}") as channel:
            yield channel
    finally:
        await exporter.shutdown()


def run(context: Context, scenario: Callable[[Any], Awaitable[Any]], **config: Any) -> Any:
    async def whole() -> Any:
        async with serving(context, **config) as channel:
            return await asyncio.wait_for(scenario(RecommendationServiceStub(channel)), 20)

    return asyncio.run(whole())


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


def test_list_get_and_explain(context: Context) -> None:
    context.ledger.record([a_detection()], [a_recommendation(), a_recommendation("r2", created=2 * HOUR)])

    async def scenario(stub: Any) -> tuple[Any, Any, Any]:
        return (
            await stub.List(pb.ListRequest(page_size=1)),
            await stub.Get(pb.GetRequest(id="r1")),
            await stub.Explain(pb.ExplainRequest(id="r1")),
        )

    page, one, explained = run(context, scenario)
    assert [r.id for r in page.recommendations] == ["r2"]
    assert page.next_page_token
    assert page.revision == 3
    assert (one.id, one.state, one.saving.cost, one.revision) == ("r1", pb.STATE_PROPOSED, 2.0, 2)
    assert explained.recommendation == one
    assert "1.00 h × 2.00 USD/h = 2.00 USD (price: playbook)" in explained.text
    assert "hw_gpu_utilization" in explained.text


def test_decisions_name_who_made_them(context: Context) -> None:
    context.ledger.record([], [a_recommendation(), a_recommendation("r2")])

    async def scenario(stub: Any) -> list[Any]:
        return [
            await stub.Approve(pb.ApproveRequest(id="r1", actor="ada", reason="agreed")),
            await stub.Dismiss(pb.DismissRequest(id="r2", actor="bob")),
            await refused(stub.Approve(pb.ApproveRequest(id="r2", actor="ada"))),
            await refused(stub.Approve(pb.ApproveRequest(id="r1"))),
            await refused(stub.Get(pb.GetRequest(id="r9"))),
        ]

    approved, dismissed, final, nameless, missing = run(context, scenario)
    assert (approved.state, approved.actor, approved.reason) == (pb.STATE_APPROVED, "ada", "agreed")
    assert (dismissed.state, dismissed.actor) == (pb.STATE_DISMISSED, "bob")
    assert final[0] is grpc.StatusCode.FAILED_PRECONDITION
    assert nameless == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "actor: is required: a decision names who made it",
    )
    assert missing == (grpc.StatusCode.NOT_FOUND, "no recommendation r9")


def test_an_outcome_is_reported(context: Context) -> None:
    context.ledger.record([], [a_recommendation()])

    async def scenario(stub: Any) -> tuple[Any, Any]:
        good = pb.Outcome(result="success", gpu_seconds_saved=60, reporter="bot")
        return (
            await stub.ReportOutcome(pb.ReportOutcomeRequest(id="r1", outcome=good)),
            await refused(stub.ReportOutcome(pb.ReportOutcomeRequest(id="r1", outcome=pb.Outcome(result="fine")))),
        )

    reported, wrong = run(context, scenario)
    assert (reported.outcome.gpu_seconds_saved, reported.outcome.reporter) == (60, "bot")
    assert reported.outcome.time_unix_nano > 0
    assert wrong == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "outcome.result: 'fine' found, allowed: success, failure, no_effect, unknown",
    )


def test_watch_tells_the_past_and_then_each_change(context: Context) -> None:
    context.ledger.record([a_detection()], [a_recommendation()])

    async def scenario(stub: Any) -> list[tuple[int, str, int]]:
        stream = stub.Watch(pb.WatchRequest())
        seen: list[Any] = [await stream.read()]
        await stub.Approve(pb.ApproveRequest(id="r1", actor="ada"))
        seen.append(await stream.read())
        await asyncio.to_thread(context.ledger.record, [], [a_recommendation("r2")])
        seen.append(await stream.read())
        resumed = stub.Watch(pb.WatchRequest(after_revision=seen[1].revision))
        seen.append(await resumed.read())
        stream.cancel()
        resumed.cancel()
        return [(c.revision, c.recommendation.id, c.recommendation.state) for c in seen]

    assert run(context, scenario) == [
        (2, "r1", pb.STATE_PROPOSED),
        (3, "r1", pb.STATE_APPROVED),
        (4, "r2", pb.STATE_PROPOSED),
        (4, "r2", pb.STATE_PROPOSED),
    ]


def test_watch_filters(context: Context) -> None:
    context.ledger.record([], [a_recommendation(), a_recommendation("r2", rule="CRE-2026-9001")])

    async def scenario(stub: Any) -> str:
        stream = stub.Watch(pb.WatchRequest(rule_id="CRE-2026-9001", states=[pb.STATE_PROPOSED]))
        return str((await stream.read()).recommendation.id)

    assert run(context, scenario) == "r2"


def test_watch_from_what_is_not_kept_says_so(tmp_path: Path) -> None:
    context = replace(make_context("recommendations", tmp_path), ledger=Ledger(max_changes=10))
    for i in range(300):
        context.ledger.record([a_detection(f"d{i}")], [])

    async def scenario(stub: Any) -> tuple[grpc.StatusCode, str]:
        return await refused(stub.Watch(pb.WatchRequest(after_revision=1)).read())

    code, said = run(context, scenario)
    assert code is grpc.StatusCode.OUT_OF_RANGE
    assert said.startswith("changes before revision ")


def test_shutdown_ends_watchers(context: Context) -> None:
    async def whole() -> Any:
        exporter = RecommendationsExporter(RecommendationsConfig(endpoint="127.0.0.1:0"), context)
        await exporter.start()
        async with aio.insecure_channel(f"127.0.0.1:{exporter.port}") as channel:
            reading = asyncio.ensure_future(RecommendationServiceStub(channel).Watch(pb.WatchRequest()).read())
            await asyncio.sleep(0.2)
            await exporter.shutdown()
            return await asyncio.wait_for(reading, 5)

    assert repr(asyncio.run(whole())) == "<grpc.aio.EOF>"


def test_a_token_is_asked_for_and_names_who_decides(context: Context) -> None:
    context.ledger.record([], [a_recommendation()])

    async def scenario(stub: Any) -> tuple[Any, Any, Any]:
        token = (("authorization", "Bearer s3cret"),)
        return (
            await refused(stub.List(pb.ListRequest())),
            await refused(stub.Watch(pb.WatchRequest(), metadata=(("authorization", "Bearer no"),)).read()),
            await stub.Approve(pb.ApproveRequest(id="r1", actor="somebody else"), metadata=token),
        )

    nobody, wrong, approved = run(context, scenario, auth={"bearer_tokens": {"ops": "s3cret"}})
    assert nobody == wrong == (grpc.StatusCode.UNAUTHENTICATED, "a valid bearer token is needed")
    assert approved.actor == "ops"


def test_health_and_reflection_are_on(context: Context) -> None:
    async def whole() -> tuple[Any, set[str]]:
        async with serving(context) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            status = await health.Check(
                health_pb2.HealthCheckRequest(service="fallow.recommend.v1.RecommendationService")
            )
            reflect: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
            asked = reflection_pb2.ServerReflectionRequest(list_services="")
            answers = reflect.ServerReflectionInfo(iter([asked]))
            answer = await answers.read()
            return status, {s.name for s in answer.list_services_response.service}

    status, services = asyncio.run(whole())
    assert status.status == health_pb2.HealthCheckResponse.SERVING
    assert {"fallow.recommend.v1.RecommendationService", "grpc.health.v1.Health"} <= services


def test_a_port_in_use_is_named(context: Context) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        endpoint = f"127.0.0.1:{held.getsockname()[1]}"
        exporter = RecommendationsExporter(RecommendationsConfig(endpoint=endpoint), context)
        with pytest.raises(OSError, match=f"^cannot listen on {endpoint}: address already in use$"):
            asyncio.run(exporter.start())
