"""Which terms of which rules a record matches: every distinct pattern is looked for once, in one pass over the text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import re2

from fallow_processors.cre.patterns import compiled, re2_options
from fallow_processors.cre.rule import Pattern

_MAX_MEMORY = 512 << 20  # the set's automaton grows with what it meets; beyond this it would start anew again and again


class TermIndex:
    """Patterns by number. ``match`` says which of them a record matches."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self._ids: dict[Pattern, int] = {}
        for pattern in patterns:
            self._ids.setdefault(pattern, len(self._ids))
        self._fields = [(p.field, i, compiled(p.kind, p.text)) for p, i in self._ids.items() if p.field]
        self._programs = [(i, compiled(p.kind, p.text)) for p, i in self._ids.items() if p.kind == "jq"]
        in_set = [(p, i) for p, i in self._ids.items() if p.kind != "jq"]
        self._set_ids = [i for _, i in in_set]
        self._set = _compiled_set([p for p, _ in in_set])

    def __len__(self) -> int:
        return len(self._ids)

    def id(self, pattern: Pattern) -> int:
        """The number of a pattern that the index was made of."""
        return self._ids[pattern]

    def match(self, text: str, attribute: Callable[[str], str | None]) -> list[int]:
        """The patterns that a record matches, ascending; a pattern with a field that the record has looks only there.

        ``attribute`` is asked for the fields alone: to decode what a record has costs more than to match its text.
        """
        found: set[int] = set()
        if text:
            if self._set is not None:
                found.update(self._set_ids[k] for k in self._set.Match(text) or ())
            found.update(i for i, test in self._programs if test(text))
        for field, i, test in self._fields:
            value = attribute(field)
            if value is not None:
                (found.add if test(value) else found.discard)(i)
        return sorted(found)


def _compiled_set(patterns: Sequence[Pattern]) -> Any:
    if not patterns:
        return None
    options = re2_options()
    options.max_mem = _MAX_MEMORY
    made = re2.Set.SearchSet(options)
    for pattern in patterns:
        made.Add(pattern.text if pattern.kind == "regex" else re2.escape(pattern.text))
    made.Compile()
    return made
