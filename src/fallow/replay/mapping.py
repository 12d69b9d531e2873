"""The mapping file: which column of a table is which signal, event or attribute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from fallow.document import Document, Location, parse, read_text, validated
from fallow.errors import DocumentError, Problem
from fallow.regex import compiled
from fallow.semconv import SIGNALS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _not_zero(scale: float) -> float:
    if scale == 0:
        raise ValueError("scale 0 would make every value the same")
    return scale


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _one_group(pattern: str) -> str:
    try:
        groups = compiled(pattern).groups
    except ValueError as error:
        raise ValueError(f"{pattern!r} is no RE2 expression: {error}") from error
    if groups != 1:
        raise ValueError(f"{pattern!r} has {groups} groups, expected one")
    return pattern


class SourceOf(_Model):
    """Where a text comes from: a column, or one value for all rows. A plain string is a column's name."""

    column: str = Field(default="", description="The column that holds it; a null cell means absent.")
    value: str = Field(default="", description="The same for every row.")
    within: str = Field(
        default="", description="A column whose value stands before it, with a slash: it is unique in there alone."
    )
    pattern: Annotated[str, AfterValidator(_one_group)] | None = Field(
        default=None, description="RE2 with one group: what it finds in the column; absent where it does not match."
    )
    modulo: int | None = Field(
        default=None, ge=2, description="The remainder of a whole number: of rows that are of so many devices in turn."
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if bool(self.column) == bool(self.value):
            raise ValueError("needs either column or value")
        if self.value and (self.within or self.pattern or self.modulo):
            raise ValueError("within, pattern and modulo are about a column")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that it takes."""
        return tuple(name for name in (self.within, self.column) if name)


def _column_by_name(found: object) -> object:
    return {"column": found} if isinstance(found, str) else found


TextSource = Annotated[SourceOf, BeforeValidator(_column_by_name)]


class TimeDocument(_Model):
    """The column of event times."""

    column: str = Field(description="A number, a Parquet timestamp, or text as RFC 3339; without a zone it is UTC.")
    unit: Literal["s", "ms", "us", "ns"] | None = Field(default=None, description="Of a number; it needs one.")
    origin: datetime | None = Field(
        default=None, description="What a number counts from (RFC 3339); left out: the Unix epoch."
    )

    @property
    def origin_ns(self) -> int:
        """Unix ns that numbers count from."""
        if self.origin is None:
            return 0
        since = (self.origin if self.origin.tzinfo else self.origin.replace(tzinfo=UTC)) - EPOCH
        return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000


class Conversion(_Model):
    """What makes a column's values those of the signal: value × scale + offset."""

    scale: Annotated[float, AfterValidator(_not_zero)] = Field(
        default=1.0, allow_inf_nan=False, description="What a value is multiplied with."
    )
    offset: float = Field(default=0.0, allow_inf_nan=False, description="What is added after that.")
    unit: str | None = Field(default=None, description="Unit (UCUM) of the result; left out: the signal's own.")
    accumulate: bool = Field(
        default=False, description="The values are counts since the row before; their running total is the sample."
    )

    def unit_of(self, signal: str) -> str:
        """The unit that the series gets."""
        return SIGNALS.get(signal, "") if self.unit is None else self.unit


class ColumnSignal(Conversion):
    """A signal with a column of its own."""

    column: str = Field(description="The column of its values; a null cell is no sample.")


class NamedSignal(Conversion):
    """A signal of a table that names its metric in each row."""

    signal: str = Field(description="The signal that rows of this metric are samples of.")


class LongSignals(_Model):
    """A table with one row per (metric, value)."""

    name_column: str = Field(description="The column that names the metric.")
    value_column: str = Field(description="The column of its value; a null cell is no sample.")
    names: dict[str, NamedSignal] = Field(
        description="Metric → signal; rows of other metrics are counted and left out."
    )


class EventDocument(_Model):
    """Rows that are events."""

    name: TextSource = Field(description="The event's name; rows where it is null are left out.")
    attributes: dict[str, TextSource] = Field(default={}, description="Attribute of the event → column.")


def _form(found: Any) -> str:
    return (
        "(long)" if isinstance(found, LongSignals) or (isinstance(found, dict) and "name_column" in found) else "(wide)"
    )


# The names in parentheses are not keys of the document: fallow.document leaves such parts out of a location.
Signals = Annotated[
    Annotated[LongSignals, Tag("(long)")] | Annotated[dict[str, ColumnSignal], Tag("(wide)")], Discriminator(_form)
]


class FileDocument(_Model):
    """What files of one name pattern hold."""

    match: str = Field(description="Pattern (*, ?) of file names.")
    rows: dict[str, str] = Field(
        default={}, description="Column → pattern (*, ?): the rows that this is about; left out: all."
    )
    time: TimeDocument = Field(description="When it was.")
    entity: dict[str, TextSource] = Field(description="Attribute of what is observed → column.")
    signals: Signals = Field(default={}, description="Signal → column, or the long form.")
    event: EventDocument | None = Field(default=None, description="What makes each row an event.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.signals and self.event is None:
            raise ValueError("needs signals or event")
        return self


class MappingDocument(_Model):
    """A mapping file."""

    files: list[FileDocument] = Field(min_length=1, description="In order; all that match a file apply to it.")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a mapping, knowing its place."""

    document: Document
    index: int
    file: FileDocument

    def problem(self, location: Location, message: str) -> Problem:
        """A problem at a key below this entry."""
        return self.document.problem(("files", self.index, *location), message)


@dataclass(frozen=True, slots=True)
class TableMapping:
    """A mapping file as read."""

    file: str
    entries: Sequence[Entry]

    def entries_of(self, source: Path) -> list[Entry]:
        """The entries that apply to a file, by its name.

        Raises:
            DocumentError: none does; the message has the patterns that there are.
        """
        found = [e for e in self.entries if fnmatchcase(source.name, e.file.match)]
        if not found:
            patterns = ", ".join(dict.fromkeys(e.file.match for e in self.entries))
            message = f"matches no entry of {self.file}; its patterns: {patterns}"
            raise DocumentError([Problem(file=str(source), message=message)])
        return found


def load_mapping(path: Path) -> TableMapping:
    """The mapping file; raises DocumentError with every problem at its line."""
    document = parse(read_text(path), str(path))
    made = validated(MappingDocument, document)
    return TableMapping(str(path), [Entry(document, i, f) for i, f in enumerate(made.files)])
