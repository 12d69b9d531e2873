"""When to poll: receivers of many nodes at one interval, spread over it, each always at the same phase."""

from __future__ import annotations

from hashlib import blake2b

from fallow.units import SECOND


class Cadence:
    """Instants on the wall clock, ``interval`` apart, at a phase that follows from ``who``.

    A thousand nodes that poll each second on the second reach the gateway within the same milliseconds; spread by a hash
    of who they are, the gateway sees an even stream, and a node that restarts keeps its phase.

    Args:
        interval: ns between two instants.
        who: what tells this poller from the others (host and component).
    """

    def __init__(self, interval: int, who: str) -> None:
        self.interval = interval
        self.phase = int.from_bytes(blake2b(who.encode(), digest_size=8).digest(), "big") % interval

    def after(self, now: int) -> int:
        """The first instant after ``now``, Unix ns; what was missed is not made up for."""
        return now - (now - self.phase) % self.interval + self.interval

    def wait_s(self, now: int) -> float:
        """Seconds from ``now`` until then; never more than an interval, however the clock is set."""
        return (self.after(now) - now) / SECOND
