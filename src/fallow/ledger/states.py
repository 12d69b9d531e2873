"""Which state of a recommendation may follow which."""

from __future__ import annotations

from collections.abc import Mapping

from fallow.errors import InvalidTransition
from fallow.model import RecommendationState

FOLLOWING: Mapping[RecommendationState, tuple[RecommendationState, ...]] = {
    "proposed": ("approved", "dismissed", "expired", "superseded", "refused"),
    "approved": ("applying", "dismissed", "expired", "superseded", "refused"),
    "applying": ("applied", "failed"),
    "applied": ("verified", "reverted", "failed"),
    "verified": (),
    "reverted": (),
    "failed": (),
    "refused": (),
    "dismissed": (),
    "expired": (),
    "superseded": (),
}
OPEN: tuple[RecommendationState, ...] = tuple(state for state, after in FOLLOWING.items() if after)


def check_transition(id: str, found: RecommendationState, wanted: RecommendationState) -> None:
    """Raise InvalidTransition where ``wanted`` may not follow ``found``."""
    allowed = FOLLOWING[found]
    if wanted not in allowed:
        may = f"it may become {', '.join(allowed)}" if allowed else "that is final"
        raise InvalidTransition(f"recommendation {id} is {found}: it cannot become {wanted}; {may}")
