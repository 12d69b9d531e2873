"""Who the series are and what is held of them: the table that interns them, panes of their samples, clocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fallow.lazy import exports

if TYPE_CHECKING:
    from fallow.series.clocks import CLOCK_LABELS, Clocks, clock_of
    from fallow.series.layout import Layouts, StoreSpec, layouts_of, pane_width
    from fallow.series.rows import Rows
    from fallow.series.table import SeriesKey, SeriesTable

# Imported on first use: whoever only interns series does not wait for the compiler of the kernels.
_HOME = {
    "CLOCK_LABELS": "clocks",
    "Clocks": "clocks",
    "Layouts": "layout",
    "Rows": "rows",
    "SeriesKey": "table",
    "SeriesTable": "table",
    "StoreSpec": "layout",
    "clock_of": "clocks",
    "layouts_of": "layout",
    "pane_width": "layout",
}

__all__ = [
    "CLOCK_LABELS",
    "Clocks",
    "Layouts",
    "Rows",
    "SeriesKey",
    "SeriesTable",
    "StoreSpec",
    "clock_of",
    "layouts_of",
    "pane_width",
]

__getattr__ = exports(__name__, _HOME)
