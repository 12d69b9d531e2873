"""When each result of a condition held, and when that was unknown: a bounded memory for rules that look back."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np

from fallow.promql.plan import Labels
from fallow.promql.selectors import prom_name
from fallow.promql.state import BEGAN, BEGAN_UNSEEN, ENDED, KNOWN_AGAIN, UNKNOWN_FROM
from fallow.series.layout import FAR
from fallow.state import Saved, State

VERSION = 1

REMEMBERED = 64
"""Spans kept for each result, the newest."""

Span = tuple[int, int, bool]
"""(from, until, whether it held; else it was unknown): instants, ``until`` excluded, FAR while it goes on."""


class History:
    """Spans of every result, found by labels; ``seen``: every label that has been measured."""

    def __init__(self, seen: set[tuple[str, str]]) -> None:
        self._spans: dict[int, deque[Span]] = {}
        self._labels: list[tuple[int, int, Labels]] = []
        self._index: dict[tuple[int, str], tuple[dict[str, set[int]], list[int]]] = {}
        self._seen = seen

    def add_result(self, result: int, condition: int, labels: Labels) -> None:
        """Let a result be found by its labels; results are numbered from 0 in order."""
        self._labels.append((result, condition, labels))

    def add_series(self, labels: Mapping[str, str]) -> None:
        """Take note that something with these labels is measured."""
        self._seen.update(labels.items())

    def note(self, kind: int, result: int, time: int) -> None:
        """Take a record of the kernels."""
        spans = self._spans.get(result)
        if spans is None:
            spans = self._spans[result] = deque(maxlen=REMEMBERED)
        held = kind in (BEGAN, BEGAN_UNSEEN, ENDED)
        if kind in (BEGAN, BEGAN_UNSEEN, UNKNOWN_FROM):
            spans.append((time, FAR, held))
        elif kind in (ENDED, KNOWN_AGAIN):
            for i in range(len(spans) - 1, -1, -1):
                if spans[i][1] == FAR and spans[i][2] == held:
                    spans[i] = (spans[i][0], time, held)
                    break

    def holds(self, condition: int, subset: Mapping[str, str], start: int, end: int) -> bool | None:
        """Whether a result with these labels held in [start, end]; None where that is unknown."""
        wanted = [(prom_name(label), value) for label, value in subset.items()]
        found = self._found(condition, wanted)
        unknown = not found and any(pair not in self._seen for pair in wanted)
        for result in found:
            for since, until, held in self._spans.get(result, ()):
                if since <= end and until > start:
                    if held:
                        return True
                    unknown = True
        return None if unknown else False

    def _found(self, condition: int, wanted: Sequence[tuple[str, str]]) -> set[int]:
        found: set[int] | None = None
        for label, value in wanted or [("", "")]:
            here = self._by_label(condition, label).get(value, set())
            found = here if found is None else found & here
        return found or set()

    def _by_label(self, condition: int, label: str) -> dict[str, set[int]]:
        """Results of the condition by the value of one label; built at the first question, then kept up."""
        index, upto = self._index.setdefault((condition, label), ({}, [0]))
        for result, of, labels in self._labels[upto[0] :]:
            if of == condition:
                index.setdefault(dict(labels).get(label, ""), set()).add(result)
        upto[0] = len(self._labels)
        return index

    # -- across a restart ----------------------------------------------------------------------------------------------
    @property
    def results(self) -> list[int]:
        """The results that have spans."""
        return list(self._spans)

    def save(self) -> Saved:
        """The spans of all results."""
        spans = [(result, list(found)) for result, found in self._spans.items()]

        def made() -> State:
            rows = [(result, *span) for result, found in spans for span in found]
            return State(version=VERSION, arrays={"spans": np.asarray(rows, dtype=np.int64).reshape(-1, 4)})

        return made

    def restore(self, state: State, results: Mapping[int, int]) -> None:
        """Remember them again; ``results[r]`` is what result r of the state is now."""
        for result, since, until, held in state.of(VERSION).arrays["spans"].tolist():
            now = results.get(result)
            if now is not None:
                self._spans.setdefault(now, deque(maxlen=REMEMBERED)).append((since, until, bool(held)))
