"""``fallow frontier``: what keeping fewer GPUs warm would have saved, and cost."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from fallow.batch import Batch
from fallow.cli.output import fail, json_sink, out
from fallow.errors import PermanentError
from fallow.replay import build, raised, read_recording
from fallow.replay.frontier import Activity, Interval, Point
from fallow.replay.frontier import frontier as points_of
from fallow.replay.run import replay as run_replay
from fallow.service import Chain
from fallow.testing.components import context

COLOURS = {"time-out": "#b5542b", "learned": "#3b6ea5", "keep warm": "#2f6b4f", "oracle": "#777777"}


def frontier(
    source: Annotated[
        list[Path], typer.Argument(metavar="SOURCE", help="OTLP JSON lines (.jsonl, .gz), Parquet or CSV files.")
    ],
    mapping: Annotated[
        Path | None, typer.Option("--map", help="Mapping file (YAML): which column is which signal.")
    ] = None,
    json_file: Annotated[
        str, typer.Option("--json", help="Write a JSON line a policy here; - for standard output.")
    ] = "",
    page: Annotated[Path | None, typer.Option("--html", help="Draw it into this HTML file.")] = None,
) -> None:
    """How much GPU-time could be had back for how many cold starts, by GPU and by the fleet, over a recording.

    What is idle at the end of a recording counts neither as saved nor as there: nobody knows what came after.
    """
    if page is not None and find_spec("plotly") is None:
        raise PermanentError("--html needs plotly: pip install 'fallow[report]'")
    base = context("frontier", Path())
    activity = Activity(base.series)

    def observe(batch: Batch) -> None:
        if batch.metrics is not None:
            activity.observe(batch.metrics)

    chain = Chain(build(("decode", "normalise", "health", "rhythm"), {}, base), raised)
    run_replay(read_recording(source, mapping, base.series), chain, observe)
    try:
        grid = activity.grid()
    except ValueError as error:
        fail(str(error), 1)
    points = points_of(grid)
    if json_file:
        with json_sink(json_file) as sink:
            for point in points:
                print(json.dumps({"type": "policy"} | asdict(point)), file=sink)
    if json_file != "-":
        out.print(_table(points))
        hours = float(grid.there.sum()) * grid.step_s / 3600
        out.print(
            f"{grid.there.shape[1]:,} GPUs, {hours:,.0f} GPU-hours, steps of {grid.step_s:g} s; in brackets the 95 % interval over "
            "bootstrap samples of GPUs. Keep warm takes the GPUs of the recording as interchangeable."
        )
    if page is not None:
        page.write_text(_figure(points).to_html(include_plotlyjs=True), encoding="utf-8")


def _table(points: list[Point]) -> Table:
    table = Table("policy", "", title="What fewer warm GPUs would save, and cost", title_justify="left")
    for column in ("GPU-time saved", "GPU-hours", "cold starts a GPU-hour", "time short"):
        table.add_column(column, justify="right")
    for p in points:
        share, starts = _text(p.saved, 100, "%"), _text(p.starts, 1, "")
        table.add_row(p.kind, p.policy, share, f"{p.hours:,.0f}", starts, _text(p.short, 100, "%"))
    return table


def _text(interval: Interval, scale: float, unit: str) -> str:
    value, low, high = (scale * v for v in interval)
    digits = 1 if scale > 1 else 2
    return f"{value:.{digits}f}{unit} ({low:.{digits}f}–{high:.{digits}f})"


def _figure(points: list[Point]) -> Any:
    """Saved time against time short, and against cold starts."""
    from plotly.graph_objects import Figure, Scatter
    from plotly.subplots import make_subplots

    figure: Figure = make_subplots(cols=2, shared_yaxes=True, horizontal_spacing=0.05)
    for column, cost in ((1, "short"), (2, "starts")):
        for kind, colour in COLOURS.items():
            mine = [p for p in points if p.kind == kind]
            scale = 100 if cost == "short" else 1
            x = [getattr(p, cost) for p in mine]
            figure.add_trace(
                Scatter(
                    x=[scale * v for v, _, _ in x],
                    y=[100 * p.saved[0] for p in mine],
                    error_x=_bars(x, scale),
                    error_y=_bars([p.saved for p in mine], 100),
                    mode="lines+markers" if kind == "time-out" else "markers",
                    name=kind,
                    text=[p.policy for p in mine],
                    hovertemplate="%{text}<br>%{y:.1f} % saved<br>%{x:.2f}<extra></extra>",
                    marker={"color": colour, "size": 9},
                    showlegend=column == 1,
                ),
                row=1,
                col=column,
            )
    figure.update_yaxes(title_text="GPU-time saved, %", rangemode="tozero", col=1)
    figure.update_xaxes(title_text="time in which a wanted GPU has to start, %", rangemode="tozero", col=1)
    figure.update_xaxes(title_text="cold starts a GPU-hour saved", rangemode="tozero", col=2)
    figure.update_layout(
        template="plotly_white", title="What fewer warm GPUs would save, and cost", width=1100, height=520
    )
    return figure


def _bars(intervals: list[Interval], scale: float) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [scale * (high - value) for value, _, high in intervals],
        "arrayminus": [scale * (value - low) for value, low, _ in intervals],
        "thickness": 1,
    }
