"""The tree is what the documents say it is."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from fallow.registry import KINDS, components

ROOT = Path(__file__).parents[1]
PACKAGES = {"receivers": "fallow_receivers", "processors": "fallow_processors", "exporters": "fallow_exporters"}


@pytest.mark.parametrize("kind", KINDS)
def test_folders_are_the_components(kind: str) -> None:
    folder = ROOT / kind / PACKAGES[kind]
    found = {p.parent.name for p in folder.glob("*/__init__.py")}
    table = importlib.import_module(PACKAGES[kind]).COMPONENTS
    assert found == set(table)
    assert {m.rpartition(".")[2] for m in components(kind).values()} >= found


@pytest.mark.parametrize("folder", sorted((ROOT / "rules").glob("cre-*/")), ids=lambda p: p.name)
def test_a_rule_has_both_samples(folder: Path) -> None:
    names = {p.name for p in folder.iterdir()}
    assert "rule.yaml" in names
    assert any(n.startswith("test.") for n in names), "a sample that fires"
    assert any(n.startswith("test-fp") for n in names), "a near miss that stays quiet"


def test_adrs_are_numbered_without_gaps() -> None:
    numbers = [int(p.name[:4]) for p in sorted((ROOT / "docs" / "adr").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))
