"""Will this idle GPU be wanted soon? Learns how soon idle GPUs of a pool come back, and says it of each that idles.

``fallow.gpu.idle.persistence`` is the probability that a GPU stays idle for another ten minutes (``horizon``);
``fallow.gpu.idle.persistence.peak`` the highest that it has been since the GPU went idle, for decisions that are not
taken back while nothing happens.
"""

from __future__ import annotations

from fallow.component import Context, Factory
from fallow_processors.rhythm.config import RhythmConfig


def _build(config: RhythmConfig, context: Context) -> object:
    from fallow_processors.rhythm.processor import RhythmProcessor

    return RhythmProcessor(config, context)


FACTORY = Factory(type="rhythm", config=RhythmConfig, build=_build)

__all__ = ["FACTORY", "RhythmConfig"]
