"""The built-in rules over a recording, through the pipeline as it is shipped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fallow.batch import Batch
from fallow.model import Detection
from fallow.replay import build, default_chain, raised, read_recording, replay
from fallow.service import Chain
from fallow.testing.components import context


def said(file: Path, rules: Sequence[Path] | None = None, *, health: bool = True) -> list[Detection]:
    """What the rules say (none named: the built-in pack); without ``health`` as if nobody asked whether to believe."""
    found: list[Detection] = []

    def observe(batch: Batch) -> None:
        found.extend(batch.detections)

    base = context("replay", file.parent)
    chain = default_chain(rules, None, base)
    if not health:
        options = {"cre": {"rules": [str(rule) for rule in rules or ()]}}
        chain = Chain(build(("decode", "normalise", "cre"), options, base), raised)
    replay(read_recording([file], None, base.series), chain, observe)
    return found


def fired(found: Sequence[Detection]) -> set[str]:
    """The rules that fired."""
    return {d.rule for d in found if d.state == "fired"}
