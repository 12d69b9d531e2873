"""Rules packed into one document mean what they meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from fallow.errors import DocumentError
from fallow_processors.cre import RuleSet, build, check_taxonomy
from fallow_processors.cre.document import parse_rules
from fallow_processors.cre.rule import Rule

ROOT = Path(__file__).parents[4]
CORPUS = ROOT.parent / "shared" / "cre" / "corpus" / "cre"
RULE = """
rules:
  - metadata: {{generation: 3}}
    cre: {{id: {cre}, title: "yes", tags: [gpu], category: waste, mitigation: "a\\n\\n  b \\n"}}
    rule:
      set:
        window: 10s
        event: {{source: cre.log.any}}
        match: [{match}, 5, {{value: "true", count: 2}}]
{terms}
"""


def write(folder: Path, **rules: tuple[str, str]) -> Path:
    """Rule files, each (what it looks for first, its terms)."""
    for cre, (match, terms) in rules.items():
        text = RULE.format(cre=cre.replace("_", "-"), match=match, terms=terms and f"terms: {terms}")
        (folder / f"{cre}.yaml").write_text(text)
    return folder


def by_id(rules: tuple[Rule, ...]) -> dict[str, Rule]:
    return {rule.cre: rule for rule in rules}


def test_ids_and_hashes_are_filled_in_and_nothing_else_changes(tmp_path: Path) -> None:
    folder = write(tmp_path, CRE_2=("x", ""), CRE_1=("y", "{y: {regex: 'a.b'}}"))
    before = by_id(RuleSet.load([folder]).rules)
    built = build([folder])
    after = parse_rules(built.text, "built.yaml", own_ids=True).rules
    assert [rule.cre for rule in after] == ["CRE-1", "CRE-2"]
    for rule in after:
        was = before[rule.cre]
        assert (rule.hash, rule.stable_hash, rule.id, rule.root) == (was.hash, was.stable_hash, was.id, was.root)
        assert rule.stated_hash == rule.hash
    assert built.notes == ()


def test_it_is_the_same_document_every_time_and_from_itself(tmp_path: Path) -> None:
    folder = write(tmp_path, CRE_2=("x", ""), CRE_1=("y", "{y: {regex: 'a.b'}}"))
    text = build([folder / "CRE_2.yaml", folder / "CRE_1.yaml"]).text
    assert text == build([folder]).text
    (tmp_path / "built.yml").write_text(text)
    assert build([tmp_path / "built.yml"]).text == text


def test_terms_of_one_name_with_different_definitions_are_kept_apart(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        CRE_1=("down", "{down: {regex: a}}"),
        CRE_2=("down", "{down: {regex: b}}"),
        CRE_3=("down", "{down: {regex: a}}"),
    )
    before = by_id(RuleSet.load([folder]).rules)
    built = build([folder])
    after = by_id(parse_rules(built.text, "built.yaml").rules)
    assert {cre: rule.root for cre, rule in after.items()} == {cre: rule.root for cre, rule in before.items()}
    assert [(n.kind, Path(n.file).name, n.line > 0) for n in built.notes] == [
        ("TermRenamed", "CRE_2.yaml", True),
        ("HashChanged", "CRE_2.yaml", True),
    ]
    assert "renamed to 'down-2'" in built.notes[0].message
    assert after["CRE-1"].hash == before["CRE-1"].hash


def test_a_text_does_not_become_a_reference_to_a_term_of_another_file(tmp_path: Path) -> None:
    folder = write(tmp_path, CRE_1=("down", "{down: {regex: a}}"), CRE_2=("down", ""))
    before = by_id(RuleSet.load([folder]).rules)
    after = by_id(parse_rules(build([folder]).text, "built.yaml").rules)
    assert {cre: rule.root for cre, rule in after.items()} == {cre: rule.root for cre, rule in before.items()}


def test_tags_and_category_have_to_be_of_the_taxonomy_where_there_is_one(tmp_path: Path) -> None:
    folder = write(tmp_path, CRE_1=("x", ""))
    (tmp_path / "tags").mkdir()
    (tmp_path / "tags" / "tags.yaml").write_text("tags: [{name: gpu, description: d}, idle]")
    (tmp_path / "tags" / "categories.yaml").write_text("categories: [{name: waste}]")
    assert len(build([folder]).rules) == 1
    other = tmp_path / "other.yaml"
    other.write_text("tags: [cpu]\ncategories: [other]")
    with pytest.raises(DocumentError) as caught:
        build([folder / "CRE_1.yaml"], taxonomy=[other])
    assert [(p.kind, p.line, p.key) for p in caught.value.problems] == [
        ("UnknownTag", 4, "rules[0].cre.tags[0]"),
        ("UnknownCategory", 4, "rules[0].cre.category"),
    ]


def test_the_taxonomy_beside_the_folders_of_rules_counts_for_a_single_rule_too(tmp_path: Path) -> None:
    (tmp_path / "cre-1").mkdir()
    write(tmp_path / "cre-1", CRE_1=("x", ""))
    check_taxonomy([tmp_path / "cre-1"])
    (tmp_path / "tags").mkdir()
    (tmp_path / "tags" / "names.yaml").write_text("tags: [gpus, idle]\ncategories: [{name: wastes, description: d}]")
    for path in (tmp_path, tmp_path / "cre-1", tmp_path / "cre-1" / "CRE_1.yaml"):
        with pytest.raises(DocumentError) as caught:
            check_taxonomy([path])
        assert [(p.line, p.key, p.message) for p in caught.value.problems] == [
            (4, "rules[0].cre.tags[0]", "'gpu' is no tag of the taxonomy; nearest is 'gpus'"),
            (4, "rules[0].cre.category", "'waste' is no category of the taxonomy; nearest is 'wastes'"),
        ]


def test_a_rule_that_stands_in_two_files_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, CRE_1=("x", ""))
    (tmp_path / "again.yaml").write_text((folder / "CRE_1.yaml").read_text())
    with pytest.raises(DocumentError, match="stands in"):
        build([folder])


@pytest.mark.parametrize("pack", ["corpus", "ours"])
def test_every_rule_keeps_its_hash(pack: str) -> None:
    root = CORPUS if pack == "corpus" else ROOT / "rules"
    if not root.exists():
        pytest.skip("the conformance corpus is not beside this checkout")
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir() and folder.name != "tags")
    before = by_id(RuleSet.load(folders, lenient=True).rules)
    built = build(folders, lenient=True)
    after = by_id(parse_rules(built.text, "built.yaml", own_ids=True).rules)
    assert len(after) == len(before) >= (240 if pack == "corpus" else 11)
    assert {cre: (r.hash, r.root) for cre, r in after.items()} == {cre: (r.hash, r.root) for cre, r in before.items()}
    assert {note.kind for note in built.notes} <= {"UnknownKey"}
