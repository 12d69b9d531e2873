"""GPU-time observed and reclaimable, against a plain oracle; JSON lines; a replay through processors."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median_low
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fallow.batch import Batch, MetricBatch
from fallow.model import Action, Detection, Evidence, Recommendation, Saving
from fallow.registry import components
from fallow.replay import Accounting, Summary, default_chain, json_line, read_recording, replay
from fallow.replay.intervals import Spans
from fallow.replay.run import build
from fallow.series import SeriesKey, SeriesTable
from fallow.service import Chain
from fallow.testing.components import context

SECOND = 1_000_000_000


def detection(id: str, start: int, end: int, entity: dict[str, str], rule: str = "CRE-1", **more: Any) -> Detection:
    made = Detection(
        id=id,
        rule=rule,
        rule_hash="h",
        title="idle",
        severity=2,
        tags=(),
        entity=entity,
        time=start * SECOND,
        start=0,
        end=end * SECOND,
        state="fired",
    )
    return replace(made, **more)


def recommendation(found: Detection, basis: str = "allocated", target: dict[str, str] | None = None) -> Recommendation:
    saving = Saving(
        gpu_seconds=10.0,
        low=1.0,
        high=math.inf,
        basis=basis,
        cost=math.nan,
        currency="USD",
        price_source="p",
        gco2e=1.0,
        intensity_source="i",
    )
    return Recommendation(
        id=f"r-{found.id}",
        detection=found.id,
        rule=found.rule,
        rule_hash=found.rule_hash,
        title=found.title,
        target=dict(found.entity) if target is None else target,
        action=Action(kind="notify", parameters={"audience": "owner"}),
        tier="T1",
        evidence=(),
        saving=saving,
        confidence=0.9,
        state="proposed",
        created=0,
        updated=0,
        expires=0,
        dedupe_key="k",
    )


def samples(table: SeriesTable, times: Sequence[int], name: str = "hw.gpu.utilization", **labels: str) -> MetricBatch:
    entity = tuple(sorted((k.replace("_", "."), v) for k, v in labels.items()))
    series = table.intern(SeriesKey(name, "1", "", (), entity))
    return MetricBatch.of([series] * len(times), [t * SECOND for t in times], [0.0] * len(times))


def covered_seconds(series: Sequence[Sequence[int]]) -> set[int]:
    """The oracle: every second that is covered by some series, one by one."""
    covered: set[int] = set()
    for times in series:
        gaps = [b - a for a, b in pairwise(times)]
        limit = max(300, 5 * median_low(gaps)) if gaps else 0
        for a, b in pairwise(times):
            if b - a <= limit:
                covered |= set(range(a, b))
    return covered


gaps = st.lists(st.one_of(st.integers(1, 90), st.integers(91, 900), st.integers(900, 5000)), max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    series=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3000), gaps), min_size=1, max_size=6),
    found=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 6000), st.integers(0, 4000), st.integers(0, 1)), max_size=6
    ),
    cuts=st.lists(st.integers(0, 20_000), max_size=4),
)
def test_accounting_equals_counting_every_second(
    series: list[tuple[int, int, list[int]]], found: list[tuple[int, int, int, int]], cuts: list[int]
) -> None:
    table = SeriesTable()
    times = [np.cumsum([first, *steps]).tolist() for _, first, steps in series]
    ids = [
        table.intern(SeriesKey("hw.gpu.utilization", "1", str(i), (), (("hw.id", f"g{gpu}"),)))
        for i, (gpu, *_) in enumerate(series)
    ]
    rows = sorted((t, s) for s, column in zip(ids, times, strict=True) for t in column)
    accounting = Accounting(table)
    for low, high in pairwise([0, *sorted(cuts), 10**9]):
        part = [(t, s) for t, s in rows if low <= t < high]
        part.reverse()  # the order within a batch does not matter
        accounting.observe(
            Batch(metrics=MetricBatch.of([s for _, s in part], [t * SECOND for t, _ in part], [0.0] * len(part)))
        )
    reclaimed: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
    observed = {
        g: covered_seconds([t for t, (gpu, *_) in zip(times, series, strict=True) if gpu == g]) for g in range(3)
    }
    by_rule: dict[str, float] = {}
    for i, (gpu, start, length, rule) in enumerate(found):
        one = detection(f"d{i}", start, start, {"hw.id": f"g{gpu}"}, rule=f"CRE-{rule}")
        accounting.observe(Batch(detections=(one,), recommendations=(recommendation(one),)))
        accounting.observe(Batch(detections=(replace(one, state="resolved", end=(start + length) * SECOND),)))
        reclaimed[gpu] |= set(range(start, start + length)) & observed[gpu]
    for name in {f"CRE-{f[3]}" for f in found}:
        mine = [(gpu, t) for gpu, start, n, r in found if f"CRE-{r}" == name for t in range(start, start + n)]
        by_rule[name] = float(len({(gpu, t) for gpu, t in mine if t in observed[gpu]}))
    summary = accounting.summary()
    assert summary.gpu_seconds_observed == sum(map(len, observed.values()))
    assert summary.gpu_seconds_reclaimable == sum(map(len, reclaimed.values()))
    assert {rule: row.gpu_seconds_reclaimable for rule, row in summary.by_rule.items()} == by_rule
    assert summary.entities == len({gpu for gpu, *_ in series})
    assert summary.detections == summary.recommendations == len(found)
    assert summary == accounting.summary(), "asking changes nothing"


def test_nothing_is_covered_after_a_stale_mark_until_the_next_sample() -> None:
    table = SeriesTable()
    accounting = Accounting(table)
    batch = samples(table, [0, 10, 20, 30, 40], hw_id="g")
    stale = np.array([False, False, True, False, False])
    accounting.observe(Batch(metrics=replace(batch, stale=stale)))
    assert accounting.summary().gpu_seconds_observed == 30
    accounting.observe(Batch(metrics=samples(table, [5, 25], hw_id="g")))
    assert accounting.summary().gpu_seconds_observed == 30, "late samples add nothing"


def test_what_does_not_claim_a_saving_is_not_reclaimable() -> None:
    table = SeriesTable()
    accounting = Accounting(table)
    accounting.observe(Batch(metrics=samples(table, range(0, 1000, 10), hw_id="g")))
    for id, basis in (("a", "none"), ("b", None)):
        one = detection(id, 100, 500, {"hw.id": "g"})
        accounting.observe(Batch(detections=(one,), recommendations=(recommendation(one, basis),) if basis else ()))
    held = detection("c", 100, 500, {"hw.id": "g"}, state="unknown")
    accounting.observe(Batch(detections=(held,), dropped={"late sample": 3, "malformed": 1}))
    summary = accounting.summary()
    assert summary.gpu_seconds_reclaimable == 0
    assert (summary.detections, summary.recommendations, summary.unknown, summary.late) == (2, 1, 1, 3)
    assert (summary.samples, summary.span_s, summary.gpu_seconds_observed) == (100, 990, 990)


def test_a_target_means_the_gpus_seen_with_its_labels_while_they_had_them() -> None:
    table = SeriesTable()
    accounting = Accounting(table)
    # GPU a: job 1 until 100, then job 2; GPU b: job 1 throughout; GPU c: another host, no job.
    accounting.observe(Batch(metrics=samples(table, [0, 50, 100], hw_id="a", host_name="n1", fallow_job_id="1")))
    accounting.observe(Batch(metrics=samples(table, [100, 150, 200], hw_id="a", host_name="n1", fallow_job_id="2")))
    accounting.observe(Batch(metrics=samples(table, [0, 100, 200], hw_id="b", host_name="n1", fallow_job_id="1")))
    accounting.observe(Batch(metrics=samples(table, [0, 100, 200], hw_id="c", host_name="n2")))

    def reclaimable(target: dict[str, str]) -> float:
        one = detection("d", 0, 1000, target)
        each = Accounting(table)
        each.__dict__.update({k: v for k, v in accounting.__dict__.items() if k not in ("_found",)})
        each.observe(Batch(detections=(one,), recommendations=(recommendation(one),)))
        return each.summary().gpu_seconds_reclaimable

    assert reclaimable({"fallow.job.id": "1"}) == 300
    assert reclaimable({"fallow.job.id": "1", "host.name": "n1"}) == 300
    assert reclaimable({"fallow.job.id": "1", "host.name": "n2"}) == 0
    assert reclaimable({"fallow.job.id": "3", "host.name": "n1"}) == 0
    assert reclaimable({"hw.id": "a"}) == 200
    assert reclaimable({"host.name": "n1"}) == 400
    assert reclaimable({}) == 0
    assert accounting.summary().gpu_seconds_observed == 600


@pytest.mark.parametrize(
    ("labels", "gpus"),
    [
        pytest.param([{"hw_id": "a"}, {"hw_id": "a", "host_name": "n"}, {"hw_id": "b"}], 2, id="id"),
        pytest.param(
            [{"host_name": "n", "fallow_gpu_index": "0"}, {"host_name": "m", "fallow_gpu_index": "0"}], 2, id="index"
        ),
        pytest.param([{"container_id": "c"}, {"container_id": "c", "host_name": "n"}], 1, id="container"),
        pytest.param([{"k8s_pod_name": "p"}, {"k8s_pod_name": "q"}], 2, id="pod"),
        pytest.param([{"host_name": "n"}], 0, id="no-gpu"),
    ],
)
def test_what_one_gpu_is(labels: list[dict[str, str]], gpus: int) -> None:
    table = SeriesTable()
    accounting = Accounting(table)
    for each in labels:
        accounting.observe(Batch(metrics=samples(table, [0], **each)))
    accounting.observe(Batch(metrics=samples(table, [0], name="fallow.serving.request.rate", container_id="x")))
    assert accounting.summary().entities == gpus


def test_without_a_series_table_there_are_only_counts() -> None:
    table = SeriesTable()
    accounting = Accounting()
    accounting.observe(Batch(metrics=samples(table, [0, 10], hw_id="a")))
    assert (accounting.summary().samples, accounting.summary().gpu_seconds_observed) == (2, 0)


def test_spans() -> None:
    spans = Spans.of([(0, 0, 10), (0, 10, 20), (0, 5, 7), (1, 5, 7), (1, 9, 9), (1, 8, 9)])
    union = spans.union()
    assert list(zip(union.owner, union.start, union.end, strict=True)) == [(0, 0, 20), (1, 5, 7), (1, 8, 9)]
    both = spans.intersection(Spans.of([(0, 15, 30), (1, 0, 6), (2, 0, 1)]))
    assert list(zip(both.owner, both.start, both.end, strict=True)) == [(0, 15, 20), (1, 5, 6)]
    assert Spans.of([]).union().total() == 0


def test_json_lines_have_stable_names_and_finite_numbers() -> None:
    evidence = Evidence(kind="signal", name="hw.gpu.utilization", start=1, end=2, count=3, value=math.nan, text="x < 1")
    found = detection("d", 100, 500, {"hw.id": "g"}, evidence=(evidence,))
    assert json.loads(json_line(found)) == {
        "type": "detection",
        "id": "d",
        "rule": "CRE-1",
        "hash": "h",
        "entity": {"hw.id": "g"},
        "time": 100 * SECOND,
        "start": 0,
        "end": 500 * SECOND,
        "state": "fired",
        "evidence": [
            {
                "kind": "signal",
                "name": "hw.gpu.utilization",
                "start": 1,
                "end": 2,
                "count": 3,
                "value": None,
                "text": "x < 1",
            }
        ],
    }
    made = json.loads(json_line(recommendation(found)))
    assert list(made) == [
        "type",
        "id",
        "detection",
        "target",
        "action",
        "parameters",
        "tier",
        "saving",
        "confidence",
        "state",
    ]
    assert made["action"] == "notify"
    assert made["saving"] == {
        "gpu_seconds": 10.0,
        "low": 1.0,
        "high": None,
        "basis": "allocated",
        "cost": None,
        "currency": "USD",
        "gco2e": 1.0,
    }
    accounting = Accounting(SeriesTable())
    accounting.observe(Batch(detections=(found,)))
    line = json_line(accounting.summary())
    assert "\n" not in line
    assert line.startswith('{"type":"summary","detections":1,')
    assert json.loads(line) == {
        "type": "summary",
        "detections": 1,
        "recommendations": 0,
        "entities": 0,
        "samples": 0,
        "events": 0,
        "span_s": 0.0,
        "gpu_seconds_observed": 0.0,
        "gpu_seconds_reclaimable": 0.0,
        "late": 0,
        "unknown": 0,
        "by_rule": {"CRE-1": {"detections": 1, "gpu_seconds_reclaimable": 0.0}},
    }


def test_a_replay_takes_every_batch_through_the_processors(tmp_path: Path) -> None:
    rows = "".join(f"{t},g{g},{g}\n" for g in range(2) for t in range(0, 600, 60))
    (tmp_path / "a.csv").write_text("t,gpu,u\n" + rows)
    mapping = tmp_path / "map.yaml"
    mapping.write_text(
        "files: [{match: '*', time: {column: t, unit: s}, entity: {hw.id: gpu}, "
        "signals: {hw.gpu.utilization: {column: u}}}]"
    )
    base = context("replay", tmp_path)
    read = read_recording([tmp_path / "a.csv"], mapping, base.series)
    seen: list[Batch] = []
    advanced: list[int] = []
    chain = Chain(build(("decode", "normalise", "recommender"), {}, base))
    summary = replay(read, chain, on_batch=seen.append, progress=advanced.append)
    assert isinstance(summary, Summary)
    assert (summary.samples, summary.entities, summary.gpu_seconds_observed) == (20, 2, 2 * 540)
    assert sum(advanced) == read.samples == 20
    assert sum(len(b.metrics) for b in seen if b.metrics) == 20


def test_the_default_chain_finds_an_idle_gpu(tmp_path: Path) -> None:
    if "cre" not in components("processors"):
        pytest.skip("the cre processor is not installed")
    base = context("replay", tmp_path)
    rules = Path(__file__).parents[3] / "rules/cre-2026-9003"
    if not (rules / "test.otlp.jsonl").is_file():
        pytest.skip("the rule has no sample here")
    found: list[Detection] = []
    read = read_recording([rules / "test.otlp.jsonl"], None, base.series)
    summary = replay(
        read, default_chain([rules / "rule.yaml"], None, base), on_batch=lambda b: found.extend(b.detections)
    )
    assert {d.rule for d in found} == {"CRE-2026-9003"}
    assert summary.detections == 1
    assert summary.by_rule["CRE-2026-9003"].detections == 1
