"""Known ways in which detections like ours go wrong, replayed through the shipped pipeline: none is a false detection.

Where a test has a careless rule, it shows both: what that rule says when nobody asks whether a signal is to be believed,
and that it says nothing when somebody does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from fallow.testing.samples import Gauge, Recording
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
