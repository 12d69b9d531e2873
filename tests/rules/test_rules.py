"""The built-in rules: every sample fires once, every near miss stays quiet, and the files are what the script writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fallow.actions import CATALOGUE
from fallow.testing.rules import check_rule_folder
from fallow_processors.cre import RuleSet
from rules.make_samples import samples

RULES = Path(__file__).parents[2] / "rules"
FOLDERS = sorted(RULES.glob("cre-*/"))
FIRST_PACK = {f"cre-2026-90{number}" for number in ("01", "02", "03", "04", "05", "07", "12", "13", "32", "36", "61")}


def test_the_pack_is_complete() -> None:
    assert {folder.name for folder in FOLDERS} >= FIRST_PACK
    assert len(RuleSet.load([RULES]).rules) == len(FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_samples_fire_once_and_near_misses_do_not(folder: Path) -> None:
    for sample in check_rule_folder(folder):
        said = [(d.state, d.time, dict(d.entity)) for d in sample.detections]
        assert sample.passed, f"{sample.path.name}: fired {sample.fired} times instead of {sample.wanted}: {said}"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_rule_says_what_it_suggests(folder: Path) -> None:
    (rule,) = RuleSet.load([folder]).rules
    assert rule.cre.lower() == folder.name
    assert rule.kind == "optimize"
    assert rule.optimize["action"] in CATALOGUE
    assert rule.title
    assert rule.severity <= 4


def test_the_samples_are_what_the_script_writes() -> None:
    written = samples()
    assert len(written) > 50
    for name, text in written.items():
        assert (RULES / name).read_text() == text, name
