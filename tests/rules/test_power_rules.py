"""The rules over power: their samples are what the script writes, and they are right on recorded power where it is there.

What the recordings are and how a stall is told was fixed before the rules were written: inside the training window (first
to last second above 60 % of the run's 95th percentile of power), seconds in stretches of 5 s or more below 45 % of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from fallow.batch import BoolArray, Float64Array
from fallow.model import Detection
from fallow.replay import build, raised, read_recording
from fallow.service import Chain
from fallow.testing.components import context
from fallow.units import SECOND
from rules.power_samples import samples

ROOT = Path(__file__).parents[2]
RULES, MAPS = ROOT / "rules", ROOT / "otel-config" / "maps"
DATA = ROOT.parent / "shared" / "data"
recorded = pytest.mark.skipif(not DATA.is_dir(), reason="recordings are not here")


def test_the_samples_are_what_the_script_writes() -> None:
    for name, text in samples().items():
        assert (RULES / name).read_text() == text, name


def detections(source: Path, mapping: str, rule: str) -> list[Detection]:
    """The last word on each detection that fired."""
    base = context("replay", source.parent)
    recording = read_recording([source], MAPS / mapping, base.series)
    options = {"cre": {"rules": [str(RULES / rule)]}}
    chain = Chain(build(("normalise", "health", "baselines", "cre"), options, base), raised)
    found: dict[str, Detection] = {}
    for batch in [*map(chain.process, recording), *chain.finish()]:
        found |= {d.id: d for d in batch.detections if d.state != "unknown"}
    return list(found.values())


# -- checkpoint stalls ---------------------------------------------------------------------------------------------------
def by_second(time: Float64Array, value: Float64Array) -> Float64Array:
    """Means by second; a second without a sample has that of the one before."""
    at = (time - time[0]).astype(int)
    count = np.bincount(at)
    mean = np.bincount(at, value) / np.maximum(count, 1)
    for i in np.flatnonzero(count == 0).tolist():
        mean[i] = mean[i - 1]
    return mean


def stretches(low: BoolArray, least: int = 5) -> BoolArray:
    """Where a stretch of at least so many is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], low, [False]]).astype(int)))
    out = np.zeros(len(low), dtype=np.bool_)
    for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        out[first:last] = last - first >= least
    return out


def stalls(power: Float64Array, p95: float) -> tuple[BoolArray, int, int]:
    """(seconds of stalls, first and last second of the training window)."""
    window = np.flatnonzero(power > 0.6 * p95)
    inside = np.zeros(len(power), dtype=np.bool_)
    inside[window[0] : window[-1] + 1] = True
    return stretches(power < 0.45 * p95) & inside, int(window[0]), int(window[-1])


@recorded
@pytest.mark.timeout(1500)
def test_checkpoint_stalls_are_found_that_utilisation_cannot_see() -> None:
    source = DATA / "train_ckpt_power" / "nvidia_smi.parquet"
    found: dict[str, list[Detection]] = defaultdict(list)
    for one in detections(source, "train_ckpt_power.yaml", "cre-2026-9021"):
        found[one.entity["host.name"]].append(one)
    hits = np.zeros(3, dtype=int)
    by_utilisation = np.zeros(3, dtype=int)
    for run, time, watts, busy in _runs(source):
        power = by_second(time, watts)
        truth, first, last = stalls(power, float(np.percentile(watts, 95)))
        said = np.zeros(len(power), dtype=np.bool_)
        for one in found[run]:
            said[max(0, int(one.start / SECOND - time[0])) : int(one.end / SECOND - time[0])] = True
            assert first <= one.time / SECOND - time[0] <= last + 1, f"{run}: an alert outside of training"
        hits += _counts(truth, said)
        # The textbook rule on the same runs: below 30 % of utilisation for 5 s.
        by_utilisation += _counts(truth, stretches(by_second(time, busy)[: len(power)] < 30))
    assert f1(hits) >= 0.9
    assert f1(by_utilisation) < 0.5 * f1(hits)


def _runs(source: Path) -> Iterator[tuple[str, Float64Array, Float64Array, Float64Array]]:
    table = pq.read_table(source)
    names = np.array(_texts(table, "run"))
    time = pc.cast(pc.cast(table["timestamp"], pa.timestamp("ns")), pa.int64()).to_numpy() / SECOND
    for run in dict.fromkeys(names.tolist()):
        rows = names == run
        yield run, np.floor(time[rows]), table["power_w"].to_numpy()[rows], table["util_pct"].to_numpy()[rows]


