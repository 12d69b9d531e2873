"""Slurm for tests without Slurm: programs of its commands' names that print what a real cluster printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from fallow.batch import Batch
from helpers.sink import attributes

GOLDEN = Path(__file__).parents[1] / "golden" / "slurm"
RELEASES = ("22.05", "24.11", "26.05")

_PROGRAM = """#!/bin/sh
cd {folder}/now || exit 1
[ -e fails ] && {{ cat fails >&2; exit 1; }}
case "$(basename "$0") $*" in
    squeue*) cat squeue;;
    sinfo*|*nodes*) cat nodes;;
    *config*) cat config;;
    *reservation*) cat reservation;;
    *) echo "unexpected: $0 $*" >&2; exit 2;;
esac
"""


class RecordedSlurm:
    """``commands`` prints what was recorded of one look; ``show`` turns to another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commands = folder / "bin"
        self.commands.mkdir(parents=True)
        for name in ("squeue", "sinfo", "scontrol"):
            program = self.commands / name
            program.write_text(_PROGRAM.format(folder=folder))
            program.chmod(0o755)

    def show(self, look: Path) -> None:
        """What the commands print from now on."""
        link = self.folder / "now"
        link.unlink(missing_ok=True)
        link.symlink_to(look)

    def fail(self, message: str) -> None:
        """The commands fail until the next look."""
        broken = self.folder / "broken"
        broken.mkdir(exist_ok=True)
        (broken / "fails").write_text(message)
        self.show(broken)


def told(batches: Sequence[Batch]) -> list[tuple[str, LogRecord]]:
    """(host, record) of every event, in the order in which they were handed on."""
    return [
        (str(_of(logs.resource).get("host.name", "")), record)
        for batch in batches
        if batch.request is not None and batch.request.kind == "logs"
        for logs in ExportLogsServiceRequest.FromString(batch.request.body).resource_logs
        for scope in logs.scope_logs
        for record in scope.log_records
    ]


def measured(batch: Batch) -> Iterator[tuple[str, dict[str, object], float]]:
    """(name, attributes with those of the resource, value) of every point."""
    assert batch.request is not None
    for metrics in ExportMetricsServiceRequest.FromString(batch.request.body).resource_metrics:
        for metric in metrics.scope_metrics[0].metrics:
            for point in metric.gauge.data_points:
                yield metric.name, {**_of(metrics.resource), **attributes_of(point)}, point.as_double


def attributes_of(record: Any) -> dict[str, object]:
    """Attributes as plain values, arrays as tuples."""
    found: dict[str, object] = attributes(record)
    for one in record.attributes:
        if one.value.HasField("array_value"):
            found[one.key] = tuple(value.string_value for value in one.value.array_value.values)
    return found


def _of(resource: Any) -> dict[str, object]:
    return attributes(resource)
