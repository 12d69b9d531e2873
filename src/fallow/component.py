"""What a component is: the protocols, the factory, and the contract of its life.

Life: built by its factory (no I/O) → ``start`` → work → ``shutdown`` (drains; safe without ``start``, safe twice).
Processors have neither: they are functions of (state, batch) on event time, without clock, I/O or randomness.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from fallow.batch import Batch, OtlpRequest

if TYPE_CHECKING:  # what only a service needs is loaded by it
    from opentelemetry.metrics import Meter

    from fallow.ledger import Ledger
    from fallow.series import SeriesTable
    from fallow.state import Past, Saved, State

ComponentKind = Literal["receivers", "processors", "exporters"]


class ComponentConfig(BaseModel):
    """Base of every component's configuration: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the service gives a component when it is built."""

    id: str
    """``type`` or ``type/name``, as in the configuration."""
    series: SeriesTable
    ledger: Ledger
    meter: Meter
    directory: Path
    """Folder of the configuration file: relative paths in it start here."""
    telemetry_resource: Mapping[str, str]
    """Resource attributes of this service: by them Fallow recognises what it said itself."""


Consume = Callable[[Batch], Awaitable[bytes]]
"""Hands a batch to the pipeline and waits until it is safe to acknowledge it.

Returns the body of the OTLP response (empty on full success). Raises TransientError or PermanentError as the
downstream answered; the receiver turns it into its protocol's status."""


@runtime_checkable
class Receiver(Protocol):
    """Brings telemetry in."""

    async def start(self, consume: Consume) -> None:
        """Begin to receive; returns when ready, raises OSError where the address cannot be had."""
        ...

    async def shutdown(self) -> None:
        """Accept nothing new, finish what is in flight."""
        ...


@runtime_checkable
class Processor(Protocol):
    """Turns a batch into a richer one."""

    def process(self, batch: Batch) -> Batch:
        """The batch with what this processor adds; never raises for what the data says."""
        ...

    def tick(self, now: int) -> Batch:
        """What follows from event time having reached ``now`` (Unix ns) with nothing arriving."""
        ...

    def finish(self) -> Batch:
        """What is still held back, at the end of the stream."""
        ...


@runtime_checkable
class Prepared(Protocol):
    """A processor that has something long to do before it runs, which checking a configuration does without."""

    def prepare(self) -> None:
        """Do it now and not while the first batch waits; called once, before any other method but ``restore``."""
        ...


@runtime_checkable
class Stateful(Protocol):
    """A processor that can go on after a restart as if there had been none."""

    def save(self) -> Saved:
        """Take down what there is between two batches; short, since no batch is processed meanwhile."""
        ...

    def restore(self, state: State, past: Past) -> Mapping[str, int]:
        """Go on from what another process saved, under the same rules or others; called before the first batch.

        Returns how much of what was taken up, in words for the log.

        Raises:
            StateError: nothing of it can be used; the processor is then to be thrown away.
        """
        ...


@runtime_checkable
class Exporter(Protocol):
    """Takes what the processors made out into the world."""

    async def start(self) -> None: ...

    async def export(self, batch: Batch) -> None:
        """Take one processed batch; raises TransientError or PermanentError."""
        ...

    async def shutdown(self) -> None: ...


@runtime_checkable
class Forwarder(Protocol):
    """An exporter that passes requests on, before they are acknowledged and apart from any processing."""

    async def start(self) -> None: ...

    async def forward(self, request: OtlpRequest) -> bytes:
        """The downstream's response body (empty on full success); raises what the downstream answered."""
        ...

    async def shutdown(self) -> None: ...


ConfigClass = type[ComponentConfig]


@dataclass(frozen=True, slots=True, kw_only=True)
class Factory:
    """How a component is made from its configuration."""

    type: str
    config: ConfigClass
    build: Callable[[Any, Context], Any]
    """(a valid ``config``, context) → the component; raises DocumentError where files that it names are wrong."""
    stability: Literal["development", "alpha", "beta", "stable"] = "alpha"
