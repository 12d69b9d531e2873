"""The one writer of recommendations, their states and outcomes, and of the events that tell of them."""

from fallow.ledger.ledger import Change, Ledger, Page

__all__ = ["Change", "Ledger", "Page"]
