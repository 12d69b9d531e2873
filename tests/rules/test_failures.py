"""Known ways in which detections like ours go wrong, replayed through the shipped pipeline: none is a false detection.

Where a test has a careless rule, it shows both: what that rule says when nobody asks whether a signal is to be believed,
and that it says nothing when somebody does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from fallow import load_config
from fallow.errors import FallowError, NotFound
from fallow.ledger import Ledger
from fallow.model import Action, Detection, Outcome, RecommendationState
from fallow.replay.mapping import load_mapping
from fallow.testing.samples import Gauge, Recording
from fallow_processors.cre import RuleSet
from fallow_processors.normalise.table import load_table
from fallow_processors.recommender import load_playbook
from helpers.model import HOUR, a_recommendation
from helpers.pack import fired, said
from rules.make_samples import Curve, always, steps, waves
from rules.vocabularies import recorded

UUID = "GPU-5a1e6c52-0f0d-4f1b-9c55-3d1f9a7e0c01"
LABELS: dict[str, str] = {"gpu": "0", "UUID": UUID, "modelName": "NVIDIA H100 80GB HBM3", "Hostname": "gpu-node-03"}
POD = {"exported_pod": "llm-serve-0", "exported_namespace": "inference", "exported_container": "main"}
EXPORTER = {"service.name": "dcgm-exporter", "service.instance.id": "10.0.3.7:9400"}
FAULT = {"CRE-2026-9061"}


def dcgm(file: Path, minutes: int, curves: Mapping[str, Curve], extra: dict[str, str] | None = None) -> Path:
    out = Recording()
    for minute in range(minutes):
        values = {name: curve(minute) for name, curve in curves.items()}
        labels = LABELS | POD | (extra or {})
        points = [Gauge(name, "", labels, value) for name, value in values.items() if value is not None]
        out.metrics(minute * 60, EXPORTER, points)
    file.write_text(out.text())
    return file


def rule(folder: Path, expr: str) -> Path:
    """A rule of one condition."""
    file = folder / "rule.yaml"
    file.write_text(
        f"""\
rules:
  - metadata: {{id: 4HsRYGL9uocf2gZm8q3qnLiNpQw8, kind: optimize, version: 0.1.0}}
    cre: {{id: CRE-2026-8001, severity: 3, title: careless, category: resource-waste, author: test}}
    rule:
      set:
        match:
          - promql:
              expr: '{expr}'
              interval: 30s
              event: {{source: cre.metrics, origin: true}}
"""
    )
    return file


def test_f1_profiling_counters_at_zero_while_the_gpu_works(tmp_path: Path) -> None:
    """NVIDIA/DCGM#303: after an Xid the counters read 0 while utilisation is 100 %."""
    curves: dict[str, Curve] = {"DCGM_FI_DEV_GPU_UTIL": always(100), "DCGM_FI_DEV_FB_USED": always(61_000)}
    curves |= dict.fromkeys(("DCGM_FI_PROF_SM_ACTIVE", "DCGM_FI_PROF_DRAM_ACTIVE"), steps((0, 0.62), (10, 0.0)))
    file = dcgm(tmp_path / "x.otlp.jsonl", 90, curves)
    assert fired(said(file)) == FAULT
    careless = rule(tmp_path, "max_over_time(fallow_gpu_sm_utilization[15m]) == 0")
    assert fired(said(file, [careless], health=False)) == {"CRE-2026-8001"}
    assert not fired(said(file, [careless]))


def test_f2_a_rule_that_prefers_the_wrong_one_of_two_signals(tmp_path: Path) -> None:
    """gpu-pruner's query takes the engine's activity and never looks at utilisation, even when the former is stuck."""
    curves: dict[str, Curve] = {
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE": steps((0, 0.97), (10, 0.0)),
        "DCGM_FI_DEV_GPU_UTIL": waves(97, 99),
    }
    file = dcgm(tmp_path / "x.otlp.jsonl", 90, curves)
    careless = rule(
        tmp_path, "(max_over_time(fallow_gpu_engine_utilization[30m]) or max_over_time(hw_gpu_utilization[30m])) == 0"
    )
    assert fired(said(file, [careless], health=False)) == {"CRE-2026-8001"}
    assert not fired(said(file, [careless]))
    assert fired(said(file)) == FAULT


