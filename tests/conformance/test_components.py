"""Every registered component keeps the contract of components; a new one gets these checks for nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from fallow.registry import KINDS, components
from fallow.testing.components import check_component

CASES = [pytest.param(kind, type, id=f"{kind}-{type}") for kind in KINDS for type in components(kind)]


@pytest.mark.parametrize(("kind", "type"), CASES)
def test_keeps_the_contract(kind: str, type: str, tmp_path: Path) -> None:
    broken = [name for name, kept in check_component(kind, type, tmp_path) if not kept]  # type: ignore[arg-type]  # ids come from KINDS
    assert not broken


def test_there_are_components_of_every_kind() -> None:
    assert all(components(kind) for kind in KINDS)
