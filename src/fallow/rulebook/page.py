"""A rule's page in Markdown, and the page that lists all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

MADE = "<!-- Made by `make docs` from the rule and its samples: change those. -->"
SEVERITIES = ("critical", "high", "medium", "low", "info")
_FENCE = re.compile(r"\n*^[ \t]*```optimize.*?^[ \t]*```[ \t]*$\n?", re.MULTILINE | re.DOTALL)


def page(explanation: Any, folder: Path, sample: str) -> str:
    """The page of a rule.

    Args:
        explanation: what the engine says of it.
        folder: where the rule and its samples are.
        sample: the name of the sample that the picture is of.
    """
    cre = _document(folder)["cre"]
    text = (folder / "rule.yaml").read_text(encoding="utf-8")
    needs = "\n".join(f"- {part.text}" for part in explanation.needs)
    parts = [
        MADE,
        f"# {cre['id']}: {cre['title']}",
        cre["description"].strip(),
        f"![The sample {sample}: signals and detection]({cre['id'].lower()}.svg)",
        f"Category {cre['category']} · tags {', '.join(cre['tags'])} · severity {SEVERITIES[cre['severity']]}",
        f"## Why it happens\n\n{cre['cause'].strip()}",
        f"## What it costs\n\n{cre['impact'].strip()}",
        f"## What to do\n\n{_FENCE.sub('', cre['mitigation']).strip()}",
        f"It suggests, and a [playbook](../playbook.md) decides:\n\n{_suggestion(explanation.rule.optimize)}",
        f"## What it needs\n\n{needs}" if needs else "",
        f"## What it looks for\n\nWhere a threshold comes from stands beside it: [S] a source, [P] a choice of ours.\n\n```yaml\n{_looks_for(text)}\n```",
        f"## Held back\n\nSamples that look alike and must not fire:\n\n{_near_misses(folder)}",
        f"## References\n\n{chr(10).join(f'- <{one}>' for one in cre['references'])}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def index(explanations: Sequence[Any], categories: Mapping[str, str], rules: Path) -> str:
    """The page that lists the rules, by category; ``rules``: the folder of their folders."""
    of = {e.rule.cre: _document(rules / e.rule.cre.lower())["cre"]["category"] for e in explanations}
    parts = [
        MADE,
        "# Rules of the built-in pack",
        f"{len(explanations)} rules. How to write one: [rules](../rules.md).",
    ]
    for category, description in categories.items():
        rows = [e for e in explanations if of[e.rule.cre] == category]
        if rows:
            lines = ["| rule | what it finds | needs | suggests | risk |", "| --- | --- | --- | --- | --- |"]
            lines += [_row(e) for e in sorted(rows, key=lambda e: e.rule.cre)]
            parts.append(f"## {category}\n\n{description}.\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _document(folder: Path) -> Any:
    """The rule of a folder as it is written."""
    return yaml.safe_load((folder / "rule.yaml").read_text(encoding="utf-8"))["rules"][0]


def _row(explanation: Any) -> str:
    rule = explanation.rule
    facts = [part.facts for part in explanation.needs]
    names = [f"`{one['signal']}`" for one in facts if one.get("required")] + [
        one["source"] for one in facts if "source" in one
    ]
    needs = ", ".join(names) or "one of several, see there"
    cells = (
        f"[{rule.cre}]({rule.cre.lower()}.md)",
        rule.title,
        needs,
        rule.optimize["action"],
        rule.optimize.get("risk", ""),
    )
    return f"| {' | '.join(cells)} |"


def _suggestion(optimize: Mapping[str, Any]) -> str:
    lines = ["| | |", "| --- | --- |", f"| action | {optimize['action']} |"]
    target = optimize["target"]
    lines.append(f"| target | {target['kind']}, by {', '.join(f'`{name}`' for name in target['by'])} |")
    lines += [f"| {key} | {value} |" for key, value in optimize.get("parameters", {}).items()]
    if optimize.get("guard"):
        lines.append(f"| only while | `{_one_line(str(optimize['guard']))}` |")
    lines.append(f"| saving | {optimize['saving']['basis']} |")
    lines += [f"| {key} | {optimize[key]} |" for key in ("risk", "undo", "confidence") if key in optimize]
    return "\n".join(lines)


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _looks_for(text: str) -> str:
    """The rule's last part as it is written, with its comments."""
    lines = text.splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("    rule:")) + 1
    return "\n".join(line[6:] for line in lines[begin:])


def _near_misses(folder: Path) -> str:
    return "\n".join(f"- {name}" for name in _names(folder))


def _names(folder: Path) -> Iterator[str]:
    for file in sorted(folder.glob("test-fp*")):
        stem = file.name.partition(".")[0].removeprefix("test-fp").strip("-").replace("-", " ")
        yield f"[{stem or 'near miss'}](../../rules/{folder.name}/{file.name})"
