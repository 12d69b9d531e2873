"""OTLP JSON lines: requests in order, several files merged, and errors that name the line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from pyarrow import parquet

from fallow.errors import DocumentError
from fallow.replay import read_recording
from fallow.series import SeriesTable

SECOND = 1_000_000_000


def metrics(*seconds: int, name: str = "m") -> str:
    points = [{"timeUnixNano": str(s * SECOND), "startTimeUnixNano": "1", "asDouble": 1.0} for s in seconds]
    metric = {"name": name, "gauge": {"dataPoints": points}}
    return json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]})


def logs(seconds: int) -> str:
    record = {"observedTimeUnixNano": str(seconds * SECOND), "body": {"stringValue": '"timeUnixNano": "1"'}}
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})


def write(path: Path, *lines: str) -> Path:
    data = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def names(sources: Sequence[Path]) -> list[str]:
    """The name of each request's first metric, or the kind of the request."""
    found: list[str] = []
    for batch in read_recording(sources, None, SeriesTable()):
        assert batch.request is not None
        if batch.request.kind == "metrics":
            request = ExportMetricsServiceRequest.FromString(batch.request.body)
            found.append(request.resource_metrics[0].scope_metrics[0].metrics[0].name)
        else:
            found.append(batch.request.kind)
    return found


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json", "a.jsonl.gz"])
def test_a_file_keeps_its_order(tmp_path: Path, name: str) -> None:
    source = write(tmp_path / name, metrics(5, name="five"), "", logs(3), metrics(1, name="one"))
    assert names([source]) == ["five", "logs", "one"]
    assert read_recording([source], None, SeriesTable()).samples is None


def test_files_are_merged_by_the_earliest_time_of_each_line(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", metrics(9, 1, name="a1"), metrics(4, name="a4"), metrics(6, name="a6"))
    b = write(tmp_path / "b.jsonl", metrics(2, name="b2"), logs(5), metrics(name="no time"), metrics(7, name="b7"))
    assert names([a, b]) == ["a1", "b2", "a4", "logs", "no time", "a6", "b7"]


def test_tables_are_merged_with_lines(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"t": [1, 3], "gpu": ["a", "a"], "u": [0.0, 1.0]}), tmp_path / "t.parquet")
    mapping = write(
        tmp_path / "map.yaml",
        "files: [{match: '*', time: {column: t, unit: s}, entity: {hw.id: gpu}, signals: {hw.gpu.utilization: {column: u}}}]",
    )
    lines = write(tmp_path / "a.jsonl", metrics(2), metrics(4))
    read = read_recording([lines, tmp_path / "t.parquet"], mapping, SeriesTable())
    assert ["line" if b.request else "table" for b in read] == ["table", "line", "table", "line"]
    assert [b.request is None for b in read] == [True, False, True, False], "it can be read again"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param('{"resourceMetrics": [', "not OTLP JSON: Expecting value", id="cut"),
        pytest.param("hello", "not OTLP JSON: Expecting value", id="text"),
        pytest.param(
            '{"foo": 1}', "keys foo found, expected resourceMetrics, resourceLogs or resourceSpans", id="other"
        ),
        pytest.param("[]", "list found, expected resourceMetrics, resourceLogs or resourceSpans", id="list"),
        pytest.param('{"resourceMetrics": [{"scopeMetrics": 7}]}', "resourceMetrics", id="wrong-type"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    source = write(tmp_path / "a.jsonl", metrics(1), "", line)
    with pytest.raises(DocumentError) as error:
        names([source])
    assert str(error.value).startswith(f"{source}:3: ")
    assert message in str(error.value)


def test_a_truncated_gzip_is_named_with_the_line_it_ends_in(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl.gz", *(metrics(i, name=f"metric number {i * i * i}") for i in range(300)))
    source.write_bytes(source.read_bytes()[:-40])
    with pytest.raises(DocumentError, match=r"a\.jsonl\.gz:\d+: the gzip stream ends before its end"):
        names([source])
    source.write_bytes(b"not gzip")
    with pytest.raises(DocumentError, match=r"a\.jsonl\.gz:1: not a readable gzip stream"):
        names([source])


def test_a_file_without_a_request_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"a\.jsonl: is empty"):
        names([write(tmp_path / "a.jsonl", "", " ")])
