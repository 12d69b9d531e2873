"""A replay hides nothing."""

from __future__ import annotations

import pytest

from fallow.batch import Batch
from fallow.replay import raised
from fallow.service import Chain


class Broken:
    """A processor with a fault."""

    def process(self, batch: Batch) -> Batch:
        raise ZeroDivisionError("a fault")

    def tick(self, now: int) -> Batch:
        return Batch()

    def finish(self) -> Batch:
        return Batch()


def test_a_fault_of_a_processor_ends_the_replay() -> None:
    with pytest.raises(ZeroDivisionError, match="a fault"):
        Chain({"broken": Broken()}, raised).process(Batch())