@pytest.mark.parametrize("held", [pytest.param(None, id="absent"), pytest.param(0.0, id="zero")])
def test_f3_a_profiler_holds_the_counters(held: float | None, tmp_path: Path) -> None:
    """NVIDIA/DCGM#56, #62, dynolog#99: while Nsight or CUPTI profiles, the counters are gone, or read 0."""
    taken: Curve = lambda m: held if 20 <= m < 60 else 0.41
    curves: dict[str, Curve] = {"DCGM_FI_DEV_GPU_UTIL": always(95), "DCGM_FI_PROF_SM_ACTIVE": taken}
    file = dcgm(tmp_path / "x.otlp.jsonl", 75, curves)
    # It is full of small kernels before and after (CRE-2026-9013); of the time between nothing may be claimed.
    found = [d for d in said(file) if d.rule not in FAULT | {"CRE-2026-9013"}]
    assert not found
    state = rule(
        tmp_path, f'fallow_signal_health{{fallow_signal="fallow.gpu.sm.utilization"}} == {3 if held is None else 4}'
    )
    (one,) = [d for d in said(file, [state]) if d.state == "fired"]
    begin = one.start // 10**9 - 1_767_600_000
    assert 20 * 60 < begin <= 25 * 60


def test_f4_names_labels_and_units_change_with_an_upgrade(tmp_path: Path) -> None:
    """dcgm-exporter 4.8.3 and 4.9.0, in the middle of an hour: nothing starts, ends or is missed because of it."""
    whole = said(recorded(tmp_path / "whole.otlp.jsonl", lambda _: "dcgm-4.5"))
    upgraded = said(recorded(tmp_path / "up.otlp.jsonl", lambda at: "dcgm-4.5" if at < 1200 else "dcgm-4.6"))
    assert sorted((d.id, d.state, d.time, d.end) for d in upgraded) == sorted(
        (d.id, d.state, d.time, d.end) for d in whole
    )
    assert len(fired(whole)) >= 3


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"DCGM_FI_DEV_GPU_UTIL": waves(0.82, 0.97, 0.88)}, id="a-ratio-for-a-percentage"),
        pytest.param({"DCGM_FI_DEV_GPU_UTIL_RATIO": waves(82, 97, 88)}, id="a-percentage-for-a-ratio"),
        pytest.param({"DCGM_FI_DEV_FB_USED": always(41_000 * 2.0**20)}, id="bytes-for-mebibytes"),
    ],
)
def test_f4_a_unit_changes_under_its_old_name(changed: dict[str, Curve], tmp_path: Path) -> None:
    """80 % of use would look like 0.8 %, and every busy GPU idle."""
    before: dict[str, Curve] = {
        "DCGM_FI_DEV_GPU_UTIL": waves(82, 97, 88),
        "DCGM_FI_DEV_FB_USED": always(41_000),
    }
    out = Recording()
    for minute in range(90):
        curves = before if minute < 20 else {**before, **changed}
        if minute >= 20 and "DCGM_FI_DEV_GPU_UTIL_RATIO" in changed:
            curves.pop("DCGM_FI_DEV_GPU_UTIL")
        out.metrics(minute * 60, EXPORTER, [Gauge(n, "", LABELS | POD, curve(minute)) for n, curve in curves.items()])
    (tmp_path / "x.otlp.jsonl").write_text(out.text())
    assert fired(said(tmp_path / "x.otlp.jsonl")) == FAULT


