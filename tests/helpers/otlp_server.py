"""A real OTLP receiver on free ports, with a sink behind it, and certificates for it."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import subprocess
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint

from fallow.batch import Batch, OtlpKind
from fallow.component import Context
from fallow.errors import FallowError
from fallow.testing.components import context
from fallow_receivers.otlp import OtlpReceiver, OtlpReceiverConfig

PATHS: Mapping[OtlpKind, str] = {"metrics": "/v1/metrics", "logs": "/v1/logs", "traces": "/v1/traces"}
METHODS: Mapping[OtlpKind, str] = {
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
}
ANYWHERE = {"endpoint": "127.0.0.1:0"}
BOTH = {"protocols": {"grpc": ANYWHERE, "http": ANYWHERE}}


@dataclass
class Sink:
    """The end of a pipeline: keeps what comes and answers as it is told."""

    answers: list[bytes | FallowError] = field(default_factory=list)
    """For the first requests, in order; after them success."""
    delay_s: float = 0.0
    batches: list[Batch] = field(default_factory=list)
    entered: asyncio.Event = field(default_factory=asyncio.Event)

    async def consume(self, batch: Batch) -> bytes:
        self.batches.append(batch)
        self.entered.set()
        await asyncio.sleep(self.delay_s)
        answer = self.answers.pop(0) if self.answers else b""
        if isinstance(answer, FallowError):
            raise answer
        return answer

    @property
    def bodies(self) -> list[bytes]:
        return [b.request.body for b in self.batches if b.request is not None]

    @property
    def kinds(self) -> list[OtlpKind]:
        return [b.request.kind for b in self.batches if b.request is not None]


class Counters:
    """The own metrics that a component has counted."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self._provider = MeterProvider([self._reader], shutdown_on_exit=False)

    def context(self, id: str, directory: Path) -> Context:
        """A context whose meter counts here."""
        return dataclasses.replace(context(id, directory), meter=self._provider.get_meter("fallow"))

    def values(self, name: str) -> dict[tuple[str, ...], float]:
        """Values of a counter by the values of its attributes, the component's id left out."""
        data = self._reader.get_metrics_data()
        found: dict[tuple[str, ...], float] = {}
        for resource in data.resource_metrics if data else ():
            for metric in (m for s in resource.scope_metrics for m in s.metrics if m.name == name):
                for point in metric.data.data_points:
                    assert isinstance(point, NumberDataPoint)
                    labels = dict(point.attributes or {})
                    key = tuple(str(v) for k, v in sorted(labels.items()) if k not in ("receiver", "exporter"))
                    found[key] = point.value
        return found


@asynccontextmanager
async def receiving(
    sink: Sink, options: Mapping[str, Any] = BOTH, *, directory: Path = Path(), counters: Counters | None = None
) -> AsyncGenerator[OtlpReceiver]:
    """A receiver, by default with both protocols on free ports; shut down at the end."""
    config = OtlpReceiverConfig.model_validate(options)
    made = (counters or Counters()).context("otlp", directory)
    receiver = OtlpReceiver(config, made)
    await receiver.start(sink.consume)
    try:
        yield receiver
    finally:
        await receiver.shutdown()


@dataclass(frozen=True)
class TestCertificates:
    """PEM files of one CA, a server on 127.0.0.1 and a client."""

    __test__ = False
    ca: Path
    cert: Path
    key: Path
    client_cert: Path
    client_key: Path

    @property
    def server(self) -> dict[str, str]:
        return {"cert_file": str(self.cert), "key_file": str(self.key)}

    @property
    def mutual(self) -> dict[str, str]:
        return self.server | {"client_ca_file": str(self.ca)}


def make_certificates(folder: Path) -> TestCertificates:
    """Fresh ones; skips the test where there is no openssl."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("certificates are made with the openssl program, which is not installed")

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    run("req", "-x509", *curve, "-subj", "/CN=Fallow test CA", "-keyout", "ca.key", "-out", "ca.pem")
    for name in ("server", "client"):
        (folder / "ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        run("req", *curve[:-2], "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signer = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "ext", "-days", "2")
        run("x509", "-req", "-in", f"{name}.csr", *signer, "-out", f"{name}.pem")
    files = ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")
    return TestCertificates(*(folder / f for f in files))
