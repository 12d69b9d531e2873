"""Reference pages: made from what components say of themselves, and committed as made."""

from __future__ import annotations

from pathlib import Path

import pytest

from fallow.reference import metadata, page
from fallow.registry import components

PAGES = Path(__file__).parents[2] / "docs" / "receivers"


@pytest.mark.parametrize("type", components("receivers"))
def test_the_committed_page_is_what_make_docs_writes(type: str) -> None:
    assert (PAGES / f"{type}.md").read_text(encoding="utf-8") == page("receivers", type)


def test_there_is_no_page_of_a_receiver_that_is_gone() -> None:
    assert {p.stem for p in PAGES.glob("*.md")} == set(components("receivers"))


@pytest.mark.parametrize("type", components("receivers"))
def test_every_attribute_that_is_emitted_is_explained(type: str) -> None:
    emits = metadata("receivers", type).emits
    if emits is None:
        return
    named = {*emits.resource, *(a for e in emits.events.values() for a in e.attributes)}
    for group in emits.groups:
        named |= {*group.attributes, *(a for m in group.metrics.values() for a in m.attributes)}
    assert named == set(emits.attributes)


def test_settings_are_shown_as_they_are_written() -> None:
    shown = page("receivers", "simulated")
    assert "| `interval` | `15s` | Simulated time between two samples of a GPU; at least 1s. |" in shown
    assert "| `protocols.grpc.tls.cert_file` | required |" in page("receivers", "otlp")
