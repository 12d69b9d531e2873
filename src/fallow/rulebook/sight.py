"""What a rule sees in its sample: the signals and lines that it looks at, and when it fires."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fallow.testing.rules import recorded


@dataclass(frozen=True, slots=True)
class Line:
    """One series: whose it is, and its (time in s, value) pairs; time counts from the sample's beginning."""

    label: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Sight:
    """A sample as a rule sees it."""

    panels: tuple[tuple[str, str, tuple[Line, ...]], ...]
    """(signal, unit, its series), in the order in which they first come."""
    records: tuple[tuple[float, str], ...]
    """(time in s, text or event name)."""
    fired: tuple[tuple[float, float], ...]
    """(when the rule fired, the beginning of its evidence)."""
    span: float
    """s from the first to the last sample, record or detection."""


def sight(rule: Path, sample: Path, signals: Sequence[str]) -> Sight:
    """What there is in a sample of the signals that a rule names (in PromQL's spelling), and what it made of it."""
    wanted = set(signals)
    found: dict[tuple[str, str], dict[str, list[tuple[int, float]]]] = {}
    records: list[tuple[int, str]] = []
    fired: list[tuple[int, int]] = []
    for batch, table in recorded([rule], sample):
        fired += [(d.time, d.start) for d in batch.detections if d.state == "fired"]
        if batch.logs is not None:
            names = batch.logs.event_name
            texts = [str(text.as_py() or "") for text in batch.logs.body]
            records += [(int(t), name or text) for t, name, text in zip(batch.logs.time, names, texts, strict=True)]
        if batch.metrics is None:
            continue
        for id, time, value in zip(batch.metrics.series, batch.metrics.time, batch.metrics.value, strict=True):
            key = table.key(int(id))
            if key.name.replace(".", "_") in wanted:
                labels = ", ".join(v for _, v in (*key.resource, *key.attributes))
                series = found.setdefault((key.name, key.unit), {}).setdefault(labels, [])
                series.append((int(time), float(value)))
    times = [t for lines in found.values() for points in lines.values() for t, _ in points]
    times += [t for t, _ in records] + [t for t, _ in fired]
    first, last = min(times), max(times)

    def since(time: int) -> float:
        return (time - first) / 1e9

    panels = tuple(
        (name, unit, tuple(Line(label, tuple((since(t), v) for t, v in sorted(p))) for label, p in lines.items()))
        for (name, unit), lines in found.items()
    )
    return Sight(
        panels,
        tuple((since(t), text) for t, text in records),
        tuple((since(t), since(start)) for t, start in fired),
        since(last),
    )
