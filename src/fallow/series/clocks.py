"""Clocks of event time: who owns a series' time, how far each has come, and which of them are still heard of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from fallow import semconv
from fallow.series.layout import NONE, Int64Array
from fallow.state import Saved, State

VERSION = 2

CLOCK_LABELS: Final = (
    semconv.HOST_NAME,
    "k8s.node.name",
    semconv.CONTAINER_ID,
    semconv.K8S_POD_NAME,
    semconv.HW_ID,
    semconv.JOB_ID,
)
"""The first of these that a series has names its clock."""


def clock_of(labels: Mapping[str, str]) -> tuple[str, str]:
    """The (label, value) that names the clock of a series; ("", "") where it has none of them.

    >>> clock_of({"hw.id": "GPU-1", "host.name": "n1"})
    ('host.name', 'n1')
    """
    return next(((label, labels[label]) for label in CLOCK_LABELS if labels.get(label)), ("", ""))


class Clocks:
    """The newest sample time of each clock, and of all. A clock on which only events come is not *sampled*."""

    def __init__(self) -> None:
        self.newest: Int64Array = np.full(64, NONE, dtype=np.int64)
        self.sampled = np.zeros(64, dtype=np.bool_)
        self.count = 0
        self.ticked = NONE
        """The time that ticks have come to."""
        self.sample_latest = NONE
        """Newest sample time over all clocks."""
        self._ids: dict[tuple[str, str], int] = {}

    def intern(self, name: tuple[str, str], *, sampled: bool) -> int:
        """The id of the clock of that name."""
        found = self._ids.get(name)
        if found is None:
            found = self._ids[name] = self.count
            self.count += 1
            if found == len(self.newest):
                self.newest = np.concatenate((self.newest, np.full_like(self.newest, NONE)))
                self.sampled = np.concatenate((self.sampled, np.zeros_like(self.sampled)))
        self.sampled[found] |= sampled
        return found

    # -- across a restart ----------------------------------------------------------------------------------------------
    def save(self) -> Saved:
        """How far each has come."""
        arrays = {"newest": self.newest[: self.count].copy(), "sampled": self.sampled[: self.count].copy()}
        document = {"names": list(self._ids), "ticked": self.ticked, "latest": self.sample_latest}
        return lambda: State(version=VERSION, document=document, arrays=arrays)

    def restore(self, state: State) -> None:
        """Go on from there, in the same order where none is known yet; of one that is, what is newer counts."""
        saved = state.of(VERSION)
        for (label, value), newest, sampled in zip(
            saved.document["names"], saved.arrays["newest"].tolist(), saved.arrays["sampled"].tolist(), strict=True
        ):
            clock = self.intern((label, value), sampled=sampled)
            self.newest[clock] = max(int(self.newest[clock]), newest)
        self.ticked = max(self.ticked, saved.document["ticked"])
        self.sample_latest = max(self.sample_latest, saved.document["latest"])