def test_f5_the_processor_of_a_host_says_nothing_of_its_gpus(tmp_path: Path) -> None:
    """kubeopt took the CPU for the GPU: a loader that spins is no work of the GPU, an idle host is no idle GPU."""

    def with_cpu(file: Path, gpu: Curve, cpu: float) -> Path:
        out = Recording()
        for minute in range(150):
            load = [Gauge("system.cpu.utilization", "1", {"state": "user", "cpu": "cpu0"}, cpu)]
            out.metrics(minute * 60, {"host.name": "gpu-node-03"}, load)
            points = [("DCGM_FI_DEV_GPU_UTIL", gpu(minute)), ("DCGM_FI_DEV_FB_USED", 41_000.0)]
            out.metrics(minute * 60, EXPORTER, [Gauge(n, "", LABELS | POD | {"hpc_job": "7"}, v) for n, v in points])
        file.write_text(out.text())
        return file

    assert not fired(said(with_cpu(tmp_path / "busy.otlp.jsonl", waves(91, 88, 95), 0.01)))
    stops = steps((0, 90.0), (10, 0.0))
    spinning, resting = (with_cpu(tmp_path / f"{cpu}.otlp.jsonl", stops, cpu) for cpu in (0.98, 0.01))
    assert "CRE-2026-9002" in fired(said(spinning))
    assert [(d.id, d.time) for d in said(spinning)] == [(d.id, d.time) for d in said(resting)]


def test_f6_a_burst_now_and_then_does_not_protect_a_job_for_ever(tmp_path: Path) -> None:
    """jobstats#28: one burst in two hours made a job look used. It is not "never used", but it makes little use."""
    curves: dict[str, Curve] = {
        "DCGM_FI_DEV_GPU_UTIL": lambda m: 60 if m % 25 == 3 else 0,
        "DCGM_FI_DEV_FB_USED": always(450),
    }
    file = dcgm(tmp_path / "x.otlp.jsonl", 150, curves, {"hpc_job": "48213"})
    assert fired(said(file)) == {"CRE-2026-9007"}


def test_f7_a_shared_gpu_whose_activity_is_told_of_one_pod(tmp_path: Path) -> None:
    """dcgm-exporter#307, #109, #521: of two pods on one GPU, now this and now that is named, whoever works."""
    out = Recording()
    for minute in range(120):
        # The pod that is named changes with each scrape; the other one's work falls between its samples.
        pod, value = (("train-0", 93.0), ("notebook-0", 0.0))[minute % 2]
        labels = LABELS | POD | {"exported_pod": pod}
        points = [("DCGM_FI_DEV_GPU_UTIL", value), ("DCGM_FI_DEV_FB_USED", 41_000.0)]
        out.metrics(minute * 60, EXPORTER, [Gauge(name, "", labels, v) for name, v in points])
    file = tmp_path / "x.otlp.jsonl"
    file.write_text(out.text())
    assert not fired(said(file))


@pytest.mark.parametrize(
    "utilisation",
    [pytest.param(None, id="not-supported"), pytest.param(0.0, id="told-as-zero")],
)
def test_f8_a_mig_parent_without_utilisation_is_not_idle(utilisation: float | None, tmp_path: Path) -> None:
    """NVML has no utilisation of a GPU that is split; its instances are only seen by the counters."""
    curves: dict[str, Curve] = {
        "DCGM_FI_DEV_GPU_UTIL": always(utilisation),
        "DCGM_FI_DEV_FB_USED": always(18_000),
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE": waves(0.71, 0.68),
        "DCGM_FI_DEV_POWER_USAGE": always(310),
    }
    file = dcgm(
        tmp_path / "x.otlp.jsonl", 150, curves, {"GPU_I_ID": "1", "GPU_I_PROFILE": "3g.40gb", "hpc_job": "48213"}
    )
    assert fired(said(file)) <= FAULT
    careless = rule(tmp_path, "max_over_time(hw_gpu_utilization[15m]) == 0")
    assert not fired(said(file, [careless]))
    assert fired(said(file, [careless], health=False)) == (set() if utilisation is None else {"CRE-2026-8001"})


