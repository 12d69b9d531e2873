"""What a rule suggests: the fenced ``optimize`` block of its mitigation. Data, never a permission."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fallow.document import Location
from fallow.promql import PromqlError, check
from fallow_processors.cre.lower import Wrong

_FENCE = re.compile(r"^[ \t]*```optimize[ \t]*\n(.*?)^[ \t]*```[ \t]*$", re.MULTILINE | re.DOTALL)


class Target(BaseModel):
    """What the action is done to."""

    model_config = ConfigDict(extra="forbid")
    kind: str = Field(min_length=1)
    by: list[str] = Field(min_length=1)


class SavingBlock(BaseModel):
    """What it brings."""

    model_config = ConfigDict(extra="forbid")
    basis: Literal["allocated", "none"]


class OptimizeBlock(BaseModel):
    """The block's keys."""

    model_config = ConfigDict(extra="forbid")
    action: str = Field(min_length=1)
    target: Target
    parameters: Mapping[str, str | int | float | bool] = {}
    set: Mapping[str, str | int | float | bool] = {}
    guard: str = ""
    saving: SavingBlock
    risk: str = ""
    undo: str | Mapping[str, str | int | float | bool] = ""
    confidence: float | None = Field(default=None, ge=0, le=1)


def optimize_block(mitigation: str, at: Location) -> dict[str, Any]:
    """The block as data; empty where the mitigation has none.

    Raises:
        Wrong: it is not YAML, not of this shape, or its guard is not PromQL.
    """
    found = _FENCE.findall(mitigation)
    if not found:
        return {}
    if len(found) > 1:
        raise Wrong("Optimize", "more than one optimize block", at)
    try:
        block = OptimizeBlock.model_validate(yaml.safe_load(found[0]))
        if block.guard:
            check(block.guard)
    except yaml.YAMLError as error:
        raise Wrong("Optimize", f"the optimize block is not YAML: {error}", at) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Wrong("Optimize", f"the optimize block: {where}: {first['msg']}", at) from error
    except PromqlError as error:
        message = f"the optimize block: guard: {error.message}, at character {error.position + 1}"
        raise Wrong("Optimize", message, at) from error
    return block.model_dump(exclude_defaults=True)
