"""From four time stamps to how far two clocks are apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A question and its answer; Unix ns, ``asked`` and ``answered`` on this clock, the others on the other."""

    asked: int
    received: int
    sent: int
    answered: int

    @property
    def offset(self) -> float:
        """The other clock less this one, ns, if both ways took the same time."""
        return ((self.received - self.asked) + (self.sent - self.answered)) / 2

    @property
    def uncertainty(self) -> float:
        """How far the offset may be from that, ns, if the whole way was on one side: half of the time on the way."""
        return ((self.answered - self.asked) - (self.sent - self.received)) / 2


def best(exchanges: Iterable[Exchange]) -> Exchange | None:
    """The one that is certain of most; one in which a clock was set meanwhile is none.

    Source: Mills et al., RFC 5905 (NTPv4), sections 8 and 10: offset and delay of four time stamps, and of several
    exchanges the one with the least delay.
    """
    sound = [one for one in exchanges if one.uncertainty >= 0 and one.sent >= one.received]
    return min(sound, key=lambda one: one.uncertainty, default=None)
