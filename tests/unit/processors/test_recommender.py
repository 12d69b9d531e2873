"""What the playbook allows, and nothing else, with arithmetic that a person can check."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fallow.batch import Batch
from fallow.errors import DocumentError
from fallow.model import Detection, Evidence, Recommendation
from fallow.state import Past
from fallow.testing.components import context
from fallow.units import SECOND
from fallow_processors.recommender import RecommenderProcessor, load_playbook
from fallow_processors.recommender.saving import TAIL, remaining_idle
from helpers.model import HOUR, a_detection

ENTRY = "entries:\n  - {rule: CRE-2026-9003, action: notify, tier: T1%s}\n"


def playbook(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "playbook.yaml"
    path.write_text(text)
    return path


def made(tmp_path: Path, text: str | None, *detections: Detection) -> tuple[Recommendation, ...]:
    book = load_playbook(None if text is None else playbook(tmp_path, text))
    processor = RecommenderProcessor(book, context("recommender", tmp_path))
    return processor.process(Batch(detections=detections)).recommendations


def test_a_detection_becomes_a_recommendation(tmp_path: Path) -> None:
    (one,) = made(tmp_path, None, a_detection())
    assert (one.detection, one.rule, one.state, one.tier, one.action.kind) == (
        "d1",
        "CRE-2026-9003",
        "proposed",
        "T1",
        "notify",
    )
    assert one.target == {"hw.id": "GPU-1", "host.name": "n1"}
    assert one.created == HOUR
    assert one.expires == 5 * HOUR
    assert one.evidence == a_detection().evidence
    assert one.confidence == 0.9


def test_the_same_detection_gives_the_same_recommendation(tmp_path: Path) -> None:
    assert made(tmp_path, None, a_detection()) == made(tmp_path, None, a_detection())
    (later,) = made(tmp_path, None, a_detection("d2"))
    (first,) = made(tmp_path, None, a_detection())
    assert later.id != first.id
    assert later.dedupe_key == first.dedupe_key


@pytest.mark.parametrize("state", ["unknown", "resolved", "open"])
def test_only_what_fired_is_recommended(tmp_path: Path, state: str) -> None:
    assert made(tmp_path, None, a_detection(state=state)) == ()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        pytest.param("entries: []\n", 0, id="no-entry"),
        pytest.param(ENTRY % "", 1, id="by-rule"),
        pytest.param("entries:\n  - {tag: idle-gpu, action: notify, tier: T1}\n", 1, id="by-tag"),
        pytest.param("entries:\n  - {tag: other, action: notify, tier: T1}\n", 0, id="another-tag"),
        pytest.param(ENTRY % ", stable_hash: stable", 1, id="reviewed"),
        pytest.param(ENTRY % ", guards: {exempt: {host.name: ['n*']}}", 0, id="exempt"),
        pytest.param(ENTRY % ", guards: {exempt: {host.name: ['m*']}}", 1, id="not-exempt"),
        pytest.param("defaults: {mode: observe}\n" + ENTRY % "", 0, id="observe"),
    ],
)
def test_the_playbook_decides(tmp_path: Path, text: str, count: int) -> None:
    assert len(made(tmp_path, text, a_detection())) == count


def test_another_text_of_a_reviewed_rule_stays_an_event_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert made(tmp_path, ENTRY % ", stable_hash: other", a_detection(), a_detection("d2")) == ()
    assert [r.getMessage() for r in caplog.records] == [
        "The playbook was written for another text of this rule; its detections stay events."
    ]


def test_cost_and_carbon_follow_from_the_gpu_hours(tmp_path: Path) -> None:
    text = "defaults: {price_per_gpu_hour: {default: 2, 'NVIDIA H100*': 4}, gpu_idle_power_w: {default: 100}, gco2e_per_kwh: 500}\n"
    (one,) = made(tmp_path, text + ENTRY % "", a_detection(entity={"hw.id": "G", "hw.model": "NVIDIA H100 80GB HBM3"}))
    hours = one.saving.gpu_seconds / 3600
    assert one.saving.cost == pytest.approx(4 * hours)
    assert one.saving.gco2e == pytest.approx(hours * 0.1 * 500)
    assert one.saving.price_source == "playbook: price_per_gpu_hour[NVIDIA H100*]"
    assert one.saving.intensity_source == "playbook: gco2e_per_kwh × gpu_idle_power_w[default]"
    assert one.saving.low <= one.saving.gpu_seconds <= one.saving.high <= 4 * 3600


def test_no_saving_is_claimed_where_the_basis_is_none(tmp_path: Path) -> None:
    (one,) = made(tmp_path, ENTRY % ", saving: {basis: none}", a_detection())
    assert (one.saving.gpu_seconds, one.saving.cost, one.saving.basis) == (0, 0, "none")


def test_a_log_line_alone_is_less_sure(tmp_path: Path) -> None:
    log = Evidence(kind="log", name="slurm", start=1, end=1, text="oom_kill")
    (one,) = made(tmp_path, None, a_detection(evidence=(log,)))
    assert one.confidence == 0.7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "entries:\n  - {rule: A, action: reboot, tier: T1}\n",
            "playbook.yaml:2: entries[0].action: 'reboot' found, allowed: record, notify",
        ),
        (
            "entries:\n  - {rule: A, action: cancel, tier: T1}\n",
            "playbook.yaml:2: entries[0]: tier T1 found, but cancel is at least T3",
        ),
        (
            "entries:\n  - {action: notify, tier: T1}\n",
            "playbook.yaml:2: entries[0]: an entry needs either rule or tag",
        ),
        (
            "entries:\n  - {rule: A, action: notify, tier: T1, guards: {min_job_age: 30m}}\n",
            "guards.min_job_age: unknown key; allowed: exempt",
        ),
        (
            "defaults: {price_per_gpu_hour: {H100: 3}}\n",
            "playbook.yaml:1: defaults.price_per_gpu_hour: needs an entry named default",
        ),
        (
            "defaults: {mode: autonomous}\n",
            "playbook.yaml:1: defaults.mode: 'autonomous' found, expected 'observe' or 'recommend'",
        ),
    ],
)
def test_a_wrong_playbook_names_the_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DocumentError) as caught:
        load_playbook(playbook(tmp_path, text))
    assert said in str(caught.value)


@pytest.mark.parametrize("idle_s", [60, 900, 3600])
def test_the_expected_remaining_idle_time_is_that_of_its_law(idle_s: float) -> None:
    horizon = 4 * 3600.0
    rng = np.random.default_rng(1)
    drawn = np.minimum(horizon, idle_s * (rng.pareto(TAIL, 400_000)))
    found = remaining_idle(idle_s, horizon)
    assert found.expected == pytest.approx(drawn.mean(), rel=0.02)
    assert found.low == pytest.approx(np.quantile(drawn, 0.1), rel=0.03)
    assert found.high == pytest.approx(np.quantile(drawn, 0.9), rel=0.03)


def test_nothing_beyond_the_horizon_is_claimed() -> None:
    found: Any = remaining_idle(86_400, 600)
    assert found.expected <= 600
    assert found.high == 600


def test_the_target_is_what_the_rule_names(tmp_path: Path) -> None:
    entity = {"host.name": "n1", "fallow.job.id": "7", "fallow.job.name": "train", "fallow.user.name": "ada"}
    by = {"kind": "job", "by": ["fallow.user.name", "fallow.job.name", "k8s.pod.name"]}
    (one,) = made(tmp_path, None, a_detection(entity=entity, optimize={"target": by}))
    assert one.target == {"fallow.user.name": "ada", "fallow.job.name": "train"}
    (other,) = made(tmp_path, None, a_detection(entity=entity))
    assert other.target == {"host.name": "n1", "fallow.job.id": "7"}


@pytest.mark.parametrize(("tier", "action", "expected"), [("T1", "notify", 1), ("T2", "requeue", 0)])
def test_where_it_is_not_certain_whose_a_device_is_there_is_advice_at_most(
    tmp_path: Path, tier: str, action: str, expected: int
) -> None:
    """Guard G2."""
    found = a_detection()
    unsure = replace(found, entity={**found.entity, "fallow.attribution.ambiguous": "true"})
    entry = f"entries:\n  - {{rule: {found.rule}, action: {action}, tier: {tier}}}\n"
    assert len(made(tmp_path, entry, unsure)) == expected
    assert len(made(tmp_path, entry, found)) == 1


def stalls(count: int, work_s: int = 20, stall_s: int = 40) -> list[Detection]:
    """A job that works for so long and then waits for a checkpoint, again and again."""
    return [
        replace(
            a_detection(f"s{i}"),
            rule="CRE-2026-9021",
            tags=("gpu", "waste", "checkpoint"),
            start=(i * (work_s + stall_s)) * SECOND,
            end=(i * (work_s + stall_s) + stall_s) * SECOND,
        )
        for i in range(count)
    ]


STALLED = "entries:\n  - {rule: CRE-2026-9021, action: tune, tier: T1, saving: {basis: stalled, horizon: 1h%s}}\n"


def test_a_checkpoint_interval_is_recommended_with_what_it_brings(tmp_path: Path) -> None:
    assert made(tmp_path, STALLED % "", *stalls(2)) == ()
    one = made(tmp_path, STALLED % "", *stalls(3))[-1]
    # 40 of 60 s are lost; at 19 × 40 s it is 5 %.
    assert one.action.parameters["checkpoint_interval_s"] == "760"
    assert one.action.parameters["checkpoint_interval_now_s"] == "20"
    assert one.saving.basis == "stalled"
    assert one.saving.gpu_seconds == pytest.approx((40 / 60 - 0.05) * 3600)
    assert one.saving.low == one.saving.high == pytest.approx(one.saving.gpu_seconds)
    assert one.saving.cost == pytest.approx(one.saving.gpu_seconds / 3600 * 2.0)


def test_a_known_risk_of_failure_gives_the_interval(tmp_path: Path) -> None:
    one = made(tmp_path, STALLED % ", between_failures: 24h", *stalls(3))[-1]
    best = math.sqrt(2 * 40 * 86_400)
    assert one.action.parameters["checkpoint_interval_s"] == f"{best:.0f}"
    lost_now, lost_then = 40 / 60 + 10 / 86_400, 40 / (40 + best) + best / 2 / 86_400
    assert one.saving.gpu_seconds == pytest.approx((lost_now - lost_then) * 3600)


def test_checkpoints_that_are_rare_enough_are_left_alone(tmp_path: Path) -> None:
    assert made(tmp_path, STALLED % "", *stalls(5, work_s=3600)) == ()


def test_stalls_are_remembered_across_a_restart(tmp_path: Path) -> None:
    book = load_playbook(playbook(tmp_path, STALLED % ""))
    first, second = (RecommenderProcessor(book, context("recommender", tmp_path)) for _ in range(2))
    first.process(Batch(detections=tuple(stalls(2))))
    second.restore(first.save()(), Past(series=np.zeros(0, dtype=np.int32)))
    assert second.process(Batch(detections=tuple(stalls(3)[2:]))).recommendations
