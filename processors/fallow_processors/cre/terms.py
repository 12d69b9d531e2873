"""Which terms of which rules records match: every distinct pattern is looked for once, in one pass over a batch.

One scan finds the records that contain a literal which a pattern needs. Where the literal says it all, that is the
answer; else the pattern itself decides. Patterns that need no literal are tried on every record, all in one set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import re2

from fallow import semconv
from fallow.batch import Int32Array, Int64Array, LogBatch
from fallow_processors.cre.literals import required
from fallow_processors.cre.patterns import Test, compiled, re2_options, regex
from fallow_processors.cre.rule import Pattern
from fallow_processors.cre.scanner import Scanner, text_columns

# The set's automaton grows with what it meets; beyond this it would start anew again and again.
_MAX_MEMORY: Final = 512 << 20
_JSON_BEGINS: Final = frozenset(b'{["-0123456789tfnNI \t\n\r')
_JSON_ENDS: Final = frozenset(b'}]"0123456789elNy \t\n\r')


class TermIndex:
    """Patterns by number. ``match`` says which of them each record matches."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self._ids: dict[Pattern, int] = {}
        for pattern in patterns:
            self._ids.setdefault(pattern, len(self._ids))
        needs = [required(pattern) for pattern in self._ids]
        self._scanner = Scanner([needed.groups if needed else () for needed in needs])
        self._is_exact = np.array([needed is not None and needed.exact for needed in needs], dtype=np.bool_)
        self._tests = [_test_of_bytes(pattern) for pattern in self._ids]
        needless = [pattern for pattern, needed in zip(self._ids, needs, strict=True) if needed is None]
        self._programs = [self._ids[pattern] for pattern in needless if pattern.kind == "jq"]
        self._set_ids = [self._ids[pattern] for pattern in needless if pattern.kind != "jq"]
        self._set = _compiled_set([pattern for pattern in needless if pattern.kind != "jq"])
        self._fields: dict[str, list[tuple[int, Test]]] = {}
        for pattern, i in self._ids.items():
            if pattern.field:
                self._fields.setdefault(pattern.field, []).append((i, compiled(pattern.kind, pattern.text)))

    def __len__(self) -> int:
        return len(self._ids)

    def id(self, pattern: Pattern) -> int:
        """The number of a pattern that the index was made of."""
        return self._ids[pattern]

    def match(self, logs: LogBatch) -> tuple[Int64Array, Int64Array]:
        """(records, patterns): each pair once, ascending.

        A pattern with a field that the record has looks only there. An empty text matches nothing.
        """
        data, starts = text_columns(logs.body)
        texts = _Texts(data.data, starts.tolist())
        found = [self._in_scan(self._scanner.scan(data, starts), texts), self._in_set(texts), self._in_programs(texts)]
        pairs = np.concatenate(found)
        if self._fields:
            asked, matched = self._in_fields(logs)
            pairs = np.concatenate([pairs[~np.isin(pairs, asked)], matched])
        pairs.sort()
        records, patterns = np.divmod(pairs, max(len(self), 1))
        return records, patterns

    def _pairs(self, found: Iterable[tuple[int, int]]) -> Int64Array:
        """(record, pattern) as one number each."""
        return np.array([record * len(self) + pattern for record, pattern in found], dtype=np.int64)

    def _in_scan(self, rows: Int32Array, texts: _Texts) -> Int64Array:
        keep = self._is_exact[rows[:, 1]]
        unsure = np.flatnonzero(~keep)
        keep[unsure] = [self._tests[pattern](texts[record]) for record, pattern in rows[unsure].tolist()]
        kept = rows[keep].astype(np.int64)
        return kept[:, 0] * len(self) + kept[:, 1]

    def _in_set(self, texts: _Texts) -> Int64Array:
        if self._set is None:
            return np.empty(0, dtype=np.int64)
        hits = ((i, self._set.Match(text)) for i, text in enumerate(texts) if text)
        return self._pairs((i, self._set_ids[k]) for i, found in hits for k in found or ())

    def _in_programs(self, texts: _Texts) -> Int64Array:
        if not self._programs:
            return np.empty(0, dtype=np.int64)
        documents = ((i, text) for i, text in enumerate(texts) if _may_be_json(text))
        return self._pairs((i, p) for i, text in documents for p in self._programs if self._tests[p](text))

    def _in_fields(self, logs: LogBatch) -> tuple[Int64Array, Int64Array]:
        """Of the patterns with fields: the pairs that a field decides, and those of them that match."""
        asked: list[tuple[int, int]] = []
        matched: list[tuple[int, int]] = []
        for field, tests in self._fields.items():
            for record, value in _values(logs, field):
                asked += ((record, pattern) for pattern, _ in tests)
                matched += ((record, pattern) for pattern, test in tests if test(value))
        return self._pairs(asked), self._pairs(matched)


class _Texts(Sequence[memoryview]):
    """The texts of a batch as bytes, not copied."""

    def __init__(self, data: memoryview, starts: Sequence[int]) -> None:
        self._data = data
        self._starts = starts

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, i: Any) -> Any:
        return self._data[self._starts[i] : self._starts[i + 1]]


def _values(logs: LogBatch, field: str) -> Iterator[tuple[int, str]]:
    """(record, value) of those that have an attribute. Event names are known without decoding attributes."""
    if field == semconv.EVENT_NAME:
        yield from ((i, name) for i, name in enumerate(logs.event_name) if name)
        return
    for i in logs.may_have(field):
        value = logs.attributes(i).get(field)
        if value is not None:
            yield i, value


def _test_of_bytes(pattern: Pattern) -> Callable[[memoryview], bool]:
    if pattern.kind == "regex":
        search = regex(pattern.text).search
        return lambda text: search(text) is not None
    test = compiled(pattern.kind, pattern.text)
    return lambda text: test(str(text, "utf-8"))


def _may_be_json(text: memoryview) -> bool:
    return len(text) > 0 and text[0] in _JSON_BEGINS and text[-1] in _JSON_ENDS


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
