"""The service's clock, for nodes that want to know how far theirs is from it; the time is no secret, so anybody may ask."""

from __future__ import annotations

import time
from typing import Any

from fallow.clock.v1.clock_pb2 import ExchangeRequest, ExchangeResponse
from fallow.clock.v1.clock_pb2_grpc import ClockServiceServicer


class ClockServicer(ClockServiceServicer):
    """Says when it was asked and when it answers."""

    async def Exchange(self, request: ExchangeRequest, context: Any) -> ExchangeResponse:
        received = time.time_ns()
        return ExchangeResponse(received_unix_nano=received, answered_unix_nano=time.time_ns())
