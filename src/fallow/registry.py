"""Component types by name, found through entry points and imported on demand."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points

from fallow.component import ComponentKind, Factory
from fallow.errors import NotFound

KINDS: tuple[ComponentKind, ...] = ("receivers", "processors", "exporters")


@cache
def components(kind: ComponentKind) -> Mapping[str, str]:
    """Type → module of every installed component of a kind, in the order its tables give."""
    found: dict[str, str] = {}
    for point in entry_points(group=f"fallow.{kind}"):
        found |= point.load()
    return found


@cache
def factory(kind: ComponentKind, type: str) -> Factory:
    """The factory of a component type.

    Raises:
        NotFound: there is no such type; the message lists those there are.
    """
    modules = components(kind)
    if type not in modules:
        raise NotFound(f"{type!r} is no {kind[:-1]}; there are: {', '.join(modules) or 'none'}")
    made: Factory = importlib.import_module(modules[type]).FACTORY
    return made
