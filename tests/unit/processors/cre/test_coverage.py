"""Which rules can fire on what is delivered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from fallow.batch import MetricBatch
from fallow.delivered import Delivered
from fallow.series import SeriesKey, SeriesTable
from fallow_processors.cre.covering import coverage
from fallow_processors.cre.document import parse_rules
from helpers.attribution import event, logs

HEAD = "rules:\n  - cre: {id: CRE-2026-9999}\n    rule:\n"
SET = (
    HEAD
    + "      set:\n        match:\n          - promql: {expr: '%s', interval: 1s, event: {source: cre.metrics, origin: true}}\n"
)
AFTER_START = (
    HEAD
    + """\
      sequence:
        window: 1h
        correlations: [fallow.job.id]
        order:
          - set: {event: {source: s}, match: [{field: event.name, value: fallow.job.start}]}
          - promql: {expr: "hw_power < 90", interval: 1s, event: {source: cre.metrics, origin: true}}
        negate:
          - set: {event: {source: s}, match: [{field: event.name, value: fallow.job.end}]}
"""
)
Shapes = Sequence[Mapping[str, str]]


def delivered(signals: Mapping[str, Shapes], events: Sequence[str] = (), records: int = 0) -> dict[str, Any]:
    return {
        "signals": {name: {"series": len(of), "labels": list(of)} for name, of in signals.items()},
        "events": dict.fromkeys(events, 1),
        "records": records,
    }


@pytest.mark.parametrize(
    ("expr", "state", "wants"),
    [
        pytest.param("hw_power > 1", "can fire", [], id="all-there"),
        pytest.param(
            "hw_power > 1 unless hw_energy > 1", "in part", [("signal", "hw.energy", False)], id="a-negative-is-not"
        ),
        pytest.param(
            "hw_power > 1 and hw_energy > 1", "cannot fire", [("signal", "hw.energy", True)], id="one-of-two-is-not"
        ),
        pytest.param("hw_power > 1 or hw_energy > 1", "in part", [("signal", "hw.energy", False)], id="an-alternative"),
        pytest.param(
            "hw_energy > 1 or hw_temperature > 1",
            "cannot fire",
            [("signal", "hw.energy", True), ("signal", "hw.temperature", True)],
            id="neither-alternative",
        ),
        pytest.param(
            'hw_power{fallow_job_id!=""} > 1', "cannot fire", [("labels", "hw.power", True)], id="without-the-labels"
        ),
        pytest.param('hw_power{hw_id!=""} > 1', "can fire", [], id="with-the-labels"),
        pytest.param('hw_power{hw_type="cpu"} > 1', "cannot fire", [("labels", "hw.power", True)], id="another-value"),
        pytest.param("absent(hw_energy) == 1", "in part", [("signal", "hw.energy", False)], id="that-it-is-absent"),
        pytest.param(
            "max_over_time(some_vendors[5m]) > 1", "cannot fire", [("signal", "some_vendors", True)], id="own"
        ),
    ],
)
def test_a_condition(expr: str, state: str, wants: list[tuple[str, str, bool]]) -> None:
    rules = parse_rules(SET % expr, "rule.yaml").rules
    (found,) = coverage(rules, delivered({"hw.power": [{"hw.id": "*", "hw.type": "gpu"}]}))
    assert (found.state, [(w.kind, w.name, w.needed) for w in found.wants]) == (state, wants)


@pytest.mark.parametrize(
    ("events", "state", "wants"),
    [
        (["fallow.job.start", "fallow.job.end"], "can fire", []),
        (["fallow.job.start"], "in part", [("fallow.job.end", False)]),
        ([], "cannot fire", [("fallow.job.start", True), ("fallow.job.end", False)]),
    ],
)
def test_a_sequence(events: list[str], state: str, wants: list[tuple[str, bool]]) -> None:
    rules = parse_rules(AFTER_START, "rule.yaml").rules
    (found,) = coverage(rules, delivered({"hw.power": [{}]}, events, len(events)))
    assert (found.state, [(w.name, w.needed) for w in found.wants]) == (state, wants)


def test_what_passes_is_taken_note_of_by_its_labels() -> None:
    table = SeriesTable()
    seen = Delivered(table)
    for i in range(3):
        point = (("fallow.job.id", ""), ("hw.id", f"GPU-{i}"), ("hw.type", "gpu"))
        table.intern(SeriesKey("hw.power", "W", attributes=point))
    seen.observe(None, logs([event("start", 0, "1"), event("start", 1, "2")]))
    assert seen.document() == {"signals": {}, "events": {"fallow.job.start": 2}, "records": 2}
    seen.observe(MetricBatch.of([0, 1, 2, 0], [1, 1, 1, 2], [1.0] * 4), None)
    assert seen.document()["signals"] == {
        "hw.power": {"series": 3, "labels": [{"hw.id": "*", "hw.type": "gpu"}]},
    }
