"""Parquet and CSV become batches: order, units, nulls, forms of the mapping, and errors that name the place."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from fallow.batch import Batch
from fallow.errors import DocumentError
from fallow.replay import read_recording, recording
from fallow.series import SeriesTable

SECOND = 1_000_000_000
SHARED = Path(__file__).parents[3] / "../shared/data"
EXAMPLES = Path(__file__).parents[3] / "otel-config" / "maps"

PODS = """\
files:
  - match: "pods*"
    time: {column: t, unit: s}
    entity: {container.id: pod, hw.id: pod}
    signals:
      hw.gpu.utilization: {column: duty, scale: 0.01}
      hw.gpu.memory.usage: {column: mem, scale: 1e6, offset: 1}
  - match: "events*"
    time: {column: t, unit: s}
    entity: {container.id: pod, host.name: {value: n1}}
    event: {name: what, attributes: {duration_ms: ms}}
"""


class Tables:
    """A folder with a mapping and tables."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.series = SeriesTable()

    def mapping(self, text: str) -> Path:
        path = self.folder / "map.yaml"
        path.write_text(text)
        return path

    def parquet(self, name: str, columns: Mapping[str, Any]) -> Path:
        parquet.write_table(pa.table(dict(columns)), self.folder / name)
        return self.folder / name

    def text(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    def rows(self, batches: Iterable[Batch]) -> list[tuple[float, str, str, float]]:
        """(time in s, signal, what identifies it, value) of every sample in the order they come."""
        found: list[tuple[float, str, str, float]] = []
        for batch in batches:
            if batch.metrics is None:
                continue
            assert not batch.metrics.stale.any()
            for series, time, value in zip(
                batch.metrics.series.tolist(), batch.metrics.time.tolist(), batch.metrics.value.tolist(), strict=True
            ):
                key = self.series.key(series)
                found.append((time / SECOND, key.name, key.labels.get("hw.id", ""), value))
        return found

    def first_time(self, mapping: str, column: Any) -> int:
        source = self.parquet("pods.parquet", {"t": column, "pod": ["a"], "duty": [1.0]})
        batches = list(read_recording([source], self.mapping(mapping), self.series))
        assert batches[0].metrics is not None
        return int(batches[0].metrics.time[0])

    def fails(self, mapping: str | None, *sources: Path) -> str:
        with pytest.raises(DocumentError) as error:
            list(read_recording(sources, None if mapping is None else self.mapping(mapping), self.series))
        return str(error.value).replace(f"{self.folder}/", "")


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(tmp_path)


def test_a_file_sorted_by_entity_comes_in_order_of_time(tables: Tables) -> None:
    source = tables.parquet(
        "pods.parquet",
        {"t": [0, 57, 114, 0, 57], "pod": ["a", "a", "a", "b", "b"], "duty": [57.0, 1, 2, 3, 4], "mem": [1.0] * 5},
    )
    found = tables.rows(read_recording([source], tables.mapping(PODS), tables.series))
    assert [row[0] for row in found] == [0, 0, 0, 0, 57, 57, 57, 57, 114, 114]
    assert {row[1:] for row in found[:4]} == {
        ("hw.gpu.utilization", "a", 0.57),  # not 0.5700000000000001
        ("hw.gpu.utilization", "b", 0.03),
        ("hw.gpu.memory.usage", "a", 1_000_001.0),
        ("hw.gpu.memory.usage", "b", 1_000_001.0),
    }


def test_series_are_what_normalise_would_make_of_them(tables: Tables) -> None:
    source = tables.parquet("pods.parquet", {"t": [0], "pod": ["a"], "duty": [1.0], "mem": [1.0]})
    read_recording([source], tables.mapping(PODS), tables.series)
    key = tables.series.key(0)
    assert (key.name, key.unit, key.scope) == ("hw.gpu.utilization", "1", "")
    assert key.resource == (("container.id", "a"),)
    assert key.attributes == (("hw.id", "a"), ("hw.type", "gpu"))


def test_a_null_is_absent_and_never_zero(tables: Tables) -> None:
    source = tables.parquet(
        "pods.parquet",
        {"t": [0, 1, None, 3], "pod": ["a", None, "a", "a"], "duty": [None, 5.0, 6, 7], "mem": [None] * 4},
    )
    read = read_recording([source], tables.mapping(PODS), tables.series)
    found = tables.rows(read)
    assert found == [(1, "hw.gpu.utilization", "", 0.05), (3, "hw.gpu.utilization", "a", 0.07)]
    assert next(iter(read)).dropped == {"no_time": 1}


@pytest.mark.parametrize(
    ("time", "column", "expected"),
    [
        pytest.param("{column: t, unit: s}", [5], 5 * SECOND, id="seconds-from-the-epoch"),
        pytest.param("{column: t, unit: ms}", [5], 5_000_000, id="ms"),
        pytest.param("{column: t, unit: us}", [5], 5_000, id="us"),
        pytest.param("{column: t, unit: ns}", [1_763_980_000_123_456_789], 1_763_980_000_123_456_789, id="ns-exact"),
        pytest.param("{column: t, unit: s}", [1.25], 1_250_000_000, id="fraction"),
        pytest.param("{column: t, unit: s}", [-1.5], -1_500_000_000, id="before-the-epoch"),
        pytest.param("{column: t, unit: s, origin: 2025-01-01T00:00:00Z}", [5], 1_735_689_605 * SECOND, id="origin"),
        pytest.param(
            "{column: t, unit: s, origin: '2025-01-01T01:00:00+01:00'}", [0], 1_735_689_600 * SECOND, id="zone"
        ),
        pytest.param("{column: t}", [datetime(2025, 1, 1, tzinfo=UTC)], 1_735_689_600 * SECOND, id="timestamp"),
        pytest.param("{column: t}", [datetime(2025, 1, 1)], 1_735_689_600 * SECOND, id="timestamp-without-zone"),
        pytest.param("{column: t}", ["2025-01-01T00:00:00.5Z"], 1_735_689_600_500_000_000, id="text"),
        pytest.param("{column: t}", ["2025-01-01 00:00:00"], 1_735_689_600 * SECOND, id="text-without-zone"),
    ],
)
def test_times(tables: Tables, time: str, column: list[Any], expected: int) -> None:
    mapping = f"files: [{{match: '*', time: {time}, entity: {{hw.id: pod}}, signals: {{hw.gpu.utilization: {{column: duty}}}}}}]"
    assert tables.first_time(mapping, column) == expected


LONG = """\
files:
  - match: "*.csv*"
    time: {column: timestamp}
    entity: {hw.id: uuid, fallow.job.id: job}
    signals:
      name_column: metric
      value_column: value
      names:
        DCGM_FI_DEV_GPU_UTIL: {signal: hw.gpu.utilization, scale: 0.01}
        DCGM_FI_DEV_POWER_USAGE: {signal: hw.power}
"""
LONG_ROWS = """\
timestamp,metric,uuid,job,value
2025-07-18T20:42:36Z,DCGM_FI_DEV_GPU_UTIL,GPU-b,007,50
2025-07-18T20:42:34Z,DCGM_FI_DEV_GPU_UTIL,GPU-a,,100
2025-07-18T20:42:34Z,DCGM_FI_DEV_POWER_USAGE,GPU-a,,
2025-07-18T20:42:35Z,DCGM_FI_DEV_POWER_USAGE,GPU-a,,71.5
2025-07-18T20:42:34Z,DCGM_FI_DEV_XID_ERRORS,GPU-a,,0
"""


@pytest.mark.parametrize("name", ["long.csv", "long.csv.gz"])
def test_the_long_form(tables: Tables, name: str) -> None:
    read = read_recording([tables.text(name, LONG_ROWS)], tables.mapping(LONG), tables.series)
    found = [(signal, gpu, value) for _, signal, gpu, value in tables.rows(read)]
    assert found == [
        ("hw.gpu.utilization", "GPU-a", 1.0),
        ("hw.power", "GPU-a", 71.5),
        ("hw.gpu.utilization", "GPU-b", 0.5),
    ]
    assert read.samples == 3
    assert next(iter(read)).dropped == {"unmapped": 1}
    keys = [tables.series.key(i).labels for i in range(len(tables.series))]
    assert {labels.get("fallow.job.id") for labels in keys} == {None, "007"}, "an id of digits stays as it is written"
    assert tables.series.key(0).unit == "1"


def test_events_and_samples_of_one_time_are_in_one_batch_with_several_files(tables: Tables) -> None:
    pods = tables.parquet("pods1.parquet", {"t": [0, 100], "pod": ["a", "a"], "duty": [0.0, 0], "mem": [1.0, 1]})
    more = tables.parquet("pods2.parquet", {"t": [50], "pod": ["b"], "duty": [0.0], "mem": [1.0]})
    events = tables.parquet(
        "events.parquet",
        {
            "t": [300, 50, 0, 7],
            "pod": ["a", "b", "a", "a"],
            "what": ["end", "load", "load", None],
            "ms": [1.5, None, 3, 4],
        },
    )
    read = read_recording([pods, more, events], tables.mapping(PODS), tables.series)
    batches = list(read)
    shape = [(b.metrics.time.tolist() if b.metrics else [], b.logs.time.tolist() if b.logs else []) for b in batches]
    assert [([t // SECOND for t in m], [t // SECOND for t in e]) for m, e in shape] == [
        ([0, 0, 50, 50], [0, 50]),
        ([100, 100], []),
        ([], [300]),
    ]
    logs = batches[0].logs
    assert logs is not None
    assert logs.event_name == ("load", "load")
    assert [logs.resources[i] for i in logs.source] == [
        {"host.name": "n1", "container.id": "a"},
        {"host.name": "n1", "container.id": "b"},
    ]
    assert [dict(logs.attributes(i)) for i in range(2)] == [{"duration_ms": "3"}, {}]
    assert logs.body.null_count == 2
    assert read.samples == 9
    last = batches[2].logs
    assert last is not None
    assert dict(last.attributes(0)) == {"duration_ms": "1.5"}


def test_counts_become_a_running_total_for_each_series(tables: Tables) -> None:
    source = tables.parquet("n.parquet", {"t": [2, 0, 1, 1], "pod": ["a", "a", "a", "b"], "n": [4.0, 1, 2, 10]})
    mapping = "files: [{match: '*', time: {column: t, unit: s}, entity: {hw.id: pod}, signals: {fallow.serving.requests: {column: n, accumulate: true}}}]"
    found = tables.rows(read_recording([source], tables.mapping(mapping), tables.series))
    assert [(t, gpu, v) for t, _, gpu, v in found] == [(0, "a", 1), (1, "a", 3), (1, "b", 10), (2, "a", 7)]


def test_many_samples_of_a_minute_are_cut_but_never_within_one_time(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "SLICE_SAMPLES", 4)
    times = [0] * 6 + [1] * 3 + [2] * 2 + [3]
    pods = tables.parquet("pods.parquet", {"t": times, "pod": ["a"] * 12, "duty": [1.0] * 12, "mem": [None] * 12})
    events = tables.parquet("events.parquet", {"t": [0, 1, 2, 9], "pod": ["a"] * 4, "what": ["x"] * 4, "ms": [1.0] * 4})
    batches = list(read_recording([pods, events], tables.mapping(PODS), tables.series))
    assert [(b.metrics.time // SECOND).tolist() if b.metrics else [] for b in batches] == [
        [0] * 6,
        [1] * 3,
        [2, 2, 3],
    ]
    assert [(b.logs.time // SECOND).tolist() if b.logs else [] for b in batches] == [[0], [1], [2, 9]]


def test_no_series_beyond_the_limit(tables: Tables) -> None:
    tables.series = SeriesTable(limit=1)
    source = tables.parquet("pods.parquet", {"t": [0, 0], "pod": ["a", "b"], "duty": [1.0, 1.0], "mem": [None, None]})
    read = read_recording([source], tables.mapping(PODS), tables.series)
    assert tables.rows(read) == [(0, "hw.gpu.utilization", "a", 0.01)]
    assert next(iter(read)).dropped == {"series_limit": 1}


def test_tables_beyond_what_memory_may_hold_are_refused(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_ROWS", 3)
    source = tables.parquet("pods.parquet", {"t": [0, 1], "pod": ["a", "a"], "duty": [1.0, 1], "mem": [1.0, 1]})
    assert "at most 3 go into one replay" in tables.fails(PODS, source)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        pytest.param(
            PODS.replace("scale: 0.01", "scal: 0.01"),
            "map.yaml:6: files[0].signals.hw.gpu.utilization.scal: unknown key; "
            "allowed: scale, offset, unit, accumulate, column",
            id="unknown-key",
        ),
        pytest.param(
            LONG.replace("value_column", "values_column"),
            "map.yaml:7: files[0].signals.values_column: unknown key; allowed: name_column, value_column, names",
            id="unknown-key-of-the-long-form",
        ),
        pytest.param(PODS.replace("unit: s", "unit: m", 1), "map.yaml:3: files[0].time.unit: 'm' found", id="unit"),
        pytest.param(PODS.replace("0.01", "0"), "scale 0 would make every value the same", id="scale"),
        pytest.param(
            PODS.replace("{value: n1}", "{value: n1, column: c}"),
            "map.yaml:10: files[1].entity.host.name: needs either column or value",
            id="column-and-value",
        ),
        pytest.param(
            PODS.replace("{value: n1}", "{column: c, pattern: 'a+'}"),
            "map.yaml:10: files[1].entity.host.name.pattern: 'a+' has 0 groups, expected one",
            id="pattern-without-a-group",
        ),
        pytest.param(
            PODS.replace("{value: n1}", "{column: c, pattern: '('}"),
            "map.yaml:10: files[1].entity.host.name.pattern: '(' is no RE2 expression",
            id="pattern-that-is-none",
        ),
        pytest.param(
            "files: [{match: '*', time: {column: t}, entity: {}}]",
            "map.yaml:1: files[0]: needs signals or event",
            id="none",
        ),
    ],
)
def test_wrong_mappings_are_refused_with_their_place(tables: Tables, mapping: str, message: str) -> None:
    assert message in tables.fails(mapping, tables.text("pods.csv", "t,pod\n1,a\n"))


DERIVED = """
files:
  - match: "power.parquet"
    rows: {run: "h100*"}
    time: {column: t, unit: s}
    entity:
      host.name: {column: node, within: run}
      hw.id: {column: row, modulo: 2}
      hw.model: {column: run, pattern: '^[^|]*\\|(.*)$'}
    signals: {hw.power: {column: watts}, hw.host.power: {column: watts}}
"""


def test_rows_and_names_that_more_than_a_column_tells(tables: Tables) -> None:
    run = ["h100|a", "h100|a", "h100|a", "titan|b", "h100"]
    source = tables.parquet(
        "power.parquet",
        {
            "t": [0, 1, 2, 3, 4],
            "run": run,
            "node": ["n0"] * 5,
            "row": [0, 1, 2, 3, None],
            "watts": [float(i) for i in range(5)],
        },
    )
    found = tables.rows(read_recording([source], tables.mapping(DERIVED), tables.series))
    power = [(at, gpu) for at, name, gpu, _ in found if name == "hw.power"]
    assert power == [(0, "0"), (1, "1"), (2, "0"), (4, "")]
    labels = [tables.series.key(i).labels for i in range(len(tables.series))]
    assert {one["host.name"] for one in labels} == {"h100|a/n0", "h100/n0"}
    assert {one.get("hw.model") for one in labels} == {"a", None}
    assert all(("hw.type" in one) == (tables.series.key(i).name == "hw.power") for i, one in enumerate(labels))


def test_modulo_of_what_is_no_number(tables: Tables) -> None:
    source = tables.parquet("power.parquet", {"t": [0], "run": ["h100"], "node": ["n"], "row": ["x"], "watts": [1.0]})
    assert "map.yaml:8: files[0].entity.hw.id: row: modulo needs whole numbers" in tables.fails(DERIVED, source)


def test_missing_columns_are_all_named_with_those_there_are(tables: Tables) -> None:
    source = tables.parquet("pods.parquet", {"t": [0], "pod": ["a"], "util": [1.0]})
    assert tables.fails(PODS, source).splitlines() == [
        "map.yaml:6: files[0].signals.hw.gpu.utilization.column: pods.parquet has no column 'duty'; it has: t, pod, util",
        "map.yaml:7: files[0].signals.hw.gpu.memory.usage.column: pods.parquet has no column 'mem'; it has: t, pod, util",
    ]


def test_wrong_values_are_refused_with_their_place(tables: Tables) -> None:
    source = tables.parquet("pods.parquet", {"t": [0], "pod": ["a"], "duty": ["high"], "mem": [1.0]})
    assert tables.fails(PODS, source).startswith(
        "map.yaml:6: files[0].signals.hw.gpu.utilization.column: duty: holds no numbers"
    )
    source = tables.parquet("pods.parquet", {"t": ["noon"], "pod": ["a"], "duty": [1.0], "mem": [1.0]})
    assert tables.fails(PODS, source).startswith("map.yaml:3: files[0].time.column: t: the column holds no times")
    source = tables.parquet("pods.parquet", {"t": [10**18], "pod": ["a"], "duty": [1.0], "mem": [1.0]})
    assert "are no times in this unit" in tables.fails(PODS, source)
    without_unit = PODS.replace("{column: t, unit: s}", "{column: t}", 1)
    assert "map.yaml:3: files[0].time.column: t: needs a unit" in tables.fails(without_unit, source)
    assert "cannot be read" in tables.fails(PODS, tables.text("pods.csv", "t,pod,duty,mem\n0,a,high,1\n"))


def test_sources_that_cannot_be_read_are_refused(tables: Tables) -> None:
    whole = gzip.compress(b"t,pod,duty,mem\n" + b"".join(b"%d,a,%d,1\n" % (i, i * i) for i in range(20_000)))
    cut = tables.folder / "pods.csv.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    assert "pods.csv.gz: cannot be read" in tables.fails(PODS, cut)
    good = tables.text("pods.csv", "t,pod,duty,mem\n0,a,1,1\n")
    assert tables.fails(None, good) == "pods.csv: needs a mapping file (--map) that says which column is which signal"
    assert tables.fails(PODS, tables.text("other.csv", "t\n1\n")) == (
        "other.csv: matches no entry of map.yaml; its patterns: pods*, events*"
    )
    assert tables.fails(PODS, tables.text("pods.csv", "")) == "pods.csv: is empty"
    assert "no rows" in tables.fails(PODS, tables.text("pods.csv", "t,pod,duty,mem\n"))
    assert "pods.parquet: cannot be read" in tables.fails(PODS, tables.text("pods.parquet", "not parquet at all"))
    assert ".xlsx ending found" in tables.fails(PODS, tables.text("pods.xlsx", "x"))
    both = tables.fails(None, tables.folder / "no.csv", tables.text("empty.jsonl", ""))
    assert both.splitlines() == ["no.csv: no such file", "empty.jsonl: is empty"]


def test_the_serving_example(tables: Tables) -> None:
    sources = [SHARED / "gentd26/pod_minute.parquet", SHARED / "gentd26/events.parquet"]
    if not all(s.is_file() for s in sources):
        pytest.skip("the GenTD26 recording is not here")
    read = read_recording(sources, EXAMPLES / "gentd26.yaml", tables.series)
    samples = events = 0
    newest = -1
    for batch in read:
        columns = [c for c in (batch.metrics, batch.logs) if c is not None]
        for column in columns:
            assert (np.diff(column.time) >= 0).all()
            assert column.time[0] > newest
        newest = max(int(c.time[-1]) for c in columns)
        samples += len(batch.metrics) if batch.metrics else 0
        events += len(batch.logs) if batch.logs else 0
    assert (samples, events, read.samples) == (4 * 75_190 - 2, 120_170, 4 * 75_190 - 2 + 120_170)


def test_the_long_example_takes_every_row(tables: Tables) -> None:
    source = SHARED / "dcgm_snapshot/h100_31hosts.parquet"
    if not source.is_file():
        pytest.skip("the DCGM snapshot is not here")
    found = tables.rows(read_recording([source], EXAMPLES / "dcgm-long.yaml", tables.series))
    assert len(found) == 2470
    assert len({gpu for _, _, gpu, _ in found}) == 247
    assert [t for t, *_ in found] == sorted(t for t, *_ in found)
