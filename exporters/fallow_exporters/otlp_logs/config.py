"""Configuration of the events exporter."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from fallow.component import ComponentConfig
from fallow.units import DurationNs, duration_ns


class TlsConfig(ComponentConfig):
    """How the backend is trusted."""

    insecure: bool = Field(default=False, description="Plain text, for loopback and meshes only.")
    ca_file: Path | None = Field(default=None, description="PEM CA of the backend; left out: the system's.")


class OtlpLogsConfig(ComponentConfig):
    """Where optimisation events go."""

    endpoint: str = Field(description="host:port for gRPC, the whole URL (…/v1/logs) for HTTP.")
    protocol: Literal["grpc", "http"] = Field(default="grpc", description="OTLP over gRPC or over HTTP.")
    tls: TlsConfig = Field(default=TlsConfig(), description="How the backend is trusted.")
    headers: dict[str, SecretStr] = Field(default={}, description="Sent with each request.")
    compression: Literal["none", "gzip"] = Field(default="none", description="Compression of requests.")
    timeout: DurationNs = Field(default=duration_ns("10s"), gt=0, description="Of one request.")
    batch_size: int = Field(default=256, ge=1, le=10_000, description="Events in one request at most.")
    max_backoff: DurationNs = Field(default=duration_ns("30s"), gt=0, description="Longest wait between tries.")
