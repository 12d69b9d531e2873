"""What the documents show is what the programs take."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from docs import make_signals
from fallow.logfile import load_sources
from fallow.replay import load_mapping
from fallow.semconv import SIGNALS
from fallow_processors.cre import CreConfig
from fallow_processors.cre.document import parse_rules
from fallow_processors.normalise import describe
from fallow_processors.recommender import load_playbook
from helpers.cre_feed import Feed, ruleset

ROOT = Path(__file__).parents[2]


def blocks(name: str) -> list[str]:
    """The YAML of a document."""
    found: list[str] = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / name).read_text(), re.DOTALL)
    assert found
    return found


@pytest.mark.parametrize("number", [0, 1, 2], ids=["sequence", "nested", "points"])
def test_the_rules_of_the_rule_writer_are_rules(number: int) -> None:
    body = "\n".join("    " + line for line in blocks("rules.md")[number].splitlines())
    (rule,) = parse_rules(f"rules:\n  - cre: {{id: CRE-2026-9999}}\n{body}\n", "docs/rules.md").rules
    assert (rule.root.ordered, rule.root.is_points) == (number < 2, number == 2)


def test_the_nested_rule_of_the_rule_writer_finds_what_is_said() -> None:
    (body,) = [block for block in blocks("rules.md") if "NCCL timeout" in block]
    rules = ruleset(yaml.safe_dump(yaml.safe_load(body)["rule"]))
    story = [(1, "link down"), (40, "rank3: NCCL timeout"), (50, "rank4: killed"), (60, "rank3: killed")]
    for lines, found in ((story, 1), (story[:3], 0), ([*story, (20, "link up")], 0), (story[1:], 0)):
        feed = Feed(rules)
        said = feed.lines([(second, text, "h1", "", {}) for second, text in sorted(lines)]) + feed.finish()
        assert [(d.entity["host.name"], len(d.evidence)) for d in said] == [("h1", 3)] * found


def test_the_sources_of_the_rule_writer_are_configuration() -> None:
    (block,) = [block for block in blocks("rules.md") if block.startswith("processors:")]
    config = CreConfig.model_validate(yaml.safe_load(block)["processors"]["cre"])
    assert config.sources["cre.log.pytorch"] == {"k8s.container.name": ("trainer",)}


def test_the_sources_document_is_one(tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text(blocks("detect.md")[0])
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "0.log").touch()
    (found,) = load_sources(tmp_path / "sources.yaml", 0).found
    assert (found.type, found.files) == ("cre.log.trainer", (tmp_path / "trainer" / "0.log",))
    assert found.format is not None
    assert found.format.read(b"[1970-01-01T00:00:01.500] step") == (1_500_000_000, b"[1970-01-01T00:00:01.500] step")


def test_the_playbook_is_a_playbook(tmp_path: Path) -> None:
    (tmp_path / "playbook.yaml").write_text(blocks("playbook.md")[0])
    assert len(load_playbook(tmp_path / "playbook.yaml").entries) == 2


def test_the_mapping_is_a_mapping(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(blocks("replay.md")[0])
    assert len(load_mapping(tmp_path / "map.yaml").entries) == 3


@pytest.mark.parametrize(
    "page", ["README.md", *[f"docs/{p.name}" for p in sorted((ROOT / "docs").glob("*.md"))], "rules/README.md"]
)
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    links = [link for link in re.findall(r"\]\(([^)#]+)", path.read_text()) if not link.startswith("http")]
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_table_of_signals_is_what_the_code_has() -> None:
    assert make_signals.page(make_signals.PAGE.read_text()) == make_signals.PAGE.read_text()


def test_every_signal_has_a_source() -> None:
    assert {row["signal"] for row in describe()} == set(SIGNALS)
