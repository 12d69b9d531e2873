"""Series ids: one int32 for each (signal, unit, scope, entity, labels), bounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fallow.state import Saved, State

VERSION = 1
Pairs = tuple[tuple[str, str], ...]
"""Attributes as pairs sorted by key, so that the order in which a source sends them does not matter."""


def pairs(attributes: Mapping[str, str]) -> Pairs:
    """The attributes as sorted pairs."""
    return tuple(sorted(attributes.items()))


@dataclass(frozen=True)
class SeriesKey:
    """What makes a series one and no other.

    ``name`` is the signal (or, before normalise, the vendor's name); ``unit`` its UCUM unit; ``scope`` the name of the
    instrumentation scope. Attribute values are text: what is not a string is written as JSON.
    """

    name: str
    unit: str = ""
    scope: str = ""
    resource: Pairs = ()
    attributes: Pairs = ()

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """Resource and point attributes together; the point's win."""
        return dict(self.resource) | dict(self.attributes)


class SeriesTable:
    """Interns series. Ids are dense, start at 0 and are never reused while the process lives.

    At ``limit`` series the newest is refused: ``intern`` answers -1 and counts it in ``refused``.
    """

    def __init__(self, limit: int = 5_000_000) -> None:
        self.limit = limit
        self.refused = 0
        self._keys: list[SeriesKey] = []
        self._ids: dict[SeriesKey, int] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def intern(self, key: SeriesKey) -> int:
        """The id of the series, new or known; -1 where the table is full."""
        found = self._ids.get(key)
        if found is not None:
            return found
        if len(self._keys) >= self.limit:
            self.refused += 1
            return -1
        self._ids[key] = len(self._keys)
        self._keys.append(key)
        return len(self._keys) - 1

    def key(self, series: int) -> SeriesKey:
        """The key of an id that ``intern`` gave."""
        return self._keys[series]

    # -- across a restart ----------------------------------------------------------------------------------------------
    def save(self) -> Saved:
        """Every key, in the order of ids."""
        keys = self._keys[:]
        return lambda: _saved(keys)

    def restore(self, state: State) -> NDArray[np.int32]:
        """Intern the keys of a state; returns the id of each, -1 where the table is full."""
        parts = [[tuple((str(k), str(v)) for k, v in one) for one in column] for column in _pairs(state.of(VERSION))]
        names = state.document["names"]
        ids = np.empty(len(state.arrays["columns"]), dtype=np.int32)
        for i, (name, unit, scope, resource, attributes) in enumerate(state.arrays["columns"].tolist()):
            key = SeriesKey(names[name], names[unit], names[scope], parts[0][resource], parts[1][attributes])
            ids[i] = self.intern(key)
        return ids


def _pairs(state: State) -> tuple[list[list[list[str]]], list[list[list[str]]]]:
    return state.document["resources"], state.document["attributes"]


def _saved(keys: list[SeriesKey]) -> State:
    """Keys as numbers of the few texts and sets of attributes that they are made of."""
    names: dict[str, int] = {}
    resources: dict[Pairs, int] = {}
    attributes: dict[Pairs, int] = {}
    columns = [
        (
            names.setdefault(key.name, len(names)),
            names.setdefault(key.unit, len(names)),
            names.setdefault(key.scope, len(names)),
            resources.setdefault(key.resource, len(resources)),
            attributes.setdefault(key.attributes, len(attributes)),
        )
        for key in keys
    ]
    return State(
        version=VERSION,
        document={"names": list(names), "resources": list(resources), "attributes": list(attributes)},
        arrays={"columns": np.asarray(columns, dtype=np.int32).reshape(-1, 5)},
    )
