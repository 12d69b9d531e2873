"""A wire tap: an OTLP/gRPC relay that keeps the bytes of each request it saw and of each that was acknowledged."""

from __future__ import annotations

from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc

TIMEOUT_S = 10


class Tap(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # pyright: ignore[reportMissingTypeArgument]  # not generic at run time
    """Stands before a server on loopback and passes every call on, bytes as they are."""

    def __init__(self, target_port: int) -> None:
        self.acknowledged: list[tuple[str, bytes]] = []
        self._channel = grpc.insecure_channel(
            f"127.0.0.1:{target_port}", options=[("grpc.max_reconnect_backoff_ms", 200)]
        )
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        return grpc.unary_unary_rpc_method_handler(self._relay(handler_call_details.method))

    def close(self) -> None:
        self._server.stop(0).wait()
        self._channel.close()

    def _relay(self, method: str) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        channel: Any = self._channel  # without serialisers a call takes and gives bytes; the stub asks for them
        call: Any = channel.unary_unary(method)

        def relay(body: bytes, context: grpc.ServicerContext) -> bytes:
            try:
                answer = bytes(call(body, timeout=TIMEOUT_S))
            except grpc.RpcError as error:
                refused: Any = error
                context.set_trailing_metadata(refused.trailing_metadata() or ())
                context.abort(refused.code(), refused.details())
            self.acknowledged.append((method, body))
            return answer

        return relay
