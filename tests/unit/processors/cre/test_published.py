"""The rule engine with the mistakes of published engines, for comparison."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from fallow.batch import Batch
from fallow.logfile import Records, log_batch
from fallow.series import SeriesTable
from fallow.testing.components import context
from fallow.units import SECOND
from fallow_processors.cre import CreConfig, CreProcessor, RuleSet
from fallow_processors.cre.document import parse_rules

TWICE = """
rules:
  - cre: {id: CRE-2026-9901}
    rule:
      sequence:
        window: 5s
        event: {source: a}
        order: [{value: refused, count: 2}]
"""


def fired(*defects: str) -> int:
    config = CreConfig.model_validate({"published_defects": defects})
    processor = CreProcessor(RuleSet(parse_rules(TWICE, "").rules), config, context("cre", Path(), SeriesTable()))
    time = np.array([1, 60], dtype=np.int64) * SECOND
    logs = log_batch(Records(time, pa.array(["refused", "refused"])), {"host.name": "h1"})
    return len((*processor.process(Batch(logs=logs)).detections, *processor.finish().detections))


def test_a_defect_reaches_the_matchers() -> None:
    # -R-----------R-, D1: what is repeated in one slot has no window
    assert (fired(), fired("D2"), fired("D1"), fired("D1", "D2", "D3", "D4")) == (0, 0, 1, 1)


def test_a_defect_that_matchers_do_not_have_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"published_defects\.0\n.*'D1', 'D2', 'D3', 'D4'"):
        CreConfig.model_validate({"published_defects": ["D9"]})
