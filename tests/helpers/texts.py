"""Texts as a log batch, and what an index of terms finds in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from fallow.batch import LogBatch
from fallow_processors.cre.patterns import compiled
from fallow_processors.cre.rule import Pattern
from fallow_processors.cre.terms import TermIndex


def text_batch(
    texts: Sequence[str | None], attributes: Sequence[Mapping[str, str]] = (), events: Sequence[str] = ()
) -> LogBatch:
    """A record for each text, all of one resource."""
    n = len(texts)
    return LogBatch(
        time=np.arange(n, dtype=np.int64),
        observed=np.arange(n, dtype=np.int64),
        severity=np.zeros(n, dtype=np.int8),
        source=np.zeros(n, dtype=np.int32),
        resources=({},),
        body=pa.array(texts, pa.string()),
        event_name=tuple(events) or ("",) * n,
        attributes=lambda i: attributes[i] if attributes else {},
    )


def found(index: TermIndex, logs: LogBatch) -> list[tuple[int, int]]:
    """(record, pattern) of all that match."""
    records, patterns = index.match(logs)
    return list(zip(records.tolist(), patterns.tolist(), strict=True))


def found_one_by_one(patterns: Sequence[Pattern], texts: Sequence[str | None]) -> list[tuple[int, int]]:
    """The same by trying each pattern on each text: the oracle."""
    tests = [compiled(p.kind, p.text) for p in dict.fromkeys(patterns)]
    return [(i, p) for i, text in enumerate(texts) if text for p, test in enumerate(tests) if test(text)]
