"""Rules on recorded production telemetry: how often they are wrong, and how much of what lies idle they find in time."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fallow.batch import Batch
from fallow.model import Detection
from fallow.replay import Summary, default_chain, read_recording, replay
from fallow.testing.components import context
from fallow.units import SECOND

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
MAPS = ROOT / "otel-config" / "maps"
IDLE_PCT, IDLE_S, GAP_S, WORTH_S = 5.0, 900, 300, 600


@dataclass(frozen=True)
class Alert:
    """A detection of a rule tagged idle-gpu; seconds of the recording's clock."""

    pod: str
    start: float
    decided: float
    end: float


@dataclass(frozen=True)
class Pod:
    """What a pod did: its samples in order of time, and the seconds in which it served or loaded something."""

    time: np.ndarray
    duty: np.ndarray
    busy: Sequence[int]


def run(files: Sequence[Path], mapping: Path, rules: Sequence[Path] | None = None) -> tuple[list[Detection], Summary]:
    found: list[Detection] = []

    def observe(batch: Batch) -> None:
        found.extend(batch.detections)

    base = context("replay", ROOT)
    recording = read_recording(files, mapping, base.series)
    return found, replay(recording, default_chain(rules, None, base), observe)


def alerts(found: Sequence[Detection], tag: str) -> list[Alert]:
    last = {d.id: d.end for d in found if d.state in ("resolved", "open")}
    return [
        Alert(d.entity["container.id"], d.start / SECOND, d.time / SECOND, last.get(d.id, d.end) / SECOND)
        for d in found
        if d.state == "fired" and tag in d.tags
    ]


def pods(folder: Path) -> dict[str, Pod]:
    table = pq.read_table(folder / "pod_minute.parquet")
    events = pq.read_table(folder / "events.parquet")
    pod, time = np.asarray(table["container_ip"].to_pylist()), table["t_s"].to_numpy()
    served = (table["qps"].to_numpy() > 0) | (table["n_infer"].to_numpy() > 0)
    duty = table["gpu_duty_pct"].to_numpy()
    event_pod, event_time = np.asarray(events["container_ip"].to_pylist()), events["t_s"].to_numpy()
    made: dict[str, Pod] = {}
    for name in sorted(set(pod.tolist())):
        mine = np.flatnonzero(pod == name)
        mine = mine[np.argsort(time[mine], kind="stable")]
        busy = np.concatenate([time[mine][served[mine]], event_time[event_pod == name]])
        made[name] = Pod(time[mine], duty[mine], sorted(set(busy.tolist())))
    return made


def share_over_work(raised: Sequence[Alert], all_pods: Mapping[str, Pod]) -> float:
    """Share of alerts with a request, an inference or a load anywhere between the first and the last of their evidence."""
    wrong = 0
    for alert in raised:
        busy = all_pods[alert.pod].busy
        at = bisect.bisect_left(busy, alert.start)
        wrong += at < len(busy) and busy[at] <= alert.end
    return wrong / len(raised)


def idle_spans(pod: Pod) -> list[tuple[float, float]]:
    """Spans of samples below 5 % without a gap, 15 minutes or longer."""
    spans: list[tuple[float, float]] = []
    first = None
    for i in range(len(pod.time) + 1):
        over = i == len(pod.time) or not pod.duty[i] < IDLE_PCT
        gap = first is not None and i < len(pod.time) and pod.time[i] - pod.time[i - 1] > GAP_S
        if first is not None and (over or gap):
            if pod.time[i - 1] - pod.time[first] >= IDLE_S:
                spans.append((float(pod.time[first]), float(pod.time[i - 1])))
            first = None
        if not over and first is None:
            first = i
    return spans


def share_after_decision(raised: Sequence[Alert], all_pods: Mapping[str, Pod]) -> tuple[float, float]:
    """(share of idle pod-time that lies after the decision of an alert and before its end, that time in hours)."""
    idle = after = 0.0
    for name, pod in all_pods.items():
        mine = sorted((a.decided, a.end) for a in raised if a.pod == name)
        for start, end in idle_spans(pod):
            idle += end - start
            reached = start
            for decided, over in mine:
                low, high = max(decided, reached), min(over, end)
                if high > low:
                    after += high - low
                    reached = high
    return after / idle, idle / 3600


