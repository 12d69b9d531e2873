"""The report: what is drawn, what is counted, and that text from outside stays text."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fallow.batch import Batch, MetricBatch
from fallow.component import Context
from fallow.errors import PermanentError
from fallow.series import SeriesKey, SeriesTable
from fallow.testing.components import context
from fallow.units import SECOND
from fallow_exporters.report import FACTORY, ReportConfig, ReportExporter
from fallow_exporters.report.curves import Curves
from helpers.model import a_detection, a_recommendation

EVIL = "</script><script>alert(1)</script>"


def written(tmp_path: Path, *batches: Batch, series: SeriesTable | None = None, **options: Any) -> str:
    made: Context = context("report", tmp_path, series)
    exporter = ReportExporter(ReportConfig.model_validate({"path": "out/report.html", **options}), made)

    async def run() -> None:
        await exporter.start()
        for batch in batches:
            await exporter.export(batch)
        await exporter.shutdown()

    asyncio.run(run())
    assert [p.name for p in (tmp_path / "out").glob("report*")] == ["report.html"], "nothing half-written beside it"
    return (tmp_path / "out" / "report.html").read_text()


def data_of(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


class Tags(HTMLParser):
    """Elements of a page, and what they load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts = 0
        self.loads: list[str] = []
        self.cells: list[str] = []
        self._in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.loads += [str(value) for name, value in attrs if name in ("src", "href", "data", "action")]
        self._in_cell = tag == "td"

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.cells.append(data)
            self._in_cell = False


def samples(table: SeriesTable, name: str, gpu: str, rows: list[tuple[float, float]]) -> MetricBatch:
    id = table.intern(SeriesKey(name=name, resource=(("host.name", "n1"),), attributes=(("hw.id", gpu),)))
    return MetricBatch.of([id] * len(rows), [int(t * SECOND) for t, _ in rows], [v for _, v in rows])


def test_nothing_found_is_a_page_too(tmp_path: Path) -> None:
    page = written(tmp_path)
    assert "There was no telemetry." in page
    assert data_of(page) == {"rules": [], "entities": []}


def test_a_detection_is_drawn_on_the_signals_of_its_gpu_alone(tmp_path: Path) -> None:
    table = SeriesTable()
    rows = [(1000.0 + 60 * i, 0.5 if i < 10 else 0.0) for i in range(60)]
    batches = [Batch(metrics=samples(table, "hw.gpu.utilization", gpu, rows)) for gpu in ("GPU-1", "GPU-2")]
    found = a_detection(entity={"hw.id": "GPU-1"}, time=2600 * SECOND, start=1600 * SECOND, end=4000 * SECOND)
    made = a_recommendation(detection=found.id, target={"hw.id": "GPU-1"})
    page = written(tmp_path, *batches, Batch(detections=(found,), recommendations=(made,)), series=table)
    (entity,) = data_of(page)["entities"]
    assert entity["name"] == "GPU-1"
    ((line,),) = [panel["lines"] for panel in entity["panels"]]
    assert (min(line["y"]), max(line["y"])) == (0.0, 50.0)
    assert [(d["start"], d["time"], d["end"]) for d in entity["drawn"]] == [(1_600_000, 2_600_000, 4_000_000)]


def test_text_from_rules_and_labels_stays_text(tmp_path: Path) -> None:
    found = a_detection(title=EVIL, entity={"host.name": EVIL})
    page = written(tmp_path, Batch(detections=(found,), recommendations=(a_recommendation(),)), title=EVIL, note=EVIL)
    tags = Tags(page)
    assert tags.scripts == 3
    assert EVIL in tags.cells
    assert data_of(page)["entities"][0]["name"] == EVIL


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    assert Tags(written(tmp_path, Batch(detections=(a_detection(),)))).loads == []


def test_rows_and_timelines_are_bounded_and_it_says_so(tmp_path: Path) -> None:
    many = tuple(a_detection(id=f"d{i}", entity={"hw.id": f"GPU-{i}"}) for i in range(30))
    page = written(tmp_path, Batch(detections=many), max_rows=10, max_entities=5)
    assert "The 10 with the most to save of 30." in page
    assert "The 5 with the most to save of 30 are here." in page
    assert page.count("<tr><td") == 10
    assert len(data_of(page)["entities"]) == 5


def test_a_detection_counts_once_with_its_last_state(tmp_path: Path) -> None:
    fired = a_detection(state="fired")
    page = written(tmp_path, Batch(detections=(fired,)), Batch(detections=(replace(fired, state="resolved"),)))
    assert "resolved" in Tags(page).cells
    assert "fired" not in Tags(page).cells


def test_series_that_the_limit_kept_out_are_told_of(tmp_path: Path) -> None:
    table = SeriesTable()
    batches = [Batch(metrics=samples(table, "hw.power", gpu, [(1.0, 50.0)])) for gpu in ("GPU-1", "GPU-2", "GPU-3")]
    page = written(tmp_path, *batches, series=table, max_series=1)
    assert "2 series came after the limit of series was reached" in page


