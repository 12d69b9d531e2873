"""Recorded files as batches in order of time."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fallow.batch import Batch, MetricBatch
from fallow.errors import DocumentError, Problem
from fallow.replay.lines import read_lines
from fallow.replay.mapping import TableMapping, load_mapping
from fallow.replay.samples import Events, Samples, TableReader
from fallow.replay.tables import read_table
from fallow.series import SeriesTable
from fallow.units import SECOND

LINES = frozenset({".jsonl", ".ndjson", ".json"})
TABLES = frozenset({".parquet", ".csv"})
SLICE_NS = 60 * SECOND
"""Event time of one batch from tables; with OTLP lines beside them a second, so that neither runs ahead of the other."""
SLICE_SAMPLES = 50_000
MAX_ROWS = 100_000_000
"""Samples and events that tables may hold together: they are in memory to be sorted, 20 bytes a sample, 40 an event,
twice that while they are being sorted: at the limit about 4 GB. OTLP lines stream and have no limit."""


class Recording:
    """Batches in order of time: iterate over it, as often as wanted.

    Samples and events of one time are in one batch, unless they come from OTLP lines, which stay the requests they
    were. Several files of lines are merged by the earliest time of each line; a file itself keeps its order.
    """

    def __init__(self, lines: Sequence[Path], samples: Samples, events: Events, series: SeriesTable) -> None:
        self.series = series
        self.dropped: Counter[str] = Counter()
        self._lines = lines
        self._samples = samples
        self._events = events

    @property
    def samples(self) -> int | None:
        """Samples and events in all; None where only reading would tell."""
        return None if self._lines else len(self._samples.time) + len(self._events.time)

    def __iter__(self) -> Iterator[Batch]:
        streams = [read_lines(path) for path in self._lines]
        slices = _slices(self._samples, self._events, SECOND if streams else SLICE_NS)
        dropped = {reason: count for reason, count in self.dropped.items() if count}
        for _, batch in heapq.merge(slices, *streams, key=lambda timed: timed[0]):
            yield replace(batch, dropped=dropped) if dropped else batch
            dropped = {}


def read_recording(sources: Sequence[Path], mapping: Path | None, series: SeriesTable) -> Recording:
    """The files as one recording; tables are read at once, lines when it is iterated over.

    Args:
        sources: OTLP JSON lines (.jsonl, .json, .ndjson), Parquet or CSV; lines and CSV also as .gz.
        mapping: needed for Parquet and CSV.
        series: gets the series of the tables.

    Raises:
        DocumentError: a file is of no known kind, empty or unreadable, a mapping is missing or wrong, a column is not
            there; while iterating, a line is not OTLP (``file:line: …``).
    """
    _check(sources, mapping)
    lines = [path for path in sources if _kind(path) in LINES]
    found = load_mapping(mapping) if mapping is not None else None
    dropped: Counter[str] = Counter()
    samples: list[Samples] = []
    events: list[Events] = []
    for path in sources:
        if found is not None and _kind(path) in TABLES:
            _read_table(path, found, series, samples, events, dropped)
    recording = Recording(lines, Samples.sorted(samples), Events.sorted(events), series)
    recording.dropped = dropped
    return recording


def _check(sources: Sequence[Path], mapping: Path | None) -> None:
    problems = [Problem(file=str(path), message=wrong) for path in sources if (wrong := _wrong(path, mapping))]
    if problems:
        raise DocumentError(problems)


def _wrong(path: Path, mapping: Path | None) -> str:
    kind = _kind(path)
    if kind not in LINES | TABLES:
        return (
            f"{path.suffix or 'no'} ending found, expected {', '.join(sorted(LINES | TABLES))}, or .gz of lines or CSV"
        )
    if not path.is_file():
        return "no such file"
    if not path.stat().st_size:
        return "is empty"
    if kind in TABLES and mapping is None:
        return "needs a mapping file (--map) that says which column is which signal"
    return ""


def _kind(path: Path) -> str:
    """The ending that tells what is in the file, without .gz."""
    name = path.name.lower()
    zipped = name.endswith(".gz")
    ending = Path(name.removesuffix(".gz")).suffix
    return "" if zipped and ending == ".parquet" else ending


def _read_table(
    path: Path,
    mapping: TableMapping,
    series: SeriesTable,
    samples: list[Samples],
    events: list[Events],
    dropped: Counter[str],
) -> None:
    entries = mapping.entries_of(path)
    table = read_table(path, entries)
    for entry in entries:
        reader = TableReader(table, entry, series, dropped)
        for part in reader.samples():
            samples.append(part)
            _check_size(path, samples, events)
        events.extend(reader.events())
        _check_size(path, samples, events)


def _check_size(path: Path, samples: Sequence[Samples], events: Sequence[Events]) -> None:
    rows = sum(len(p.time) for p in samples) + sum(len(p.time) for p in events)
    if rows > MAX_ROWS:
        message = f"with it the tables hold {rows:,} samples and events; at most {MAX_ROWS:,} go into one replay"
        raise DocumentError([Problem(file=str(path), message=message)])


def _slices(samples: Samples, events: Events, span: int) -> Iterator[tuple[int, Batch]]:
    """(time it starts at, batch), each of at most ``span`` ns and, but for what is of one time, 50,000 samples."""
    at, event_at = 0, 0
    while at < len(samples.time) or event_at < len(events.time):
        start = min(int(t[i]) for t, i in ((samples.time, at), (events.time, event_at)) if i < len(t))
        last = _cut(samples.time, at, start + span)
        # Events go with the samples of their time: where samples are cut earlier, events are as well.
        until = int(samples.time[last]) if last < len(samples.time) else start + span
        event_last = int(np.searchsorted(events.time, min(until, start + span), side="left"))
        yield start, _batch(samples, at, last, events, event_at, event_last)
        at, event_at = last, event_last


def _cut(time: np.ndarray[tuple[int], np.dtype[np.int64]], first: int, end: int) -> int:
    """Where the slice from row ``first`` ends: before ``end``, after 50,000 rows, never between rows of one time."""
    last = int(np.searchsorted(time, end, side="left"))
    if last - first <= SLICE_SAMPLES:
        return last
    cut = int(np.searchsorted(time, time[first + SLICE_SAMPLES], side="left"))
    return cut if cut > first else int(np.searchsorted(time, time[first], side="right"))


def _batch(samples: Samples, at: int, last: int, events: Events, event_at: int, event_last: int) -> Batch:
    metrics = MetricBatch(
        series=samples.series[at:last],
        time=samples.time[at:last],
        value=samples.value[at:last],
        stale=np.zeros(last - at, dtype=np.bool_),
    )
    return Batch(
        metrics=metrics if last > at else None,
        logs=events.batch(event_at, event_last) if event_last > event_at else None,
    )
