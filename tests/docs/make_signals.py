"""Writes the table of signals into ``docs/signals.md``: ``python tests/docs/make_signals.py``; a test holds that it is there."""

from __future__ import annotations

import math
from pathlib import Path

from fallow.semconv import SIGNALS
from fallow.signals import signal
from fallow_processors.normalise import describe

PAGE = Path(__file__).parents[2] / "docs" / "signals.md"
MARK = "<!-- made by tests/docs/make_signals.py -->\n"


def page(text: str) -> str:
    """The page with the table as it is now."""
    sources: dict[str, dict[str, None]] = {name: {} for name in SIGNALS}
    for row in describe():
        sources[str(row["signal"])][str(row["source"])] = None
    lines = ["| signal | unit | kind | range | from |", "|---|---|---|---|---|"]
    for name, known in sources.items():
        about = signal(name)
        of = ", ".join(source for source in known if not source.startswith("fallow"))
        lines.append(f"| `{name}` | {about.unit} | {about.kind} | {_range(about.low, about.high)} | {of} |")
    return text.partition(MARK)[0] + MARK + "\n" + "\n".join(lines) + "\n"


def _range(low: float, high: float) -> str:
    return f"≥ {low:g}" if math.isinf(high) else f"{low:g} to {high:.4g}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
