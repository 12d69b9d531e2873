"""Logs of the corpus as we read them: the events that published engines see, with their stamps in full."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fallow.testing.log_cases import entries

CORPUS = Path(__file__).parents[2].parent / "shared" / "cre" / "corpus"
NOW = 1_790_000_000_000_000_000
"""September 2026: in that year lie the stamps without one of the logs in the corpus."""


def logs() -> list[Any]:
    if not CORPUS.is_dir():
        return []
    cases = [
        (folder, json.loads(line))
        for folder in ("cre", "examples")
        for line in (CORPUS / folder / "cases.jsonl").read_text().splitlines()
    ]
    paths = {f"{folder}/{case['log']}" for folder, case in cases if "entries" in case.get("engine", {})}
    return [pytest.param(CORPUS / path, id=path) for path in sorted(paths)]


@pytest.mark.parametrize("path", logs())
def test_a_log_has_the_events_that_published_engines_see(path: Path) -> None:
    data = path.read_bytes()
    _, published = entries(data, NOW, published=True)
    _, ours = entries(data, NOW, published=False)
    assert [text for _, text in ours] == [text for _, text in published]
