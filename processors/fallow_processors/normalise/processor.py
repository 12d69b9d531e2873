"""The ``normalise`` processor."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from fallow.batch import Batch, BoolArray, Float64Array, Int32Array, Int64Array, MetricBatch
from fallow.component import Context
from fallow.semconv import SIGNALS
from fallow_processors.normalise.config import NormaliseConfig
from fallow_processors.normalise.table import SignalTable, load_table

Int16Array = NDArray[np.int16]

UNSEEN, NOT_THE_SIGNAL, REFUSED = -1, -2, -3
UNKNOWN_RANK = np.iinfo(np.int16).max


class NormaliseProcessor:
    """Replaces series by those of the signals they are.

    Each series is looked up in the table once; after that a batch is a few array operations.
    """

    def __init__(self, config: NormaliseConfig, context: Context) -> None:
        extra = None if config.extra_table is None else context.directory / config.extra_table
        self._table: SignalTable = load_table(extra)
        self._series = context.series
        self._labels = {"processor": context.id}
        # By series id as received: the id to use (or why there is none), the conversion, the rank of the source.
        self._out: Int32Array = np.full(0, UNSEEN, dtype=np.int32)
        self._multiply: Float64Array = np.zeros(0)
        self._divide: Float64Array = np.zeros(0)
        self._offset: Float64Array = np.zeros(0)
        self._least: Float64Array = np.zeros(0)
        self._rank = np.zeros(0, dtype=np.int16)
        self._last: Int64Array = np.zeros(0, dtype=np.int64)
        self._unknown = context.meter.create_counter(
            "fallow_processor_normalise_unknown_points",
            unit="{datapoint}",
            description="Points that no row of the table names; they pass through under their own name.",
        )
        self._seen = context.meter.create_counter(
            "fallow_processor_normalise_series",
            unit="{series}",
            description="Series seen for the first time, by the source vocabulary that named them.",
        )

    def process(self, batch: Batch) -> Batch:
        """The batch with its samples under the names and in the units of signals."""
        metrics = batch.metrics
        if metrics is None or len(metrics) == 0:
            return batch
        self._learn(metrics.series)
        series = self._out[metrics.series]
        value = metrics.value * self._multiply[metrics.series] / self._divide[metrics.series]
        value += self._offset[metrics.series]
        # What cannot be in the unit that its name stands for is no number of that unit; ``health`` says so.
        value[(metrics.value > 0) & (metrics.value < self._least[metrics.series])] = np.nan
        rank = self._rank[metrics.series]
        dropped: Counter[str] = Counter()
        keep = series >= 0
        if not keep.all():
            dropped["not_the_signal"] = int((series == NOT_THE_SIGNAL).sum())
            dropped["series_limit"] = int((series == REFUSED).sum())
        if unknown := int((keep & (rank == UNKNOWN_RANK)).sum()):
            self._unknown.add(unknown, self._labels)
        keep &= ~self._duplicates(series, metrics, value, rank, keep)
        dropped["duplicate"] = len(metrics) - int(keep.sum()) - dropped.total()
        made = MetricBatch(series=series, time=metrics.time, value=value, stale=metrics.stale)
        if not keep.all():
            made = MetricBatch(
                series=series[keep], time=metrics.time[keep], value=value[keep], stale=metrics.stale[keep]
            )
        counts = Counter(batch.dropped) + dropped
        return dataclasses.replace(batch, metrics=made, dropped=dict(counts) if dropped.total() else batch.dropped)

    def tick(self, now: int) -> Batch:
        """Nothing: normalising holds nothing back."""
        return Batch()

    def finish(self) -> Batch:
        """Nothing: normalising holds nothing back."""
        return Batch()

    def _duplicates(
        self, series: Int32Array, metrics: MetricBatch, value: Float64Array, rank: Int16Array, keep: BoolArray
    ) -> BoolArray:
        """(n,) True where another sample of the same series and time counts instead.

        A value goes before a stale mark, then the source that stands first, then the larger value; NaN comes last.
        """
        worse = np.zeros(len(series), dtype=np.bool_)
        last = self._last_of_series(series, keep)
        several = np.flatnonzero(keep & (last != np.arange(len(series))))
        if not len(several):
            return worse
        # Only series that stand there more than once need sorting: in a scrape there is none.
        shared = np.zeros(len(self._last), dtype=np.bool_)
        shared[series[several]] = True
        rows = np.flatnonzero(keep & shared[np.maximum(series, 0)])
        order = rows[
            np.lexsort(
                (
                    -value[rows],  # NaN sorts to the end
                    rank[rows],
                    metrics.stale[rows],
                    metrics.time[rows],
                    series[rows],
                )
            )
        ]
        again = (series[order][1:] == series[order][:-1]) & (metrics.time[order][1:] == metrics.time[order][:-1])
        worse[order[1:][again]] = True
        return worse

    def _last_of_series(self, series: Int32Array, keep: BoolArray) -> Int64Array:
        """(n,) for each sample the row at which its series stands last in the batch; rows not kept are left out."""
        rows = np.flatnonzero(keep)
        top = int(series.max(initial=-1)) + 1
        if top > len(self._last):
            self._last = np.zeros(max(top, 2 * len(self._last)), dtype=np.int64)
        self._last[series[rows]] = rows
        last = np.arange(len(series))
        last[rows] = self._last[series[rows]]
        return last

    def _learn(self, series: Int32Array) -> None:
        self._grow(int(series.max()) + 1)
        for one in np.unique(series[self._out[series] == UNSEEN]).tolist():
            self._learn_one(one)

    def _learn_one(self, series: int) -> None:
        self._out[series], self._rank[series] = series, UNKNOWN_RANK
        self._multiply[series] = self._divide[series] = 1.0
        if series >= len(self._series):
            return  # not of this service's table: nothing is known about it
        key = self._series.key(series)
        found = self._table.map(key)
        self._seen.add(1, self._labels | {"source": found.source if found else "unknown"})
        if found is None:
            if key.name in SIGNALS:
                self._out[series] = NOT_THE_SIGNAL
            return
        out = self._series.intern(found.key)
        self._out[series] = out if out >= 0 else REFUSED
        self._rank[series] = found.rank
        self._multiply[series] = found.multiply
        self._divide[series] = found.divide
        self._offset[series] = found.offset
        self._least[series] = found.least

    def _grow(self, size: int) -> None:
        old = len(self._out)
        if size <= old:
            return
        more = max(size, 2 * old, 1024) - old
        self._out = np.concatenate([self._out, np.full(more, UNSEEN, dtype=np.int32)])
        self._multiply = np.concatenate([self._multiply, np.ones(more)])
        self._divide = np.concatenate([self._divide, np.ones(more)])
        self._offset = np.concatenate([self._offset, np.zeros(more)])
        self._least = np.concatenate([self._least, np.zeros(more)])
        self._rank = np.concatenate([self._rank, np.zeros(more, dtype=np.int16)])
