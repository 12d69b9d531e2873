"""The calls of the recommendation service."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from typing import Any, TypeAlias, TypeVar

import grpc
import grpc.aio as aio

from fallow.component import Context
from fallow.errors import FallowError, InvalidTransition, NotFound, PermanentError, TransientError
from fallow.ledger import Change
from fallow.model import RecommendationState
from fallow.recommend.convert import from_outcome, state_name, to_message
from fallow.recommend.v1 import recommend_pb2 as pb
from fallow.recommend.v1 import recommend_pb2_grpc as pb_grpc
from fallow_exporters.recommendations.config import RecommendationsConfig
from fallow_exporters.recommendations.explain import explain

Call: TypeAlias = "aio.ServicerContext[Any, Any]"
T = TypeVar("T")
PAGE = 1000
_CODES = (
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (InvalidTransition, grpc.StatusCode.FAILED_PRECONDITION),
    (PermanentError, grpc.StatusCode.INVALID_ARGUMENT),
    (TransientError, grpc.StatusCode.UNAVAILABLE),
)


def _answering(method: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
    """Checks who calls, and turns Fallow's errors into gRPC statuses."""

    @wraps(method)
    async def wrapped(self: Servicer, request: Any, context: Call) -> T:
        await self.check_token(context)
        try:
            return await method(self, request, context)
        except FallowError as error:
            code = next(code for kind, code in _CODES if isinstance(error, kind))
            await context.abort(code, str(error))
            raise  # abort raises; this line tells the type checker so

    return wrapped


class Servicer(pb_grpc.RecommendationServiceServicer):
    """Reads and writes the ledger, off the event loop."""

    def __init__(self, config: RecommendationsConfig, context: Context) -> None:
        self._ledger = context.ledger
        self._buffer = config.watch_buffer
        self._tokens = {n: t.get_secret_value() for n, t in config.auth.bearer_tokens.items()} if config.auth else {}
        self._ended = asyncio.Event()
        self._calls = context.meter.create_counter(
            "fallow_exporter_recommendation_calls", unit="{call}", description="Calls of the recommendation service."
        )

    def end_watches(self) -> None:
        """Let every watcher end."""
        self._ended.set()

    async def check_token(self, context: Call) -> None:
        """Abort with UNAUTHENTICATED where tokens are configured and the call has none of them."""
        if self._tokens and self._caller(context) is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "a valid bearer token is needed")

    def _caller(self, context: Call) -> str | None:
        """Who calls, where the connection says so: the token's name, or the client certificate's."""
        sent = dict(context.invocation_metadata() or ()).get("authorization", "")
        for name, token in self._tokens.items():
            if hmac.compare_digest(str(sent).encode(), f"Bearer {token}".encode()):
                return name
        names = list(context.auth_context().get("x509_common_name") or ()) if not self._tokens else []
        return names[0].decode() if names else None

    @_answering
    async def List(self, request: pb.ListRequest, context: Call) -> pb.ListResponse:
        self._calls.add(1, {"method": "List"})
        page = await asyncio.to_thread(
            self._ledger.list,
            states=[state_name(s) for s in request.states],
            rule=request.rule_id,
            target=dict(request.target),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListResponse(
            recommendations=[to_message(one, revision) for revision, one in page.recommendations],
            next_page_token=page.next_token,
            revision=page.revision,
        )

    @_answering
    async def Get(self, request: pb.GetRequest, context: Call) -> pb.Recommendation:
        self._calls.add(1, {"method": "Get"})
        return await self._get(request.id)

    @_answering
    async def Explain(self, request: pb.ExplainRequest, context: Call) -> pb.Explanation:
        self._calls.add(1, {"method": "Explain"})
        revision, one = await asyncio.to_thread(self._ledger.get, request.id)
        return pb.Explanation(recommendation=to_message(one, revision), text=explain(one))

    @_answering
    async def Approve(self, request: pb.ApproveRequest, context: Call) -> pb.Recommendation:
        return await self._decide("approved", request.id, self._caller(context) or request.actor, request.reason)

    @_answering
    async def Dismiss(self, request: pb.DismissRequest, context: Call) -> pb.Recommendation:
        return await self._decide("dismissed", request.id, self._caller(context) or request.actor, request.reason)

    @_answering
    async def ReportOutcome(self, request: pb.ReportOutcomeRequest, context: Call) -> pb.Recommendation:
        self._calls.add(1, {"method": "ReportOutcome"})
        outcome = from_outcome(request.outcome, time.time_ns())
        return _message(await asyncio.to_thread(self._ledger.report_outcome, request.id, outcome))

    async def Watch(self, request: pb.WatchRequest, context: Call) -> AsyncIterator[pb.Change]:
        """Changes after a revision, then each as it happens; a slow watcher is told where to resume."""
        await self.check_token(context)
        self._calls.add(1, {"method": "Watch"})
        states: set[RecommendationState] = {state_name(s) for s in request.states}
        after = request.after_revision
        first = await asyncio.to_thread(self._ledger.first_revision)
        if after and after + 1 < first:
            await context.abort(grpc.StatusCode.OUT_OF_RANGE, f"changes before revision {first} are not kept any more")
        changed, loop = asyncio.Event(), asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon_threadsafe(changed.set)

        stop = self._ledger.subscribe(wake)
        try:
            while not self._ended.is_set():
                changed.clear()
                while changes := await asyncio.to_thread(self._ledger.changes, after, PAGE):
                    for change in changes:
                        after = change.revision
                        if _wanted(change, states, request.rule_id):
                            yield pb.Change(revision=after, recommendation=_message(change))
                    await self._check_lag(context, after)
                await _first_of(changed, self._ended)
        finally:
            stop()

    async def _check_lag(self, context: Call, after: int) -> None:
        newest = await asyncio.to_thread(self._ledger.revision)
        first = await asyncio.to_thread(self._ledger.first_revision)
        if newest - after > self._buffer and after + 1 < first:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"too slow: resume from revision {first - 1}")

    async def _get(self, id: str) -> pb.Recommendation:
        revision, one = await asyncio.to_thread(self._ledger.get, id)
        return to_message(one, revision)

    async def _decide(self, state: RecommendationState, id: str, actor: str, reason: str) -> pb.Recommendation:
        self._calls.add(1, {"method": "Approve" if state == "approved" else "Dismiss"})
        if not actor:
            raise PermanentError("actor: is required: a decision names who made it")
        now = time.time_ns()
        return _message(
            await asyncio.to_thread(self._ledger.transition, id, state, actor=actor, reason=reason, now=now)
        )


def _message(change: Change) -> pb.Recommendation:
    if change.recommendation is None:
        raise PermanentError(f"revision {change.revision} is no recommendation")
    return to_message(change.recommendation, change.revision)


def _wanted(change: Change, states: set[RecommendationState], rule: str) -> bool:
    one = change.recommendation
    return one is not None and (not states or one.state in states) and (not rule or one.rule == rule)


async def _first_of(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
