"""The playbook: what may be done about which rule, by whose prices. Rules suggest, the playbook allows."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from fallow.actions import CATALOGUE
from fallow.document import load
from fallow.model import Detection, Tier
from fallow.units import DurationNs, duration_ns

Prices = Annotated[
    dict[str, Annotated[float, Field(ge=0)]], Field(description="hw.model glob → value; needs `default`.")
]


def _known_action(kind: str) -> str:
    if kind not in CATALOGUE:
        raise ValueError(f"{kind!r} found, allowed: {', '.join(CATALOGUE)}")
    return kind


def _has_default(table: dict[str, float]) -> dict[str, float]:
    if "default" not in table:
        raise ValueError("needs an entry named default")
    return table


Table = Annotated[Prices, AfterValidator(_has_default)]
ActionName = Annotated[str, AfterValidator(_known_action)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Defaults(_Part):
    """What holds where an entry says nothing else."""

    mode: Literal["observe", "recommend"] = Field(
        default="recommend", description="observe: detections only. Acting by itself is not among the modes yet."
    )
    currency: str = Field(default="USD", description="Currency of the prices.")
    price_per_gpu_hour: Table = Field(default={"default": 2.0}, description="By hw.model glob.")
    gpu_idle_power_w: Table = Field(
        default={"default": 70.0}, description="What an idle but allocated device draws, by hw.model glob."
    )
    gco2e_per_kwh: float = Field(default=400.0, ge=0, description="Carbon intensity of the grid.")
    price_source: str = Field(default="", description="Where the prices come from; left out: this playbook.")
    intensity_source: str = Field(default="", description="Where the intensity comes from; left out: this playbook.")


class SavingModel(_Part):
    """How the saving is reckoned."""

    basis: Literal["allocated", "stalled", "none"] = Field(
        default="allocated",
        description="allocated: GPU-time that stays allocated and unused; stalled: time, of one GPU, that all wait for "
        "checkpoints and would not at the interval that is recommended; none: no saving is claimed.",
    )
    between_failures: DurationNs | None = Field(
        default=None, gt=0, description="Of basis stalled: mean time between failures of a job; left out: not known."
    )
    horizon: DurationNs = Field(default=duration_ns("4h"), gt=0, description="No longer than this is ever claimed.")


class Step(_Part):
    """A rung of an escalation ladder."""

    after: DurationNs = Field(gt=0, description="Time since the condition began.")
    action: ActionName = Field(description="Kind of the action catalogue.")


class Guards(_Part):
    """What keeps a recommendation from being made."""

    exempt: Mapping[str, tuple[str, ...]] = Field(default={}, description="Attribute → globs of its value.")


class Entry(_Part):
    """What may be done about one rule, or about every rule with a tag."""

    rule: str = Field(default="", description="CRE id.")
    tag: str = Field(default="", description="Tag of the rule.")
    stable_hash: str = Field(
        default="", description="Stable hash of the rule that was reviewed; another drops it to T0."
    )
    action: ActionName = Field(description="Kind of the action catalogue.")
    tier: Tier = Field(description="T0 to T4, not below the action's own.")
    parameters: Mapping[str, str] = Field(default={}, description="Parameters of the action.")
    ladder: tuple[Step, ...] = Field(default=(), description="Escalation; shown with the recommendation.")
    guards: Guards = Field(default=Guards(), description="What keeps it from being made.")
    saving: SavingModel = Field(default=SavingModel(), description="How the saving is reckoned.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if bool(self.rule) == bool(self.tag):
            raise ValueError("an entry needs either rule or tag")
        lowest = CATALOGUE[self.action].tier
        if self.tier < lowest:
            raise ValueError(f"tier {self.tier} found, but {self.action} is at least {lowest}")
        return self


class Playbook(_Part):
    """The whole playbook; an entry for a rule goes before one for a tag, earlier before later."""

    defaults: Defaults = Field(default=Defaults(), description="What holds where an entry says nothing else.")
    entries: tuple[Entry, ...] = Field(default=(), description="What may be done.")

    def entry(self, detection: Detection) -> Entry | None:
        """The entry for a detection's rule; None where there is none or what was reviewed is another rule text."""
        by_rule = [e for e in self.entries if e.rule == detection.rule]
        by_tag = [e for e in self.entries if e.tag in detection.tags]
        found = next(iter(by_rule + by_tag), None)
        if found is None or (found.stable_hash and found.stable_hash != detection.rule_stable_hash):
            return None
        return found


def by_model(table: Mapping[str, float], model: str) -> tuple[str, float]:
    """The row of a table for a device model: (the row's name, its value)."""
    for pattern, value in table.items():
        if pattern != "default" and fnmatchcase(model, pattern):
            return pattern, value
    return "default", table["default"]


def exempted(guards: Guards, attributes: Mapping[str, str]) -> bool:
    """Whether a guard exempts an entity of these attributes."""
    return any(
        fnmatchcase(attributes[name], pattern)
        for name, patterns in guards.exempt.items()
        if name in attributes
        for pattern in patterns
    )


def load_playbook(path: Path | None) -> Playbook:
    """The playbook in a file, or the built-in one; raises DocumentError."""
    if path is not None:
        return load(path, Playbook)
    with as_file(files("fallow_processors.recommender") / "default_playbook.yaml") as built_in:
        return load(built_in, Playbook)


__all__ = ["Defaults", "Entry", "Guards", "Playbook", "SavingModel", "by_model", "exempted", "load_playbook"]
