"""What matched when, in one rule over one sample: why it fired or did not, for its author."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fallow import promql
from fallow.units import SECOND, moment_text
from fallow_processors.cre.machine import Condition, Key, Machine
from fallow_processors.cre.matchers import Variant
from fallow_processors.cre.rule import Item, Metric, Node, Rule, Term
from fallow_processors.cre.watch import Why, watching

_WIDTH = 48
_SHOWN = 6
"""Times written out beside a strip; of more, how many there are."""
_NOTES = 40
_LABEL = 44


@dataclass(slots=True)
class Row:
    """One item of a condition and the times at which it matched; of a condition over signals the spans that it held."""

    label: str
    times: list[int] = field(default_factory=list[int])
    ends: dict[int, int] = field(default_factory=dict[int, int])

    def data(self) -> dict[str, Any]:
        """For machines."""
        return {"label": self.label, "times": self.times} | ({"ends": self.ends} if self.ends else {})


@dataclass(frozen=True, slots=True)
class Note:
    """What a condition made of its events at a time."""

    time: int
    text: str


@dataclass(slots=True)
class _Section:
    """A condition: its rows by item, and what it did."""

    title: str
    rows: dict[object, Row]
    notes: list[Note] = field(default_factory=list[Note])


class Timeline:
    """Collects what the conditions of rules see and do."""

    def __init__(self) -> None:
        self._sections: dict[int, _Section] = {}

    # -- what it is told -----------------------------------------------------------------------------------------------
    def variant(self, rule: Rule, condition: Condition) -> Callable[[Key], Variant]:
        """What to make of a condition's matchers, so that it is watched."""
        section = self._section(rule, condition.node)
        return lambda key: watching(_Teller(condition, section, key))

    def edge(self, machine: Machine, metric: Metric, edge: promql.Edge) -> None:
        """A condition over signals began or ceased to hold, or cannot be known."""
        node = next(c.node for _, c, _ in machine.metrics if any(item is metric for item in c.node.items))
        section = self._section(machine.rule, node)
        row = section.rows[id(metric)]
        whose = _whose(edge.labels.values())
        if edge.state == "began":
            row.times.append(edge.time)
        elif edge.state in ("ended", "open") and row.times:
            row.ends[row.times[-1]] = edge.time
        elif edge.state == "unknown":
            section.notes.append(Note(edge.time, f"unknown{whose}: {row.label}"))

    def _section(self, rule: Rule, node: Node) -> _Section:
        found = self._sections.get(id(node))
        if found is None:
            found = self._sections[id(node)] = _Section(f"{rule.cre}: {_title(node)}", _rows(node))
        return found

    # -- what it says --------------------------------------------------------------------------------------------------
    def data(self) -> list[dict[str, Any]]:
        """For machines: each condition with its rows and notes; times in Unix ns."""
        return [
            {
                "condition": section.title,
                "rows": [row.data() for row in section.rows.values()],
                "notes": [{"time": note.time, "text": note.text} for note in section.notes],
            }
            for section in self._sections.values()
        ]

    def lines(self) -> Iterator[str]:
        """For people."""
        times = [t for s in self._sections.values() for r in s.rows.values() for t in (*r.times, *r.ends.values())]
        if not times:
            yield "  nothing that the rule looks for is there"
            return
        first, last = min(times), max(times)
        yield f"  from {moment_text(first)} to {moment_text(last)} UTC"
        for section in self._sections.values():
            yield f"  {section.title}"
            for row in section.rows.values():
                yield f"    {_cut(row.label):{_LABEL}} {_strip(row, first, last)}  {_times(row)}".rstrip()
            for note in section.notes[:_NOTES]:
                yield f"      {_clock(note.time)}  {note.text}"
            if len(section.notes) > _NOTES:
                yield f"      … and {len(section.notes) - _NOTES} more"


@dataclass(frozen=True, slots=True)
class _Teller:
    """Writes what one matcher does into its condition's section."""

    condition: Condition
    section: _Section
    key: Key

    def offered(self, time: int, mask: int) -> None:
        for item in self.condition.node.items:
            row = self.section.rows[_id(item)]
            if mask >> self.condition.number(item) & 1 and not isinstance(item, Metric) and time not in row.times[-1:]:
                row.times.append(time)

    def late(self, time: int) -> None:
        self._note(time, "came too late and counts for nothing")

    def dropped(self, time: int, now: int, why: Why) -> None:
        reason = "" if why == "vetoed" else ": what it waited for did not come in its window and order"
        self._note(now, f"dropped the event of {_clock(time)}{reason}")

    def vetoed(self, negative: int, at: int | None, start: int, end: int) -> None:
        negatives = self.condition.node.negatives
        label = (
            self.section.rows[_id(negatives[negative])].label if negative < len(negatives) else "an unknown negative"
        )
        when = f"at {_clock(at)}" if at is not None else "held"
        self._note(
            end if at is None else at, f"vetoed by {_cut(label)}: {when}, forbidden {_clock(start)} … {_clock(end)}"
        )

    def found(self, times: Sequence[int], decided: int, unknown: bool) -> None:
        state = "unknown: a negative cannot be known" if unknown else "HIT"
        self._note(decided, f"{state}, of {', '.join(map(_clock, times))}")

    def _note(self, time: int, text: str) -> None:
        self.section.notes.append(Note(time, text + _whose(self.key)))


def _whose(values: Any) -> str:
    said = ", ".join(str(value) for value in values if value)
    return f"  [{said}]" if said else ""


def _id(item: Item) -> object:
    return (item.pattern, item.negate) if isinstance(item, Term) else id(item)


def _rows(node: Node) -> dict[object, Row]:
    rows = {_id(item): Row(_label(item)) for item in node.positives}
    return rows | {_id(item): Row(f"not: {_label(item)}") for item in node.negatives if _id(item) not in rows}


def _label(item: Item) -> str:
    if isinstance(item, Metric):
        return " ".join(item.expr.split())
    if isinstance(item, Node):
        return _title(item)
    where = f" in {item.pattern.field}" if item.pattern.field else ""
    count = f"{item.count} × " if item.count > 1 else ""
    return f"{count}{item.pattern.kind} {item.pattern.text}{where}"


def _title(node: Node) -> str:
    kind = "sequence" if node.ordered else "set"
    return f"{kind} of {node.source}" if node.is_log else f"{kind} of conditions"


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LABEL else text[: _LABEL - 1] + "…"


def _strip(row: Row, first: int, last: int) -> str:
    """The row drawn: ``●`` where it matched, ``━`` while it held."""
    cells = ["·"] * _WIDTH
    for time in row.times:
        at = _cell(time, first, last)
        for cell in range(at + 1, _cell(row.ends.get(time, time), first, last) + 1):
            cells[cell] = "━"
        cells[at] = "●"
    return "".join(cells)


def _cell(time: int, first: int, last: int) -> int:
    return 0 if last == first else (time - first) * (_WIDTH - 1) // (last - first)


def _times(row: Row) -> str:
    if not row.times:
        return "never"
    shown = [_clock(time) for time in row.times[:_SHOWN]]
    more = len(row.times) - len(shown)
    return " ".join(shown) + (f" and {more} more" if more else "")


def _clock(time: int) -> str:
    """The time of day, UTC; to the millisecond where it is none of whole seconds."""
    fraction = f".{time % SECOND // 1_000_000:03d}" if time % SECOND else ""
    return moment_text(time)[11:] + fraction
