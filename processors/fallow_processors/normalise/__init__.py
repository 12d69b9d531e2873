"""Vendor names and units → signals, by one table as data (``signals.yaml``).

What no row names passes through under its own name and is counted. What bears a signal's name without being that signal
(``hw.power`` of a CPU) is kept out of the batch, so that no rule takes it for one: ``not_the_signal`` in ``Batch.dropped``.
Of two samples of one series at one time one is kept; the others count as ``duplicate``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from fallow.component import Context, Factory
from fallow_processors.normalise.config import NormaliseConfig


def _build(config: NormaliseConfig, context: Context) -> object:
    from fallow_processors.normalise.processor import NormaliseProcessor

    return NormaliseProcessor(config, context)


def describe() -> Iterator[dict[str, object]]:
    """The built-in table, a row at a time: what ``fallow components normalise`` prints."""
    from fallow_processors.normalise.table import load_table

    return (asdict(line) for line in load_table().lines())


FACTORY = Factory(type="normalise", config=NormaliseConfig, build=_build)

__all__ = ["FACTORY", "NormaliseConfig", "describe"]
