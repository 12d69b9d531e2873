"""``fallow rules explain``: a rule in plain words, for people and for machines."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.padding import Padding
from rich.text import Text
from rich.tree import Tree

from fallow.cli.output import out
from fallow.errors import NotFound
from fallow.model import Detection
from fallow.registry import components
from fallow.rules import builtin_directory

SEVERITIES = ("critical", "high", "medium", "low", "info")


def chosen(names: Sequence[str], cre: Any) -> tuple[list[Any], set[str]]:
    """(rules that belong together, CRE ids of those asked for): files, folders, or ids of the built-in pack.

    Raises:
        NotFound: a name is neither.
        DocumentError: a rule is wrong.
    """
    paths = [Path(name) for name in names if Path(name).exists()]
    ids = {name.upper() for name in names if not Path(name).exists()}
    rules: dict[str, Any] = {rule.cre: rule for rule in cre.RuleSet.load(paths).rules} if paths else {}
    wanted = set(rules)
    if ids:
        pack = {rule.cre: rule for rule in cre.RuleSet.load([builtin_directory()]).rules}
        unknown = sorted(ids - pack.keys())
        if unknown:
            raise NotFound(f"{unknown[0]}: no such file or folder, and no rule of the built-in pack: {', '.join(pack)}")
        rules = pack | rules
        wanted |= ids
    return list(rules.values()), wanted


def allowed(rule: Any, playbook: Path) -> dict[str, Any]:
    """What a playbook would allow for a detection of the rule."""
    loaded = importlib.import_module(components("processors")["recommender"]).load_playbook(playbook)
    detection = Detection(
        id="",
        rule=rule.cre,
        rule_hash=rule.hash,
        rule_stable_hash=rule.stable_hash,
        title=rule.title,
        severity=rule.severity,
        tags=rule.tags,
        entity={},
        time=0,
        start=0,
        end=0,
        state="fired",
    )
    entry = loaded.entry(detection)
    if entry is not None:
        return {"mode": loaded.defaults.mode, **entry.model_dump(mode="json", exclude_defaults=True)}
    others = [e.stable_hash for e in loaded.entries if e.rule == rule.cre and e.stable_hash]
    why = f"the entry was written for another text of the rule ({others[0]})" if others else "there is no entry for it"
    return {"mode": loaded.defaults.mode, "tier": "T0", "why": why}


def show(explanation: Any, playbook: Mapping[str, Any] | None) -> None:
    """Print an explanation for people."""
    rule = explanation.rule
    severity = SEVERITIES[rule.severity] if rule.severity < len(SEVERITIES) else str(rule.severity)
    out.print(Text.assemble((rule.cre, "bold"), f"  {rule.title}  ", (f"({severity})", "dim")))
    out.print(Text(f"{rule.file}:{rule.line}  hash {rule.hash}", style="dim"), soft_wrap=True)
    _section("looks for", _tree(explanation.looks_for))
    if explanation.conditions:
        for condition in explanation.conditions:
            _section("condition", _tree(condition))
    _section("needs", *[Text(part.text) for part in explanation.needs])
    _section("speaks", *map(Text, explanation.speaks))
    _section("holds", *map(Text, explanation.holds))
    if rule.optimize:
        _section("suggests", Text(_yaml(rule.optimize)))
    if playbook is not None:
        _section("the playbook allows", Text(_yaml(playbook)))
    out.print()


def _section(title: str, *lines: Any) -> None:
    out.print(Text(title, style="bold cyan"))
    for line in lines:
        out.print(Padding(line, (0, 0, 0, 2), expand=False))


def _tree(part: Any) -> Tree:
    tree = Tree(_styled(part))
    _grow(tree, part.parts)
    return tree


def _grow(tree: Tree, parts: Sequence[Any]) -> None:
    for part in parts:
        _grow(tree.add(_styled(part)), part.parts)


def _styled(part: Any) -> Text:
    return Text(part.text, style="yellow" if part.facts.get("negative") else "")


def _yaml(data: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True, width=100)).rstrip()
