"""The note on disk of what was told: written whole after the pipeline took the events, so that none is lost or doubled."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from fallow.clients.slurm import Position, Reservation
from fallow_receivers.slurm.jobs import Run
from fallow_receivers.slurm.places import Trouble

VERSION: Final = 1


class Waiting(BaseModel):
    """A run whose use accounting has not told yet."""

    model_config = ConfigDict(extra="forbid")
    submit: int
    end: int
    since: int
    """When it began to wait."""


class Cursor(BaseModel):
    """What was told, up to when (Unix s; 0: nothing ever was)."""

    model_config = ConfigDict(extra="forbid")
    version: Literal[1] = VERSION
    cluster: str = ""
    seen: int = 0
    nodes_seen: int = 0
    accounted: int = 0
    """Up to when slurmdbd has told of ended runs."""
    owed: int = 0
    """Until when slurmdbd has to be asked at every look, since runs may have been missed."""
    jobcomp: Position | None = None
    runs: dict[str, Run] = {}
    waiting: dict[str, Waiting] = {}
    nodes: dict[str, Trouble] = {}
    reservations: dict[str, Reservation] = {}
