"""What rules are about: a record, an event, or a condition over signals that began to hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from fallow import promql
from fallow.model import Evidence
from fallow_processors.cre.order import NEVER

_TEXT_LIMIT = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One thing that happened, or (with ``parts``) several that a condition saw as one.

    ``properties`` are what correlations compare: attributes, result labels, extracted values.
    """

    kind: Literal["log", "event", "signal"]
    name: str
    """The source, the event's name, or the expression."""
    time: int
    start: int
    end: int
    properties: Mapping[str, str]
    entity: Mapping[str, str]
    """Attributes of whom it happened to."""
    resource: tuple[str, ...] | None = None
    """What tells the resource that it came from; None where it is of none or of several."""
    text: str = ""
    value: float | None = None
    count: int = 1
    ref: int | None = None
    """Of a condition: what its end will be known by."""
    origin: bool = False
    decided: int = NEVER
    """From when on it is known, where that is later than its time."""
    unknown: bool = False
    """Whether it is not known to have happened: a negative of the condition that saw it could not be answered."""
    parts: tuple[Happening, ...] = ()

    def leaves(self) -> Iterator[Happening]:
        """The happening, or what it is made of."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.leaves()

    def document(self) -> dict[str, Any]:
        """Itself as JSON has it."""
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Happening:
        """The happening that gave this document."""
        fields: dict[str, Any] = dict(document)
        fields["resource"] = None if document["resource"] is None else tuple(document["resource"])
        fields["parts"] = tuple(cls.of(part) for part in document["parts"])
        return cls(**fields)

    def evidence(self) -> Evidence:
        """What a detection says of it."""
        return Evidence(
            kind=self.kind,
            name=self.name,
            start=self.start,
            end=self.end,
            count=self.count,
            value=self.value,
            text=self.text[:_TEXT_LIMIT],
        )


def joined(parts: tuple[Happening, ...], *, origin: bool, decided: int, unknown: bool) -> Happening:
    """Several happenings as one, at the time of the last; what the one to blame says of itself counts first."""
    ranked = sorted(parts, key=lambda p: not p.origin)
    properties: dict[str, str] = {}
    for part in reversed(ranked):
        properties |= part.properties
    last = max(parts, key=lambda p: p.time)
    return Happening(
        kind=last.kind,
        name=last.name,
        time=last.time,
        start=min(p.start for p in parts),
        end=max(p.end for p in parts),
        properties=properties,
        entity=ranked[0].entity,
        resource=last.resource if all(p.resource == last.resource for p in parts) else None,
        origin=origin or any(p.origin for p in parts),
        decided=max(decided, *(p.decided for p in parts)),
        unknown=unknown or any(p.unknown for p in parts),
        parts=parts,
    )


def correlated(properties: Mapping[str, str], name: str) -> str:
    """The value that correlations compare under a name; "" where there is none.

    Names are the same where PromQL spells them the same: an extract ``host_name`` and an attribute ``host.name``.
    """
    found = properties.get(name)
    if found:
        return found
    spelled = promql.prom_name(name)
    return next((value for key, value in properties.items() if value and promql.prom_name(key) == spelled), "")
