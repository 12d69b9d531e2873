"""The JSON Schema for editors: generated, published, closed, and no narrower than the published one."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from fallow_processors.cre.json_schema import json_schema_text

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "cre"
FILE = ROOT / "rules" / "cre.schema.json"
UNKNOWN_KEYS = {"doc/ast_ok/Success_NegateOptions1", "doc/ast_ok/Success_NegateOptions2"}
"""Documents that the published parser accepts although they hold keys that it does not know."""

SCHEMA: dict[str, Any] = json.loads(json_schema_text())
VALIDATOR = Draft7Validator(SCHEMA)


def shared(path: str) -> Path:
    found = SHARED / path
    if not found.exists():
        pytest.skip("the conformance corpus is not beside this checkout")
    return found


def as_editors_read(text: str) -> list[Any]:
    """The documents with the types of YAML's core schema, which has no dates; what is null is not there."""
    return [_plain(document) for document in yaml.safe_load_all(text)]


def _plain(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(key): _plain(value) for key, value in data.items() if value is not None}
    if isinstance(data, list):
        return [_plain(item) for item in data if item is not None]
    return str(data) if isinstance(data, date) else data


def is_valid(text: str) -> bool:
    return all(VALIDATOR.is_valid(document) for document in as_editors_read(text))


def test_the_file_in_the_repository_is_the_generated_one() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert FILE.read_text() == json_schema_text(), "run make schema"


def test_everything_is_described_and_closed() -> None:
    for name, part in SCHEMA["$defs"].items():
        assert part["additionalProperties"] is False, name
        for key, value in part["properties"].items():
            assert value.get("description"), f"{name}.{key}"


@pytest.mark.parametrize("rule", sorted((ROOT / "rules").glob("*/rule.yaml")), ids=lambda p: p.parent.name)
def test_the_rules_of_the_pack_are_valid(rule: Path) -> None:
    assert is_valid(rule.read_text())


def test_what_the_published_schema_or_parser_accepts_is_valid() -> None:
    found = [json.loads(line) for line in shared("corpus/schema/cases.jsonl").read_text().splitlines()]
    wanted = [case for case in found if case["json_schema_valid"] or case["expect"]["ok"]]
    assert len(wanted) >= 94
    refused = {case["id"] for case in wanted if not is_valid(case["rule"])}
    assert refused == UNKNOWN_KEYS


def test_metric_conditions_are_valid_in_all_spellings() -> None:
    files = sorted(shared("metric-examples").glob("*.yaml"))
    assert len(files) == 3
    assert [f.name for f in files if not is_valid(f.read_text())] == []


RULE = """
rules:
  - metadata: {{id: AAAAbbbbCCCC, generation: 2}}
    cre: {{id: CRE-2026-9999, severity: 1{cre}}}
    rule:
      set:
        window: 10s
        event: {{source: cre.log.any{event}}}
        match: [plain, 5, {{value: two, count: 2{term}, extract: [{{name: rank, regex: 'r(.)'}}]}}]
"""


@pytest.mark.parametrize(
    ("wrong", "valid"),
    [
        pytest.param({}, True, id="nothing-wrong"),
        pytest.param({"cre": ", titel: x"}, False, id="misspelt-key"),
        pytest.param({"term": ", abs: true"}, False, id="abs-for-absolute"),
        pytest.param({"term": ", anchor: '1'"}, False, id="quoted-number"),
        pytest.param({"event": ", origin: maybe"}, False, id="no-truth"),
        pytest.param({"cre": ", tags: gpu"}, False, id="text-for-a-list"),
        pytest.param({"term": ", promql: {expression: up}"}, False, id="unknown-key-of-promql"),
    ],
)
def test_typical_mistakes_are_refused(wrong: dict[str, str], valid: bool) -> None:
    text = RULE.format(**{"cre": "", "event": "", "term": ""} | wrong)
    assert is_valid(text) is valid


def test_a_document_without_rules_is_refused() -> None:
    assert not is_valid("terms: {a: b}")
    assert not is_valid("rules: [{metadata: {id: AAAAbbbbCCCC}}]")