def test_f9_ranks_that_wait_in_a_collective_are_not_small_kernels(tmp_path: Path) -> None:
    """ROCm/device-metrics-exporter#34: a hang spins at 100 %. To advise larger batches then would be nonsense."""
    curves: dict[str, Curve] = {
        "DCGM_FI_DEV_GPU_UTIL": always(100),
        "DCGM_FI_DEV_FB_USED": always(71_000),
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE": always(1.0),
        "DCGM_FI_PROF_SM_ACTIVE": steps((0, 0.78), (20, 0.121)),
        "DCGM_FI_PROF_DRAM_ACTIVE": steps((0, 0.44), (20, 0.0004)),
        "DCGM_FI_DEV_POWER_USAGE": steps((0, 640.0), (20, 131.0)),
    }
    file = dcgm(tmp_path / "x.otlp.jsonl", 90, curves, {"hpc_job": "48213"})
    careless = rule(
        tmp_path,
        "avg_over_time(hw_gpu_utilization[15m]) > 0.8 and avg_over_time(fallow_gpu_sm_utilization[15m]) < 0.5",
    )
    assert fired(said(file, [careless])) == {"CRE-2026-8001"}
    assert fired(said(file)) == {"CRE-2026-9086"}, "it is found as what it is, and nobody is told to use larger batches"


def test_f10_scrubbing_after_a_boot_is_no_work(tmp_path: Path) -> None:
    """nvml.h: utilisation is high while the driver scrubs memory. A GPU that was never used is not "idle after use"."""
    out = Recording()
    for minute in range(60):
        node = [Gauge("node_boot_time_seconds", "", {"instance": "gpu-node-03:9100"}, 1_767_600_000 - 45.0)]
        out.metrics(minute * 60, {"host.name": "gpu-node-03", "service.name": "node-exporter"}, node)
        gpu = [("DCGM_FI_DEV_GPU_UTIL", 100.0 if minute < 4 else 0.0), ("DCGM_FI_DEV_FB_USED", 450.0)]
        out.metrics(minute * 60, EXPORTER, [Gauge(name, "", LABELS | POD, value) for name, value in gpu])
    file = tmp_path / "x.otlp.jsonl"
    file.write_text(out.text())
    pack = [Path(__file__).parents[2] / "rules" / "cre-2026-9002"]
    assert fired(said(file, pack, health=False)) == {"CRE-2026-9002"}
    assert not fired(said(file))


@pytest.mark.parametrize(
    ("model", "watts"),
    [
        pytest.param("Tesla T4", waves(17.1, 17.3), id="idle-at-17-W"),
        pytest.param("Tesla T4", waves(48, 57, 52), id="busy-below-an-idle-H100"),
        pytest.param("NVIDIA H100 80GB HBM3", waves(71, 72, 70), id="idle-at-71-W"),
    ],
)
def test_f11_power_alone_calls_nothing_idle(model: str, watts: Curve, tmp_path: Path) -> None:
    """kepler PR #2388: no GPU draws 0 W, and one model's idle is another's work. No watt figure serves all."""
    curves: dict[str, Curve] = {"DCGM_FI_DEV_POWER_USAGE": watts, "DCGM_FI_DEV_FB_USED": always(9_000)}
    labels = {"modelName": model, "hpc_job": "48213"}
    assert not fired(said(dcgm(tmp_path / "x.otlp.jsonl", 150, curves, labels)))
    careless = rule(tmp_path, "max_over_time(hw_power[30m]) < 75")
    assert fired(said(tmp_path / "x.otlp.jsonl", [careless])) == {"CRE-2026-8001"}


def test_f12_a_misspelt_key_is_refused_and_named(tmp_path: Path) -> None:
    """Job Defense Shield ignored keys that it did not know: a guard with a typing error guarded nothing."""
    documents: dict[str, tuple[Callable[[Path], object], str, str]] = {
        "config": (load_config, "receivers: {otlp: }\nprocesors: {cre: }\n", "procesors"),
        "playbook": (load_playbook, "entries:\n  - {tag: idle-gpu, action: notify, tier: T1, gards: {}}\n", "gards"),
        "signals": (load_table, "sources:\n  - {source: x, rows: [{name: a, signal: hw.power, scal: 2}]}\n", "scal"),
        "map": (load_mapping, "files:\n  - {match: '*.csv', entitty: {}}\n", "entitty"),
    }
    for name, (read, text, key) in documents.items():
        file = tmp_path / f"{name}.yaml"
        file.write_text(text)
        with pytest.raises(FallowError, match=rf"{name}\.yaml:\d+.*{key}"):
            read(file)
    file = rule(tmp_path, "max_over_time(hw_gpu_utilization[30m]) == 0")
    file.write_text(file.read_text().replace("interval: 30s", "intervall: 30s"))
    with pytest.raises(FallowError, match=r"rule\.yaml:\d+.*intervall"):
        RuleSet.load([file])


