"""Metric points as events: what rules over points cost beside the same stream without them."""

from __future__ import annotations

from pathlib import Path
from time import process_time

import numpy as np
import pytest

from fallow.batch import Batch, MetricBatch
from fallow.series import SeriesKey, SeriesTable
from fallow.testing.components import context
from fallow.units import SECOND
from fallow_processors.cre import CreConfig, CreProcessor, RuleSet
from fallow_processors.cre.document import parse_rules

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]

GPUS, SIGNALS, SECONDS, HOSTS = 10_000, 10, 8, 1_250
RULE = """
rules:
  - cre: {id: CRE-1}
    rule:
      set:
        window: 30m
        correlations: [hw.id]
        event: {source: cre.metrics.gpu}
        match: [{jq: 'select(.name == "signal0" and .value < 0.05)', count: 3}]
        negate: [{jq: 'select(.name == "signal0" and .value >= 0.05)', window: 1m}]
"""
NO_RULE = "rules: [{cre: {id: CRE-1}, rule: {set: {event: {source: cre.log.none}, match: [nothing]}}}]"


def cpu_seconds(text: str, share_low: float) -> float:
    """CPU time for one second of 100,000 points, after the first two."""
    table = SeriesTable()
    processor = CreProcessor(RuleSet(parse_rules(text, "rule.yaml").rules), CreConfig(), context("cre", Path(), table))
    keys = [
        SeriesKey(
            f"signal{s}",
            resource=(("host.name", f"n{g * HOSTS // GPUS}"),),
            attributes=(("hw.id", f"GPU-{g}"),),
        )
        for g in range(GPUS)
        for s in range(SIGNALS)
    ]
    series = np.asarray([table.intern(key) for key in keys], dtype=np.int32)
    random = np.random.default_rng(1)
    taken = 0.0
    for second in range(1, SECONDS + 1):
        value = np.where(random.random(len(series)) < share_low, 0.0, 0.9)
        for part in np.array_split(np.arange(len(series)), 20):
            metrics = MetricBatch(
                series=series[part],
                time=np.full(len(part), second * SECOND, dtype=np.int64),
                value=value[part],
                stale=np.zeros(len(part), dtype=np.bool_),
            )
            batch = Batch(metrics=metrics)
            began = process_time()
            processor.process(batch)
            taken += process_time() - began if second > 2 else 0.0
    return taken / (SECONDS - 2)


def test_rules_over_points_cost_little() -> None:
    without = min(cpu_seconds(NO_RULE, 0.0) for _ in range(2))
    for share, budget in ((0.0, 0.1), (0.01, 0.15), (0.1, 0.6)):
        cost = min(cpu_seconds(RULE, share) for _ in range(2)) - without
        print(f"\n100,000 points a second, {share:.0%} of every tenth true: {cost:.3f} core more than {without:.3f}")
        assert cost < budget
