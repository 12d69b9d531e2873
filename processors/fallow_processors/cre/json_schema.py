"""The JSON Schema of rule documents, for editors: made from the same models that read them.

It is an overlay of the published schema: what is valid there is valid here, and ``promql``, ``extract`` and ``generation``
are known, which the published parser takes and the published schema does not. Like that one it is closed.
"""

from __future__ import annotations

import json
from typing import Any

from fallow_processors.cre.optimize import OptimizeBlock
from fallow_processors.cre.schema import RulesDoc

DRAFT = "http://json-schema.org/draft-07/schema#"  # the newest that every editor's YAML support knows
_TEXT = {"type": ["string", "number", "boolean"]}
_TERM = "#/$defs/ItemDoc"


def json_schema() -> dict[str, Any]:
    """The schema, as data."""
    made = RulesDoc.model_json_schema(by_alias=True)
    block = OptimizeBlock.model_json_schema(by_alias=True)
    definitions = made.pop("$defs") | block.pop("$defs") | {"OptimizeBlock": block}
    # The last document of a file may be a footer that says its section and has no rules.
    made["anyOf"] = [{"required": made.pop("required")}, {"required": ["section"]}]
    tidied: dict[str, Any] = _tidy({**made, "$defs": dict(sorted(definitions.items()))})
    return {"$schema": DRAFT, "title": "CRE rule document, as Fallow reads it", **tidied}


def json_schema_text() -> str:
    """The schema, as the file in the repository has it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _tidy(part: Any) -> Any:
    """What an editor has no use for is left out: generated titles, defaults that say nothing, null beside a type."""
    if isinstance(part, list):
        return [_tidy(one) for one in part]
    if not isinstance(part, dict):
        return part
    found = {key: value for key, value in part.items() if not _noise(key, value)}
    others = [one for one in found.get("anyOf", ()) if one != {"type": "null"}]
    if len(others) == 1:
        del found["anyOf"]
        found = others[0] | found
    found = {key: _tidy(value) if key != "properties" else _properties(value) for key, value in found.items()}
    if "description" in found:
        found["description"] = found["description"].replace("``", "`")
    if "$ref" not in found:
        return found
    # In draft 7 nothing beside a reference counts, a description neither. A term may be written as plain text.
    reference = {"$ref": found.pop("$ref")}
    if reference["$ref"] == _TERM:
        return found | {"anyOf": [_TEXT, reference]}
    return found | {"allOf": [reference]} if found else reference


def _properties(found: dict[str, Any]) -> dict[str, Any]:
    return {name: _tidy(value) for name, value in found.items()}


def _noise(key: str, value: Any) -> bool:
    return (key == "title" and isinstance(value, str)) or (key == "default" and (not value or isinstance(value, dict)))
