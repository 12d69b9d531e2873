"""The query behind a listing, and the tokens of its pages."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, select

from fallow.errors import PermanentError
from fallow.ledger.tables import RECOMMENDATIONS
from fallow.model import Recommendation, RecommendationState

_LARGEST = 2**63 - 1


def listing(states: Sequence[RecommendationState], rule: str, token: str) -> Select[Any, Any]:
    """(revision, payload) of each recommendation that matches, newest first, after the page that gave the token.

    Raises:
        PermanentError: the page token is not one that ``token_after`` gave.
    """
    table = RECOMMENDATIONS.c
    query = select(table.revision, table.payload).order_by(table.created.desc(), table.id.desc())
    if states:
        query = query.where(table.state.in_(states))
    if rule:
        query = query.where(table.rule == rule)
    if token:
        created, id = _from_token(token)
        query = query.where((table.created < created) | ((table.created == created) & (table.id < id)))
    return query


def token_after(last: Recommendation) -> str:
    """The token of the page after the one that ends with ``last``."""
    return base64.urlsafe_b64encode(f"{last.created} {last.id}".encode()).decode()


def _from_token(token: str) -> tuple[int, str]:
    try:
        created, _, id = base64.urlsafe_b64decode(token.encode()).decode().partition(" ")
        if abs(int(created)) > _LARGEST:
            raise ValueError("no time that the database can hold")
        return int(created), id
    except (binascii.Error, ValueError) as error:
        raise PermanentError(f"{token!r} is not a page token of this service") from error
