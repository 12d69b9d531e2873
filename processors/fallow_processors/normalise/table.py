"""The table of signals as a document, and what it says of one series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fallow.document import load
from fallow.semconv import CONTAINER_ID, HOST_NAME, HW_ID, K8S_POD_NAME, SIGNALS
from fallow.series import SeriesKey
from fallow.series.table import pairs

BUILT_IN = Path(__file__).with_name("signals.yaml")
IDENTIFYING = (HW_ID, HOST_NAME, CONTAINER_ID, K8S_POD_NAME)
# Labels with these prefixes belong to the resource, wherever the source put them.
RESOURCE_PREFIXES = ("host.", "k8s.", "container.", "cloud.", "service.")

Patterns = Sequence[str]


def _known_signal(name: str) -> str:
    if name not in SIGNALS:
        raise ValueError(f"{name!r} is not a signal; known are {', '.join(SIGNALS)}")
    return name


def _not_zero(scale: float) -> float:
    if scale == 0:
        raise ValueError("scale 0 would make every value the same")
    return scale


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RowDocument(_Document):
    """One vendor name."""

    name: str = Field(description="The vendor's name of the metric.")
    signal: Annotated[str, AfterValidator(_known_signal)] = Field(description="The signal it is.")
    unit: list[str] = Field(default=[], description="Units as received under which this row applies; none: under all.")
    when: dict[str, list[str]] = Field(
        default={}, description="Label → patterns (*, ?) one of which its value matches; an absent label is ''."
    )
    scale: Annotated[float, AfterValidator(_not_zero)] = Field(
        default=1.0, allow_inf_nan=False, description="What a value is multiplied with to be in the signal's unit."
    )
    least: float = Field(
        default=0.0,
        ge=0,
        description="The smallest value above 0 that the source can send; less is in another unit and becomes NaN.",
    )
    offset: float = Field(default=0.0, allow_inf_nan=False, description="What is added after that.")
    rename: dict[str, str] = Field(default={}, description="Renames of this row, before those of its source.")
    set: dict[str, str] = Field(default={}, description="Labels that this row adds.")
    values: dict[str, dict[str, str]] = Field(
        default={}, description="Label (as renamed) → the source's word → ours; other words stay as they are."
    )


class SourceDocument(_Document):
    """One vocabulary."""

    source: str = Field(description="Its name.")
    scope: list[str] = Field(default=[], description="Patterns of instrumentation scopes; none: every scope.")
    rename: dict[str, str] = Field(
        default={},
        description="Label → attribute; where several become one, the first that is there and not empty counts.",
    )
    drop: list[str] = Field(default=[], description="Patterns of labels that say nothing about what is observed.")
    drop_resource: list[str] = Field(
        default=[], description="Patterns of resource attributes that describe who reports, not what is observed."
    )
    exporter_pods: list[str] = Field(
        default=[], description="Patterns of pods that are the exporter itself: such pod labels name no workload."
    )
    set: dict[str, str] = Field(default={}, description="Labels that every row of this source adds.")
    strip: dict[str, str] = Field(default={}, description="Label (as renamed) → what its values begin with needlessly.")
    rows: list[RowDocument] = Field(description="What it calls the signals.")


class TableDocument(_Document):
    """Sources in the order of precedence: of two samples of one series at one time the earlier source's counts."""

    sources: list[SourceDocument] = Field(description="The vocabularies.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """What the table says of a series: value · multiply / divide + offset is a sample of ``key``."""

    key: SeriesKey
    source: str
    rank: int
    multiply: float
    divide: float
    offset: float
    least: float
    """Of the received value: above 0 and below this it is in another unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A row of the table for people: what a source calls a signal, and when that is meant."""

    source: str
    scope: str
    name: str
    when: str
    signal: str
    unit: str
    scale: float
    sets: str


class _Rule(NamedTuple):
    rank: int
    source: SourceDocument
    row: RowDocument


class SignalTable:
    """The rows of one or more documents, by vendor name."""

    def __init__(self, documents: Sequence[TableDocument]) -> None:
        self._rules: dict[str, list[_Rule]] = {}
        sources = [source for document in documents for source in document.sources]
        # A source that two documents name keeps one rank, so that rows added to it are still the same source.
        names = list(dict.fromkeys(source.source for document in reversed(documents) for source in document.sources))
        for source in sources:
            for row in source.rows:
                self._rules.setdefault(row.name, []).append(_Rule(names.index(source.source), source, row))

    def lines(self) -> Iterator[Line]:
        """Every row, by source in the order of precedence."""
        for rule in sorted((rule for rules in self._rules.values() for rule in rules), key=lambda rule: rule.rank):
            row, unit = rule.row, SIGNALS[rule.row.signal]
            conditions = [f"{label} {' | '.join(patterns)}" for label, patterns in row.when.items()]
            yield Line(
                source=rule.source.source,
                scope=", ".join(rule.source.scope),
                name=row.name,
                when="; ".join(
                    [*(["unit " + " | ".join(u or "none" for u in row.unit)] if row.unit else []), *conditions]
                ),
                signal=row.signal,
                unit=unit,
                scale=row.scale,
                sets=", ".join(f"{label}={value}" for label, value in row.set.items()),
            )

    def map(self, key: SeriesKey) -> Mapped | None:
        """What the series is; None where no row applies."""
        for rule in self._rules.get(key.name, ()):
            if _applies(rule, key):
                divide = _divisor(rule.row.scale)
                return Mapped(
                    key=_normalised(rule, key),
                    source=rule.source.source,
                    rank=rule.rank,
                    multiply=rule.row.scale if divide == 1.0 else 1.0,
                    divide=divide,
                    offset=rule.row.offset,
                    least=rule.row.least,
                )
        return None


def load_table(extra: Path | None = None) -> SignalTable:
    """The built-in table, behind the rows of ``extra``; raises DocumentError with file, line and key."""
    documents = [load(path, TableDocument) for path in ([extra] if extra else []) + [BUILT_IN]]
    return SignalTable(documents)


def _applies(rule: _Rule, key: SeriesKey) -> bool:
    source, row = rule.source, rule.row
    if (row.unit and key.unit not in row.unit) or (source.scope and not _matches(key.scope, source.scope)):
        return False
    return all(_matches(key.labels.get(label, ""), patterns) for label, patterns in row.when.items())


def _divisor(scale: float) -> float:
    """n where the scale is 1/n: 57 / 100 is 0.57, while 57 * 0.01 is 0.5700000000000001."""
    inverse = 1.0 / scale
    return float(round(inverse)) if abs(scale) < 1 and abs(inverse - round(inverse)) < 1e-9 * abs(inverse) else 1.0


def _normalised(rule: _Rule, key: SeriesKey) -> SeriesKey:
    source, row = rule.source, rule.row
    point = _renamed(dict(key.attributes), row.rename | source.rename | row.rename)
    if _matches(point.get(K8S_POD_NAME, ""), source.exporter_pods):
        point = {label: value for label, value in point.items() if not label.startswith(("k8s.", "container."))}
    point = {label: value.removeprefix(source.strip.get(label, "")) for label, value in point.items()}
    point = {label: row.values.get(label, {}).get(value, value) for label, value in point.items()}
    point |= source.set | row.set
    point = dict(_kept(point, source.drop))
    resource = dict(key.resource)
    # Without anything that tells one host or device from another, the reporter's address is what is left.
    described = dict(_kept(resource, source.drop_resource))
    if any(label in described or label in point for label in IDENTIFYING):
        resource = described
    labels = resource | point
    of_resource = {
        k: v for k, v in labels.items() if k.startswith(RESOURCE_PREFIXES) or (k in resource and k not in point)
    }
    of_point = {k: v for k, v in labels.items() if k not in of_resource}
    moved = {k: of_resource.pop(k) for k in list(of_resource) if k.startswith(("hw.", "fallow."))}
    return SeriesKey(row.signal, SIGNALS[row.signal], "", pairs(of_resource), pairs(of_point | moved))


def _renamed(labels: Mapping[str, str], renames: Mapping[str, str]) -> dict[str, str]:
    """Labels under their new names; empty ones are as good as absent, and what has the new name already keeps it."""
    filled = {label: value for label, value in labels.items() if value}
    renamed = {label: value for label, value in filled.items() if label not in renames}
    for label, name in renames.items():
        if label in filled:
            renamed.setdefault(name, filled[label])
    return renamed


def _kept(labels: Mapping[str, str], patterns: Patterns) -> Iterator[tuple[str, str]]:
    return ((label, value) for label, value in labels.items() if not _matches(label, patterns))


def _matches(text: str, patterns: Patterns) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)
