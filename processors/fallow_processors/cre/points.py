"""Metric points as events: a log node whose source is ``cre.metrics`` or ``cre.metrics.…`` is about samples of signals.

A point's text is one line of JSON, the same wherever it came from:

    {"timestamp":"2026-03-01T10:00:00.000Z","name":"hw.gpu.utilization","unit":"1","value":0.02,"resource":{…},"attributes":{…}}

Every term applies to that text. What a jq term compares (``select(.name == … and .value < …)``) is compared as columns:
which series it could be about is settled once for each series, the values of a batch are compared at once, and only
points for which a term is true become events. Other terms see the text of each point of the series that they could be
about, one after the other.

A point with NO_RECORDED_VALUE is no event, and neither is NaN: JSON has none, and nothing measured is not idle. Infinite
values are the largest number there is, as in jq.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fallow.batch import Float64Array, Int64Array, MetricBatch
from fallow.series import SeriesKey, SeriesTable
from fallow.state import Past, Saved, State
from fallow.units import SECOND
from fallow_processors.cre.happening import Happening
from fallow_processors.cre.machine import Condition, Key, Machine
from fallow_processors.cre.patterns import Test, compiled
from fallow_processors.cre.records import Found, Sources, extracted, is_of
from fallow_processors.cre.rule import Extract, Pattern, Term
from fallow_processors.cre.selection import Selection, selection

VERSION = 1
_UNSEEN, _NOBODY = -2, -1
_LARGEST = sys.float_info.max
_COMPARE: Mapping[str, Callable[[Float64Array, float], NDArray[np.bool_]]] = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


class PointTerm:
    """A term as it is asked about points."""

    def __init__(self, pattern: Pattern) -> None:
        self.pattern = pattern
        self.selection = selection(pattern.text) if pattern.kind == "jq" and not pattern.field else Selection()
        self._test: Test | None = None if self.selection.exact else compiled(pattern.kind, pattern.text)

    def could_be(self, key: SeriesKey) -> bool:
        """Whether points of the series may match."""
        resource, attributes = dict(key.resource), dict(key.attributes)
        if self.pattern.field and self._test is not None and self.pattern.field in key.labels:
            return self._test(key.labels[self.pattern.field])
        return self.selection.could_be(key.name, key.unit, resource, attributes)

    def match(self, rows: _Rows, key: Callable[[int], SeriesKey]) -> NDArray[np.bool_]:
        """(n,) which of these points match; all are of series that could be."""
        value = np.clip(rows.value, -_LARGEST, _LARGEST)
        found = np.ones(len(value), dtype=np.bool_)
        for one in self.selection.value:
            if isinstance(one.constant, float):
                found &= _COMPARE[one.op](value, one.constant)
            else:  # a number never equals text, and is less than any
                found &= one.holds(0.0)
        if self._test is None:
            return found
        for i in np.flatnonzero(found).tolist():
            found[i] = self._asked(key(int(rows.series[i])), int(rows.time[i]), float(value[i]))
        return found

    def _asked(self, key: SeriesKey, time: int, value: float) -> bool:
        assert self._test is not None
        if self.pattern.field in key.labels:
            return True  # could_be has looked there
        return self._test(point_text(key, time, value))


@dataclass(slots=True)
class _Rows:
    """Points as columns, (n,) each."""

    series: NDArray[np.int32]
    time: Int64Array
    value: Float64Array

    def __getitem__(self, which: NDArray[np.bool_] | Int64Array) -> _Rows:
        return _Rows(self.series[which], self.time[which], self.value[which])


@dataclass(slots=True)
class _Reader:
    """A condition that is about points, and those that wait for it: blocks of (points, which items each matches)."""

    machine: Machine
    condition: Condition
    terms: dict[int, Term]
    """By number of the item."""
    extracts: dict[int, tuple[Extract, ...]]
    waiting: list[tuple[_Rows, NDArray[np.uint64]]] = field(default_factory=list["tuple[_Rows, NDArray[np.uint64]]"])


@dataclass(frozen=True, slots=True)
class _Group:
    """Series of which the same terms of the same conditions may be true."""

    terms: tuple[int, ...]
    readers: tuple[tuple[int, tuple[tuple[int, int], ...]], ...]
    """(reader, ((number of the item, term), …)) …"""


class Points:
    """Finds the points that conditions are about, and holds them until it is safe that nothing older comes."""

    def __init__(self, machines: Sequence[Machine], sources: Sources, series: SeriesTable) -> None:
        self._series, self._sources = series, sources
        self._terms: list[PointTerm] = []
        self._readers: list[_Reader] = []
        self._wanted: list[tuple[int, int, int]] = []  # (reader, bit, term)
        known: dict[Pattern, int] = {}
        for machine in machines:
            for condition in machine.logs:
                if condition.node.is_points:
                    self._add(machine, condition, known)
        self._groups: list[_Group] = []
        self._group_ids: dict[tuple[tuple[int, int, int], ...], int] = {}
        self._group_of = np.full(1024, _UNSEEN, dtype=np.int32)  # by series
        self._partition: dict[int, Key] = {}

    def __len__(self) -> int:
        """How many conditions are about points."""
        return len(self._readers)

    def _add(self, machine: Machine, condition: Condition, known: dict[Pattern, int]) -> None:
        reader = _Reader(machine, condition, {}, {})
        for item in condition.node.items:
            if isinstance(item, Term):
                term = known.setdefault(item.pattern, len(known))
                if term == len(self._terms):
                    self._terms.append(PointTerm(item.pattern))
                bit = condition.number(item)
                self._wanted.append((len(self._readers), bit, term))
                reader.terms.setdefault(bit, item)
                reader.extracts[bit] = reader.extracts.get(bit, ()) + item.extract
        self._readers.append(reader)

    # -- points in -----------------------------------------------------------------------------------------------------
    def append(self, metrics: MetricBatch) -> None:
        """Hold what conditions are about."""
        if not self._readers or not len(metrics):
            return
        self._learn(metrics.series)
        group = self._group_of[metrics.series]
        usable = (group >= 0) & ~metrics.stale & ~np.isnan(metrics.value)
        if not usable.any():
            return
        rows, group = _Rows(metrics.series, metrics.time, metrics.value)[usable], group[usable]
        for number in np.unique(group).tolist():
            self._match(self._groups[number], rows[group == number])

    def _match(self, group: _Group, rows: _Rows) -> None:
        matched = {term: self._terms[term].match(rows, self._series.key) for term in group.terms}
        for reader, wanted in group.readers:
            mask = np.zeros(len(rows.series), dtype=np.uint64)
            for bit, term in wanted:
                mask |= matched[term].astype(np.uint64) << np.uint64(bit)
            some = mask != 0
            if some.any():
                self._readers[reader].waiting.append((rows[some], mask[some]))

    def _learn(self, series: NDArray[np.int32]) -> None:
        top = int(series.max()) + 1
        if top > len(self._group_of):
            more = np.full(max(top, 2 * len(self._group_of)) - len(self._group_of), _UNSEEN, dtype=np.int32)
            self._group_of = np.concatenate((self._group_of, more))
        for one in np.unique(series[self._group_of[series] == _UNSEEN]).tolist():
            self._group_of[one] = self._grouped(one)

    def _grouped(self, series: int) -> int:
        if series >= len(self._series):
            return _NOBODY  # not of this service's table: nothing is known about it
        key = self._series.key(series)
        could = {term for term in {t for _, _, t in self._wanted} if self._terms[term].could_be(key)}
        wanted = tuple(
            entry
            for entry in self._wanted
            if entry[2] in could and is_of(self._sources, self._readers[entry[0]].condition.node.source, key.labels)
        )
        if not wanted:
            return _NOBODY
        found = self._group_ids.setdefault(wanted, len(self._group_ids))
        if found == len(self._groups):
            by_reader: dict[int, list[tuple[int, int]]] = defaultdict(list)
            for reader, bit, term in wanted:
                by_reader[reader].append((bit, term))
            terms = tuple(sorted({term for _, _, term in wanted}))
            self._groups.append(_Group(terms, tuple((r, tuple(w)) for r, w in by_reader.items())))
        return found

    # -- across a restart ----------------------------------------------------------------------------------------------
    def save(self, keys: Mapping[int, str]) -> Saved:
        """The points that wait; ``keys`` has what tells each machine from others, by its id."""
        waiting = [
            ((keys[id(reader.machine)], reader.machine.conditions.index(reader.condition)), reader.waiting[:])
            for reader in self._readers
            if reader.waiting
        ]

        def made() -> State:
            arrays: dict[str, NDArray[Any]] = {}
            for i, (_, blocks) in enumerate(waiting):
                rows, mask = _joined(blocks)
                arrays |= {
                    f"{i} series": rows.series,
                    f"{i} time": rows.time,
                    f"{i} value": rows.value,
                    f"{i} mask": mask,
                }
            return State(version=VERSION, document={"readers": [whose for whose, _ in waiting]}, arrays=arrays)

        return made

    def restore(self, state: State, past: Past, keys: Mapping[int, str]) -> None:
        """Let them wait on."""
        saved = state.of(VERSION)
        readers = {
            (keys[id(reader.machine)], reader.machine.conditions.index(reader.condition)): reader
            for reader in self._readers
        }
        for i, (key, number) in enumerate(saved.document["readers"]):
            reader = readers.get((key, number))
            if reader is not None:
                series, time, value, mask = (
                    saved.arrays[f"{i} {name}"] for name in ("series", "time", "value", "mask")
                )
                series = past.series[series]
                kept = series >= 0
                reader.waiting.append((_Rows(series, time, value)[kept], mask[kept]))

    # -- events out ----------------------------------------------------------------------------------------------------
    def release(self, clock: Callable[[Machine], int]) -> Iterator[Found]:
        """What is not newer than its rule's ``clock`` and matters; each condition's oldest first."""
        for reader in self._readers:
            if reader.waiting:
                yield from self._released(reader, clock(reader.machine))

    def _released(self, reader: _Reader, safe: int) -> Iterator[Found]:
        rows, mask = _joined(reader.waiting)
        ready = rows.time <= safe
        reader.waiting = [] if ready.all() else [(rows[~ready], mask[~ready])]
        rows, mask = rows[ready], mask[ready]
        matters = self._matters(reader.condition, rows.series, mask)
        rows, mask = rows[matters], mask[matters]
        for i in np.lexsort((rows.series, rows.time)).tolist():
            series, time, value = int(rows.series[i]), int(rows.time[i]), float(rows.value[i])
            made = self._happening(reader, series, time, value, int(mask[i]))
            yield Found(reader.machine, reader.condition, int(mask[i]), made)

    def _matters(self, condition: Condition, series: NDArray[np.int32], mask: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """(n,) False for negatives of tuples for which nothing has begun and nothing begins: they would not be seen."""
        node = condition.node
        if any(item.negate.slide < 0 for item in node.negatives):
            return np.ones(len(series), dtype=np.bool_)
        positive = sum({1 << condition.number(item) for item in node.positives})
        begins = (mask & np.uint64(positive)) != 0
        begun = {self._key(condition, one) for one in np.unique(series[begins]).tolist()}
        quiet = np.unique(series[~begins])
        seen = [
            condition.has_begun(key) or key in begun for key in (self._key(condition, one) for one in quiet.tolist())
        ]
        loud = quiet[np.asarray(seen, dtype=np.bool_)]
        return np.asarray(begins | np.isin(series, loud))

    def _key(self, condition: Condition, series: int) -> Key | None:
        return condition.key(self._series.key(series).labels, self._resource(series))

    def _resource(self, series: int) -> Key:
        """What tells the point's entity from others, for conditions without correlations."""
        found = self._partition.get(series)
        if found is None:
            labels = self._series.key(series).labels
            found = self._partition[series] = tuple(f"{k}={v}" for k, v in sorted(labels.items()))
        return found

    def _happening(self, reader: _Reader, series: int, time: int, value: float, mask: int) -> Happening:
        key = self._series.key(series)
        matched = [bit for bit in reader.extracts if mask >> bit & 1]
        extracts = [extract for bit in matched for extract in reader.extracts[bit]]
        properties = key.labels
        if extracts:
            properties = {**properties, **extracted(extracts, point_text(key, time, value))}
        return Happening(
            kind="signal",
            name=key.name,
            time=time,
            start=time,
            end=time,
            properties=properties,
            entity=key.labels,
            resource=self._resource(series),
            text=reader.terms[matched[0]].pattern.text,
            value=value,
            origin=reader.condition.node.origin,
        )


