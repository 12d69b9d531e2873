"""Writes a page and a picture for each rule, and the page that lists them."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

from fallow.registry import components
from fallow.rulebook.page import index, page
from fallow.rulebook.picture import svg
from fallow.rulebook.sight import sight

_NAME = re.compile(r"[a-z_][a-z0-9_]*")


def write(rules: Path, folder: Path) -> None:
    """Write the pages of the rules in a folder, and remove those of rules that are gone."""
    cre: Any = importlib.import_module(components("processors")["cre"])
    folder.mkdir(parents=True, exist_ok=True)
    explanations = cre.explain(list(cre.RuleSet.load([rules]).rules))
    wanted = {"README.md"}
    for explanation in explanations:
        name = explanation.rule.cre.lower()
        own = rules / name
        sample = next(path for path in sorted(own.glob("test.*")) if path.suffix in (".log", ".jsonl"))
        text = (own / "rule.yaml").read_text(encoding="utf-8").partition("    rule:\n")[2]
        drawn = svg(sight(own / "rule.yaml", sample, _NAME.findall(text)))
        (folder / f"{name}.svg").write_text(drawn, encoding="utf-8")
        (folder / f"{name}.md").write_text(page(explanation, own, sample.name), encoding="utf-8")
        wanted |= {f"{name}.svg", f"{name}.md"}
    categories = cre.Taxonomy.load(cre.taxonomy_files([rules])).categories or {}
    (folder / "README.md").write_text(index(explanations, categories, rules), encoding="utf-8")
    for old in folder.iterdir():
        if old.name not in wanted:
            old.unlink()


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
