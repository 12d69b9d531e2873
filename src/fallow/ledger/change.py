"""What the ledger answers with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from fallow.ledger import codec
from fallow.model import Detection, Recommendation


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One entry of the change log: a detection as it was written, or a recommendation after a state change."""

    revision: int
    time: int
    """Unix ns: event time for what processing brought, wall clock for what a person or program did."""
    detection: Detection | None = None
    recommendation: Recommendation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a listing."""

    recommendations: tuple[tuple[int, Recommendation], ...]
    """(revision, recommendation), newest first."""
    next_token: str
    revision: int


def change_of(row: Row[Any]) -> Change:
    """The change in a row of the change log."""
    if row.kind == "detection":
        return Change(revision=row.revision, time=row.time, detection=codec.detection(row.payload))
    return Change(revision=row.revision, time=row.time, recommendation=codec.recommendation(row.payload))