def _joined(blocks: Sequence[tuple[_Rows, NDArray[np.uint64]]]) -> tuple[_Rows, NDArray[np.uint64]]:
    if len(blocks) == 1:
        return blocks[0]
    return (
        _Rows(
            np.concatenate([rows.series for rows, _ in blocks]),
            np.concatenate([rows.time for rows, _ in blocks]),
            np.concatenate([rows.value for rows, _ in blocks]),
        ),
        np.concatenate([mask for _, mask in blocks]),
    )


def point_text(key: SeriesKey, time: int, value: float) -> str:
    """The line that stands for a point; keys of resource and attributes are sorted.

    >>> point_text(SeriesKey("hw.power", "W", attributes=(("hw.id", "GPU-1"),)), 1_767_600_000_250_000_000, 310.0)
    '{"timestamp":"2026-01-05T08:00:00.250Z","name":"hw.power","unit":"W","value":310,"resource":{},"attributes":{"hw.id":"GPU-1"}}'
    """
    value = min(max(value, -_LARGEST), _LARGEST)
    line = {
        "timestamp": _rfc3339(time),
        "name": key.name,
        "unit": key.unit,
        "value": int(value) if value.is_integer() and abs(value) < 1e17 else value,
        "resource": dict(key.resource),
        "attributes": dict(key.attributes),
    }
    return json.dumps(line, separators=(",", ":"), ensure_ascii=False)


def _rfc3339(time: int) -> str:
    """A time in UTC, to the millisecond where that is exact, else to the nanosecond."""
    seconds, rest = divmod(time, SECOND)
    fraction = f"{rest // 1_000_000:03d}" if rest % 1_000_000 == 0 else f"{rest:09d}"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + fraction + "Z"
