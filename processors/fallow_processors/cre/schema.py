"""The document as it is written: pydantic models of what may stand where.

A plain scalar is text wherever text is wanted: ``5``, ``true`` and ``90%`` are terms. Where a number is wanted, a quoted
one is an error, as in the published parser.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from fallow.units import NANOSECONDS

_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_LARGEST = 2**63 - 1
_NUMBER = re.compile(r"[-+]?(0x[0-9a-f_]+|0o?[0-7_]*|0b[01_]+|[1-9][0-9_]*)", re.IGNORECASE)
_OCTAL = re.compile(r"[-+]?0[0-7]+")
_TRUTHS = {"true": True, "yes": True, "on": True, "y": True, "false": False, "no": False, "off": False, "n": False}


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
    total = sum(Decimal(p[1]) * NANOSECONDS[p[2].replace("μ", "µ")] for p in parts)
    if not parts or "".join(p[0] for p in parts) != rest or total > _LARGEST:
        raise ValueError(f"{found!r} is not a duration; write it like 15s, 1h30m or 250ms (there are no days)")
    return sign * int(total)


def _number(value: object) -> object:
    if not isinstance(value, Scalar):
        return value
    if value.quoted or not _NUMBER.fullmatch(value):
        raise ValueError(f"{str(value)!r} found, expected a whole number without quotes")
    text = value.replace("_", "")
    return int(text, 8 if _OCTAL.fullmatch(text) else 0)


def _truth(value: object) -> object:
    if isinstance(value, Scalar) and (value.quoted or value.lower() not in _TRUTHS):
        raise ValueError(f"{str(value)!r} found, expected true or false")
    return _TRUTHS[value.lower()] if isinstance(value, Scalar) else value


def _as_mapping(value: object) -> object:
    return {"value": value} if isinstance(value, str) else value


Text = Annotated[str, WithJsonSchema({"type": ["string", "number", "boolean"]})]
"""Text; a plain ``5`` or ``true`` is text too."""
Number = Annotated[int, BeforeValidator(_number)]
Truth = Annotated[bool, BeforeValidator(_truth)]
Window = Annotated[str, WithJsonSchema({"type": ["string", "integer"], "examples": ["30s", "1h30m"]})]
"""A duration as it is written, not looked at yet; ``go_duration`` gives its nanoseconds."""


class _Doc(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class EventDoc(_Doc):
    """Where a log node's lines come from."""

    source: Text = Field(
        default="",
        description="Name of the source. `cre.metrics` and `cre.metrics.*` are metric points, one event each; what any "
        "other name stands for, the configuration says.",
    )
    origin: Truth = Field(
        default=False, description="This node says whom the detection is about. Implied where there is one node."
    )


class ExtractDoc(_Doc):
    """A value taken from the text of what matched, for correlations. It needs a name and one of jq and regex."""

    name: Text = Field(default="", description="The name that correlations use: letters, digits, _.")
    jq: Text = Field(default="", description="jq program; its first output is the value.")
    regex: Text = Field(default="", description="RE2 pattern; its first group, else the whole match, is the value.")


class PromqlDoc(_Doc):
    """A condition over signals."""

    expr: Text = Field(
        default="",
        description="PromQL over signals, dots as underscores: hw_gpu_utilization. Each result that is true counts.",
    )
    for_: Window = Field(
        default="", alias="for", description="How long it has to be true, such as 5m. Default: at once."
    )
    interval: Window = Field(default="", description="How often it is evaluated, in event time. Default: 1s.")
    event: EventDoc | None = Field(default=None, description="The source's name, and whether it is the origin.")


class ItemDoc(_Doc):
    """What may stand in ``match``, ``order`` and ``negate``, or be defined under ``terms``."""

    field: Text = Field(
        default="",
        description="Attribute of the record to look at instead of its text. `promql`: value is a PromQL expression.",
    )
    value: Text = Field(default="", description="Text that occurs, case-sensitive; or the name of an entry of `terms`.")
    jq: Text = Field(
        default="", description="jq program over a JSON text; true where an output is neither null nor false."
    )
    regex: Text = Field(default="", description="RE2 pattern, found anywhere in the text.")
    count: Number = Field(default=0, description="How many events of it are wanted; of a positive only. Default: 1.")
    set: SetDoc | None = Field(default=None, description="A node: terms that must come, in any order.")
    sequence: SequenceDoc | None = Field(default=None, description="A node: terms that must come one after the other.")
    promql: PromqlDoc | None = Field(default=None, description="A condition over signals, in PromQL.")
    extract: list[ExtractDoc] | None = Field(default=None, description="Values taken from the text, for correlations.")
    window: Window | None = Field(
        default=None,
        description="Of a negative: how much longer than from the first to the last event it is forbidden. "
        "Of a positive `field: promql`: how long it has to be true.",
    )
    slide: Window | None = Field(
        default=None,
        description="Of a negative: how much later than its anchor the forbidden interval begins; may be < 0.",
    )
    anchor: Number | None = Field(
        default=None, description="Of a negative: the event at which the interval begins, counted from 0. Default: 0."
    )
    absolute: Truth | None = Field(
        default=None, description="Of a negative: the interval is `window` long, whatever the events took."
    )


