"""How often a checkpoint should be written, given how long all wait for it and how long they work in between.

With a known mean time M between failures of the job the least is lost at an interval of sqrt(2 S M), S being the stall
(Young, CACM 17 (1974) 530; Daly, FGCS 22 (2006) 303): S / (S + T) of the time is lost to stalls, and half an interval of
work at each failure. Where M is not known, 19 S keeps the stalls at 5 % of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import sqrt

UNKNOWN_RISK = 19.0
INTERVALS = 2
"""So many spans of work between stalls have to be seen before anything is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stalls:
    """What was seen of a job; s, but for ``end``."""

    end: int
    """Unix ns at which the last stall ended."""
    count: int = 0
    stall: float = 0.0
    """Sum over all stalls but the first."""
    work: float = 0.0
    """Sum of the spans of work before them."""
    shortest: float = 0.0
    longest: float = 0.0

    def then(self, start: int, end: int) -> Stalls:
        """With one more stall (Unix ns); one that began before the last ended is not another."""
        work, stall = (start - self.end) / 1e9, (end - start) / 1e9
        if work <= 0:
            return self
        return replace(
            self,
            end=end,
            count=self.count + 1,
            stall=self.stall + stall,
            work=self.work + work,
            shortest=min(self.shortest or work, work),
            longest=max(self.longest, work),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """An interval of work between checkpoints and what keeping it would bring, as shares of the job's time."""

    interval_s: float
    now_s: float
    stall_s: float
    saved: float
    low: float
    high: float

    def parameters(self) -> Mapping[str, str]:
        """For the recommendation."""
        return {
            "checkpoint_interval_s": f"{self.interval_s:.0f}",
            "checkpoint_interval_now_s": f"{self.now_s:.0f}",
            "stall_s": f"{self.stall_s:.1f}",
            "time_saved": f"{self.saved:.3f}",
        }


def advice(seen: Stalls, between_failures_s: float | None = None) -> Advice | None:
    """The interval to keep; None where too little was seen, or checkpoints are already that far apart.

    >>> seen = Stalls(end=0).then(20_000_000_000, 60_000_000_000).then(80_000_000_000, 120_000_000_000)
    >>> made = advice(seen, between_failures_s=86_400)
    >>> round(made.interval_s), round(made.now_s), round(made.saved, 2)
    (2629, 20, 0.64)
    """
    if seen.count < INTERVALS:
        return None
    stall, now = seen.stall / seen.count, seen.work / seen.count
    interval = UNKNOWN_RISK * stall if between_failures_s is None else sqrt(2 * stall * between_failures_s)
    if interval <= now:
        return None

    def lost(work: float) -> float:
        at_failures = 0.0 if between_failures_s is None else work / 2 / between_failures_s
        return stall / (stall + work) + at_failures

    saved, low, high = (max(0.0, lost(work) - lost(interval)) for work in (now, seen.longest, seen.shortest))
    return Advice(interval_s=interval, now_s=now, stall_s=stall, saved=saved, low=low, high=high)
