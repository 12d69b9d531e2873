"""The checks that our own components pass, for components of others too."""

from fallow.reference import Metadata, metadata
from fallow.testing.components import check_component, context

__all__ = ["Metadata", "check_component", "context", "metadata"]
