"""Parquet and CSV as Arrow columns: only those that the mapping names, with errors that say which are there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from fallow.batch import BoolArray, Float64Array, Int64Array
from fallow.document import Location
from fallow.errors import DocumentError, Problem
from fallow.regex import compiled
from fallow.replay.mapping import Entry, LongSignals, SourceOf, TimeDocument
from fallow.units import NANOSECONDS

Column = Any
"""A pyarrow ChunkedArray; the stubs know nothing of its type."""


def read_table(path: Path, entries: Sequence[Entry]) -> pa.Table:
    """The columns that the entries name.

    Raises:
        DocumentError: the file cannot be read or holds no rows, or columns are missing: all of them at their keys.
    """
    try:
        reads_csv = ".csv" in (s.lower() for s in path.suffixes)
        there = _csv_columns(path) if reads_csv else parquet.read_schema(path).names
        _check(path, entries, there)
        wanted = list(dict.fromkeys(name for entry in entries for name, _ in columns(entry)))
        table = _read_csv(path, entries, wanted) if reads_csv else parquet.read_table(path, columns=wanted)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DocumentError([Problem(file=str(path), message=f"cannot be read: {reason}")]) from error
    if not table.num_rows:
        raise DocumentError([Problem(file=str(path), message="is empty: it has columns but no rows")])
    return table


def columns(entry: Entry) -> Iterator[tuple[str, Location]]:
    """Every column that an entry names, with the key that names it."""
    file = entry.file
    yield file.time.column, ("time", "column")
    yield from _text_columns(entry)
    if isinstance(file.signals, LongSignals):
        yield file.signals.value_column, ("signals", "value_column")
    else:
        for name, signal in file.signals.items():
            yield signal.column, ("signals", name, "column")


def _text_columns(entry: Entry) -> Iterator[tuple[str, Location]]:
    file = entry.file
    for column in file.rows:
        yield column, ("rows", column)
    for attribute, source in file.entity.items():
        for column in source.columns:
            yield column, ("entity", attribute)
    if isinstance(file.signals, LongSignals):
        yield file.signals.name_column, ("signals", "name_column")
    if file.event is not None:
        for column in file.event.name.columns:
            yield column, ("event", "name")
        for attribute, source in file.event.attributes.items():
            for column in source.columns:
                yield column, ("event", "attributes", attribute)


def _check(path: Path, entries: Sequence[Entry], there: Sequence[str]) -> None:
    missing = [
        entry.problem(key, f"{path} has no column {name!r}; it has: {', '.join(there)}")
        for entry in entries
        for name, key in columns(entry)
        if name not in there
    ]
    if missing:
        raise DocumentError(missing)


def _csv_columns(path: Path) -> list[str]:
    if not path.stat().st_size:
        raise DocumentError([Problem(file=str(path), message="is empty")])
    with csv.open_csv(path) as reader:
        return list(reader.schema.names)


def _read_csv(path: Path, entries: Sequence[Entry], wanted: Sequence[str]) -> pa.Table:
    # An id of digits stays as it is written; everything that is a value is read as a number or refused.
    types: dict[str, Any] = {name: pa.float64() for entry in entries for name, key in columns(entry) if _is_value(key)}
    types |= {name: pa.string() for entry in entries for name, _ in _text_columns(entry)}
    for entry in entries:
        types.pop(entry.file.time.column, None)
    options = csv.ConvertOptions(column_types=types, include_columns=list(wanted), strings_can_be_null=True)
    return csv.read_csv(path, convert_options=options)


def _is_value(key: Location) -> bool:
    return key[0] == "signals" and key[-1] in ("column", "value_column")


def texts(column: Column) -> Column:
    """The column as one Arrow string array; whole numbers without a fraction, as they were before nulls came in."""
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if pa.types.is_floating(column.type) and _all_whole(column):
        column = pc.cast(column, pa.int64())
    return _one(pc.cast(column, pa.string()))


def text_of(table: pa.Table, source: SourceOf) -> Column:
    """What a source says of each row, as one Arrow string array; raises ArrowException where modulo meets no number."""
    found = texts(table[source.column])
    if source.modulo:
        found = _remainders(found, source.modulo)
    if source.pattern is not None:
        encoded = pc.dictionary_encode(found)
        expression = compiled(source.pattern)
        matches = [expression.search(text) for text in encoded.dictionary.to_pylist()]
        words = pa.array([m.group(1) if m else None for m in matches], pa.string())
        found = words.take(encoded.indices)
    if source.within:
        found = pc.binary_join_element_wise(texts(table[source.within]), found, "/")
    return found


def _remainders(column: Column, modulo: int) -> Column:
    number = pc.cast(column, pa.int64())
    left: Any = pc.fill_null(number, pa.scalar(0, pa.int64()))
    return pa.array(left.to_numpy(zero_copy_only=False) % modulo, mask=~_one(pc.is_valid(number)).to_numpy(False)).cast(
        pa.string()
    )


def rows_like(table: pa.Table, patterns: Mapping[str, str]) -> BoolArray:
    """(n,) where each of the columns matches its pattern; null cells match none."""
    found = np.ones(table.num_rows, dtype=np.bool_)
    for column, pattern in patterns.items():
        encoded = pc.dictionary_encode(texts(table[column]))
        matching = np.array([fnmatchcase(text, pattern) for text in encoded.dictionary.to_pylist()] + [False])
        found &= matching[pc.fill_null(encoded.indices, len(matching) - 1).to_numpy(zero_copy_only=False)]
    return found


def _all_whole(column: Column) -> bool:
    small = pc.less(pc.abs(column), pa.scalar(2.0**53))
    return bool(pc.all(pc.and_(small, pc.equal(pc.floor(column), column))).as_py() is not False)


def _one(column: Column) -> Column:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def distinct(parts: Sequence[Column], rows: int) -> tuple[Int64Array, Int64Array]:
    """(n,) a number for each row's tuple of texts, and (k,) the row at which each tuple stands first."""
    codes, first = np.zeros(rows, dtype=np.int64), np.zeros(min(rows, 1), dtype=np.int64)
    for part in parts:
        encoded = pc.dictionary_encode(part, null_encoding="encode")
        index = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        _, first, codes = np.unique(
            codes * max(1, len(encoded.dictionary)) + index, return_index=True, return_inverse=True
        )
    return codes, first


