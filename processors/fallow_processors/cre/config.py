"""Configuration of the rule engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from fallow.component import ComponentConfig
from fallow.units import SECOND, DurationNs
from fallow_processors.cre.matchers import Defect


class CreConfig(ComponentConfig):
    """Which rules run, where their sources are, and what they may take."""

    rules: tuple[Path, ...] = Field(
        default=(), description="Rule files and folders, relative to this file; left out: the built-in pack."
    )
    sources: Mapping[str, Mapping[str, tuple[str, ...]]] = Field(
        default={},
        description=(
            "What a rule's event.source stands for: source → attribute of resource, scope or record → its values. "
            "A source that is not here is every record."
        ),
    )
    lateness: DurationNs = Field(
        default=5 * SECOND,
        description=(
            "How far records may come out of order where a rule is about several resources; what is older is counted as late."
        ),
    )
    record_lateness: DurationNs = Field(
        default=0,
        description=(
            "How long rules about one resource wait to put its records in order; 0: they see them as they come, and what "
            "is too old for them by then is counted as late."
        ),
    )
    metric_lateness: DurationNs = Field(
        default=0, description="How far samples of one host (node, container, device) may come out of order."
    )
    idle_after: DurationNs = Field(
        default=120 * SECOND, description="A host unheard of for so long no longer holds back what others say."
    )
    coverage: float = Field(
        default=0.8, gt=0, le=1, description="Share of the expected samples that a window needs to be known."
    )
    lookback: DurationNs = Field(
        default=300 * SECOND, description="How old the newest sample may be where a rule asks for the value now."
    )
    max_series: int = Field(default=2_000_000, gt=0, description="Series held; beyond this the newest are refused.")
    shards: int = Field(
        default=1,
        gt=0,
        description=(
            "Threads that evaluate conditions over signals. Each has some of the hosts; conditions that group or match "
            "across hosts stay together."
        ),
    )
    max_partial: int = Field(
        default=100_000,
        gt=0,
        description="Tuples of correlated values held for each condition; beyond this the one that began first is dropped.",
    )
    max_tuple_events: int = Field(
        default=10_000,
        gt=0,
        description="Events held for each tuple of a condition; beyond this its oldest are dropped.",
    )
    max_events: int = Field(
        default=1_000_000,
        gt=0,
        description=(
            "Events held for each condition, and as many that wait to be put in order; beyond this the tuple that began "
            "first, or the oldest that waits, is dropped."
        ),
    )
    lenient: bool = Field(default=False, description="Let unknown keys in rules pass, with a warning each.")
    published_defects: tuple[Defect, ...] = Field(
        default=(),
        description="Mistakes of published engines to be made too, for comparison with them; see docs/conformance.md.",
    )
