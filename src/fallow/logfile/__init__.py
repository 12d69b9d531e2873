"""Log files: stamps, formats, lines that belong together, and the order of events; for files and standard input."""

from fallow.logfile.files import STDIN, log_batch, open_log, read_log, unreadable
from fallow.logfile.formats import CRI, CriLine, Format, detect_format, first_stamp, pattern_format, read_cri
from fallow.logfile.layout import Fields
from fallow.logfile.lines import LogReader, Records
from fallow.logfile.reorder import Reorder
from fallow.logfile.stamp import epoch_any, in_latest_year, parser

__all__ = [
    "CRI",
    "STDIN",
    "CriLine",
    "Fields",
    "Format",
    "LogReader",
    "Records",
    "Reorder",
    "detect_format",
    "epoch_any",
    "first_stamp",
    "in_latest_year",
    "log_batch",
    "open_log",
    "parser",
    "pattern_format",
    "read_cri",
    "read_log",
    "unreadable",
]
