"""Which signals are to be believed, and what is kept from the rules."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from fallow import semconv
from fallow.batch import Batch, MetricBatch
from fallow.series import SeriesKey, SeriesTable
from fallow.series.table import pairs
from fallow.signals import HEALTH_STATES
from fallow.state import Gap, Past
from fallow.testing.components import context
from fallow.units import SECOND
from fallow_processors.health import HealthConfig
from fallow_processors.health.processor import HealthProcessor

BEGIN = 1_767_600_000
GPU = {"host.name": "n1", "hw.id": "GPU-1", "hw.type": "gpu"}
U, SM, POWER, ENERGY = semconv.GPU_UTILIZATION, semconv.GPU_SM, semconv.GPU_POWER, semconv.GPU_ENERGY

Sample = tuple[int, str, float]
"""(second, signal, value) of the one GPU."""
Said = tuple[int, str, str]
"""(second, signal, state)."""


class Health:
    """A ``health`` processor with its series table."""

    def __init__(self, max_signals: int = 1000) -> None:
        self.series = SeriesTable()
        config = HealthConfig(max_signals=max_signals)
        self.processor = HealthProcessor(config, context("health", Path(), self.series))
        self.kept: list[Sample] = []
        self.said: list[Said] = []
        self.dropped: Counter[str] = Counter()

    def of(self, samples: Sequence[Sample], labels: Mapping[str, str] = GPU, stale: bool = False) -> None:
        """Take one batch."""
        ids = [
            self.series.intern(SeriesKey(name, semconv.SIGNALS.get(name, ""), "", (), pairs(labels)))
            for _, name, _ in samples
        ]
        metrics = MetricBatch(
            series=np.asarray(ids, dtype=np.int32),
            time=np.asarray([(BEGIN + at) * SECOND for at, _, _ in samples], dtype=np.int64),
            value=np.asarray([value for _, _, value in samples], dtype=np.float64),
            stale=np.full(len(samples), stale),
        )
        out = self.processor.process(Batch(metrics=metrics))
        self.dropped.update(out.dropped)
        assert out.metrics is not None
        for series, time, value in zip(
            out.metrics.series.tolist(), out.metrics.time.tolist(), out.metrics.value.tolist(), strict=True
        ):
            key, at = self.series.key(series), time // SECOND - BEGIN
            if key.name == semconv.SIGNAL_HEALTH:
                self.said.append((at, key.labels[semconv.SIGNAL], HEALTH_STATES[int(value)]))
            else:
                self.kept.append((at, key.name, value))

    def states(self, name: str) -> list[str]:
        """What was said of a signal, in order, without repetitions."""
        states = [state for _, signal, state in self.said if signal == name]
        return [state for i, state in enumerate(states) if i == 0 or states[i - 1] != state]


def every(step: int, end: int, begin: int = 0, **values: float) -> list[Sample]:
    """A constant curve of each signal, named by ``U``, ``SM`` and so on."""
    names = {"U": U, "SM": SM, "P": POWER, "TC": semconv.GPU_TENSOR}
    return [(at, names[name], value) for at in range(begin, end, step) for name, value in values.items()]


def after(*parts: Iterable[Sample], max_signals: int = 1000) -> Health:
    health = Health(max_signals=max_signals)
    for part in parts:
        health.of(list(part))
    return health


def test_a_signal_warms_up_and_is_ok() -> None:
    health = after(every(15, 300, U=0.5))
    assert health.states(U) == ["warming_up", "ok"]
    assert len(health.kept) == 20
    assert not health.dropped


def test_a_state_is_repeated_once_a_minute() -> None:
    said = [at for at, _, _ in after(every(15, 600, U=0.5)).said]
    assert np.diff(said[2:]).tolist() == [60] * (len(said) - 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param(U, 87.0, id="a-percentage-for-a-ratio"),
        pytest.param(U, -0.1, id="negative"),
        pytest.param(U, float("nan"), id="nan"),
        pytest.param(POWER, 315_000.0, id="milliwatts"),
        pytest.param(semconv.GPU_MEMORY_USAGE, 41_000 * 2.0**40, id="bytes-taken-for-mebibytes"),
        pytest.param(semconv.GPU_TEMPERATURE, 2_147_483_632.0, id="a-blank-of-dcgm"),
        pytest.param(semconv.CPU_UTILIZATION, 35.0, id="of-a-host"),
    ],
)
def test_a_value_that_cannot_be_is_no_value(name: str, value: float) -> None:
    health = after([(0, name, value)])
    assert not health.kept
    assert health.dropped == {"out_of_range": 1}


def test_a_unit_that_jumps_is_said_after_three_samples_and_over_after_one() -> None:
    good, bad = every(15, 120, U=0.5), every(15, 240, 120, U=50.0)
    health = after(good, bad, every(15, 330, 240, U=0.5))
    assert health.states(U) == ["warming_up", "ok", "out_of_range", "ok"]
    assert next(at for at, _, state in health.said if state == "out_of_range") == 165
    assert all(value == 0.5 for _, _, value in health.kept)


def test_names_that_are_no_signals_have_no_range() -> None:
    health = after([(0, "node_load1", float("nan")), (0, "node_load1", -7.0)])
    assert len(health.kept) == 2


def test_a_signal_that_ceases_while_its_host_goes_on_is_stale() -> None:
    health = after(every(15, 300, U=0.5, P=300), every(15, 600, 300, P=300))
    assert health.states(U) == ["warming_up", "ok", "stale"]
    assert health.states(POWER) == ["warming_up", "ok"]
    assert next(at for at, _, state in health.said if state == "stale") == 345, "three intervals and a step"


def test_a_host_that_is_silent_is_not_judged() -> None:
    health = after(every(15, 300, U=0.5, P=300))
    before = list(health.said)
    assert health.processor.tick((BEGIN + 9000) * SECOND) == Batch()
    health.of(every(15, 9300, 9000, U=0.5, P=300))
    assert "stale" in {state for at, _, state in health.said[len(before) :] if at == 9000}
    assert health.states(U)[-1] == "ok"


def test_a_series_that_its_source_ended_is_stale_at_once() -> None:
    health = after(every(15, 300, U=0.5, P=300))
    health.of([(300, U, 0.0)], stale=True)
    health.of(every(15, 331, 301, P=300))
    assert health.states(U)[-1] == "stale"


def test_counters_that_a_profiler_took_are_held_not_stale() -> None:
    health = after(
        every(15, 300, U=0.9, SM=0.6, TC=0.3), every(15, 600, 300, U=0.9), every(15, 700, 600, U=0.9, SM=0.6)
    )
    assert health.states(SM) == ["warming_up", "ok", "profiler_held", "ok"]
    assert health.states(semconv.GPU_TENSOR) == ["warming_up", "ok", "profiler_held"]
    assert health.states(U) == ["warming_up", "ok"]


def test_counters_at_zero_on_a_busy_gpu_contradict_and_are_withheld() -> None:
    fine, stuck = every(15, 300, U=0.9, SM=0.6, TC=0.3), every(15, 600, 300, U=0.9, SM=0.0, TC=0.0)
    health = after(fine, stuck, every(15, 700, 600, U=0.9, SM=0.6, TC=0.3))
    assert health.states(SM) == health.states(semconv.GPU_TENSOR) == ["warming_up", "ok", "contradictory", "ok"]
    assert health.states(U) == ["warming_up", "ok"]
    assert len([v for _, name, v in health.kept if name == SM and v == 0]) <= 4
    assert len([v for _, name, v in health.kept if name == SM and v > 0]) == 27, "what makes sense passes at once"
    assert len([v for _, name, v in health.kept if name == U]) == 47


def test_utilisation_at_zero_beside_work_contradicts() -> None:
    health = after(every(15, 300, U=0.0, SM=0.4))
    assert health.states(U)[-1] == "contradictory"
    assert health.states(SM)[-1] == "ok"
    assert len([v for _, name, v in health.kept if name == U]) <= 4


def test_a_busy_gpu_that_sends_ratios_as_percentages_contradicts() -> None:
    # 1.0 that is taken for 1 % is the one value that no range can find.
    health = after(every(15, 300, U=1.0, SM=0.6), every(15, 600, 300, U=0.01, SM=0.6))
    assert health.states(U) == ["warming_up", "ok", "contradictory"]
    assert len([v for _, name, v in health.kept if name == U and v < 1]) <= 4


def test_an_instance_at_work_contradicts_the_utilisation_of_its_whole_device() -> None:
    health = Health()
    engine = semconv.GPU_ENGINE
    for at in range(0, 300, 15):
        health.of([(at, engine, 0.0)], GPU | {"GPU_I_ID": "1"})
        health.of([(at, engine, 0.7)], GPU | {"GPU_I_ID": "2"})
        health.of([(at, U, 0.0)])
    assert health.states(U)[-1] == "contradictory"
    assert {state for _, name, state in health.said if name == engine} == {"warming_up", "ok"}


@pytest.mark.parametrize("jitter", [0, 1, 7])
def test_the_cadence_is_the_median_of_the_last_gaps(jitter: int) -> None:
    dice, at, samples = random.Random(jitter), 0, list[Sample]()
    while at < 600:
        samples.append((at, U, 0.5))
        at += 30 + dice.randint(-jitter, jitter)
    health = after(samples, every(15, 1200, 600, P=300))
    stale = next(at for at, name, state in health.said if (name, state) == (U, "stale"))
    gaps = np.diff([at for at, _, _ in samples])[-7:]
    assert stale == (samples[-1][0] + 3 * int(np.median(gaps))) // 15 * 15 + 15


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param(every(15, 600, U=0.0, SM=0.0), id="idle"),
        pytest.param(every(15, 600, U=0.9, SM=0.6, TC=0.0), id="no-tensor-cores"),
        pytest.param(every(15, 600, U=0.9, SM=0.002), id="little"),
        pytest.param(
            [(a, n, 0.0 if n == SM and a % 90 < 30 else 0.9) for a, n, _ in every(15, 600, U=1, SM=1)], id="two"
        ),
        pytest.param(
            # Utilisation each second, counters each minute: what one has not seen yet contradicts nothing.
            sorted([(t, U, 0.9 if t < 601 else 0.0) for t in range(640)] + [(t, SM, 0.5) for t in range(0, 640, 60)]),
            id="two-rhythms",
        ),
    ],
)
def test_what_may_be_true_contradicts_nothing(samples: list[Sample]) -> None:
    health = after(samples)
    assert "contradictory" not in {state for _, _, state in health.said}
    assert not health.dropped


@pytest.mark.parametrize(
    "start", [pytest.param(semconv.HOST_BOOT_TIME, id="boot-time"), pytest.param(semconv.HOST_UPTIME, id="uptime")]
)
def test_utilisation_after_a_boot_is_left_out(start: str) -> None:
    boot = [(0, start, float(BEGIN - 60) if start == semconv.HOST_BOOT_TIME else 60.0)]
    health = Health()
    health.of(boot, {"host.name": "n1"})
    health.of(every(15, 400, U=0.9, P=300))
    assert health.dropped == {"warming_up": 16}
    assert health.states(U) == ["warming_up", "ok"]
    assert min(at for at, name, _ in health.kept if name == U) == 240


def test_utilisation_after_the_driver_was_loaded_is_left_out() -> None:
    energy = [(at, ENERGY, 9000.0 + at if at < 300 else at - 300.0) for at in range(0, 900, 15)]
    health = after(sorted(energy + every(15, 900, U=0.9)))
    assert health.dropped == {"warming_up": 20}


def test_devices_and_directions_are_judged_apart() -> None:
    health = Health()
    nvlink = semconv.GPU_NVLINK
    for at in range(0, 120, 15):
        for uuid in ("GPU-1", "GPU-2"):
            for direction in ("receive", "transmit"):
                health.of([(at, nvlink, 1.0)], GPU | {"hw.id": uuid, "network.io.direction": direction})
    keys = {health.series.key(i) for i in range(len(health.series))}
    assert len([key for key in keys if key.name == semconv.SIGNAL_HEALTH]) == 4


def test_a_new_job_on_a_device_is_the_same_signal() -> None:
    health = Health()
    health.of(every(15, 300, U=0.5), GPU | {"fallow.job.id": "1"})
    health.of(every(15, 600, 300, U=0.5), GPU | {"fallow.job.id": "2"})
    assert health.states(U) == ["warming_up", "ok"]


def test_a_signal_that_is_gone_for_long_is_forgotten_and_may_come_back() -> None:
    health = after(every(60, 600, U=0.5, P=300), every(60, 6000, 600, P=300))
    last = max(at for at, name, _ in health.said if name == U)
    assert 600 + 3600 - 60 <= last <= 600 + 3600 + 60
    health.of(every(60, 6600, 6000, U=0.5, P=300))
    assert health.states(U) == ["warming_up", "ok", "stale", "ok"]


def test_beyond_the_limit_only_ranges_are_checked() -> None:
    health = after(every(15, 300, U=0.5, P=300), every(15, 330, 300, P=315_000), max_signals=1)
    assert {name for _, name, _ in health.said} == {U}
    assert health.dropped == {"out_of_range": 2}


def story(seed: int) -> list[Sample]:
    """Half an hour of a device with faults of every kind, in order of time."""
    dice = random.Random(seed)
    samples: list[Sample] = []
    for at in range(0, 1800, 10):
        fault = (at // 200 + seed) % 5
        samples.append((at, U, 0.0 if fault == 1 else 87.0 if fault == 2 else 0.9))
        if fault != 3:
            samples.append((at, SM, 0.0 if fault == 4 else 0.5))
        if fault != 1 and dice.random() < 0.9:
            samples.append((at, POWER, 300.0))
    return samples


@pytest.mark.parametrize("seed", range(5))
def test_batches_may_be_cut_anywhere(seed: int) -> None:
    samples, dice = story(seed), random.Random(seed)
    whole, cut = after(samples), Health()
    left = samples
    while left:
        size = dice.randint(1, 40)
        cut.of(left[:size])
        left = left[size:]
    assert cut.said == whole.said
    assert cut.kept == whole.kept
    assert cut.dropped == whole.dropped
    assert {state for _, _, state in whole.said} == set(HEALTH_STATES)


@pytest.mark.parametrize("at", [1, 100, 300])
def test_it_goes_on_after_a_restart(at: int) -> None:
    samples = story(1)
    whole, first = after(samples), after(samples[:at])
    state, table = first.processor.save()(), first.series.save()()
    second = Health()
    second.series.intern(SeriesKey("something.else"))  # ids are others in the new process
    series = second.series.restore(table)
    assert second.processor.restore(state, Past(series=series))["signals"] > 0
    second.of(samples[at:])
    assert first.said + second.said == whole.said
    assert first.kept + second.kept == whole.kept


def test_what_was_lost_makes_nothing_stale_or_contradictory() -> None:
    first = after(every(15, 300, U=0.9, SM=0.0))
    assert first.states(SM)[-1] == "contradictory"
    state, table = first.processor.save()(), first.series.save()()
    second = Health()
    past = Past(series=second.series.restore(table), gap=Gap(until=(BEGIN + 900) * SECOND, span=600 * SECOND))
    second.processor.restore(state, past)
    second.of(every(15, 960, 915, U=0.9, SM=0.5))
    assert second.states(SM)[-1] == "ok"
    assert "stale" not in {state for _, _, state in second.said}
