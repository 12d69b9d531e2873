"""Which terms of which rules records match: every distinct pattern is looked for once, in one pass over a batch.

One scan finds the records that contain a literal which a pattern needs. Where the literal says it all, that is the
answer; else the pattern itself decides. Patterns that need no literal are tried on every record, all in one set.

The scan is compiled. Before ``load_kernels`` all patterns are tried in one set: a twentieth as fast, and ready at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import re2

from fallow import semconv
from fallow.batch import Int32Array, Int64Array, LogBatch
from fallow.regex import options
from fallow_processors.cre.columns import text_columns
from fallow_processors.cre.literals import required
from fallow_processors.cre.patterns import Test, compiled, regex
from fallow_processors.cre.rule import Pattern

if TYPE_CHECKING:
    from fallow_processors.cre.scanner import Scanner

# The set's automaton grows with what it meets; beyond this it would start anew again and again.
_MAX_MEMORY: Final = 512 << 20
_JSON_BEGINS: Final = frozenset(b'{["-0123456789tfnNI \t\n\r')
_JSON_ENDS: Final = frozenset(b'}]"0123456789elNy \t\n\r')


class TermIndex:
    """Patterns by number. ``match`` says which of them each record matches.

    Args:
        kernels: whether the scan is made ready now.
    """

    def __init__(self, patterns: Iterable[Pattern], *, kernels: bool = True) -> None:
        self._ids: dict[Pattern, int] = {}
        for pattern in patterns:
            self._ids.setdefault(pattern, len(self._ids))
        self._scanner: Scanner | None = None
        self._tests = [_test_of_bytes(pattern) for pattern in self._ids]
        self._take_one_by_one(list(self._ids.items()))
        self._fields: dict[str, list[tuple[int, Test]]] = {}
        for pattern, i in self._ids.items():
            if pattern.field:
                self._fields.setdefault(pattern.field, []).append((i, compiled(pattern.kind, pattern.text)))
        if kernels:
            self.load_kernels()

    def __len__(self) -> int:
        return len(self._ids)

    def id(self, pattern: Pattern) -> int:
        """The number of a pattern that the index was made of."""
        return self._ids[pattern]

    def load_kernels(self) -> None:
        """Make the scan ready: loaded, or where that was never done compiled."""
        from fallow_processors.cre.scanner import Scanner  # few records never need the compiler

        if self._scanner is not None:
            return
        needs = [required(pattern) for pattern in self._ids]
        self._is_exact = np.array([needed is not None and needed.exact for needed in needs], dtype=np.bool_)
        self._scanner = Scanner([needed.groups if needed else () for needed in needs])
        items = zip(self._ids.items(), needs, strict=True)
        self._take_one_by_one([(pattern, i) for (pattern, i), needed in items if not needed])

    def _take_one_by_one(self, patterns: Sequence[tuple[Pattern, int]]) -> None:
        """These are tried on every record."""
        self._one_by_one = patterns
        self._set: _Set | None = None
        self._programs = [i for pattern, i in patterns if pattern.kind == "jq"]

    def match(self, logs: LogBatch) -> tuple[Int64Array, Int64Array]:
        """(records, patterns): each pair once, ascending.

        A pattern with a field that the record has looks only there. An empty text matches nothing.
        """
        data, starts = text_columns(logs.body)
        texts = _Texts(data.data, starts.tolist())
        if self._set is None:
            self._set = _Set([(pattern, i) for pattern, i in self._one_by_one if pattern.kind != "jq"])
        found = [self._pairs(self._set.matches(texts)), self._in_programs(texts)]
        if self._scanner is not None:
            found.append(self._in_scan(self._scanner.scan(data, starts), texts))
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


class _Set:
    """Patterns that are tried on a text all at once."""

    def __init__(self, patterns: Sequence[tuple[Pattern, int]]) -> None:
        self._ids = [i for _, i in patterns]
        self._set: Any = re2.Set.SearchSet(options(_MAX_MEMORY))
        for pattern, _ in patterns:
            self._set.Add(pattern.text if pattern.kind == "regex" else re2.escape(pattern.text))
        self._set.Compile()

    def matches(self, texts: _Texts) -> Iterator[tuple[int, int]]:
        """(record, pattern) of each match."""
        if self._ids:
            hits = ((i, self._set.Match(text)) for i, text in enumerate(texts) if text)
            yield from ((i, self._ids[k]) for i, found in hits for k in found or ())
