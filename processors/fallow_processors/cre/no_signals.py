"""What stands in for the PromQL engine where no rule asks for signals, so that nobody waits for it to be loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fallow import promql
from fallow.batch import MetricBatch
from fallow.state import Past, Saved, State
from fallow_processors.cre.order import NEVER


class NoSignals:
    """An engine without conditions: time does not pass in it, and it has nothing to say."""

    settled = NEVER
    late = 0
    refused = 0

    def append(self, batch: MetricBatch) -> None:
        """Samples that nobody asks for."""

    def advance(self) -> Sequence[promql.Edge]:
        return ()

    def tick(self, now: int) -> Sequence[promql.Edge]:
        return ()

    def finish(self) -> Sequence[promql.Edge]:
        return ()

    def holds(self, condition: int, labels: Mapping[str, str], start: int, end: int) -> bool | None:
        """There is no such condition."""
        return None

    def reach(self, condition: int) -> int:
        return 0

    def save(self) -> Saved:
        """Nothing, of version 0."""
        return lambda: State(version=0)

    def restore(self, state: State, past: Past) -> int:
        """There is nothing that could begin anew."""
        return 0
