"""The gRPC server of the recommendation service."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio as aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from fallow.batch import Batch
from fallow.clock.v1 import clock_pb2
from fallow.clock.v1.clock_pb2_grpc import add_ClockServiceServicer_to_server
from fallow.component import Context
from fallow.recommend.v1 import recommend_pb2 as pb
from fallow.recommend.v1.recommend_pb2_grpc import add_RecommendationServiceServicer_to_server
from fallow.units import host_port
from fallow_exporters.recommendations.clock import ClockServicer
from fallow_exporters.recommendations.config import RecommendationsConfig, TlsConfig
from fallow_exporters.recommendations.servicer import Servicer

SERVICE = pb.DESCRIPTOR.services_by_name["RecommendationService"].full_name
CLOCK = clock_pb2.DESCRIPTOR.services_by_name["ClockService"].full_name
GRACE_S = 2.0


class RecommendationsExporter:
    """Serves the ledger; batches themselves are nothing to it."""

    def __init__(self, config: RecommendationsConfig, context: Context) -> None:
        self._config = config
        self._context = context
        self._server: aio.Server | None = None
        self._health: Any = None
        self._servicer: Servicer | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen; raises OSError where the address cannot be had or a certificate cannot be read."""
        host_port(self._config.endpoint)
        server = aio.server(options=[("grpc.so_reuseport", 0)])
        self._servicer = Servicer(self._config, self._context)
        add_RecommendationServiceServicer_to_server(self._servicer, server)
        add_ClockServiceServicer_to_server(ClockServicer(), server)
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # published without types
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (SERVICE, CLOCK, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        try:
            if self._config.tls is None:
                self.port = server.add_insecure_port(self._config.endpoint)
            else:
                self.port = server.add_secure_port(self._config.endpoint, _credentials(self._config.tls))
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._config.endpoint}: address already in use") from error
        await server.start()
        self._server = server
        for name in ("", SERVICE, CLOCK):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def export(self, batch: Batch) -> None:
        """Nothing: the service reads the ledger, into which the batch was already written."""

    async def shutdown(self) -> None:
        if self._server is None:
            return
        server, self._server = self._server, None
        if self._health is not None:
            await self._health.enter_graceful_shutdown()
        if self._servicer is not None:
            self._servicer.end_watches()
        await server.stop(GRACE_S)
        await asyncio.sleep(0)


def _credentials(tls: TlsConfig) -> grpc.ServerCredentials:
    client_ca = tls.client_ca_file.read_bytes() if tls.client_ca_file else None
    pair = (tls.key_file.read_bytes(), tls.cert_file.read_bytes())
    return grpc.ssl_server_credentials([pair], client_ca, require_client_auth=client_ca is not None)
