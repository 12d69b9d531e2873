"""A configuration, running: receivers → forwarders, and beside them processors → ledger → exporters."""

from fallow.service.analysis import Analysis, Chain
from fallow.service.service import Service

__all__ = ["Analysis", "Chain", "Service"]
