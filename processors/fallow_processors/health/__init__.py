"""May this signal be believed? Keeps what cannot be true from the rules and says of each signal how it stands.

Per device (or workload) and signal: ``ok``, ``warming_up``, ``stale``, ``profiler_held``, ``contradictory`` or
``out_of_range``, as the signal ``fallow.signal.health`` that rules can read.
"""

from __future__ import annotations

from fallow.component import Context, Factory
from fallow_processors.health.config import HealthConfig


def _build(config: HealthConfig, context: Context) -> object:
    from fallow_processors.health.processor import HealthProcessor

    return HealthProcessor(config, context)


FACTORY = Factory(type="health", config=HealthConfig, build=_build)

__all__ = ["FACTORY", "HealthConfig"]
