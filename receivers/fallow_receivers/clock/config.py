"""The receiver's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from fallow.component import ComponentConfig
from fallow.units import DurationNs, duration_ns, host_port


def _address(endpoint: str) -> str:
    host_port(endpoint)
    return endpoint


def _at_least_a_second(ns: int) -> int:
    if ns < duration_ns("1s"):
        raise ValueError("it is below the minimum 1s")
    return ns


Interval = Annotated[DurationNs, AfterValidator(_at_least_a_second)]


class TlsSettings(ComponentConfig):
    """How the service is known."""

    insecure: bool = Field(default=False, description="Plain text, within a trusted network.")
    ca_file: Path | None = Field(
        default=None, description="PEM that its certificate comes from; left out: the system's."
    )
    cert_file: Path | None = Field(default=None, description="PEM certificate of this node, where it has to show one.")
    key_file: Path | None = Field(default=None, description="PEM key of that certificate.")


class ClockReceiverConfig(ComponentConfig):
    """Whose clock is asked, and how often."""

    endpoint: Annotated[str, AfterValidator(_address)] = Field(
        description="host:port of the service's recommendations exporter."
    )
    tls: TlsSettings = Field(default=TlsSettings(), description="How the service is known.")
    interval: Interval = Field(default=duration_ns("60s"), description="Time between two looks; at least 1s.")
    exchanges: int = Field(default=8, ge=1, le=64, description="Exchanges of one look; the quickest of them counts.")
    timeout: Interval = Field(default=duration_ns("5s"), description="How long an answer may take.")
    warn_above: DurationNs = Field(
        default=duration_ns("1s"), description="A clock that is certainly further off than so is said aloud."
    )
    host: str = Field(default="", description="host.name of this node; left out: as the kernel has it.")
