"""Vendor names and units → signals, by one table as data (``signals.yaml``).

What no row names passes through under its own name and is counted. What bears a signal's name without being that signal
(``hw.power`` of a CPU) is kept out of the batch, so that no rule takes it for one: ``not_the_signal`` in ``Batch.dropped``.
Of two samples of one series at one time one is kept; the others count as ``duplicate``.
"""

from __future__ import annotations

from fallow.component import Context, Factory
from fallow_processors.normalise.config import NormaliseConfig


def _build(config: NormaliseConfig, context: Context) -> object:
    from fallow_processors.normalise.processor import NormaliseProcessor

    return NormaliseProcessor(config, context)


FACTORY = Factory(type="normalise", config=NormaliseConfig, build=_build)

__all__ = ["FACTORY", "NormaliseConfig"]
