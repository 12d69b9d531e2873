"""The pages of rules: made from the rule, with a picture that is the same every time."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from fallow.rulebook.page import index, page
from fallow.rulebook.picture import svg
from fallow.rulebook.sight import sight
from fallow_processors.cre import RuleSet, Taxonomy, explain, taxonomy_files

ROOT = Path(__file__).parents[2]
RULES, PAGES = ROOT / "rules", ROOT / "docs" / "rules"


@pytest.mark.parametrize(
    ("name", "sample", "signals"),
    [
        ("cre-2026-9013", "test.otlp.jsonl", ["hw_gpu_utilization", "fallow_gpu_sm_utilization"]),
        ("cre-2026-9052", "test.log", []),
    ],
)
def test_a_picture_shows_what_the_rule_sees_and_where_it_fires(name: str, sample: str, signals: list[str]) -> None:
    seen = sight(RULES / name / "rule.yaml", RULES / name / sample, signals)
    assert [panel[0].replace(".", "_") for panel in seen.panels] == signals
    assert len(seen.fired) == 1
    assert bool(seen.records) == (not signals)
    drawn = svg(seen)
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    assert drawn.count(">detection<") == 1
    assert drawn == svg(sight(RULES / name / "rule.yaml", RULES / name / sample, signals))


def test_the_pages_are_those_of_the_rules() -> None:
    explanations = explain(list(RuleSet.load([RULES]).rules))
    names = {e.rule.cre.lower() for e in explanations}
    assert {p.name for p in PAGES.iterdir()} == {"README.md"} | {f"{n}.{k}" for n in names for k in ("md", "svg")}
    for explanation in explanations:
        folder = RULES / explanation.rule.cre.lower()
        sample = next(p.name for p in sorted(folder.glob("test.*")))
        assert (PAGES / f"{folder.name}.md").read_text() == page(explanation, folder, sample)
    categories = Taxonomy.load(taxonomy_files([RULES])).categories or {}
    listed = index(explanations, categories, RULES)
    assert (PAGES / "README.md").read_text() == listed
    assert listed.count("| [CRE-") == len(names)
