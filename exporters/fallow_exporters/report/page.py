"""The page: everything in one file, nothing loaded from anywhere."""

from __future__ import annotations

import html
import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import Any, Final

from fallow.entity import subject
from fallow.model import Detection, Recommendation, Saving
from fallow.replay import Summary
from fallow.semconv import (
    CONTAINER_ID,
    GPU_INDEX,
    GPU_MEMORY_USAGE,
    GPU_POWER,
    GPU_SM,
    GPU_UTILIZATION,
    HOST_NAME,
    HW_ID,
    JOB_ID,
    K8S_POD_NAME,
    SERVING_REQUEST_RATE,
)
from fallow.units import SECOND, moment_text
from fallow_exporters.report.config import ReportConfig
from fallow_exporters.report.curves import Curves

NARROWING: Final = (HW_ID, CONTAINER_ID, JOB_ID, K8S_POD_NAME, HOST_NAME)
"""Whose curves are drawn: those that share with the detection each of these that it has."""
MOST_CURVES: Final = 8
MOST_SPANS: Final = 200
Identity = tuple[tuple[str, str], ...]
_PERCENT: Final = "GPU, %"
_PANELS: Final = (
    (_PERCENT, {GPU_UTILIZATION: ("utilisation", 100.0), GPU_SM: ("SM activity", 100.0)}),
    ("memory, GiB", {GPU_MEMORY_USAGE: ("memory used", 1 / 2**30)}),
    ("power, W", {GPU_POWER: ("power", 1.0)}),
    ("requests/s", {SERVING_REQUEST_RATE: ("requests", 1.0)}),
)


@dataclass(frozen=True, slots=True)
class Found:
    """What the page tells of."""

    detections: Sequence[Detection]
    recommendations: Sequence[Recommendation]
    summary: Summary
    curves: Curves


