"""The document as it is written: pydantic models of what may stand where.

A plain scalar is text wherever text is wanted: ``5``, ``true`` and ``90%`` are terms. Where a number is wanted, a quoted
one is an error, as in the published parser.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from fallow.units import NANOSECONDS

_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_LARGEST = 2**63 - 1


class Scalar(str):
    """The text of a YAML scalar, which remembers whether it was quoted."""

    __slots__ = ("quoted",)
    quoted: bool

    @classmethod
    def of(cls, text: str, *, quoted: bool) -> Scalar:
        made = cls(text)
        made.quoted = quoted
        return made


def go_duration(text: object) -> int:
    """Nanoseconds of a Go duration; it has no days.

    Raises:
        ValueError: it is not one, or beyond 64 bits.
    """
    found = str(text)
    sign, rest = (-1, found[1:]) if found.startswith("-") else (1, found.removeprefix("+"))
    if rest == "0":
        return 0
    parts = list(_DURATION.finditer(rest))
    total = sum(float(p[1]) * NANOSECONDS[p[2].replace("μ", "µ")] for p in parts)
    if not parts or "".join(p[0] for p in parts) != rest or total > _LARGEST:
        raise ValueError(f"{found!r} is not a duration; write it like 15s, 1h30m or 250ms (there are no days)")
    return sign * round(total)


def _number(value: object) -> object:
    if isinstance(value, Scalar) and (value.quoted or not re.fullmatch(r"[-+]?\d+", value)):
        raise ValueError(f"{str(value)!r} found, expected a whole number without quotes")
    return value


def _truth(value: object) -> object:
    if isinstance(value, Scalar) and (value.quoted or value.lower() not in ("true", "false")):
        raise ValueError(f"{str(value)!r} found, expected true or false")
    return value


def _as_mapping(value: object) -> object:
    return {"value": value} if isinstance(value, str) else value


def _is_duration(text: str) -> str:
    go_duration(text)
    return text


Number = Annotated[int, BeforeValidator(_number)]
Truth = Annotated[bool, BeforeValidator(_truth)]
Duration = Annotated[str, AfterValidator(_is_duration)]
"""A duration as it is written; ``go_duration`` gives its nanoseconds."""


class _Doc(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class EventDoc(_Doc):
    """Where a log node's lines come from."""

    source: str = ""
    origin: Truth = False


class ExtractDoc(_Doc):
    """A value for correlations."""

    name: str = ""
    jq: str = ""
    regex: str = ""


class PromqlDoc(_Doc):
    """A condition over signals."""

    expr: str = ""
    for_: str = Field(default="", alias="for")
    interval: str = ""
    event: EventDoc | None = None


class ItemDoc(_Doc):
    """What may stand in ``match``, ``order`` and ``negate``, or be defined under ``terms``."""

    field: str = ""
    value: str = ""
    jq: str = ""
    regex: str = ""
    count: Number = 0
    set: SetDoc | None = None
    sequence: SequenceDoc | None = None
    promql: PromqlDoc | None = None
    extract: list[ExtractDoc] | None = None
    window: Duration | None = None
    slide: Duration | None = None
    anchor: Number | None = None
    absolute: Truth | None = None


Items = list[Annotated[ItemDoc, BeforeValidator(_as_mapping)]]


class SequenceDoc(_Doc):
    """Terms that must come one after the other."""

    window: str = ""
    correlations: list[str] | None = None
    order: Items | None = None
    event: EventDoc | None = None
    negate: Items | None = None


class SetDoc(_Doc):
    """Terms that must come, in any order."""

    window: str = ""
    correlations: list[str] | None = None
    match: Items | None = None
    event: EventDoc | None = None
    negate: Items | None = None


class ConditionDoc(_Doc):
    """``sequence`` or ``set``; where both stand, the sequence counts."""

    sequence: SequenceDoc | None = None
    set: SetDoc | None = None


class MetadataDoc(_Doc):
    """Who the rule is."""

    id: str = ""
    hash: str = ""
    kind: str = ""
    version: str = ""
    name: str = ""
    generation: Number = 0
    gen: Number = 0


class ApplicationDoc(_Doc):
    """What the rule is about."""

    name: str = ""
    processName: str = ""
    processPath: str = ""
    containerName: str = ""
    imageUrl: str = ""
    repoUrl: str = ""
    version: str = ""


class CreDoc(_Doc):
    """What the rule says to people."""

    id: str = ""
    severity: Number = Field(default=0, ge=0)
    title: str = ""
    category: str = ""
    tags: list[str] | None = None
    author: str = ""
    description: str = ""
    impact: str = ""
    impactScore: Number = Field(default=0, ge=0)
    cause: str = ""
    mitigation: str = ""
    mitigationScore: Number = Field(default=0, ge=0)
    references: list[str] | None = None
    reports: Number = Field(default=0, ge=0)
    applications: list[ApplicationDoc] | None = None


class RuleDoc(_Doc):
    """One rule."""

    metadata: MetadataDoc = MetadataDoc()
    cre: CreDoc = CreDoc()
    rule: ConditionDoc = ConditionDoc()


class RulesDoc(_Doc):
    """A rule document."""

    rules: list[RuleDoc]
    terms: Mapping[str, Annotated[ItemDoc, BeforeValidator(_as_mapping)]] | None = None
    section: str = ""
    version: str = ""


def dump(model: BaseModel) -> dict[str, Any]:
    """The model as plain data."""
    return model.model_dump(by_alias=True)
