"""OTLP/gRPC: raw handlers, so that the body stays the bytes it came as."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from fallow.batch import OtlpKind
from fallow.errors import FallowError
from fallow_receivers.otlp._intake import Intake
from fallow_receivers.otlp._listen import cannot_listen, certificates, check_free
from fallow_receivers.otlp._status import DETAILS_KEY, grpc_code, status_of
from fallow_receivers.otlp.config import GrpcSettings

_METHODS: Mapping[str, OtlpKind] = {
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export": "metrics",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export": "logs",
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export": "traces",
}
# A connection's requests are read before they can be refused; more than this of one sender wait on its side.
_STREAMS = 100


class GrpcServer:
    """The three Export methods on one port."""

    def __init__(self, settings: GrpcSettings, intake: Intake, directory: Path) -> None:
        self._settings = settings
        self._handlers = _Handlers(intake)
        self._directory = directory
        self._server: grpc.aio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen; raises OSError where the address or a certificate cannot be had."""
        endpoint, tls = self._settings.endpoint, self._settings.tls
        found = None if tls is None else certificates(tls, self._directory)
        check_free(endpoint)
        options = [
            ("grpc.max_receive_message_length", self._settings.max_recv_msg_size_mib << 20),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_concurrent_streams", _STREAMS),
            ("grpc.so_reuseport", 0),  # a second service on the port is an error, not a half of the traffic
        ]
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers((self._handlers,))
        try:
            if found is None:
                self.port = server.add_insecure_port(endpoint)
            else:
                pair = [(found.key, found.cert)]
                mutual = found.client_ca is not None
                credentials = grpc.ssl_server_credentials(pair, found.client_ca, mutual)
                self.port = server.add_secure_port(endpoint, credentials)
        except RuntimeError as error:
            raise cannot_listen(endpoint, str(error).partition(";")[0].lower()) from error
        await server.start()
        self._server = server

    async def shutdown(self, grace_s: float) -> None:
        """Accept nothing new; what has not ended after the grace is cancelled."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(grace_s)


if TYPE_CHECKING:  # generic for the type checkers alone
    _GenericHandler = grpc.GenericRpcHandler[bytes, bytes]
    _Method = grpc.RpcMethodHandler[bytes, bytes]
else:
    _GenericHandler = grpc.GenericRpcHandler


class _Handlers(_GenericHandler):
    def __init__(self, intake: Intake) -> None:
        self._methods = {
            method: grpc.unary_unary_rpc_method_handler(_export(intake, kind)) for method, kind in _METHODS.items()
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> _Method | None:
        return self._methods.get(handler_call_details.method)


def _export(intake: Intake, kind: OtlpKind) -> Any:
    # grpc-stubs describes the handlers of the synchronous server only, hence Any.
    async def export(body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        try:
            with intake.counting_refusals("grpc", kind):
                intake.admit(_authorization(context))
                intake.hold(len(body))
                try:
                    return await intake.take("grpc", kind, body)
                finally:
                    intake.release(len(body))
        except FallowError as error:
            status = status_of(error)
            trailers = ((DETAILS_KEY, status.SerializeToString()),)
            await context.abort(grpc_code(error), status.message, trailers)
            raise  # abort has raised already

    return export


def _authorization(context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            return value if isinstance(value, bytes) else value.encode()
    return b""
