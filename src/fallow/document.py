"""YAML documents whose errors name their place.

PyYAML's nodes keep line and column; pydantic's error locations are mapped onto them, so that a wrong document is
reported as ``file:line: key: found, allowed``, every error of it at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from fallow.errors import DocumentError, Problem

Location = Sequence[str | int]
M = TypeVar("M", bound=BaseModel)

_ENV = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed YAML document: its data, its nodes for finding the place of any part, and the text they stand in."""

    file: str
    data: Any
    node: yaml.Node
    text: str

    def problem(self, location: Location, message: str, *, kind: str = "") -> Problem:
        """A problem at a location such as ``("receivers", "otlp", 0)``, with the line and column it has in the file."""
        return placed(self.file, _find(self.node, location), message, key=_dotted(location), kind=kind)


def placed(file: str, node: yaml.Node, message: str, *, key: str = "", kind: str = "") -> Problem:
    """A problem at the line and column where a node begins."""
    mark = node.start_mark
    return Problem(file=file, line=mark.line + 1, column=mark.column + 1, key=key, message=message, kind=kind)


def not_yaml(error: yaml.YAMLError, file: str, kind: str) -> DocumentError:
    """What the YAML parser said, at its place where it has one."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return DocumentError([Problem(file=file, message=f"not valid YAML: {error}", kind=kind)])
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    message = f"not valid YAML: {error.problem or error.context or error}"
    return DocumentError([Problem(file=file, line=line, column=column, message=message, kind=kind)])


def composed(text: str) -> list[yaml.Node]:
    """The YAML documents in a text, empty ones left out; raises yaml.YAMLError.

    libyaml, where it is there, takes a tenth of the time; what it refuses is refused in the words of the other parser.
    """
    try:
        return _composed(getattr(yaml, "CSafeLoader", yaml.SafeLoader), text)
    except yaml.YAMLError:
        return _composed(yaml.SafeLoader, text)


def _composed(loader_of: Any, text: str) -> list[yaml.Node]:
    loader = loader_of(text)
    found: list[yaml.Node | None] = []  # an empty document has none
    try:
        while loader.check_node():
            found.append(loader.get_node())
    finally:
        loader.dispose()
    return [node for node in found if node is not None]


def read_text(path: Path) -> str:
    """The file's text; a missing or unreadable file is a DocumentError of one line."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DocumentError([Problem(file=str(path), message=f"cannot be read: {reason}")]) from error


def parse(text: str, file: str) -> Document:
    """The one YAML document in ``text``; ``${env:NAME}`` and ``${env:NAME:-default}`` are filled in.

    Raises:
        DocumentError: it is not YAML, holds more than one document, has a key twice, or names an unset variable.
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            raise DocumentError([Problem(file=file, message="is empty")])
        problems: list[Problem] = []
        _check_keys_and_fill_env(node, file, problems)
        if problems:
            raise DocumentError(problems)
        return Document(file, loader.construct_document(node), node, text)
    except yaml.YAMLError as error:
        raise not_yaml(error, file, "yaml") from error
    finally:
        loader.dispose()


def validated(model: type[M], document: Document, data: Any = None, at: Location = ()) -> M:
    """The model built from the document (or from the part of it at ``at``, given as ``data``).

    Raises:
        DocumentError: with every problem that pydantic found, each at its line.
    """
    try:
        return model.model_validate(document.data if data is None and not at else data)
    except ValidationError as error:
        raise DocumentError(problems_of(error, document.problem, model, at)) from error


def load(path: Path, model: type[M]) -> M:
    """The YAML file as a model; raises DocumentError."""
    return validated(model, parse(read_text(path), str(path)))


def problems_of(
    error: ValidationError,
    problem: Callable[[Location, str], Problem],
    model: type[BaseModel],
    at: Location = (),
) -> list[Problem]:
    """Pydantic's errors in our words."""
    return [
        problem((*at, *_real(entry["loc"])), _message(entry, _allowed(model, entry["loc"]))) for entry in error.errors()
    ]


def _real(location: Location) -> list[str | int]:
    # Pydantic puts the names of validators and union members between real keys; YAML has no node for them.
    return [
        part for part in location if not (isinstance(part, str) and re.search(r"[\[\]()]|-before|^is-instance", part))
    ]


def _message(entry: Mapping[str, Any], allowed: str) -> str:
    found = entry.get("input")
    shown = (
        f"{found!r}" if not isinstance(found, (dict, list)) else f"a {'mapping' if isinstance(found, dict) else 'list'}"
    )
    match entry["type"]:
        case "extra_forbidden":
            return f"unknown key; allowed: {allowed}" if allowed else "unknown key"
        case "missing":
            return "is required"
        case "value_error":
            return str(entry["msg"]).removeprefix("Value error, ")
        case _:
            text = str(entry["msg"]).removeprefix("Input should be ")
            return f"{shown} found, expected {text}"


def _allowed(model: type[BaseModel], location: Location) -> str:
    """The keys that the mapping around ``location`` may have."""
    around: Any = model
    for part in _real(location)[:-1]:
        around = _below(around, part)
    found = _models_in(around)
    return ", ".join(dict.fromkeys(f.alias or name for m in found for name, f in m.model_fields.items()))


def _below(annotation: Any, part: str | int) -> Any:
    """The annotation of what stands at key or index ``part`` under something of this annotation."""
    for candidate in _alternatives(annotation):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            field = next((f for name, f in candidate.model_fields.items() if part in (name, f.alias)), None)
            if field is not None:
                return field.annotation
        elif arguments := get_args(candidate):
            return arguments[0 if isinstance(part, int) else -1]
    return None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    return [a for a in _alternatives(annotation) if isinstance(a, type) and issubclass(a, BaseModel)]


def _alternatives(annotation: Any) -> list[Any]:
    """The members of a union, or the annotation itself; without what Annotated adds."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _alternatives(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [a for member in get_args(annotation) for a in _alternatives(member)]
    return [annotation]


def _dotted(location: Location) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return text


def _find(node: yaml.Node, location: Location) -> yaml.Node:
    """The node at a location, or the nearest above it; for a mapping entry its key, which is what a reader looks for."""
    found = node
    for part in location:
        if isinstance(node, yaml.MappingNode):
            entry = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if entry is None:
                break
            found, node = entry
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = node = node.value[part]
        else:
            break
    return found


def _check_keys_and_fill_env(node: yaml.Node, file: str, problems: list[Problem]) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problems.append(placed(file, key, "stands here twice", key=key.value))
                seen.add(key.value)
            _check_keys_and_fill_env(value, file, problems)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys_and_fill_env(item, file, problems)
    elif isinstance(node, yaml.ScalarNode) and "${env:" in node.value:
        _fill_env(node, file, problems)


def _fill_env(node: yaml.ScalarNode, file: str, problems: list[Problem]) -> None:
    def value(match: re.Match[str]) -> str:
        default: str | None = match[2]
        found = os.environ.get(match[1]) or default
        if found is None:
            problems.append(placed(file, node, f"environment variable {match[1]} is not set"))
        return found or ""

    node.value = _ENV.sub(value, node.value)
    if not node.style:  # a plain scalar takes the type of what was filled in, as in the Collector
        resolver: Any = yaml.SafeLoader("")
        node.tag = resolver.resolve(yaml.ScalarNode, node.value, (True, False))