def page(found: Found, config: ReportConfig) -> str:
    """The HTML text."""
    from plotly.offline import get_plotlyjs

    files = resources.files("fallow_exporters.report")
    by_detection = {r.detection: r for r in found.recommendations}
    ranked = sorted(found.detections, key=lambda d: (-_seconds(by_detection.get(d.id)), d.severity, d.time, d.id))
    by_entity = _by_entity(ranked)
    data = {"rules": _rules(found), "entities": _entities(found, by_entity[: config.max_entities])}
    return Template((files / "page.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(config.title),
        note=html.escape(config.note),
        span=html.escape(_span(found)),
        cards=_cards(found),
        rows="\n".join(_row(d, by_detection.get(d.id)) for d in ranked[: config.max_rows]),
        not_drawn=_not_drawn(len(by_entity), config.max_entities, found.curves.left_out),
        left_out=_left_out(len(ranked), config.max_rows),
        sources=html.escape(_sources(found.recommendations)),
        css=(files / "page.css").read_text(encoding="utf-8"),
        # Nothing in the data can end the element that it stands in.
        data=json.dumps(_finite(data), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        plotly=get_plotlyjs(),
        js=(files / "page.js").read_text(encoding="utf-8"),
    )


# -- the head ----------------------------------------------------------------------------------------------------------


def _cards(found: Found) -> str:
    s = found.summary
    hours = s.gpu_seconds_reclaimable / 3600
    saved = [r.saving for r in found.recommendations if r.saving.gpu_seconds > 0]
    share = (
        f"{s.gpu_seconds_reclaimable / s.gpu_seconds_observed:.0%} of what was observed"
        if s.gpu_seconds_observed
        else ""
    )
    cards = [
        ("GPU-hours observed", f"{s.gpu_seconds_observed / 3600:,.1f}", f"{s.entities:,} GPUs, {s.samples:,} samples"),
        ("GPU-hours reclaimable", f"{hours:,.1f}", share),
        ("Cost of those", _cost(saved, s.gpu_seconds_reclaimable), "at the prices of the playbook"),
        ("CO₂e of those", _carbon(saved, s.gpu_seconds_reclaimable), "idle power × grid intensity"),
        ("Detections", f"{s.detections:,}", f"{s.unknown:,} more unknown for want of samples"),
        ("Recommendations", f"{s.recommendations:,}", "listed below"),
    ]
    return "\n".join(
        f'<div class="card"><div class="label">{html.escape(label)}</div><div class="value">{html.escape(value)}</div>'
        f'<div class="more">{html.escape(more)}</div></div>'
        for label, value, more in cards
    )


def _cost(saved: Sequence[Saving], gpu_seconds: float) -> str:
    """Of GPU-time, at the mean price of what was recommended."""
    expected = sum(s.gpu_seconds for s in saved)
    return f"{gpu_seconds * sum(s.cost for s in saved) / expected:,.2f} {saved[0].currency}" if expected else "–"


def _carbon(saved: Sequence[Saving], gpu_seconds: float) -> str:
    expected = sum(s.gpu_seconds for s in saved)
    return f"{gpu_seconds * sum(s.gco2e for s in saved) / expected / 1000:,.2f} kg" if expected else "–"


def _span(found: Found) -> str:
    times = [t for d in found.detections for t in (d.start, d.end)]
    if not times:
        return "Nothing was found." if found.summary.samples else "There was no telemetry."
    return f"Detections from {moment_text(min(times))} to {moment_text(max(times))} UTC; all times are UTC."


def _sources(recommendations: Sequence[Recommendation]) -> str:
    prices = sorted({r.saving.price_source for r in recommendations if r.saving.gpu_seconds > 0})
    grids = sorted({r.saving.intensity_source for r in recommendations if r.saving.gpu_seconds > 0})
    return f"Prices: {', '.join(prices)}. Carbon: {', '.join(grids)}." if prices else ""


# -- savings by rule ---------------------------------------------------------------------------------------------------


def _rules(found: Found) -> list[dict[str, Any]]:
    """Each rule with something to save: measured after its decisions, and expected at them, with its interval."""
    titles = {d.rule: d.title for d in found.detections}
    expected: dict[str, list[Saving]] = defaultdict(list)
    for r in found.recommendations:
        expected[r.rule].append(r.saving)
    rows = [
        {
            "rule": rule,
            "title": titles.get(rule, ""),
            "detections": part.detections,
            "measured": part.gpu_seconds_reclaimable / 3600,
            "expected": sum(s.gpu_seconds for s in expected[rule]) / 3600,
            "low": sum(s.low for s in expected[rule]) / 3600,
            "high": sum(s.high for s in expected[rule]) / 3600,
        }
        for rule, part in found.summary.by_rule.items()
    ]
    return sorted((r for r in rows if r["measured"] or r["expected"]), key=lambda r: r["measured"])


# -- timelines ---------------------------------------------------------------------------------------------------------


def _by_entity(ranked: Sequence[Detection]) -> list[tuple[Identity, list[Detection]]]:
    """Whom detections are about with what was found, those with the most to save first."""
    by_entity: dict[Identity, list[Detection]] = defaultdict(list)
    for detection in ranked:
        by_entity[_identity(detection.entity)].append(detection)
    return [entry for entry in by_entity.items() if entry[0]]


def _entities(found: Found, chosen: Sequence[tuple[Identity, list[Detection]]]) -> list[dict[str, Any]]:
    """Their timelines."""
    curves = found.curves.named()
    suggested = {r.detection for r in found.recommendations}
    return [
        {
            "name": subject(mine[0].entity),
            "found": _counted(mine, suggested),
            "drawn": [_spanned(d) for d in _drawn(mine, suggested)],
            "panels": _panels(found.curves, curves, dict(identity)),
        }
        for identity, mine in chosen
    ]


def _counted(mine: Sequence[Detection], suggested: set[str]) -> str:
    """How many detections of which rule; and how many are drawn, where there are too many for that."""
    by_rule = ", ".join(f"{count} × {rule}" for rule, count in Counter(d.rule for d in mine).most_common())
    return by_rule + (f"; {MOST_SPANS} drawn" if len(_worth_drawing(mine, suggested)) > MOST_SPANS else "")


def _drawn(mine: Sequence[Detection], suggested: set[str]) -> list[Detection]:
    """Those worth drawing in order of time; of many those with the most to save."""
    return sorted(_worth_drawing(mine, suggested)[:MOST_SPANS], key=lambda d: d.time)


def _worth_drawing(mine: Sequence[Detection], suggested: set[str]) -> Sequence[Detection]:
    """Those that something was recommended for; all where there are none."""
    return [d for d in mine if d.id in suggested] or mine


def _identity(entity: Mapping[str, str]) -> Identity:
    """What tells an entity from others: the most specific that it has."""
    found = [(name, entity[name]) for name in NARROWING if entity.get(name)]
    return tuple(found[:1])


def _panels(
    curves: Curves, named: Sequence[tuple[int, str, Mapping[str, str]]], wanted: Mapping[str, str]
) -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = []
    for title, signals in _PANELS:
        mine = [
            (row, name, labels)
            for row, name, labels in named
            if name in signals and all(labels.get(key) == value for key, value in wanted.items())
        ]
        alike = Counter(name for _, name, _ in mine)
        lines = [_line(curves, row, *signals[name], labels, alike[name]) for row, name, labels in mine[:MOST_CURVES]]
        if lines:
            panels.append({"title": title, "full": 100 if title is _PERCENT else 0, "lines": lines})
    return panels


def _line(curves: Curves, row: int, name: str, scale: float, labels: Mapping[str, str], among: int) -> dict[str, Any]:
    times, values = curves.points(row)
    which = labels.get(GPU_INDEX) or labels.get(HW_ID, "")[-6:]
    return {
        "name": f"{name}, GPU {which}" if among > 1 and which else name,
        "x": [round(t * 1000) for t in times.tolist()],
        "y": [round(v * scale, 3) for v in values.tolist()],
    }


def _spanned(d: Detection) -> dict[str, Any]:
    return {
        "rule": d.rule,
        "title": d.title,
        "state": d.state,
        "start": d.start // 1_000_000,
        "time": d.time // 1_000_000,
        "end": max(d.end, d.time) // 1_000_000,
    }


# -- the table ---------------------------------------------------------------------------------------------------------


def _row(d: Detection, r: Recommendation | None) -> str:
    hours = cost = action = tier = "–"
    key = -1.0
    if r is not None:
        action, tier = r.action.kind, r.tier
        if r.saving.basis != "none":
            key = r.saving.gpu_seconds
            hours = f"{key / 3600:.1f} ({r.saving.low / 3600:.1f}–{r.saving.high / 3600:.1f})"
            cost = f"{r.saving.cost:,.2f} {r.saving.currency}"
    lasted = max(0, d.end - d.start) // SECOND
    cells = [
        (moment_text(d.time), str(d.time)),
        (d.rule, d.rule),
        (d.title, d.title),
        (subject(d.entity), subject(d.entity)),
        (d.state, d.state),
        (_lasted(lasted), str(lasted)),
        (action, action),
        (tier, tier),
        (hours, str(key)),
        (cost, str(r.saving.cost if r else -1)),
    ]
    return "<tr>" + "".join(f'<td data-key="{html.escape(k)}">{html.escape(text)}</td>' for text, k in cells) + "</tr>"


def _not_drawn(entities: int, limit: int, series: int) -> str:
    """What the limits of the configuration keep off the timelines."""
    first = f"The {limit:,} with the most to save of {entities:,} are here. " if entities > limit else ""
    return first + (
        f"{series:,} series came after the limit of series was reached and are not drawn." if series else ""
    )


def _left_out(rows: int, limit: int) -> str:
    return f"The {limit:,} with the most to save of {rows:,}." if rows > limit else ""


def _lasted(seconds: int) -> str:
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}" + ("" if seconds >= 60 else f":{seconds % 60:02d}")


def _seconds(recommendation: Recommendation | None) -> float:
    return recommendation.saving.gpu_seconds if recommendation is not None else -1.0


def _finite(value: Any) -> Any:
    """JSON has no NaN: a break in a curve is null."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
