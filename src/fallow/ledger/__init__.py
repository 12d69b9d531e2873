"""The one writer of recommendations, their states and outcomes, and of the events that tell of them."""

from fallow.ledger.change import Change, Page
from fallow.ledger.ledger import Ledger

__all__ = ["Change", "Ledger", "Page"]