Items = list[Annotated[ItemDoc, BeforeValidator(_as_mapping)]]
_WINDOW = "Span within which all events lie, such as 30s or 1h30m; there are no days."
_CORRELATIONS = (
    "Attributes, labels or extracted values that all events must share; matched apart for each tuple of them."
)
_EVENT = "The source of the terms. A node without it holds nodes and promql instead of terms."
_NEGATE = "What must not occur, by default from the first to the last event."


class SequenceDoc(_Doc):
    """Terms that must come one after the other."""

    window: Window = Field(default="", description=_WINDOW)
    correlations: list[Text] | None = Field(default=None, description=_CORRELATIONS)
    order: Items | None = Field(default=None, description="The terms or nodes, first to last.")
    event: EventDoc | None = Field(default=None, description=_EVENT)
    negate: Items | None = Field(default=None, description=_NEGATE)


class SetDoc(_Doc):
    """Terms that must come, in any order."""

    window: Window = Field(default="", description=_WINDOW)
    correlations: list[Text] | None = Field(default=None, description=_CORRELATIONS)
    match: Items | None = Field(default=None, description="The terms or nodes.")
    event: EventDoc | None = Field(default=None, description=_EVENT)
    negate: Items | None = Field(default=None, description=_NEGATE)


class ConditionDoc(_Doc):
    """``sequence`` or ``set``; where both stand, the sequence counts."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["sequence"]}, {"required": ["set"]}]})

    sequence: SequenceDoc | None = Field(default=None, description="Terms that must come one after the other.")
    set: SetDoc | None = Field(default=None, description="Terms that must come, in any order.")


class MetadataDoc(_Doc):
    """Who the rule is."""

    id: Text = Field(default="", description="Id of the rule, base58. Left out: made from the CRE id.")
    hash: Text = Field(
        default="", description="Hash of the rule; `fallow rules hash` says it, `fallow rules build` fills it in."
    )
    kind: Text = Field(default="", description="`optimize` for rules that suggest a saving; otherwise free.")
    version: Text = Field(default="", description="Version of the rule, such as 0.1.0.")
    name: Text = Field(default="", description="A short name.")
    generation: Number = Field(default=0, description="Revision; the stable hash leaves it out.")
    gen: Number = Field(default=0, description="Revision as the published schema spells it; nothing reads it.")


class ApplicationDoc(_Doc):
    """What the rule is about."""

    name: Text = Field(default="", description="Name of the application.")
    processName: Text = Field(default="", description="Name of its process.")
    processPath: Text = Field(default="", description="Path of its program.")
    containerName: Text = Field(default="", description="Name of its container.")
    imageUrl: Text = Field(default="", description="Its container image.")
    repoUrl: Text = Field(default="", description="Where its source is.")
    version: Text = Field(default="", description="The versions meant, such as >= 2.0.")


class CreDoc(_Doc):
    """What the rule says to people."""

    id: Text = Field(default="", description="CRE id, such as CRE-2026-9001.")
    severity: Number = Field(default=0, ge=0, description="0 critical, 1 high, 2 medium, 3 low, 4 info. Left out: 0!")
    title: Text = Field(default="", description="One line that says what is wrong.")
    category: Text = Field(default="", description="Category, of the taxonomy where there is one.")
    tags: list[Text] | None = Field(default=None, description="Tags, of the taxonomy where there is one.")
    author: Text = Field(default="", description="Who wrote it.")
    description: Text = Field(default="", description="What is seen.")
    impact: Text = Field(default="", description="What it costs.")
    impactScore: Number = Field(default=0, ge=0, description="0 to 10.")
    cause: Text = Field(default="", description="Why it happens.")
    mitigation: Text = Field(
        default="",
        description="What to do about it. A fenced block ```optimize in it is data: what the rule suggests. Its keys: "
        "$defs/OptimizeBlock. It permits nothing; that is the playbook's.",
    )
    mitigationScore: Number = Field(default=0, ge=0, description="0 easy to 10 hard.")
    references: list[Text] | None = Field(default=None, description="Links.")
    reports: Number = Field(default=0, ge=0, description="How often it was reported.")
    applications: list[ApplicationDoc] | None = Field(default=None, description="What it is about.")


class RuleDoc(_Doc):
    """One rule."""

    model_config = ConfigDict(json_schema_extra={"required": ["cre", "rule"]})

    metadata: MetadataDoc = Field(default=MetadataDoc(), description="Id, version and kind.")
    cre: CreDoc = Field(default=CreDoc(), description="What it says to people: title, severity, cause, mitigation.")
    rule: ConditionDoc = Field(default=ConditionDoc(), description="What the rule looks for.")


class RulesDoc(_Doc):
    """A rule document."""

    rules: list[RuleDoc] = Field(description="The rules.")
    terms: Mapping[str, Annotated[ItemDoc, BeforeValidator(_as_mapping)]] | None = Field(
        default=None, description="Terms by name; a term whose value is such a name stands for it."
    )
    section: Text = Field(default="", description="Kind of the document; rules need none.")
    version: Text = Field(default="", description="Version of the document.")