def _texts(table: pa.Table, column: str) -> list[str]:
    return [str(text) for text in table[column].to_pylist()]


def _counts(truth: BoolArray, said: BoolArray) -> Float64Array:
    return np.array([(truth & said).sum(), (said & ~truth).sum(), (truth & ~said).sum()])


def f1(counts: Float64Array) -> float:
    """Of (right, said and wrong, missed)."""
    return float(2 * counts[0] / max(1, 2 * counts[0] + counts[1] + counts[2]))


# -- legitimate start-up, and idle spans -----------------------------------------------------------------------------------
IDLE_S = 600


def stretched(table: pa.Table, before: float, after: float) -> pa.Table:
    """A run with its own idle power, as recorded, for ten minutes before it and after it.

    No run of the collection is recorded for five idle minutes. What there is before the start, and from 15 to 35 s after
    the stop, is gone through again and again. Later the next run begins to start in some of them.
    """
    time, watts = table["time_ms"].to_numpy() / 1e3, table["watts"].to_numpy()
    head, tail = watts[time < before - 2], watts[(time > after + 15) & (time < after + 35)]
    time, watts = time[time < after + 35], watts[time < after + 35]
    pieces = [
        (time[0] - np.arange(0, IDLE_S, 2)[::-1] - 2, np.resize(head, IDLE_S // 2)),
        (time, watts),
        (time[-1] + np.arange(2, IDLE_S + 2, 2), np.resize(tail, IDLE_S // 2)),
    ]
    made = {"time_ms": np.concatenate([p[0] for p in pieces]) * 1e3, "watts": np.concatenate([p[1] for p in pieces])}
    names = {name: pa.array([table[name][0].as_py()] * len(made["time_ms"])) for name in ("run_id", "node")}
    return pa.table(
        names
        | {"time_ms": pa.array(made["time_ms"].astype(np.int64)), "watts": pa.array(made["watts"].astype(np.float32))}
    )


@recorded
@pytest.mark.timeout(1500)
def test_idle_spans_are_found_and_initialisations_are_left_alone(tmp_path: Path) -> None:
    power = pq.read_table(DATA / "mlperf_power" / "node_power.parquet")
    events = pq.read_table(DATA / "mlperf_power" / "events.parquet")
    node = power.filter(pc.equal(power["node"], pa.scalar("node_0")))
    runs: dict[str, tuple[float, float, float]] = {}
    parts: list[pa.Table] = []
    for run in dict.fromkeys(_texts(node, "run_id")):
        said = events.filter(pc.equal(events["run_id"], pa.scalar(run)))
        at = dict(zip(_texts(said, "key")[::-1], said["time_ms"].to_numpy()[::-1].tolist(), strict=True))
        table = node.filter(pc.equal(node["run_id"], pa.scalar(run))).sort_by("time_ms")
        times = table["time_ms"].to_numpy() / 1e3
        if at["init_start"] / 1e3 - times[0] < 15 or times[-1] - at["run_stop"] / 1e3 < 30:
            continue  # it was not recorded before or after
        runs[run] = at["init_start"] / 1e3, at["run_start"] / 1e3, at["run_stop"] / 1e3
        parts.append(stretched(table, runs[run][0], runs[run][2]))
    source = tmp_path / "node_power.parquet"
    pq.write_table(pa.concat_tables(parts[:24]), source)
    asked = list(runs)[:24]
    found = detections(source, "mlperf_power.yaml", "cre-2026-9014")
    alerts: dict[str, list[float]] = {
        run: [d.time / SECOND for d in found if d.entity["fallow.job.id"] == run] for run in asked
    }
    spans = hit = wrong = 0
    for run in asked:
        init, _, stop = runs[run]
        wrong += any(init <= t <= stop for t in alerts[run])
        spans += 2
        hit += any(t < init for t in alerts[run]) + any(t > stop for t in alerts[run])
    assert spans >= 40
    assert wrong <= 0.05 * len(asked)
    assert hit >= 0.8 * spans


@recorded
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("source", "mapping"),
    [
        ("mlperf_power/node_power.parquet", "mlperf_power.yaml"),
        ("llm_inference_power/traces.parquet", "llm_inference_power.yaml"),
    ],
)
def test_starting_loading_and_warming_up_raise_no_idle_alert(source: str, mapping: str) -> None:
    assert detections(DATA / source, mapping, "cre-2026-9014") == []
