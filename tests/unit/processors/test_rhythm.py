"""How likely an idle GPU is to stay idle, learned from when those of its pool came back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from fallow import semconv
from fallow.batch import Batch, MetricBatch
from fallow.series import SeriesKey, SeriesTable
from fallow.series.table import pairs
from fallow.state import Gap, Past
from fallow.testing.components import context
from fallow.units import SECOND
from fallow_processors.rhythm import RhythmConfig
from fallow_processors.rhythm.processor import RhythmProcessor

BEGIN = 1_767_600_000
MINUTE = 60
Sample = tuple[int, str, str, float]
"""(second, pod, signal, value)."""
NOW, PEAK = semconv.GPU_IDLE_PERSISTENCE, semconv.GPU_IDLE_PERSISTENCE_PEAK


class Rhythm:
    """A ``rhythm`` processor, and what it said: (second, pod) → probability; 0: it works again."""

    def __init__(self, table: SeriesTable | None = None, **config: object) -> None:
        self.table = table or SeriesTable()
        self.processor = RhythmProcessor(RhythmConfig.model_validate(config), context("rhythm", Path(), self.table))
        self.said: dict[str, dict[tuple[int, str], float]] = {NOW: {}, PEAK: {}}

    def take(self, samples: Sequence[Sample], labels: Mapping[str, str] | None = None) -> None:
        ids = [self.table.intern(key(pod, name, labels or {})) for _, pod, name, _ in samples]
        times = [(BEGIN + at) * SECOND for at, *_ in samples]
        out = self.processor.process(Batch(metrics=MetricBatch.of(ids, times, [v for *_, v in samples]))).metrics
        assert out is not None
        for one, time, value in zip(out.series, out.time, out.value, strict=True):
            about = self.table.key(int(one))
            if about.name in self.said:
                at = int(time) // SECOND - BEGIN
                self.said[about.name][at, about.labels["k8s.pod.name"]] = float(value)


def key(pod: str, name: str, more: Mapping[str, str]) -> SeriesKey:
    labels = {"k8s.namespace.name": "serve", "k8s.pod.name": pod, "host.name": f"node-{pod}", **more}
    return SeriesKey(name, semconv.SIGNALS[name], "", pairs(labels), pairs({"hw.id": f"GPU-{pod}"}))


def pool(minutes: int, gap: int, pods: int = 20, seed: int = 0, begin: int = 0, name: str = "p") -> list[Sample]:
    """Pods that work for a minute when they are wanted, which is once in ``gap`` minutes on average."""
    wanted = np.random.default_rng(seed).random((minutes, pods)) < 1 / gap
    return [
        ((begin + m) * MINUTE, f"{name}{p}", semconv.GPU_UTILIZATION, 0.4 if wanted[m, p] else 0.0)
        for m in range(minutes)
        for p in range(pods)
    ]


def late(said: Mapping[tuple[int, str], float], after: int) -> list[float]:
    return [v for (at, _), v in said.items() if at >= after * MINUTE and v > 0]


@pytest.mark.parametrize("gap", [4, 15, 60])
def test_what_is_said_is_how_often_it_is_so(gap: int) -> None:
    """Over a pool with a steady demand: ten minutes without it have the probability (1 − 1/gap) to the power of ten."""
    rhythm = Rhythm()
    rhythm.take(pool(600, gap, seed=gap))
    said = late(rhythm.said[NOW], 300)
    assert len(said) > 100
    assert np.mean(said) == pytest.approx((1 - 1 / gap) ** 10, abs=0.06)


def test_demand_that_goes_is_noticed_within_minutes() -> None:
    rhythm = Rhythm()
    rhythm.take(pool(240, 5))
    rhythm.take(pool(30, 10_000, begin=240))
    assert max(v for (at, _), v in rhythm.said[NOW].items() if 200 <= at / MINUTE < 240 and v > 0) < 0.5
    assert min(late(rhythm.said[NOW], 262)) > 0.6


def test_a_gpu_that_is_wanted_less_than_its_pool_is_told_from_it() -> None:
    rhythm = Rhythm()
    busy = pool(400, 5)
    seldom = [
        (m * MINUTE, "seldom", semconv.GPU_UTILIZATION, 0.4 if m in (1, 100, 200, 300) else 0.0) for m in range(400)
    ]
    rhythm.take(sorted(busy + seldom))
    said = {pod: v for (at, pod), v in rhythm.said[NOW].items() if at > 350 * MINUTE and v > 0}
    assert said.pop("seldom") > 0.6
    assert max(said.values()) < 0.5


def test_nothing_is_said_before_a_pool_is_known_nor_of_a_gpu_that_never_worked() -> None:
    rhythm = Rhythm()
    rhythm.take([*pool(10, 10), *((m * MINUTE, "new", semconv.GPU_UTILIZATION, 0.0) for m in range(10))])
    assert not rhythm.said[NOW]
    rhythm = Rhythm()
    rhythm.take(sorted([*pool(200, 5), *((m * MINUTE, "new", semconv.GPU_UTILIZATION, 0.0) for m in range(200))]))
    assert rhythm.said[NOW]
    assert not [pod for _, pod in rhythm.said[NOW] if pod == "new"]


def test_pools_do_not_learn_from_each_other() -> None:
    alone = Rhythm()
    alone.take(pool(200, 5))
    beside = Rhythm()
    beside.take(pool(200, 100, name="q"), {"service.name": "other"})
    for begin in range(0, 200, 10):
        beside.take([s for s in pool(200, 5) if begin * MINUTE <= s[0] < (begin + 10) * MINUTE])
    assert alone.said[NOW] == {k: v for k, v in beside.said[NOW].items() if k[1].startswith("p")}


def test_the_peak_stays_until_the_gpu_works_again() -> None:
    rhythm = Rhythm()
    rhythm.take(pool(120, 5))
    rhythm.take(pool(30, 10_000, begin=120))
    rhythm.take(
        [s for s in pool(30, 2, begin=150) if s[1] != "p0"]
        + [((150 + m) * MINUTE, "p0", semconv.GPU_UTILIZATION, 0.0) for m in range(20)]
        + [(170 * MINUTE, "p0", semconv.GPU_UTILIZATION, 0.5)]
    )
    now = {at // MINUTE: v for (at, pod), v in rhythm.said[NOW].items() if pod == "p0"}
    peak = {at // MINUTE: v for (at, pod), v in rhythm.said[PEAK].items() if pod == "p0"}
    assert peak[169] == max(v for m, v in now.items() if 150 <= m < 170) > now[169]
    assert now[170] == 0
    assert peak[170] == 0


def test_requests_count_as_work() -> None:
    rhythm = Rhythm()
    rhythm.take(pool(120, 10))
    idle = [(m * MINUTE, "p0", semconv.GPU_UTILIZATION, 0.0) for m in range(120, 140)]
    served = [(m * MINUTE, "p0", semconv.SERVING_REQUESTS, float(m)) for m in range(120, 140)]
    rhythm.take(sorted(idle + served))
    assert not late({k: v for k, v in rhythm.said[NOW].items() if k[1] == "p0"}, 124)


def test_neither_order_of_hosts_nor_batches_matter() -> None:
    samples = pool(240, 8)
    whole = Rhythm()
    whole.take(samples)
    rng = np.random.default_rng(1)
    split = Rhythm()
    for minute in range(240):
        now = [s for s in samples if s[0] == minute * MINUTE]
        for one in rng.permutation(len(now)):
            split.take([now[one]])
    assert split.said == whole.said
    assert whole.said[NOW]


@pytest.mark.parametrize("lost", [False, True])
def test_it_goes_on_after_a_restart(lost: bool) -> None:
    samples = pool(300, 8)
    whole = Rhythm()
    whole.take(samples)
    first = Rhythm()
    first.take([s for s in samples if s[0] < 200 * MINUTE])
    table = SeriesTable()
    table.intern(SeriesKey("something.else"))
    ids = table.restore(first.table.save()())
    second = Rhythm(table)
    gap = Gap(until=(BEGIN + 200 * MINUTE) * SECOND) if lost else None
    second.processor.restore(first.processor.save()(), Past(series=ids, gap=gap))
    second.take([s for s in samples if s[0] >= 200 * MINUTE])
    expected = {k: v for k, v in whole.said[NOW].items() if k[0] >= (203 if lost else 200) * MINUTE}
    if not lost:
        assert second.said[NOW] == expected
    else:  # idleness counts anew, what was learned is there
        both = [(v, expected[k]) for k, v in second.said[NOW].items() if k in expected and v * expected[k] > 0]
        assert len(both) > 500
        assert max(abs(a - b) for a, b in both) < 0.1


def test_the_limits_hold() -> None:
    rhythm = Rhythm(max_gpus=5)
    rhythm.take(pool(200, 5))
    assert {pod for _, pod in rhythm.said[NOW]} == {f"p{i}" for i in range(5)}
    rhythm = Rhythm(max_pools=1)
    rhythm.take(pool(200, 5))
    rhythm.take(pool(200, 5, name="q"), {"service.name": "other"})
    assert not [pod for _, pod in rhythm.said[NOW] if pod.startswith("q")]


def test_after_long_silence_a_pool_is_what_it_usually_is() -> None:
    rhythm = Rhythm()
    rhythm.take(pool(300, 5))
    rhythm.take(pool(10, 10_000, begin=900, seed=3))
    first = [v for (at, _), v in rhythm.said[NOW].items() if 902 <= at / MINUTE < 904]
    assert first
    assert np.median(first) < 0.35, "as usual, not as quiet as the silence"
