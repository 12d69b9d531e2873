"""The optimize block of a rule: read as data, refused with the place inside it."""

from __future__ import annotations

import pytest

from fallow.errors import DocumentError
from fallow_processors.cre.document import parse_rules

HEAD = """\
rules:
  - cre:
      id: CRE-2026-9999
      mitigation: {style}
        - Tell somebody.

{block}
    rule: {{set: {{event: {{source: a}}, match: [b]}}}}
"""
BLOCK = """\
```optimize
action: scale
target: {kind: workload, by: [k8s.pod.name]}
set: {replicas: 0}
parameters: {wait: true}
guard: avg_over_time(hw_gpu_utilization[30m]) < 0.05
saving: {basis: allocated}
risk: low
undo: {replicas: previous}
confidence: 0.8
```"""


def document(block: str, style: str = "|") -> str:
    return HEAD.format(style=style, block="\n".join("        " + line for line in block.splitlines()))


def problems(text: str) -> list[tuple[str, int, int, str, str]]:
    with pytest.raises(DocumentError) as caught:
        parse_rules(text, "rule.yaml")
    return [(p.key, p.line, p.column, p.kind, p.message) for p in caught.value.problems]


def test_the_whole_block_is_data() -> None:
    (rule,) = parse_rules(document(BLOCK), "rule.yaml").rules
    assert rule.optimize == {
        "action": "scale",
        "target": {"kind": "workload", "by": ["k8s.pod.name"]},
        "set": {"replicas": 0},
        "parameters": {"wait": True},
        "guard": "avg_over_time(hw_gpu_utilization[30m]) < 0.05",
        "saving": {"basis": "allocated"},
        "risk": "low",
        "undo": {"replicas": "previous"},
        "confidence": 0.8,
    }


def test_a_mitigation_without_a_block_suggests_nothing() -> None:
    (rule,) = parse_rules(document("- Nothing else."), "rule.yaml").rules
    assert rule.optimize == {}


@pytest.mark.parametrize(
    ("old", "new", "key", "line", "column", "said"),
    [
        pytest.param("risk:", "rsik:", "rsik", 14, 9, "unknown key; allowed: action, target", id="unknown-key"),
        pytest.param("basis: allocated", "basis: guess", "saving.basis", 13, 18, "'guess' found", id="unknown-value"),
        pytest.param("scale", "explode", "action", 8, 9, "'explode' found, allowed: record, notify", id="action"),
        pytest.param("[30m]) <", "[30m]) <<", "guard", 12, 9, "not valid PromQL", id="guard"),
        pytest.param("by: [k8s.pod.name]", "by: []", "target.by", 9, 34, "at least 1 item", id="no-labels"),
        pytest.param("[k8s.pod.name]", "[k8s.pod.name", "", 9, 51, "not valid YAML", id="not-yaml"),
        pytest.param("0.8", "80", "confidence", 16, 9, "less than or equal to 1", id="beyond-its-range"),
    ],
)
def test_what_is_wrong_is_said_at_its_line_in_the_block(
    old: str, new: str, key: str, line: int, column: int, said: str
) -> None:
    ((found, at, across, kind, message),) = problems(document(BLOCK.replace(old, new)))
    assert found == "rules[0].cre.mitigation.optimize" + ("." if key else "") + key
    assert (at, across, kind) == (line, column, "Optimize")
    assert said in message


def test_every_problem_of_the_block_is_said_at_once() -> None:
    found = problems(document(BLOCK.replace("risk:", "rsik:").replace("allocated", "guess")))
    assert [(line, key.rpartition(".")[2]) for key, line, *_ in found] == [(13, "basis"), (14, "rsik")]


def test_two_blocks_and_a_block_without_an_end_are_refused() -> None:
    ((_, line, _, _, message),) = problems(document(f"{BLOCK}\n{BLOCK}"))
    assert (line, message) == (4, "more than one optimize block")
    ((_, _, _, _, message),) = problems(document(BLOCK.removesuffix("```")))
    assert "has no end" in message


def test_a_block_in_folded_text_is_placed_at_the_mitigation() -> None:
    text = document("x").replace("mitigation: |", 'mitigation: "a\\n```optimize\\naction: scale\\n```"')
    text = "\n".join(line for line in text.splitlines() if not line.startswith("        "))
    found = problems(text)
    assert [(line, key) for key, line, *_ in found] == [
        (4, "rules[0].cre.mitigation.optimize.target"),
        (4, "rules[0].cre.mitigation.optimize.saving"),
    ]
