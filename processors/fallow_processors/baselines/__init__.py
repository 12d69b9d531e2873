"""What is usual here? Learns on line what a device draws and holds when nothing runs, and the rhythm of its work.

For each device the idle level of power and memory, the level at which it has been running and the period of its steps;
for each endpoint the requests that this hour of the week usually brings. Rules read them as signals.
"""

from __future__ import annotations

from fallow.component import Context, Factory
from fallow_processors.baselines.config import BaselinesConfig


def _build(config: BaselinesConfig, context: Context) -> object:
    from fallow_processors.baselines.processor import BaselinesProcessor

    return BaselinesProcessor(config, context)


FACTORY = Factory(type="baselines", config=BaselinesConfig, build=_build)

__all__ = ["FACTORY", "BaselinesConfig"]
