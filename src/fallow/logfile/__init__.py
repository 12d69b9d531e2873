"""Log files: stamps, formats, lines that belong together, and the order of events; for files and standard input."""

from fallow.logfile.files import STDIN, first_time, log_batch, open_log, read_log, unreadable
from fallow.logfile.formats import CRI, CriLine, Format, detect_format, first_stamp, pattern_format, read_cri
from fallow.logfile.layout import Fields
from fallow.logfile.lines import LogReader, Records
from fallow.logfile.merge import Clock, merged, reordered
from fallow.logfile.reorder import Reorder
from fallow.logfile.sources import Source, load_sources
from fallow.logfile.stamp import epoch_any, in_latest_year, parser

__all__ = [
    "CRI",
    "STDIN",
    "Clock",
    "CriLine",
    "Fields",
    "Format",
    "LogReader",
    "Records",
    "Reorder",
    "Source",
    "detect_format",
    "epoch_any",
    "first_stamp",
    "first_time",
    "in_latest_year",
    "load_sources",
    "log_batch",
    "merged",
    "open_log",
    "parser",
    "pattern_format",
    "read_cri",
    "read_log",
    "reordered",
    "unreadable",
]
