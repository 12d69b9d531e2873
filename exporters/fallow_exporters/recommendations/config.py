"""Configuration of the recommendation service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from fallow.component import ComponentConfig
from fallow.units import host_port


def _checked(endpoint: str) -> str:
    host_port(endpoint)
    return endpoint


class TlsConfig(ComponentConfig):
    """Server certificate; with a client CA, clients must show a certificate of it."""

    cert_file: Path = Field(description="PEM certificate chain of this server.")
    key_file: Path = Field(description="PEM private key.")
    client_ca_file: Path | None = Field(default=None, description="PEM CA of clients; given, mTLS is required.")


class AuthConfig(ComponentConfig):
    """Bearer tokens: who holds one may list, watch and decide."""

    bearer_tokens: dict[str, SecretStr] = Field(
        min_length=1, description="Name → token; the name is put down as who decided."
    )


class RecommendationsConfig(ComponentConfig):
    """Where and to whom recommendations are served."""

    endpoint: Annotated[str, AfterValidator(_checked)] = Field(
        default="127.0.0.1:4337", description="host:port to listen on; port 0 takes a free one."
    )
    tls: TlsConfig | None = Field(default=None, description="Left out: plain text, for loopback and meshes only.")
    auth: AuthConfig | None = Field(default=None, description="Left out: whoever reaches the port may decide.")
    watch_buffer: int = Field(
        default=10_000, ge=1, description="Changes a slow watcher may lag behind before it is told to resume."
    )