def share_worth_acting_on(raised: Sequence[Alert], all_pods: Mapping[str, Pod]) -> float:
    """Share of alerts after which the pod stays below 5 % for ten minutes; those that the recording's end cuts short are left out."""
    worth = judged = 0
    for alert in raised:
        pod = all_pods[alert.pod]
        later = pod.time > alert.decided
        works = pod.time[later & ~(pod.duty < IDLE_PCT)]
        if len(works):
            stays = works[0] - alert.decided >= WORTH_S
        elif pod.time[-1] - alert.decided >= WORTH_S:
            stays = True
        else:
            continue
        judged += 1
        worth += stays
    return worth / judged


def told(raised: Sequence[Alert], all_pods: Mapping[str, Pod]) -> str:
    wrong = share_over_work(raised, all_pods)
    covered, hours = share_after_decision(raised, all_pods)
    worth = share_worth_acting_on(raised, all_pods)
    return (
        f"{len(raised)} alerts, {wrong:.1%} over served requests or loads, {worth:.1%} worth acting on; {covered:.1%} of "
        f"{hours:.0f} idle pod-hours after the decision"
    )


def test_idle_rules_on_production_serving_telemetry(capsys: pytest.CaptureFixture[str]) -> None:
    folder = DATA / "gentd26"
    if not folder.is_dir():
        pytest.skip("the recorded telemetry is not beside this checkout")
    all_pods = pods(folder)
    tables = [folder / "pod_minute.parquet", folder / "events.parquet"]
    lines: list[str] = []
    shares: dict[str, tuple[float, float]] = {}
    worth = 0.0
    for name, files in (("with event tables", tables), ("without", tables[:1])):
        found, summary = run(files, MAPS / "gentd26.yaml")
        raised = alerts(found, "idle-gpu")
        shares[name] = share_over_work(raised, all_pods), share_after_decision(raised, all_pods)[0]
        lines.append(f"{name}: {told(raised, all_pods)}; {summary.unknown} unknown, {summary.late} late")
        for half in (0, 1):
            some = dict(list(all_pods.items())[half::2])
            lines.append(f"  every other pod, {half}: {told([a for a in raised if a.pod in some], some)}")
        if name == "with event tables":
            worth = share_worth_acting_on(raised, all_pods)
        assert summary.entities == len(all_pods)
        assert summary.late == 0
    with capsys.disabled():
        print("\nGenTD26, 89 pods, 15 h, rules tagged idle-gpu\n  " + "\n  ".join(lines))
    wrong, covered = shares["with event tables"]
    assert wrong <= 0.05
    # What was reached, for it not to be lost; the rules before found 0.61, a time-out of 10 minutes 0.67 at 0.36-0.39.
    assert covered >= 0.42
    assert worth >= 0.45
    assert shares["without"][0] > wrong, "the events make the difference"


def test_every_row_of_a_dcgm_snapshot_is_read_and_the_held_gpus_are_found() -> None:
    file = DATA / "dcgm_snapshot" / "h100_31hosts.parquet"
    if not file.exists():
        pytest.skip("the recorded telemetry is not beside this checkout")
    table = pq.read_table(file).to_pylist()
    value = {(row["uuid"], row["metric_name"]): float(row["value"]) for row in table}
    held = {
        uuid
        for uuid, name in value
        if name == "DCGM_FI_DEV_GPU_UTIL"
        and value[uuid, name] == 0
        and value.get((uuid, "DCGM_FI_DEV_FB_USED"), 0) > 1024
    }
    found, summary = run([file], MAPS / "dcgm-long.yaml", [ROOT / "rules" / "cre-2026-9004"])
    assert summary.samples == len(table) == 2470
    fired = [d for d in found if d.state == "fired"]
    assert {d.entity["hw.id"] for d in fired} == held
    assert len(fired) == len(held) == 21
