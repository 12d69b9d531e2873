"""Tables with their mapping as columns of samples and events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from fallow.batch import BoolArray, Float64Array, Int32Array, Int64Array, LogBatch
from fallow.document import Location
from fallow.errors import DocumentError
from fallow.replay.mapping import Conversion, Entry, EventDocument, LongSignals, SourceOf
from fallow.replay.tables import distinct, numbers, rows_like, text_of, times
from fallow.semconv import HW_TYPE
from fallow.series import SeriesKey, SeriesTable
from fallow.series.table import pairs

# Where normalise puts these attributes too, so that a series keeps its key.
_RESOURCE = ("host.", "k8s.", "container.", "cloud.", "service.")


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples as columns, (n,) each."""

    series: Int32Array
    time: Int64Array
    value: Float64Array

    @classmethod
    def sorted(cls, parts: Sequence[Samples]) -> Samples:
        """All parts in order of time; those of one time stay in the order given."""
        if not parts:
            return cls(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0))
        time = np.concatenate([p.time for p in parts])
        series = np.concatenate([p.series for p in parts])
        value = np.concatenate([p.value for p in parts])
        if len(parts) == 1 and bool((np.diff(time) >= 0).all()):
            return cls(series, time, value)
        order = np.argsort(time, kind="stable")
        return cls(series[order], time[order], value[order])


@dataclass(frozen=True, slots=True)
class Events:
    """Events as columns, (n,) each; ``attributes`` holds Arrow string arrays by attribute, one for each table."""

    time: Int64Array
    source: Int64Array
    name: Int64Array
    table: Int64Array
    row: Int64Array
    resources: Sequence[Mapping[str, str]]
    names: list[str]
    attributes: Sequence[Mapping[str, Any]]

    @classmethod
    def sorted(cls, parts: Sequence[Events]) -> Events:
        """All parts in order of time; those of one time stay in the order given."""
        resources = [r for p in parts for r in p.resources]
        names: list[str] = [n for p in parts for n in p.names]
        base_source = np.cumsum([0, *(len(p.resources) for p in parts)])
        base_name = np.cumsum([0, *(len(p.names) for p in parts)])
        empty = [np.zeros(0, np.int64)]
        time = np.concatenate([p.time for p in parts] or empty)
        order = np.argsort(time, kind="stable")
        return cls(
            time=time[order],
            source=np.concatenate([p.source + b for p, b in zip(parts, base_source, strict=False)] or empty)[order],
            name=np.concatenate([p.name + b for p, b in zip(parts, base_name, strict=False)] or empty)[order],
            table=np.concatenate([p.table + i for i, p in enumerate(parts)] or empty)[order],
            row=np.concatenate([p.row for p in parts] or empty)[order],
            resources=resources,
            names=names,
            attributes=[a for p in parts for a in p.attributes],
        )

    def batch(self, first: int, last: int) -> LogBatch:
        """The events from row ``first`` up to ``last`` as log records."""
        time = self.time[first:last]
        used, source = np.unique(self.source[first:last], return_inverse=True)

        def attributes(i: int) -> Mapping[str, str]:
            row = int(self.row[first + i])
            cells = {k: column[row].as_py() for k, column in self.attributes[self.table[first + i]].items()}
            return {k: cell for k, cell in cells.items() if cell is not None}

        return LogBatch(
            time=time,
            observed=time,
            severity=np.zeros(len(time), dtype=np.int8),
            source=source.astype(np.int32),
            resources=tuple(self.resources[i] for i in used.tolist()),
            body=pa.nulls(len(time), pa.string()),
            event_name=tuple(self.names[i] for i in self.name[first:last].tolist()),
            attributes=attributes,
        )


