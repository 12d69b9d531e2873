"""The exporter's configuration, close to that of the Collector's otlp and otlphttp exporters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from fallow.component import ComponentConfig
from fallow.units import DurationNs, duration_ns, host_port


class ClientTlsSettings(ComponentConfig):
    """How the connection is secured; files are PEM, relative paths start at the configuration's folder."""

    insecure: bool = Field(default=False, description="Plain text instead of TLS.")
    ca_file: str | None = Field(default=None, description="CA of the server; left out, those of the system.")
    cert_file: str | None = Field(default=None, description="Certificate to show to the server (mTLS).")
    key_file: str | None = Field(default=None, description="Private key of that certificate.")

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        if self.insecure and (self.ca_file or self.cert_file):
            raise ValueError("insecure: true uses no certificates; leave ca_file, cert_file and key_file out")
        return self


class RetrySettings(ComponentConfig):
    """Attempts while the sender waits. What is not taken in that time the sender is told to send again."""

    enabled: bool = Field(default=True, description="Off: one attempt.")
    initial_interval: DurationNs = Field(default=duration_ns("100ms"), description="Wait before the second attempt.")
    max_interval: DurationNs = Field(default=duration_ns("5s"), description="Longest wait between two attempts.")
    max_elapsed_time: DurationNs = Field(
        default=0,
        description="How long attempts go on; 0: only a connection that broke is tried once more, at once.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not 0 < self.initial_interval <= self.max_interval:
            raise ValueError("initial_interval must be more than 0 and at most max_interval")
        if self.max_elapsed_time < 0:
            raise ValueError("max_elapsed_time must not be negative")
        return self


class OtlpExporterConfig(ComponentConfig):
    """Where requests are passed on to."""

    endpoint: str = Field(description="host:port of an OTLP receiver; for http also a URL, to which /v1/… is added.")
    protocol: Literal["grpc", "http"] = Field(default="grpc", description="OTLP/gRPC, or OTLP/HTTP with protobuf.")
    tls: ClientTlsSettings = Field(default=ClientTlsSettings(), description="TLS is on unless insecure.")
    headers: Mapping[str, SecretStr] = Field(default={}, description="Sent with every request; values are secrets.")
    compression: Literal["none", "gzip"] = Field(
        default="none", description="gzip costs several times the work of passing a request on."
    )
    timeout: DurationNs = Field(default=duration_ns("10s"), description="For one attempt.")
    retry_on_failure: RetrySettings = Field(default=RetrySettings(), description="Attempts while the sender waits.")
    max_in_flight: int = Field(
        default=256, ge=1, description="Requests that may wait for the downstream; senders of more are told to wait."
    )
    shutdown_grace: DurationNs = Field(
        default=duration_ns("5s"), description="How long requests in flight may take to end at shutdown."
    )

    @field_validator("timeout")
    @classmethod
    def _positive(cls, value: int) -> int:
        if value <= 0:
            raise ValueError("must be more than 0")
        return value

    @field_validator("headers")
    @classmethod
    def _header_names(cls, headers: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
        for name in headers:
            if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or not name.isascii():
                raise ValueError(f"{name!r} is not a header name")
        return {name.lower(): value for name, value in headers.items()}

    @model_validator(mode="after")
    def _endpoint_fits(self) -> Self:
        if "://" not in self.endpoint:
            host_port(self.endpoint)
            return self
        if self.protocol == "grpc":
            raise ValueError(f"endpoint: {self.endpoint!r} is a URL; for grpc write host:port")
        url = urlsplit(self.endpoint)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"endpoint: {self.endpoint!r} is neither host:port nor an http(s) URL")
        if url.scheme == "http" and (self.tls.ca_file or self.tls.cert_file):
            raise ValueError("endpoint: an http URL uses no certificates; write https")
        if url.scheme == "https" and self.tls.insecure:
            raise ValueError("endpoint: an https URL is not insecure; leave tls.insecure out or write http")
        return self

    @property
    def url(self) -> str:
        """The endpoint as a URL, without a slash at its end."""
        if "://" in self.endpoint:
            return self.endpoint.rstrip("/")
        return f"{'http' if self.tls.insecure else 'https'}://{self.endpoint}"
