"""The receiver's configuration, in the shape of the Collector's otlp receiver."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from fallow.component import ComponentConfig
from fallow.units import DurationNs, duration_ns, host_port


def _endpoint(text: str) -> str:
    host_port(text)
    return text


Endpoint = Annotated[str, AfterValidator(_endpoint)]


class TlsSettings(ComponentConfig):
    """A server's certificate; files are PEM, relative paths start at the configuration's folder."""

    cert_file: str = Field(description="Certificate of this server, with its chain.")
    key_file: str = Field(description="Private key of the certificate.")
    client_ca_file: str | None = Field(
        default=None, description="CA that client certificates must come from (mTLS); left out, clients need none."
    )


class GrpcSettings(ComponentConfig):
    """OTLP/gRPC."""

    endpoint: Endpoint = Field(default="127.0.0.1:4317", description="host:port to listen on; port 0 takes a free one.")
    max_recv_msg_size_mib: int = Field(default=64, ge=1, le=1024, description="Largest request, unpacked, in MiB.")
    tls: TlsSettings | None = Field(default=None, description="Left out: plain text.")


class HttpSettings(ComponentConfig):
    """OTLP/HTTP, protobuf and JSON."""

    endpoint: Endpoint = Field(default="127.0.0.1:4318", description="host:port to listen on; port 0 takes a free one.")
    max_recv_msg_size_mib: int = Field(default=64, ge=1, le=1024, description="Largest request, unpacked, in MiB.")
    tls: TlsSettings | None = Field(default=None, description="Left out: plain text.")


class Protocols(ComponentConfig):
    """What to listen for: a protocol that is named without settings has its defaults."""

    grpc: GrpcSettings | None = Field(default=None, description="OTLP/gRPC; left out, it is off.")
    http: HttpSettings | None = Field(default=None, description="OTLP/HTTP; left out, it is off.")

    @model_validator(mode="before")
    @classmethod
    def _named_is_on(cls, data: Any) -> Any:
        return {k: {} if v is None else v for k, v in data.items()} if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _at_least_one(self) -> Self:
        if self.grpc is None and self.http is None:
            raise ValueError("name at least one protocol: grpc, http")
        return self


class AuthSettings(ComponentConfig):
    """A token that every request must carry as ``authorization: Bearer TOKEN``."""

    bearer_token: SecretStr | None = Field(default=None, description="The token.")
    bearer_token_file: str | None = Field(default=None, description="File with the token, read at the start.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.bearer_token is None) == (self.bearer_token_file is None):
            raise ValueError("give either bearer_token or bearer_token_file")
        if self.bearer_token is not None and not self.bearer_token.get_secret_value().strip():
            raise ValueError("bearer_token is empty")
        return self


class OtlpReceiverConfig(ComponentConfig):
    """What the receiver listens for, and whom it lets in."""

    protocols: Protocols = Field(description="The protocols to listen for.")
    auth: AuthSettings | None = Field(default=None, description="Left out: everyone may send.")
    max_in_flight_mib: int = Field(
        default=512, ge=1, description="Unpacked requests held at one time; beyond it senders are told to try again."
    )
    shutdown_grace: DurationNs = Field(
        default=duration_ns("5s"), description="How long requests in flight may take to end at shutdown."
    )

    @model_validator(mode="after")
    def _holds_what_it_takes(self) -> Self:
        largest = max(p.max_recv_msg_size_mib for p in (self.protocols.grpc, self.protocols.http) if p is not None)
        if self.max_in_flight_mib < 2 * largest:  # packed and unpacked at one time
            raise ValueError(f"max_in_flight_mib is below {2 * largest}, twice the largest max_recv_msg_size_mib")
        return self