def numbers(column: Column) -> tuple[Float64Array, BoolArray]:
    """Values as float64, and where there is one; raises ArrowException where they are no numbers."""
    valid = _one(pc.is_valid(column)).to_numpy(zero_copy_only=False)
    filled = pc.fill_null(pc.cast(column, pa.float64()), pa.scalar(0.0))
    return _one(filled).to_numpy(zero_copy_only=False), valid


def times(column: Column, document: TimeDocument) -> tuple[Int64Array, BoolArray]:
    """Unix ns, and where there is a time.

    Raises:
        ValueError: the column's type says no time, a number has no unit, or it does not fit into 64 bits.
    """
    valid = _one(pc.is_valid(column)).to_numpy(zero_copy_only=False)
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        if document.unit is None:
            raise ValueError("needs a unit (s, ms, us or ns): the column holds numbers")
        filled = _one(pc.fill_null(column, pa.scalar(0, kind))).to_numpy(zero_copy_only=False)
        return _scaled(filled, valid, NANOSECONDS[document.unit], document.origin_ns)
    stamps = _stamps(column)
    return _one(pc.fill_null(pc.cast(stamps, pa.int64()), pa.scalar(0, pa.int64()))).to_numpy(
        zero_copy_only=False
    ), valid


def _stamps(column: Column) -> Column:
    kinds: Iterable[Any] = (pa.timestamp("ns", "UTC"), pa.timestamp("ns"))
    if pa.types.is_timestamp(column.type):
        kinds = (pa.timestamp("ns", column.type.tz),)
    elif pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    reason = ""
    for kind in kinds:
        try:
            return pc.cast(column, kind)
        except pa.ArrowException as error:
            reason = reason or str(error).splitlines()[0]
    raise ValueError(f"the column holds no times: {reason}")


def _scaled(number: Any, valid: BoolArray, unit: int, origin: int) -> tuple[Int64Array, BoolArray]:
    whole = np.floor(number)
    valid = valid & np.isfinite(whole)
    whole = np.where(valid, whole, 0)
    if len(whole) and max(abs(float(whole.max())), abs(float(whole.min()))) * unit + abs(origin) >= 2.0**63:
        raise ValueError("the column's numbers are no times in this unit: they lie outside of 1678 to 2262")
    # The fraction apart, so that seconds as float64 keep all the digits they have.
    fraction = np.where(valid, number - whole, 0.0)
    return whole.astype(np.int64) * unit + np.rint(fraction * unit).astype(np.int64) + origin, valid
