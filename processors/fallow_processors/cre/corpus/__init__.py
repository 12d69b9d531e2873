"""Judges of the conformance cases that are about rules; ``fallow.testing.cre_corpus`` runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fallow_processors.cre.corpus import automata, documents
from fallow_processors.cre.corpus.logs import Logs
from fallow_processors.cre.matchers import DEFECTS, INTENDED

Judge = Callable[[Mapping[str, Any]], str]


def judges(folder: Path, published: bool) -> Mapping[str, Judge]:
    """Path from the folder → what judges a case of that file: "" where it passed, else what is wrong."""
    defects = frozenset(DEFECTS) if published else INTENDED
    community, examples = Logs(folder / "cre", defects), Logs(folder / "examples", defects)
    hits = partial(automata.judge_hits, defects=defects)
    return {
        "cre/cases.jsonl": community.judge,
        "cre/cross.jsonl": community.judge_all,
        "cre/schedules.jsonl": community.judge_schedule,
        "examples/cases.jsonl": examples.judge,
        "examples/cross.jsonl": examples.judge,
        "matchers.jsonl": hits,
        "matchers_gen.jsonl": hits,
        "matcher_init.jsonl": automata.judge_init,
        "reset_span.jsonl": automata.judge_interval,
        "seq_anchor.jsonl": automata.judge_anchor,
        "terms.jsonl": documents.judge_term,
        "schema/cases.jsonl": documents.judge_document,
    }


__all__ = ["judges"]
