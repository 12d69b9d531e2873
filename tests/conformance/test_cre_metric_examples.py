"""The three spellings of a metric condition, each run over telemetry on which it has to fire, and on which it has not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fallow.testing.rules import detections_of
from fallow.testing.samples import Gauge, Record, Recording

EXAMPLES = Path(__file__).parents[2].parent / "shared" / "cre" / "metric-examples"
MINUTE = 60
POD = {"host.name": "n1", "k8s.pod.name": "nb-1", "pool": "batch"}


def gauge(value: float) -> Gauge:
    return Gauge("hw.gpu.utilization", "1", {"hw.id": "GPU-1"}, value)


def points(values: list[tuple[float, float]]) -> Recording:
    made = Recording()
    for minute, value in values:
        made.metrics(minute * MINUTE, POD, [gauge(value)])
    return made


def every_ten_seconds(value: float, *, starved_at: int | None) -> Recording:
    made = Recording()
    for second in range(0, 50 * MINUTE, 10):
        made.metrics(second, POD, [gauge(value)])
        if second == starved_at:
            made.logs(second, POD, [Record("dataloader starved pool=batch", {})])
            made.logs(second, POD, [Record("dataloader starved pool=other", {})])
    return made


def jq(*, fires: bool) -> Recording:
    spike = 20.5 if not fires else 22
    return points([(0, 0.01), (10, 0.0), (20, 0.002), (spike, 0.9), (23, 0.9)])


def aggregate(*, fires: bool) -> Recording:
    return every_ten_seconds(0.05 if fires else 0.3, starved_at=None)


def aggregate_and_log(*, fires: bool) -> Recording:
    return every_ten_seconds(0.05, starved_at=38 * MINUTE if fires else 10 * MINUTE)


@pytest.mark.parametrize(
    ("file", "telemetry", "entity"),
    [
        pytest.param("idle-gpu.jq.yaml", jq, {"k8s.pod.name": "nb-1"}, id="every-point"),
        pytest.param("idle-gpu.promql-field.yaml", aggregate, {"pool": "batch"}, id="field-promql"),
        pytest.param("idle-gpu.promql.yaml", aggregate_and_log, {"pool": "batch"}, id="promql"),
    ],
)
def test_an_example_fires_once_and_stays_quiet(
    file: str, telemetry: Callable[..., Recording], entity: dict[str, str], tmp_path: Path
) -> None:
    if not EXAMPLES.exists():
        pytest.skip("the examples are not beside this checkout")
    assert len(list(EXAMPLES.glob("*.yaml"))) == 3
    sample = tmp_path / "test.otlp.jsonl"
    for fires in (True, False):
        sample.write_text(telemetry(fires=fires).text())
        found = [d for d in detections_of([EXAMPLES / file], sample) if d.state == "fired"]
        assert [{name: d.entity.get(name) for name in entity} for d in found] == ([entity] if fires else [])