def test_of_too_many_spans_on_one_timeline_some_are_drawn_and_it_says_so(tmp_path: Path) -> None:
    many = tuple(a_detection(id=f"d{i}", time=SECOND * (i + 1)) for i in range(250))
    (entity,) = data_of(written(tmp_path, Batch(detections=many)))["entities"]
    assert len(entity["drawn"]) == 200
    assert entity["found"] == "250 × CRE-2026-9003; 200 drawn"


def test_curves_of_several_gpus_are_told_apart(tmp_path: Path) -> None:
    table = SeriesTable()
    batches = [Batch(metrics=samples(table, "hw.power", gpu, [(1.0, 50.0)])) for gpu in ("GPU-1", "GPU-2")]
    found = a_detection(entity={"host.name": "n1"})
    (entity,) = data_of(written(tmp_path, *batches, Batch(detections=(found,)), series=table))["entities"]
    assert [line["name"] for line in entity["panels"][0]["lines"]] == ["power, GPU GPU-1", "power, GPU GPU-2"]


def test_without_plotly_it_is_not_built_and_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(PermanentError, match=r"pip install 'fallow\[report\]'"):
        FACTORY.build(ReportConfig(path=Path("r.html")), context("report", tmp_path))


def test_parquet_beside_it(tmp_path: Path) -> None:
    written(tmp_path, Batch(detections=(a_detection(),), recommendations=(a_recommendation(),)), parquet="tables")
    (row,) = pq.read_table(tmp_path / "tables" / "recommendations.parquet").to_pylist()
    assert row["gpu_seconds"] == a_recommendation().saving.gpu_seconds
    assert pq.read_table(tmp_path / "tables" / "detections.parquet").num_rows == 1


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(PermanentError, match="cannot be written to"):
        written(tmp_path)


def test_tables_that_cannot_be_written_are_one_clear_error_too(tmp_path: Path) -> None:
    (tmp_path / "tables").write_text("a file where the folder should be")
    with pytest.raises(PermanentError, match="cannot be written to"):
        written(tmp_path, parquet="tables")


def test_what_was_there_stays_where_the_new_one_cannot_take_its_place(tmp_path: Path) -> None:
    (tmp_path / "out" / "report.html" / "kept").mkdir(parents=True)
    with pytest.raises(PermanentError, match="cannot be written to"):
        written(tmp_path)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["report.html"]
    assert (tmp_path / "out" / "report.html" / "kept").is_dir()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 100_000), st.floats(-1e6, 1e6, width=32)), min_size=1, max_size=200),
    st.integers(1, 50),
)
def test_thinning_keeps_the_least_and_the_greatest_in_any_order(rows: list[tuple[int, float]], size: int) -> None:
    table = SeriesTable()
    curves = Curves(table, 10)
    for start in range(0, len(rows), size):
        part = [(float(t), v) for t, v in rows[start : start + size]]
        curves.add(samples(table, "hw.gpu.utilization", "GPU-1", part))
    times, values = curves.points(0)
    assert np.nanmin(values) == min(v for _, v in rows)
    assert np.nanmax(values) == max(v for _, v in rows)
    assert len(values) <= 3 * 512
    assert (np.diff(times) > 0).all()
    # Each drawn value stands within a stretch of a sample that had it.
    reach = curves.width / SECOND
    for time, value in zip(times, values, strict=True):
        assert np.isnan(value) or any(v == value and abs(t - time) <= reach for t, v in rows)


def test_samples_from_before_the_first_batch_stand_at_their_own_time() -> None:
    table = SeriesTable()
    curves = Curves(table, 1)
    curves.add(samples(table, "hw.gpu.utilization", "GPU-1", [(5000.0, 1.0)]))
    curves.add(samples(table, "hw.gpu.utilization", "GPU-1", [(4900.0, 0.5), (1000.0, 0.25)]))
    times, values = curves.points(0)
    assert values.tolist() == [0.25, 0.5, 1.0]
    assert np.abs(times - [1000, 4900, 5000]).max() <= curves.width / SECOND


def test_a_sample_without_a_time_does_not_stretch_the_picture() -> None:
    table = SeriesTable()
    curves = Curves(table, 1)
    curves.add(samples(table, "hw.gpu.utilization", "GPU-1", [(1e9, 1.0), (0.0, 0.0)]))
    assert curves.width == SECOND
    assert curves.points(0)[1].tolist() == [1.0]


def test_series_beyond_the_limit_are_counted() -> None:
    table = SeriesTable()
    curves = Curves(table, 1)
    for gpu in ("GPU-1", "GPU-2", "GPU-3"):
        curves.add(samples(table, "hw.gpu.utilization", gpu, [(1.0, 1.0)]))
    assert curves.left_out == 2
    assert len(curves.named()) == 1
