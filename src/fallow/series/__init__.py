"""Who the series are: the one table that interns them, shared by everything in a service."""

from fallow.series.table import SeriesKey, SeriesTable

__all__ = ["SeriesKey", "SeriesTable"]
