"""Why there is a recommendation, as Markdown for a person."""

from __future__ import annotations

from fallow.model import Evidence, Recommendation
from fallow.units import duration_text, moment_text

_TIERS = {
    "T0": "record only",
    "T1": "advise the owner",
    "T2": "reversible",
    "T3": "destroys work",
    "T4": "node repair",
}


def explain(one: Recommendation) -> str:
    """The rule, its evidence, the arithmetic of the saving, and how to decide."""
    target = "".join(f"\n- {key}: `{value}`" for key, value in sorted(one.target.items()))
    rows = "".join(_row(number, e) for number, e in enumerate(one.evidence, start=1))
    texts = "\n".join(_text(number, e) for number, e in enumerate(one.evidence, start=1) if e.text)
    decided = f"\n\nDecided by {one.actor or 'nobody'}: {one.reason}" if one.actor or one.reason else ""
    return f"""\
# {one.title}

Rule **{one.rule}** (hash `{one.rule_hash}`) suggests to **{one.action.kind}** ({one.tier}: {_TIERS[one.tier]}).
It is **{one.state}** since {_moment(one.updated)}; confidence {one.confidence:.0%}.{decided}

## Target
{target}

## Evidence

| | what | from | to | for | samples | value |
|---|---|---|---|---|---|---|
{rows}
{texts}
## Expected saving

{_saving(one)}

## Decide

`fallow recommendations approve {one.id}` or `fallow recommendations dismiss {one.id} --reason …`;
it expires at {_moment(one.expires)}.
"""


def _row(number: int, e: Evidence) -> str:
    value = "" if e.value is None else f"{e.value:.4g}"
    what = f"{e.kind} {e.name}".replace("|", "\\|").replace("\n", " ")
    held = duration_text(e.end - e.start)
    return f"| {number} | {what} | {_moment(e.start)} | {_moment(e.end)} | {held} | {e.count} | {value} |\n"


def _text(number: int, e: Evidence) -> str:
    """The condition or the text, as a block that nothing in it can end."""
    said = "is true" if e.kind == "signal" else "reads"
    return f"{number} {said}:\n\n" + "".join(f"    {line}\n" for line in e.text.splitlines())


def _saving(one: Recommendation) -> str:
    s = one.saving
    hours, low, high = s.gpu_seconds / 3600, s.low / 3600, s.high / 3600
    price = s.cost / hours if hours else 0.0
    grams = s.gco2e / hours if hours else 0.0
    return (
        f"{hours:.2f} GPU-hours (80 % interval {low:.2f} to {high:.2f}), counted on the basis *{s.basis}*.\n\n"
        f"- cost: {hours:.2f} h × {price:.2f} {s.currency}/h = {s.cost:.2f} {s.currency} (price: {s.price_source})\n"
        f"- carbon: {hours:.2f} h × {grams:.0f} g/h = {s.gco2e:.0f} gCO2e (intensity: {s.intensity_source})"
    )


def _moment(unix_ns: int) -> str:
    return f"{moment_text(unix_ns)} UTC"
