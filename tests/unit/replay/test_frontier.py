"""Policies over a recording small enough to be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fallow import semconv
from fallow.batch import MetricBatch
from fallow.replay.frontier import Activity, Grid, Point, frontier, keep_warm, time_out
from fallow.series import SeriesKey, SeriesTable
from fallow.series.table import pairs
from fallow.units import SECOND

MINUTE = 60 * SECOND


def flags(*rows: str) -> np.ndarray:
    """A row for each GPU, a column for each step; # is true."""
    return np.array([[c == "#" for c in row] for row in rows]).T


def shown(grid: np.ndarray) -> list[str]:
    return ["".join("#" if c else "." for c in row) for row in grid.T]


def recorded(*rows: str, signal: str = semconv.GPU_UTILIZATION, table: SeriesTable | None = None) -> Activity:
    """``#`` works, ``.`` idles, space: no sample; a minute each."""
    table = table or SeriesTable()
    activity = Activity(table)
    for gpu, row in enumerate(rows):
        one = table.intern(SeriesKey(signal, "1", "", (), pairs({"hw.id": f"GPU-{gpu}"})))
        at = [i for i, c in enumerate(row) if c != " "]
        activity.observe(MetricBatch.of([one] * len(at), [i * MINUTE for i in at], [float(row[i] == "#") for i in at]))
    return activity


def test_a_gpu_is_given_back_after_so_many_idle_steps_and_started_when_it_works() -> None:
    busy = flags("#....##..#")
    assert shown(time_out(np.ones_like(busy), busy, 2)) == ["...##....."]
    assert shown(time_out(flags("######.###"), busy, 2)) == ["...##....."]


def test_as_many_are_kept_as_worked_at_most_before() -> None:
    active = np.array([1, 1, 5, 1, 1, 1])[:, None]
    there = np.full((6, 1), 6)
    assert keep_warm(active, there, 2, 1.0, 0).ravel().tolist() == [1, 1, 1, 5, 5, 1]
    assert keep_warm(active, there, 2, 1.25, 2).ravel().tolist() == [4, 4, 4, 6, 6, 4], "at most what is there"
    assert keep_warm(active, there, 0, 1.0, 0).ravel().tolist() == active.ravel().tolist()


def test_what_is_idle_to_the_end_is_left_out_and_short_gaps_are_bridged() -> None:
    grid = recorded("#.  .#....", "..........", "#         #").grid()
    assert grid.step_s == 60
    assert shown(grid.there) == ["######.....", "...........", "#.........#"]
    assert shown(grid.busy) == ["#....#.....", "...........", "#.........#"]


def test_the_numbers_of_a_recording() -> None:
    rows = ["#" + "." * 19 + "#", "#" * 21, "#.#.#.#.#.#.#.#.#.#.#"]
    points = {(p.kind, p.policy): p for p in frontier(recorded(*rows).grid())}
    by_itself = points["time-out", "10 min"]
    assert by_itself.hours == pytest.approx(9 / 60)
    assert by_itself.saved[0] == pytest.approx(9 / 63)
    assert by_itself.starts[0] == pytest.approx(1 / (9 / 60))
    assert by_itself.short[0] == pytest.approx(1 / 21)
    assert points["oracle", "what works"].saved[0] == pytest.approx((19 + 10) / 63)
    assert points["oracle", "what works"].short[0] == 0
    assert points["time-out", "30 min"].hours == 0
    for point in points.values():
        for value, low, high in (point.saved, point.starts, point.short):
            assert low <= value <= high


def test_what_was_learned_is_a_policy() -> None:
    table = SeriesTable()
    grid = recorded("#......#..#", table=table).grid()
    likely = np.zeros_like(grid.there)
    likely[3, 0] = True
    points = frontier(Grid(there=grid.there, busy=grid.busy, likely=likely, step_s=60))
    (learned,) = [p for p in points if p.kind == "learned"]
    assert learned.hours == pytest.approx(3 / 60)


def test_keeping_a_fleet_warm_beats_each_by_itself_where_gpus_are_interchangeable() -> None:
    """Thirty GPUs that take turns at random: what two hundred samples say is the same at every run."""
    rng = np.random.default_rng(5)
    busy = rng.random((600, 30)) < 0.2
    busy[-1] = True
    grid = Grid(there=np.ones_like(busy), busy=busy, likely=np.zeros_like(busy), step_s=60)
    points = frontier(grid)
    assert points == frontier(grid)
    best: dict[str, Point] = {}
    for point in points:
        if point.kind not in best or point.saved[0] > best[point.kind].saved[0]:
            best[point.kind] = point
    assert best["keep warm"].saved[0] > best["time-out"].saved[0]
    assert best["keep warm"].short[0] < best["time-out"].short[0]
    assert best["oracle"].saved[0] == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(
    ("rows", "why"),
    [pytest.param((), "no samples", id="none"), pytest.param(("#", "."), "single sample", id="one-each")],
)
def test_too_little_is_said_so(rows: tuple[str, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        recorded(*rows).grid()
