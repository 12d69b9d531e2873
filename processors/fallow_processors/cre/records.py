"""From log batches to happenings: which conditions of which rules each record is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fallow import semconv
from fallow.batch import LogBatch
from fallow_processors.cre.happening import Happening
from fallow_processors.cre.machine import Condition, Key, Machine
from fallow_processors.cre.patterns import jq_outputs, regex
from fallow_processors.cre.rule import Extract, Term
from fallow_processors.cre.terms import TermIndex

SCHEDULER: str = "fallow.scheduler"
"""The source of all records that are events."""
SOURCE_ATTRIBUTE = "cre.source"
"""An attribute by which a record says itself which source it is of."""
OWN_EVENTS = (semconv.DETECTION_EVENT, semconv.RECOMMENDATION_EVENT)

Sources = Mapping[str, Mapping[str, Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Found:
    """A record that a condition is about."""

    machine: Machine
    condition: Condition
    mask: int
    happening: Happening
    index: int = -1
    """Which record of the batch; -1 for what is none."""


def resource_keys(logs: LogBatch) -> list[Key]:
    """What tells each resource of the batch from others."""
    return [tuple(f"{k}={v}" for k, v in sorted(resource.items())) for resource in logs.resources]


class Records:
    """Finds what records mean to the rules."""

    def __init__(self, machines: Sequence[Machine], sources: Sources) -> None:
        self._sources = sources
        self._wanted: dict[int, list[tuple[Machine, Condition, int, tuple[Extract, ...]]]] = {}
        terms = [
            (item, machine, condition)
            for machine in machines
            for condition in machine.logs
            for item in condition.node.items
            if isinstance(item, Term)
        ]
        self._index = TermIndex((item.pattern for item, _, _ in terms), kernels=False)
        self.load_kernels = self._index.load_kernels
        for item, machine, condition in terms:
            entry = (machine, condition, condition.number(item), item.extract)
            self._wanted.setdefault(self._index.id(item.pattern), []).append(entry)

    def find(self, logs: LogBatch, keys: Sequence[Key]) -> Iterator[Found]:
        """The records that conditions are about, in the order of the batch.

        ``keys``: those of the batch's resources.
        """
        if not len(self._index):
            return
        records, patterns = self._index.match(logs)
        which, first = np.unique(records, return_index=True)
        for i, matched in zip(which.tolist(), np.split(patterns, first[1:]), strict=False):
            if logs.event_name[i] not in OWN_EVENTS:
                yield from self._of(logs, i, matched.tolist(), keys[int(logs.source[i])])

    def _of(self, logs: LogBatch, i: int, matched: Sequence[int], resource: Key) -> Iterator[Found]:
        text: str = logs.body[i].as_py() or ""
        entity = logs.resources[int(logs.source[i])]
        name = logs.event_name[i]
        everything = {**entity, **logs.attributes(i), **({semconv.EVENT_NAME: name} if name else {})}
        masks: dict[int, tuple[Machine, Condition, int, tuple[Extract, ...]]] = {}
        for pattern in matched:
            for machine, condition, number, extracts in self._wanted[pattern]:
                if not is_of(self._sources, condition.node.source, everything):
                    continue
                _, _, mask, taken = masks.get(id(condition), (machine, condition, 0, ()))
                masks[id(condition)] = (machine, condition, mask | 1 << number, (*taken, *extracts))
        time = int(logs.time[i])
        for machine, condition, mask, taken in masks.values():
            happening = Happening(
                kind="event" if name else "log",
                name=name or condition.node.source,
                time=time,
                start=time,
                end=time,
                properties=everything | extracted(taken, text),
                entity=entity,
                resource=resource,
                text=text,
                origin=condition.node.origin,
            )
            yield Found(machine, condition, mask, happening, i)


def is_of(sources: Sources, source: str, attributes: Mapping[str, str]) -> bool:
    """Whether something with these attributes comes from a source, as ``sources`` says."""
    said = attributes.get(SOURCE_ATTRIBUTE)
    if said is not None:
        return said == source
    mapped = sources.get(source)
    if mapped is not None:
        return all(attributes.get(name) in values for name, values in mapped.items())
    return source != SCHEDULER or semconv.EVENT_NAME in attributes


def extracted(extracts: Sequence[Extract], text: str) -> dict[str, str]:
    """What the extracts take out of a text, by name; nothing for those that find nothing."""
    found: dict[str, str] = {}
    for extract in extracts:
        if extract.kind == "regex":
            match = regex(extract.text).search(text)
            value = (match.group(1) if match.re.groups else match.group(0)) if match else None
        else:
            value = next((str(out) for out in jq_outputs(extract.text, text) if out is not None), None)
        if value is not None:
            found[extract.name] = value
    return found
