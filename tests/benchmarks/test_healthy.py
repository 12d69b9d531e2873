"""Every built-in rule over a cluster in good order: nothing is raised. Run by ``make healthy``.

Ten thousand GPUs take long on a small machine; ``FALLOW_HEALTHY_GPUS`` says how many it shall be.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import pytest

from fallow.batch import Batch
from fallow.replay import build, raised
from fallow.replay.run import PROCESSORS
from fallow.service import Chain
from fallow.testing.components import context
from helpers.healthy import Healthy

pytestmark = [pytest.mark.bench, pytest.mark.timeout(7200)]

GPUS = int(os.environ.get("FALLOW_HEALTHY_GPUS", "10000"))
RULES = Path(__file__).parents[2] / "rules"


@pytest.mark.parametrize(
    ("step_s", "seconds"),
    [
        pytest.param(60, 24 * 3600, id="24h-at-60s"),
        pytest.param(1, 1800, id="30min-at-1s"),
    ],
)
def test_nothing_is_raised(step_s: int, seconds: int, tmp_path: Path) -> None:
    cluster = Healthy(GPUS, step_s)
    base = context("healthy", tmp_path, cluster.table)
    chain = Chain(build(PROCESSORS, {"cre": {"rules": [str(RULES)]}}, base), raised)
    chain.prepare()
    found: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], object] = {}
    samples, began = 0, time.perf_counter()

    def observe(batch: Batch) -> None:
        for detection in batch.detections:
            if detection.state in ("fired", "unknown"):
                found[detection.rule, detection.state] += 1
                first.setdefault((detection.rule, detection.state), detection)

    for metrics in cluster.steps(seconds):
        samples += len(metrics)
        observe(chain.process(Batch(metrics=metrics)))
    for batch in chain.finish():
        observe(batch)
    took = time.perf_counter() - began
    print(
        f"\n{GPUS} GPUs, {seconds // 60} min at {step_s} s: {samples / 1e6:.0f} M samples in {took:.0f} s "
        f"({samples / took / 1e6:.2f} M/s); raised {dict(found)}"
    )
    assert not {rule for rule, state in found if state == "fired"}, first
