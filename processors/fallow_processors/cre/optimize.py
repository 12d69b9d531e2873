"""What a rule suggests: the fenced ``optimize`` block of its mitigation. Data, never a permission."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fallow import promql
from fallow.actions import CATALOGUE
from fallow.document import Document, Location, not_yaml, problems_of
from fallow.errors import DocumentError, Problem
from fallow_processors.cre.lower import value_at

KIND = "Optimize"
_OPEN = re.compile(r"^[ \t]*```optimize[ \t]*$", re.MULTILINE)
_FENCE = re.compile(r"^[ \t]*```optimize[ \t]*\n(.*?)^[ \t]*```[ \t]*$", re.MULTILINE | re.DOTALL)

Values = Mapping[str, str | int | float | bool]


def _known_action(kind: str) -> str:
    if kind not in CATALOGUE:
        raise ValueError(f"{kind!r} found, allowed: {', '.join(CATALOGUE)}")
    return kind


def _promql(guard: str) -> str:
    try:
        promql.check(guard)
    except promql.PromqlError as error:
        raise ValueError(f"{error.message}, at character {error.position + 1}") from error
    return guard


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Target(_Part):
    """What the action is done to."""

    kind: str = Field(min_length=1, description="What it is: gpu, job, node, workload, or how to get there.")
    by: list[str] = Field(min_length=1, description="The attributes of the detection that name it.")


class SavingBlock(_Part):
    """What it brings."""

    basis: Literal["allocated", "stalled", "none"] = Field(
        description="allocated: GPU-time that is allocated and unused. stalled: time that all wait for checkpoints. "
        "none: no saving is claimed."
    )


class OptimizeBlock(_Part):
    """What stands between ```optimize and ``` in the mitigation."""

    action: Annotated[str, AfterValidator(_known_action)] = Field(
        description="A kind of the action catalogue.", json_schema_extra={"enum": list(CATALOGUE)}
    )
    target: Target = Field(description="What the action is for.")
    parameters: Values = Field(default={}, description="Parameters of the action.")
    set: Values = Field(default={}, description="Values that the action gives its target, such as replicas: 0.")
    guard: Annotated[str, AfterValidator(_promql)] | None = Field(
        default=None, description="PromQL that has to be true still when the action is done."
    )
    saving: SavingBlock = Field(description="What acting on it brings.")
    risk: str = Field(default="", description="What may go wrong, such as low.")
    undo: str | Values = Field(default="", description="How to take it back: in words, or the values to set.")
    confidence: float | None = Field(
        default=None, ge=0, le=1, description="How likely the detection means what the rule says."
    )


def optimize_block(document: Document, mitigation: str, at: Location) -> dict[str, Any]:
    """The block as data; empty where the mitigation has none.

    Args:
        document: what the rule stands in.
        mitigation: the text that may hold the block.
        at: where it stands.

    Raises:
        DocumentError: it is not YAML, not of this shape, or its guard is not PromQL: each problem at its line.
    """
    found = list(_FENCE.finditer(mitigation))
    opened = len(_OPEN.findall(mitigation))
    if not opened:
        return {}
    if opened > 1 or not found:
        said = "more than one optimize block" if opened > 1 else "the optimize block has no end; close it with ```"
        raise DocumentError([document.problem(at, said, kind=KIND)])
    block = _Block(document, at, mitigation, found[0].start(1))
    made = block.validated(found[0][1])
    return made.model_dump(exclude_defaults=True)


@dataclass(frozen=True, slots=True)
class _Block:
    """Where a block stands: from which character of which scalar of a document."""

    document: Document
    at: Location
    mitigation: str
    start: int

    def validated(self, text: str) -> OptimizeBlock:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node() or yaml.MappingNode("tag:yaml.org,2002:map", [])
            inner = Document(self.document.file, loader.construct_document(node), node, text)
        except yaml.YAMLError as error:
            raise DocumentError([self._placed(p) for p in not_yaml(error, "", KIND).problems]) from error
        finally:
            loader.dispose()
        try:
            return OptimizeBlock.model_validate(inner.data)
        except ValidationError as error:
            problems = problems_of(error, lambda at, said: inner.problem(at, said, kind=KIND), OptimizeBlock)
            raise DocumentError([self._placed(p) for p in problems]) from error

    def _placed(self, problem: Problem) -> Problem:
        """The problem of the block as one of the document: its line and column there, under the mitigation's key."""
        whole = self.document.problem(self.at, "")
        key = f"{whole.key}.optimize{'.' if problem.key else ''}{problem.key}"
        found = replace(problem, file=whole.file, key=key, line=whole.line, column=whole.column)
        node = value_at(self.document.node, self.at)
        if not isinstance(node, yaml.ScalarNode) or node.style != "|":
            return found  # only a literal scalar has the lines of its text
        # The text of a literal scalar begins on the line below its indicator, each line indented by the same.
        first = self.mitigation.count("\n", 0, self.start)
        line = node.start_mark.line + 1 + first + max(problem.line, 1)
        return replace(found, line=line, column=max(problem.column, 1) + self._indent(node))

    def _indent(self, node: yaml.ScalarNode) -> int:
        written = self.document.text.splitlines()[node.start_mark.line + 1 :]
        pairs = zip(written, self.mitigation.split("\n"), strict=False)
        return next((len(there) - len(here) for there, here in pairs if here.strip()), 0)
