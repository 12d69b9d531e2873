"""Who the series are and what is held of them: the table that interns them, panes of their samples, clocks."""

from fallow.series.clocks import CLOCK_LABELS, Clocks, clock_of
from fallow.series.layout import Layouts, StoreSpec, layouts_of, pane_width
from fallow.series.rows import Rows
from fallow.series.table import SeriesKey, SeriesTable

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
