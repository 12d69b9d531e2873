"""The checks that our own components pass, for components of others too."""

from fallow.testing.components import Metadata, check_component, context, metadata

__all__ = ["Metadata", "check_component", "context", "metadata"]
