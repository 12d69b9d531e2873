"""The built-in rules on a simulated cluster whose truth is known: nothing false, and everything that lasts is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from fallow.batch import Batch
from fallow.model import Detection
from fallow.replay import default_chain
from fallow.semconv import HW_ID, JOB_ID, JOB_NAME
from fallow.testing.components import context
from fallow.units import SECOND
from fallow_receivers.simulated import Cluster, Span
from fallow_receivers.simulated.encode import NodeTelemetry

ORIGIN = 1_767_600_000 * SECOND
HOURS = 6
MINUTE = 60 * SECOND
RULES = {
    f"CRE-2026-90{number}": f"P{number}" for number in ("01", "02", "03", "05", "07", "12", "13", "32", "36", "61")
}
LASTING_MIN = {"P01": 70, "P02": 40, "P03": 20, "P05": 40, "P07": 130, "P12": 40, "P13": 20, "P61": 10}
"""Minutes after which a rule has to have spoken; what repeated failures are is counted, not timed."""


def run(seed: int) -> tuple[list[Detection], list[Span]]:
    chain = default_chain(None, None, context("simulated", Path()))
    cluster = Cluster(seed, 8, 8)
    nodes = [NodeTelemetry(cluster, node, ORIGIN) for node in range(8)]
    found: list[Detection] = []
    for second in range(0, HOURS * 3600, 15):
        for node in nodes:
            for request in node.requests(second - 15, second):
                found.extend(chain.process(Batch(request=request)).detections)
    found.extend(d for batch in chain.finish() for d in batch.detections)
    return [d for d in found if d.state == "fired" and d.rule in RULES], cluster.truth(HOURS * 3600, ORIGIN)


def is_about(found: Detection, span: Span) -> bool:
    """Whether a detection speaks of what is truly there: the same pattern, job and GPU, while it lasts."""
    shared = [key for key in (JOB_ID, HW_ID, JOB_NAME) if key in found.entity and key in span.labels]
    same = bool(shared) and all(found.entity[key] == span.labels[key] for key in shared)
    in_time = span.start - MINUTE <= found.time <= span.end + 2 * MINUTE
    return RULES[found.rule] == span.pattern and same and in_time


@pytest.mark.parametrize("seed", [1, 2])
def test_rules_find_what_is_there_and_nothing_else(seed: int) -> None:
    found, truth = run(seed)
    false = [
        (d.rule, dict(d.entity), (d.time - ORIGIN) / MINUTE) for d in found if not any(is_about(d, s) for s in truth)
    ]
    assert false == []
    lasting = [s for s in truth if s.end - s.start >= LASTING_MIN.get(s.pattern, HOURS * 60) * MINUTE]
    assert len({s.pattern for s in lasting}) >= 7
    missed = [
        (s.pattern, dict(s.labels), (s.start - ORIGIN) / MINUTE)
        for s in lasting
        if not any(is_about(d, s) for d in found)
    ]
    assert missed == []
    assert {"CRE-2026-9032", "CRE-2026-9036"} <= {d.rule for d in found}