class Deciders:
    """People who approve whatever is proposed, and what carries it out."""

    def __init__(self, action: str) -> None:
        self.ledger, self.action, self.done = Ledger(), action, list[str]()

    def propose(self, id: str, hour: int) -> str:
        """The state of what is proposed at an hour."""
        at = hour * HOUR
        made = a_recommendation(id, action=Action(kind=self.action), dedupe_key="one target", created=at, updated=at)
        self.ledger.record([], [replace(made, expires=at + 4 * HOUR)])
        return self.state(id)

    def state(self, id: str) -> str:
        """Its state; none where it was not put down."""
        with suppress(NotFound):
            return self.ledger.get(id)[1].state
        return ""

    def apply(self, id: str, hour: int) -> None:
        """Approve it and carry it out."""
        states: tuple[RecommendationState, ...] = ("approved", "applying", "applied")
        for state in states:
            self.ledger.transition(id, state, actor="ada", reason="", now=hour * HOUR)
        self.done.append(id)


def test_f13_a_smaller_request_that_is_killed_for_memory_is_undone_and_not_repeated() -> None:
    """krr#110: the advice was followed and the pod was OOM-killed, again and again."""
    them = Deciders("resize")
    assert them.propose("first", 1) == "proposed"
    them.apply("first", 2)
    killed = Outcome(result="failure", note="OOMKilled", reporter="kubelet", time=3 * HOUR)
    them.ledger.report_outcome("first", killed)
    assert them.state("first") == "applied", "it is not verified"
    assert them.propose("again", 4) == "", "nothing else is proposed while it is not undone"
    them.ledger.transition("first", "reverted", actor="ada", reason="OOMKilled", now=4 * HOUR)
    assert them.propose("once-more", 5) == "refused"
    assert them.ledger.get("first")[1].outcome == killed


def test_f14_the_job_is_found_wherever_it_is_told(tmp_path: Path) -> None:
    """soperator PR #2923: hpc_job left the metrics for the sake of cardinality. The resource may name the job as well."""

    def told(file: Path, resource: dict[str, str], label: Callable[[int], dict[str, str]]) -> list[Detection]:
        out = Recording()
        for minute in range(100):
            points = [("DCGM_FI_DEV_GPU_UTIL", 92.0 if minute < 20 else 0.0), ("DCGM_FI_DEV_FB_USED", 41_000.0)]
            out.metrics(minute * 60, EXPORTER | resource, [Gauge(n, "", LABELS | label(minute), v) for n, v in points])
        file.write_text(out.text())
        return said(file)

    by_label = told(tmp_path / "a.otlp.jsonl", {}, lambda _: {"hpc_job": "48213"})
    by_resource = told(tmp_path / "b.otlp.jsonl", {"fallow.job.id": "48213"}, lambda _: {})
    assert "CRE-2026-9002" in fired(by_label)
    assert [(d.id, d.time, d.entity) for d in by_label] == [(d.id, d.time, d.entity) for d in by_resource]
    # The label goes in the middle of the work, and with it what is known of the job: it is not idle for that.
    gone = told(tmp_path / "c.otlp.jsonl", {}, lambda minute: {"hpc_job": "48213"} if minute < 15 else {})
    assert not [d for d in gone if d.state == "fired" and d.entity.get("fallow.job.id")]


def test_f15_an_action_that_does_not_help_is_not_taken_in_a_loop() -> None:
    """KAI#848: evicted, started anew, refused, evicted. The same is found each hour; the pauses grow."""
    them = Deciders("requeue")
    for hour in range(96):
        if them.propose(str(hour), hour) == "proposed":
            them.apply(str(hour), hour)
            them.ledger.transition(
                str(hour), "failed", actor="scheduler", reason="UnexpectedAdmissionError", now=hour * HOUR
            )
    assert [int(b) - int(a) for a, b in pairwise(them.done)] == [4, 8, 16, 32]
