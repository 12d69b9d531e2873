"""Whose a GPU is: GPU ↔ node ↔ job ↔ pod ↔ user over time, joined onto samples by their own time.

What is known comes from labels of metrics, from events of schedulers, and from processes whose cgroup tells whose they
are. A device that several may hold is marked ambiguous, and no job is put on it, unless its processes decide.
"""

from __future__ import annotations

from fallow.component import Context, Factory
from fallow_processors.attribute.config import AttributeConfig


def _build(config: AttributeConfig, context: Context) -> object:
    from fallow_processors.attribute.processor import AttributeProcessor

    return AttributeProcessor(config, context)


FACTORY = Factory(type="attribute", config=AttributeConfig, build=_build)

__all__ = ["FACTORY", "AttributeConfig"]
