"""The same evaluation on several threads: what looks at one clock alone is split by clock, the rest stays together."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from fallow.batch import MetricBatch
from fallow.errors import StateError
from fallow.promql.compile import grouped
from fallow.promql.engine import Common, Condition, Edge, Engine
from fallow.promql.forms import WindowForm
from fallow.promql.state import grown
from fallow.promql.syntax import parse
from fallow.series import SeriesTable, clock_of
from fallow.state import Past, Saved, State
from fallow.units import SECOND

UNKNOWN = -1
VERSION = 2


class Shards:
    """Evaluates conditions as one Engine does, with the same edges, on ``shards`` threads.

    A condition that reads each clock by itself is in every shard, and a clock (host, node, …) in the shard that its name
    gives. Conditions that group or match across clocks are evaluated in an engine of their own, which sees every sample.
    The kernels run without the interpreter's lock; births and edges do not.

    Args: as Engine has them; ``max_rows`` is shared out evenly.
    """

    def __init__(
        self,
        table: SeriesTable,
        conditions: Sequence[Condition],
        *,
        shards: int,
        lateness_ns: int = 0,
        idle_after_ns: int = 120 * SECOND,
        coverage: float = 0.8,
        lookback_ns: int = 300 * SECOND,
        max_rows: int = 2_000_000,
    ) -> None:
        self.table = table
        whole = [i for i, condition in enumerate(conditions) if grouped(parse(condition.expr))]
        local = [i for i in range(len(conditions)) if i not in set(whole)]
        common = Common()

        def engine(numbers: list[int], rows: int) -> Engine:
            return Engine(
                table,
                [conditions[i] for i in numbers],
                lateness_ns=lateness_ns,
                idle_after_ns=idle_after_ns,
                coverage=coverage,
                lookback_ns=lookback_ns,
                max_rows=rows,
                numbers=numbers,
                common=common,
            )

        each = -(-max_rows // shards)
        self._shards = [engine(local, each) for _ in range(shards)]
        self._whole = engine(whole, max_rows) if whole else None
        self._engines = [*self._shards, *([self._whole] if self._whole else [])]
        self._place = {number: (engine, i) for engine in self._engines for i, number in enumerate(engine.numbers)}
        self._shard = np.full(1024, UNKNOWN, dtype=np.int16)
        self._pool = ThreadPoolExecutor(shards, thread_name_prefix="promql")
        self.signals = frozenset(signal for engine in self._engines for signal in engine.signals)

    # -- samples in ----------------------------------------------------------------------------------------------------
    def append(self, metrics: MetricBatch) -> None:
        """Hold the samples until their clock has passed them."""
        if len(metrics) == 0:
            return
        place = self._placed(np.maximum(metrics.series, 0))
        for number, engine in enumerate(self._shards):
            mine = np.flatnonzero(place == number)
            engine.append(
                MetricBatch(
                    series=metrics.series[mine],
                    time=metrics.time[mine],
                    value=metrics.value[mine],
                    stale=metrics.stale[mine],
                )
            )
        if self._whole is not None:
            self._whole.append(metrics)

    def _placed(self, series: NDArray[np.int32]) -> NDArray[np.int16]:
        top = int(series.max()) + 1
        if top > len(self._shard):
            self._shard = grown(self._shard, top, UNKNOWN)
        for new in np.unique(series[self._shard[series] == UNKNOWN]).tolist():
            name = "\0".join(clock_of(self.table.key(new).labels))
            self._shard[new] = zlib.crc32(name.encode()) % len(self._shards)
        return self._shard[series]

    # -- event time ----------------------------------------------------------------------------------------------------
    def advance(self) -> list[Edge]:
        """Evaluate every instant that watermarks have passed; edges in order of time."""
        return self._all(Engine.advance)

    def tick(self, now: int) -> list[Edge]:
        """Event time has reached ``now`` with nothing arriving."""
        return self._all(lambda engine: engine.tick(now))

    def finish(self) -> list[Edge]:
        """The stream ends: evaluate up to the instant that sees its last sample; then an ``open`` edge for what holds."""
        return self._all(Engine.finish)

    def _all(self, step: Callable[[Engine], list[Edge]]) -> list[Edge]:
        edges = [edge for found in self._pool.map(step, self._engines) for edge in found]
        edges.sort(key=lambda edge: (edge.time, edge.condition, sorted(edge.labels.items()), edge.state))
        return edges

    # -- questions -----------------------------------------------------------------------------------------------------
    def holds(self, condition: int, labels_subset: Mapping[str, str], start: int, end: int) -> bool | None:
        """Whether the condition held anywhere in [start, end] for a result with these labels; None: unknown."""
        engines = [engine for engine in self._engines if condition in engine.numbers]
        found = [engine.holds(condition, labels_subset, start, end) for engine in engines]
        if any(found):
            return True
        return None if None in found else False

    def explain(self, condition: int) -> str:
        """What is computed for a condition: windows, panes, interval, operands first."""
        engine, index = self._place[condition]
        return engine.explain(index)

    def describe(self, condition: int) -> list[WindowForm]:
        """How everything that a condition reads is held: form, panes, how exact, bytes of one series."""
        engine, index = self._place[condition]
        return engine.describe(index)

    def reach(self, condition: int) -> int:
        """How long ago (ns) a sample may have been taken that a result of the condition depends on."""
        return self._place[condition][0].reach(condition)

    # -- across a restart ----------------------------------------------------------------------------------------------
    def save(self) -> Saved:
        """The state of each engine."""
        shards, whole = [engine.save() for engine in self._shards], self._whole and self._whole.save()

        def made() -> State:
            parts = {f"shard {i}": one() for i, one in enumerate(shards)} | ({"whole": whole()} if whole else {})
            return State(version=VERSION, document={"shards": len(shards)}, parts=parts)

        return made

    def restore(self, state: State, past: Past) -> int:
        """Go on from there; returns how many conditions were not in the state. Called before the first sample.

        Raises:
            StateError: it is of another version, or of another number of shards.
        """
        saved = state.of(VERSION)
        shards = saved.document.get("shards", 1)
        if shards != len(self._shards):
            raise StateError(f"state of {shards} shards found, there are {len(self._shards)}")
        new = 0
        for i, engine in enumerate(self._shards):
            new = engine.restore(saved.parts[f"shard {i}"], past)  # the conditions of all shards are the same
        if self._whole is not None:
            known = saved.parts.get("whole")
            new += self._whole.begin(self._shards) if known is None else self._whole.restore(known, past)
        return new

    @property
    def late(self) -> int:
        """Samples that came after their instant had been evaluated, in any engine."""
        return sum(engine.late for engine in self._engines)

    @property
    def unknown(self) -> int:
        """Edges of state unknown."""
        return sum(engine.unknown for engine in self._engines)

    @property
    def refused(self) -> int:
        """Series not held because of ``max_rows``."""
        return sum(engine.refused for engine in self._engines)

    @property
    def settled(self) -> int:
        """Every instant up to this time has been decided, for everything that is measured."""
        return min(engine.settled for engine in self._engines)

    @property
    def nbytes(self) -> int:
        """Bytes of sample state in use."""
        return sum(engine.nbytes for engine in self._engines)
