"""What a device draws and holds when nothing runs, how it runs, and what an hour of the week brings."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fallow import semconv
from fallow.batch import Batch, MetricBatch
from fallow.series import SeriesKey, SeriesTable
from fallow.series.table import pairs
from fallow.state import Past
from fallow.testing.components import context
from fallow.units import SECOND
from fallow_processors.baselines import BaselinesConfig, _kernels
from fallow_processors.baselines.processor import BaselinesProcessor

MONDAY = 1_767_571_200  # 2026-01-05 00:00 UTC
GPU = {"host.name": "n1", "hw.id": "GPU-1", "hw.type": "gpu", "hw.model": "H100"}
P, U, M = semconv.GPU_POWER, semconv.GPU_UTILIZATION, semconv.GPU_MEMORY_USAGE
RATE, COUNT = semconv.SERVING_REQUEST_RATE, semconv.SERVING_REQUESTS
HOUR, DAY, WEEK = 3600, 86_400, 604_800
GIB = 2.0**30

Sample = tuple[float, str, float, Mapping[str, str]]
"""(second, signal, value, labels)."""
Said = tuple[float, str, str, float]
"""(second, signal, whose, value)."""


class Learner:
    """A ``baselines`` processor with its series table."""

    def __init__(self, max_series: int = 1000) -> None:
        self.series = SeriesTable()
        self.processor = BaselinesProcessor(
            BaselinesConfig(max_series=max_series), context("baselines", Path(), self.series)
        )
        self.said: list[Said] = []

    def of(self, samples: Sequence[Sample], stale: bool = False) -> Learner:
        """Take one batch; what came in has to come out unchanged, in front."""
        if not samples:
            return self
        ids = [
            self.series.intern(SeriesKey(name, semconv.SIGNALS[name], "", (), pairs(labels)))
            for _, name, _, labels in samples
        ]
        metrics = MetricBatch(
            series=np.asarray(ids, dtype=np.int32),
            time=np.asarray([round((MONDAY + at) * SECOND) for at, *_ in samples], dtype=np.int64),
            value=np.asarray([value for _, _, value, _ in samples], dtype=np.float64),
            stale=np.full(len(samples), stale),
        )
        out = self.processor.process(Batch(metrics=metrics)).metrics
        assert out is not None
        assert out.series[: len(samples)].tolist() == ids
        for series, time, value in zip(
            out.series[len(ids) :].tolist(),
            out.time[len(ids) :].tolist(),
            out.value[len(ids) :].tolist(),
            strict=True,
        ):
            key = self.series.key(series)
            self.said.append((time / SECOND - MONDAY, key.name, key.labels.get("hw.id", ""), value))
        return self

    def last(self, name: str, gpu: str = "GPU-1") -> float | None:
        """What was said last of a device (or of the only endpoint, "")."""
        return next((v for _, n, g, v in reversed(self.said) if (n, g) == (name, gpu)), None)


def level(
    value: float,
    begin: float,
    end: float,
    step: float = 1,
    name: str = P,
    labels: Mapping[str, str] = GPU,
    noise: float = 0.01,
) -> list[Sample]:
    """A level with a little noise, the same each time."""
    rng = random.Random(f"{value} {begin} {name}")
    times = np.arange(begin, end, step).tolist()
    return [(at, name, value * (1 + rng.uniform(-noise, noise)), labels) for at in times]


def gpu(number: int, model: str = "H100") -> dict[str, str]:
    return {**GPU, "hw.id": f"GPU-{number}", "hw.model": model}


def together(*parts: list[Sample]) -> list[Sample]:
    return sorted((s for part in parts for s in part), key=lambda s: s[0])


IDLE, BUSY = 72.0, 540.0


# -- the idle level of power ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("step", [0.1, 1, 15, 60])
def test_what_was_seen_idle_and_at_work_has_an_idle_level(step: float) -> None:
    long = 20 * max(step, 5)
    said = Learner().of(
        [*level(IDLE, 0, long, step), *level(BUSY, long, 2 * long, step), *level(IDLE, 2 * long, 3 * long, step)]
    )
    assert said.last(semconv.GPU_POWER_IDLE) == pytest.approx(IDLE, rel=0.02)


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param(level(BUSY, 0, 3600, 5), id="one-level-of-work"),
        pytest.param([*level(430, 0, 900), *level(640, 900, 1800), *level(430, 1800, 2700)], id="two-levels-of-work"),
        pytest.param(level(400, 0, 3600, 5, noise=0.4), id="work-that-swings"),
        pytest.param(level(IDLE, 0, 3600, 5), id="only-idle-it-might-be-work"),
        pytest.param(
            together(level(250, 0, 900), level(600, 900, 1800), level(1.0, 0, 1800, name=U, noise=0)),
            id="light-work-by-utilisation",
        ),
        pytest.param([*level(0.0, 0, 900, noise=0), *level(BUSY, 900, 1800)], id="a-sensor-that-says-nothing"),
        pytest.param([*level(IDLE, 0, 12), *level(BUSY, 12, 600)], id="too-short-to-be-a-level"),
        pytest.param([(at, P, float("nan"), GPU) for at in range(600)], id="nan"),
    ],
)
def test_what_is_not_known_is_absent(samples: list[Sample]) -> None:
    assert Learner().of(samples).last(semconv.GPU_POWER_IDLE) is None


def test_utilisation_says_that_a_level_is_idle() -> None:
    said = Learner().of(together(level(IDLE, 0, 300), level(0.0, 0, 300, name=U, noise=0)))
    assert said.last(semconv.GPU_POWER_IDLE) == pytest.approx(IDLE, rel=0.02)


def test_a_loaded_program_does_not_become_the_idle_level() -> None:
    samples = [*level(IDLE, 0, 300), *level(BUSY, 300, 600), *level(118, 600, 40_000, 5)]
    assert Learner().of(samples).last(semconv.GPU_POWER_IDLE) == pytest.approx(IDLE, rel=0.02)


def test_a_lower_level_takes_over_when_it_was_met_twice() -> None:
    high = [*level(118, 0, 300), *level(BUSY, 300, 600)]
    assert Learner().of([*high, *level(IDLE, 600, 625)]).last(semconv.GPU_POWER_IDLE) == pytest.approx(118, rel=0.02)
    assert Learner().of([*high, *level(IDLE, 600, 720)]).last(semconv.GPU_POWER_IDLE) == pytest.approx(IDLE, rel=0.02)


def test_a_level_that_is_not_met_for_a_month_is_learnt_anew() -> None:
    first = [*level(IDLE, 0, 300), *level(BUSY, 300, 600)]
    again = 31 * DAY
    said = Learner().of(
        [
            *first,
            *level(BUSY, again, again + 300),
            *level(110, again + 300, again + 600),
            *level(BUSY, again + 600, again + 900),
        ]
    )
    assert said.last(semconv.GPU_POWER_IDLE) == pytest.approx(110, rel=0.02)


def test_drop_outs_of_a_sensor_are_no_idle_level() -> None:
    samples = [*level(2260, 0, 300, 2), *level(7200, 300, 900, 2), *level(2260, 900, 1200, 2)]
    holes = [(at, name, 40.0 if i % 50 == 7 else value, labels) for i, (at, name, value, labels) in enumerate(samples)]
    assert Learner().of(holes).last(semconv.GPU_POWER_IDLE) == pytest.approx(2260, rel=0.02)


# -- of a model ----------------------------------------------------------------------------------------------------------
def _seen(number: int, idle: float, begin: float = 0) -> list[Sample]:
    who = gpu(number)
    return [*level(idle, begin, begin + 120, labels=who), *level(BUSY, begin + 120, begin + 240, labels=who)]


def test_a_device_has_its_models_level_until_it_has_its_own() -> None:
    learner = Learner().of(together(*(_seen(i, 70.0 + i) for i in range(2, 7))))
    learner.of(level(BUSY, 240, 400, labels=gpu(1)))
    assert learner.last(semconv.GPU_POWER_IDLE) == pytest.approx(74, rel=0.02)
    learner.of([*level(90, 400, 520), *level(BUSY, 520, 640)])
    assert learner.last(semconv.GPU_POWER_IDLE) == pytest.approx(90, rel=0.02)
    assert (
        Learner().of(_seen(2, 70)).of(level(BUSY, 240, 400, labels=gpu(1, "A100"))).last(semconv.GPU_POWER_IDLE) is None
    )


def test_what_is_far_above_its_model_is_not_idle() -> None:
    learner = Learner().of(together(*(_seen(i, 70) for i in range(2, 5))))
    learner.of([*level(200, 240, 600), *level(BUSY, 600, 900), *level(200, 900, 1200)])
    assert learner.last(semconv.GPU_POWER_IDLE) == pytest.approx(70, rel=0.02)


def test_one_device_of_many_does_not_make_the_model() -> None:
    learner = Learner().of(together(*(_seen(i, 140.0 if i == 2 else 70.0) for i in range(2, 9))))
    learner.of(level(BUSY, 240, 400, labels=gpu(1)))
    assert learner.last(semconv.GPU_POWER_IDLE) == pytest.approx(70, rel=0.02)


# -- memory --------------------------------------------------------------------------------------------------------------
def test_memory_of_the_driver_is_the_lowest_level_that_no_program_explains() -> None:
    samples = [*level(530e6, 0, 120, name=M), *level(17 * GIB, 120, 600, name=M)]
    assert Learner().of(samples).last(semconv.GPU_MEMORY_IDLE) == pytest.approx(530e6, rel=0.02)
    assert Learner().of(level(17 * GIB, 0, 600, name=M)).last(semconv.GPU_MEMORY_IDLE) is None


def test_a_driver_that_reserves_nothing_is_known_to() -> None:
    assert Learner().of(level(0.0, 0, 120, name=M, noise=0)).last(semconv.GPU_MEMORY_IDLE) == 0.0


# -- how it runs ---------------------------------------------------------------------------------------------------------
def test_the_running_level_is_kept_through_a_stall_and_is_forgotten_slowly() -> None:
    learner = Learner().of([*level(BUSY, 0, 60), *level(150, 60, 180)])
    assert learner.last(semconv.GPU_POWER_RUNNING) == pytest.approx(BUSY, rel=0.08)
    learner.of(level(150, 180, 60 + 1800))
    assert learner.last(semconv.GPU_POWER_RUNNING) == pytest.approx(BUSY / 2, rel=0.08)


def test_one_spike_is_no_level() -> None:
    samples = [*level(150, 0, 60), (60.0, P, 600.0, GPU), *level(150, 61, 120)]
    assert Learner().of(samples).last(semconv.GPU_POWER_RUNNING) == pytest.approx(150, rel=0.05)


def test_the_next_job_begins_without_a_running_level() -> None:
    job = {**GPU, "fallow.job.id": "2"}
    learner = Learner().of(level(BUSY, 0, 60)).of(level(120, 60, 120, labels=job))
    assert learner.last(semconv.GPU_POWER_RUNNING) == pytest.approx(120, rel=0.05)


@pytest.mark.parametrize(
    ("period", "step", "known"),
    [(2.0, 0.1, True), (30.0, 1, True), (1.5, 1, False)],
    ids=["steps-at-10-Hz", "long-steps", "too-quick-for-1-s"],
)
def test_the_period_of_steps(period: float, step: float, known: bool) -> None:
    samples = [
        (t, P, 500.0 if (t % period) < 0.7 * period else 300.0, GPU)
        for t in np.arange(0, 20 * period + 120, step).tolist()
    ]
    found = Learner().of(samples).last(semconv.STEP_PERIOD)
    assert found == pytest.approx(period, rel=0.05) if known else found is None


def test_all_that_is_learnt_of_a_gpu_is_learnt_of_a_node() -> None:
    node = {"host.name": "n1", "hw.model": "8xH100", "fallow.job.id": "7"}
    work = [(t, semconv.HOST_POWER, 7200.0 if t % 20 < 14 else 5000.0, node) for t in range(300, 1200)]
    learner = Learner().of([*level(2260, 0, 300, name=semconv.HOST_POWER, labels=node), *work])
    assert learner.last(semconv.HOST_POWER_IDLE, "") == pytest.approx(2260, rel=0.02)
    assert learner.last(semconv.HOST_POWER_RUNNING, "") == pytest.approx(7200, rel=0.02)
    assert learner.last(semconv.STEP_PERIOD, "") == pytest.approx(20, rel=0.05)


def test_noise_has_no_period() -> None:
    assert Learner().of(level(400, 0, 1200, noise=0.5)).last(semconv.STEP_PERIOD) is None


# -- what an hour of the week brings --------------------------------------------------------------------------------------
ENDPOINT = {"k8s.namespace.name": "serving", "k8s.pod.name": "llm-0"}


def rate_at(second: float) -> float:
    """Busy by day, quiet on Sunday."""
    hour = second % DAY / HOUR
    return 0.0 if second % WEEK >= 6 * DAY else 10.0 if 8 <= hour < 18 else 1.0


def test_nothing_is_expected_of_the_first_day() -> None:
    samples = [(t, RATE, rate_at(t), ENDPOINT) for t in range(0, DAY, 60)]
    assert Learner().of(samples).last(semconv.REQUESTS_EXPECTED, "") is None


def test_a_day_gives_the_hours_of_the_next_and_a_week_those_of_the_week() -> None:
    learner = Learner().of([(t, RATE, rate_at(t), ENDPOINT) for t in range(0, DAY + 9 * HOUR + 120, 60)])
    assert learner.last(semconv.REQUESTS_EXPECTED, "") == pytest.approx(10)
    sunday = WEEK + 6 * DAY + 9 * HOUR
    learner.of([(t, RATE, rate_at(t), ENDPOINT) for t in range(DAY + 9 * HOUR + 120, sunday, 60)])
    assert learner.last(semconv.REQUESTS_EXPECTED, "") == pytest.approx(0, abs=0.1)


def test_a_count_is_learnt_like_a_rate_and_may_begin_anew() -> None:
    count, samples = 0.0, list[Sample]()
    for t in range(0, DAY + 9 * HOUR, 60):
        count = 0.0 if t == 5 * HOUR else count + 60 * rate_at(t)
        samples.append((t, COUNT, count, ENDPOINT))
    assert Learner().of(samples).last(semconv.REQUESTS_EXPECTED, "") == pytest.approx(10, rel=0.02)


def test_an_hour_that_was_hardly_seen_says_nothing() -> None:
    seen = [(t, RATE, 5.0, ENDPOINT) for t in range(0, 20 * 60, 60)]
    later = [(t, RATE, 5.0, ENDPOINT) for t in range(DAY, DAY + 1200, 60)]
    assert Learner().of(seen).of(later).last(semconv.REQUESTS_EXPECTED, "") is None


# -- batches, order, restarts, limits --------------------------------------------------------------------------------------
def day_of_a_device(seed: int) -> list[Sample]:
    rng, samples, at = random.Random(seed), list[Sample](), 0.0
    for _ in range(12):
        span = rng.choice([15.0, 40.0, 200.0])
        watts = rng.choice([IDLE, 118.0, 150.0, 300.0, BUSY])
        for number in (1, 2):
            samples += level(watts, at, at + span, rng.choice([1, 2]), labels=gpu(number))
            samples += level(float(watts > 200), at, at + span, 5, name=U, labels=gpu(number), noise=0)
            samples += level(530e6 if watts == IDLE else 30 * GIB, at, at + span, 7, name=M, labels=gpu(number))
        at += span + rng.choice([0.0, 0.0, 400.0])
    return sorted(samples, key=lambda s: s[0])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), cuts=st.lists(st.floats(0, 1), max_size=6))
def test_it_does_not_matter_how_batches_are_cut(seed: int, cuts: list[float]) -> None:
    samples = day_of_a_device(seed)
    whole, cut = Learner().of(samples), Learner()
    edges = sorted({0, len(samples), *(round(c * len(samples)) for c in cuts)})
    for first, last in pairwise(edges):
        cut.of(samples[first:last])
    assert cut.said == whole.said


def test_samples_of_a_batch_may_stand_in_any_order() -> None:
    samples = day_of_a_device(3)
    mixed = samples[:]
    random.Random(1).shuffle(mixed)
    assert sorted(Learner().of(mixed).said) == sorted(Learner().of(samples).said)


def test_what_comes_late_teaches_nothing() -> None:
    samples = [*level(IDLE, 0, 300), *level(BUSY, 300, 600)]
    late = Learner().of(samples).of(level(30, 100, 300)).of(level(BUSY, 600, 700))
    assert late.said == Learner().of(samples).of(level(BUSY, 600, 700)).said


def test_an_ended_series_is_no_sample() -> None:
    assert Learner().of(level(IDLE, 0, 600), stale=True).said == []


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), at=st.floats(0.1, 0.9))
def test_it_goes_on_after_a_restart(seed: int, at: float) -> None:
    samples = [*day_of_a_device(seed), *((t, RATE, rate_at(t), ENDPOINT) for t in range(10_000, 10_000 + 2 * DAY, 600))]
    cut = round(at * len(samples))
    whole = Learner().of(samples[:cut]).of(samples[cut:])
    first, second = Learner().of(samples[:cut]), Learner()
    # Other series stand first in the new table: ids are not those of before.
    second.series.intern(SeriesKey("something.else"))
    state, table = first.processor.save()(), first.series.save()()
    second.processor.restore(state, Past(series=second.series.restore(table)))
    second.of(samples[cut:])
    assert first.said + second.said == whole.said


def test_beyond_the_limit_the_newest_are_not_learnt() -> None:
    learner = Learner(max_series=2)
    for number in (1, 2, 3):
        learner.of([*level(IDLE, 0, 300, labels=gpu(number, "")), *level(BUSY, 300, 700, labels=gpu(number, ""))])
    known = {whose for _, name, whose, _ in learner.said if name == semconv.GPU_POWER_IDLE}
    assert known == {"GPU-1", "GPU-2"}


def test_memory_is_bounded_by_the_number_of_devices() -> None:
    per_gpu = 2 * _kernels.LEVEL.itemsize + _kernels.DEVICE.itemsize
    assert per_gpu <= 1024
    assert _kernels.ENDPOINT.itemsize <= 1024
