"""A sample drawn as SVG: a panel for each signal, a row for the records, and where the rule fired. The same bytes always."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from fallow.rulebook.sight import Line, Sight

WIDTH, LEFT, RIGHT = 760, 24, 36
HEAD, PANEL, GAP, FOOT = 20, 84, 30, 30
ROW = 20
PANELS, SERIES, ROWS = 5, 8, 6
"""At most so many are drawn; the rest is said in words."""
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#17becf", "#bcbd22", "#7f7f7f")
FIRED = "#d62728"
_STEPS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def svg(sight: Sight) -> str:
    """The picture, as a document of its own."""
    panels = sight.panels[:PANELS]
    rows = sight.records[:ROWS]
    height = HEAD + len(panels) * (PANEL + GAP) + (len(rows) + 1) * ROW * bool(rows) + FOOT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    y = HEAD
    bottom = height - FOOT
    parts += _marks(sight, bottom)
    for name, unit, lines in panels:
        parts += _panel(sight, name, unit, lines, y + 18)
        y += PANEL + GAP
    if rows:
        parts += _records(sight, y)
    parts += _axis(sight, bottom)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _x(sight: Sight, at: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (at / sight.span if sight.span else 0.5)


def _panel(sight: Sight, name: str, unit: str, lines: tuple[Line, ...], top: float) -> Iterator[str]:
    values = [v for line in lines for _, v in line.points]
    low, high = min(0.0, *values), max(values)
    high = 1.0 if unit == "1" and 0 <= high <= 1 else high if high > low else low + 1.0
    inner = PANEL - 18
    more = f" · {len(lines)} series" if len(lines) > 1 else ""
    yield f'<text x="{LEFT}" y="{top - 5}" fill="#333">{escape(name)} <tspan fill="#888">{escape(_range(low, high, unit))}{more}</tspan></text>'
    yield f'<rect x="{LEFT}" y="{top}" width="{WIDTH - LEFT - RIGHT}" height="{inner}" fill="none" stroke="#ccc"/>'
    for line, colour in zip(lines[:SERIES], COLOURS, strict=False):
        # A little room above, so that a line at the top is seen apart from the frame.
        spots = [(_x(sight, t), top + inner - (v - low) / (high - low) * (inner - 5)) for t, v in line.points]
        if len(spots) == 1:
            yield f'<circle cx="{spots[0][0]:.1f}" cy="{spots[0][1]:.1f}" r="3" fill="{colour}"/>'
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.4"/>'


def _range(low: float, high: float, unit: str) -> str:
    shown = "" if unit == "1" or unit.startswith("{") else f" {unit}"
    return f"{_short(low)} to {_short(high)}{shown}"


def _short(value: float) -> str:
    scale, prefix = next(((s, p) for s, p in _PREFIXES if abs(value) >= s), (1.0, ""))
    return f"{value / scale:.3g}{prefix}"


def _records(sight: Sight, top: float) -> Iterator[str]:
    shown = sight.records[:ROWS]
    for i, (at, text) in enumerate(shown):
        x, y = _x(sight, at), top + (i + 1) * ROW
        right = x > WIDTH / 2
        yield f'<circle cx="{x:.1f}" cy="{y - 4:.1f}" r="4" fill="{COLOURS[0]}"/>'
        anchor, beside = ("end", x - 9) if right else ("start", x + 9)
        cut = text if len(text) <= 92 else text[:91] + "…"
        yield f'<text x="{beside:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#333" font-size="11">{escape(cut)}</text>'
    if len(sight.records) > ROWS:
        y = top + (ROWS + 1) * ROW
        yield f'<text x="{LEFT}" y="{y:.1f}" fill="#888" font-size="11">… and {len(sight.records) - ROWS} more</text>'


def _marks(sight: Sight, bottom: float) -> Iterator[str]:
    for at, start in sight.fired:
        x, begin = _x(sight, at), _x(sight, max(0.0, start))
        yield f'<rect x="{begin:.1f}" y="{HEAD}" width="{max(x - begin, 0):.1f}" height="{bottom - HEAD:.1f}" fill="{FIRED}" opacity="0.06"/>'
        yield f'<line x1="{x:.1f}" y1="{HEAD}" x2="{x:.1f}" y2="{bottom}" stroke="{FIRED}" stroke-dasharray="5 3"/>'
        anchor = "end" if x > WIDTH - 60 else "start"
        yield f'<text x="{x + (-5 if anchor == "end" else 5):.1f}" y="{HEAD - 8}" text-anchor="{anchor}" fill="{FIRED}">detection</text>'


def _axis(sight: Sight, bottom: float) -> Iterator[str]:
    step = next((s for s in _STEPS if sight.span / s <= 8), _STEPS[-1])
    at = 0.0
    while at <= sight.span:
        x = _x(sight, at)
        yield f'<line x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 5}" stroke="#888"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle" fill="#888" font-size="11">{_time(at)}</text>'
        at += step


def _time(seconds: float) -> str:
    whole = int(seconds)
    for size, letter in ((3600, "h"), (60, "min")):
        if whole and whole % size == 0:
            return f"{whole // size} {letter}"
    return f"{whole // 60} min {whole % 60} s" if whole > 60 else f"{whole} s"