class TableReader:
    """Reads one table under one entry.

    Args:
        dropped: counts what cannot be used, by reason.
    """

    def __init__(self, table: pa.Table, entry: Entry, series: SeriesTable, dropped: Counter[str]) -> None:
        self._table = table
        self._entry = entry
        self._file = entry.file
        self._series = series
        self._dropped = dropped
        self._time, self._timed = self._times()
        self._dropped["no_time"] += int((~self._timed).sum())
        self._timed &= rows_like(table, self._file.rows)
        self._entity, self._entities = self._grouped(self._file.entity, ("entity",))

    def samples(self) -> Iterator[Samples]:
        """The samples of each signal."""
        signals = self._file.signals
        if not isinstance(signals, LongSignals):
            for name, signal in signals.items():
                value, there = self._numbers(signal.column, ("signals", name, "column"))
                yield self._of_signal(name, signal, value, there & self._timed)
            return
        value, there = self._numbers(signals.value_column, ("signals", "value_column"))
        there &= self._timed
        codes, metrics = self._grouped({"": SourceOf(column=signals.name_column)}, ())
        for code, metric in enumerate(m.get("", "") for m in metrics):
            rows = there & (codes == code)
            if named := signals.names.get(metric):
                yield self._of_signal(named.signal, named, value, rows)
            else:
                self._dropped["unmapped"] += int(rows.sum())

    def events(self) -> Iterator[Events]:
        """The rows as events, where the entry says that they are."""
        event = self._file.event
        if event is None:
            return
        codes, names = self._grouped({"": event.name}, ("event", "name"))
        named = np.array([bool(n.get("")) for n in names])[codes]
        self._dropped["no_event_name"] += int((self._timed & ~named).sum())
        rows = np.flatnonzero(self._timed & named)
        yield Events(
            time=self._time[rows],
            source=self._entity[rows],
            name=codes[rows],
            table=np.zeros(len(rows), dtype=np.int64),
            row=rows,
            resources=self._entities,
            names=[n.get("", "") for n in names],
            attributes=[self._attributes(event)],
        )

    def _attributes(self, event: EventDocument) -> dict[str, Any]:
        rows = self._table.num_rows
        return {
            name: self._text(source, ("event", "attributes", name))
            if source.column
            else pa.array([source.value] * rows)
            for name, source in event.attributes.items()
        }

    def _of_signal(self, name: str, signal: Conversion, value: Float64Array, rows: BoolArray) -> Samples:
        time, entity = self._time[rows], self._entity[rows]
        ids = np.full(len(self._entities), -1, dtype=np.int32)
        for one in np.unique(entity).tolist():
            ids[one] = self._series.intern(series_key(name, signal.unit_of(name), self._entities[one]))
        series, converted = ids[entity], _converted(value[rows], signal)
        if signal.accumulate:
            converted = _running_total(series, time, converted)
        kept = series >= 0
        if not kept.all():
            self._dropped["series_limit"] += int((~kept).sum())
            return Samples(series[kept], time[kept], converted[kept])
        return Samples(series, time, converted)

    def _text(self, source: SourceOf, key: Location) -> Any:
        try:
            return text_of(self._table, source)
        except pa.ArrowException as error:
            reason = str(error).splitlines()[0]
            raise DocumentError(
                [self._entry.problem(key, f"{source.column}: modulo needs whole numbers: {reason}")]
            ) from error

    def _grouped(self, sources: Mapping[str, SourceOf], key: Location) -> tuple[Int64Array, list[dict[str, str]]]:
        """(n,) the number of each row's attributes, and the distinct attributes; null cells are absent ones."""
        parts = {name: self._text(s, (*key, name) if name else key) for name, s in sources.items() if s.column}
        codes, first = distinct(list(parts.values()), self._table.num_rows)
        constant = {name: source.value for name, source in sources.items() if not source.column}
        found: list[dict[str, str]] = [dict(constant) for _ in first]
        for name, part in parts.items():
            for attributes, text in zip(found, part.take(pa.array(first)).to_pylist(), strict=True):
                if text:
                    attributes[name] = text
        return codes, found

    def _times(self) -> tuple[Int64Array, BoolArray]:
        column = self._file.time.column
        try:
            return times(self._table[column], self._file.time)
        except (ValueError, pa.ArrowException) as error:
            raise DocumentError([self._entry.problem(("time", "column"), f"{column}: {error}")]) from error

    def _numbers(self, column: str, key: Sequence[str]) -> tuple[Float64Array, BoolArray]:
        try:
            return numbers(self._table[column])
        except pa.ArrowException as error:
            reason = str(error).splitlines()[0]
            raise DocumentError([self._entry.problem(key, f"{column}: holds no numbers: {reason}")]) from error


def series_key(signal: str, unit: str, entity: Mapping[str, str]) -> SeriesKey:
    """The series of a signal on an entity; what is said of GPUs says so, as normalise does."""
    if signal.startswith(("hw.", "fallow.gpu.")) and not signal.startswith("hw.host."):
        entity = {HW_TYPE: "gpu"} | dict(entity)
    resource = {k: v for k, v in entity.items() if k.startswith(_RESOURCE)}
    point = {k: v for k, v in entity.items() if k not in resource}
    return SeriesKey(signal, unit, "", pairs(resource), pairs(point))


def _converted(value: Float64Array, signal: Conversion) -> Float64Array:
    # 57 / 100 is 0.57, while 57 * 0.01 is 0.5700000000000001.
    inverse = 1.0 / signal.scale
    if abs(signal.scale) < 1 and abs(inverse - round(inverse)) < 1e-9 * abs(inverse):
        return value / round(inverse) + signal.offset
    return value * signal.scale + signal.offset


def _running_total(series: Int32Array, time: Int64Array, value: Float64Array) -> Float64Array:
    """Each series' sum up to and with each sample, in order of time."""
    if not len(series):
        return value
    order = np.lexsort((time, series))
    total = np.cumsum(value[order])
    starts = np.flatnonzero(np.diff(series[order], prepend=series[order][0] - 1))
    before = np.repeat(total[starts] - value[order][starts], np.diff(np.append(starts, len(series))))
    out = np.empty_like(total)
    out[order] = total - before
    return out
