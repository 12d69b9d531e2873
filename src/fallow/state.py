"""What outlives the process: a value of named arrays and plain data, and what a start has to know of the one before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fallow.errors import StateError


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """State of one thing, and of the parts that it is made of.

    ``document`` is what JSON can say, ``arrays`` are of numbers or records of numbers: nothing in it is ever executed.
    """

    version: int
    """Of what wrote it; what reads another version refuses it."""
    document: Mapping[str, Any] = field(default_factory=dict[str, Any])
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])
    parts: Mapping[str, State] = field(default_factory=dict[str, "State"])

    def of(self, version: int) -> State:
        """Itself, where it is of this version.

        Raises:
            StateError: it is of another one.
        """
        if self.version != version:
            raise StateError(f"version {self.version} found, expected {version}")
        return self


Saved = Callable[[], State]
"""Makes the state that was taken down; may be called once, in any thread, while what it was taken from goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """What came after the state was taken down is lost.

    ``until`` is the event time (Unix ns) up to which something may be missing, for a clock that is right; ``span`` how
    long (ns) nothing was seen, for clocks that are ahead.
    """

    until: int
    span: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What a processor has to know to go on from a state.

    ``series[i]`` is what the series table calls series ``i`` of the state now, -1 where it refused it; ``gap`` is None
    after a graceful end, when nothing is missing.
    """

    series: NDArray[np.int32]
    gap: Gap | None = None
