"""An OTLP backend for tests: a real gRPC server that can be taken away and brought back; it takes logs and metrics."""

from __future__ import annotations

from concurrent import futures

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import (
    LogsServiceServicer,
    add_LogsServiceServicer_to_server,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs


class _Metrics(MetricsServiceServicer):
    def __init__(self) -> None:
        self.requests: list[ExportMetricsServiceRequest] = []

    def Export(
        self, request: ExportMetricsServiceRequest, context: grpc.ServicerContext
    ) -> ExportMetricsServiceResponse:
        self.requests.append(request)
        return ExportMetricsServiceResponse()


class LogsSink(LogsServiceServicer):
    """Keeps what it gets; refuses the first ``refusals`` requests."""

    def __init__(self, refusals: int = 0) -> None:
        self.requests: list[ExportLogsServiceRequest] = []
        self.refusals = refusals
        self.port = 0
        self.metrics = _Metrics()
        self._server: grpc.Server | None = None

    def Export(self, request: ExportLogsServiceRequest, context: grpc.ServicerContext) -> ExportLogsServiceResponse:
        if self.refusals > 0:
            self.refusals -= 1
            context.abort(grpc.StatusCode.INTERNAL, "not now")
        self.requests.append(request)
        return ExportLogsServiceResponse()

    def up(self, port: int = 0) -> None:
        """Listen, on the same port as before where there was one."""
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        add_LogsServiceServicer_to_server(self, self._server)
        add_MetricsServiceServicer_to_server(self.metrics, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port or self.port}")
        self._server.start()

    def down(self) -> None:
        """Stop at once."""
        if self._server is not None:
            self._server.stop(0).wait()
            self._server = None

    def resources(self) -> list[ResourceLogs]:
        return [resource for request in self.requests for resource in request.resource_logs]

    def records(self) -> list[LogRecord]:
        """In the order of their revisions, once each time they came."""
        found = [r for resource in self.resources() for scope in resource.scope_logs for r in scope.log_records]
        return sorted(found, key=revision)


def revision(record: LogRecord) -> int:
    """The ledger's revision that a record tells of."""
    return int(str(attributes(record)["fallow.revision"]))


def attributes(record: LogRecord) -> dict[str, object]:
    """Attributes of a record as plain values."""
    return {a.key: getattr(a.value, str(a.value.WhichOneof("value"))) for a in record.attributes}
