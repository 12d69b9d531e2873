"""Where common logs have their stamps, and how they write them: tried in order, pair by pair.

What is more specific stands before what is more general, what stands at the beginning of a line before what may stand
anywhere in it. Patterns have one group: the stamp.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pair:
    """A pattern that finds the stamp in a line, and the layout or named format that it has."""

    pattern: str
    layout: str
    plain: bool = False
    """Whether the pattern says no more than the layout at the beginning of a line, so that it need not be asked."""


_DATE = r"\d{4}-\d{2}-\d{2}"
_TIME = r"\d{2}:\d{2}:\d{2}"
_FRACTION = r"(?:[.,]\d+)?"
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_COLON_ZONE = r"(?:Z|[+-]\d{2}:\d{2})"
_ZONE = r"[+-]\d{4}"
_RFC3339 = rf"{_DATE}T{_TIME}{_FRACTION}{_COLON_ZONE}"

_ISO = "2006-01-02 15:04:05"
_ISO_T = "2006-01-02T15:04:05"

_EPOCH_KEY = Pair(r'"time":(\d{16,19})', "epochany")
_RFC3339_FIRST = Pair(rf"^({_RFC3339})", "rfc3339nano", plain=True)
_KLOG = Pair(rf"^[IWEF](\d{{4}} {_TIME}\.\d{{6}})", "0102 15:04:05.000000")
_BRACKET_COMMA = Pair(rf"^\[({_DATE} {_TIME},\d{{3}})", "2006-01-02 15:04:05,000")
_NATS = Pair(rf"^\[\d+\] (\d{{4}}/\d{{2}}/\d{{2}} {_TIME}\.\d{{6}})", "2006/01/02 15:04:05.000000")
_US_COMMA = Pair(rf"^(\d{{2}}/\d{{2}}/\d{{4}}, {_TIME})", "01/02/2006, 15:04:05")
_US_HALVES = Pair(rf"^(\d{{2}}/\d{{2}}/\d{{4}} {_TIME} [AP]M)", "01/02/2006 03:04:05 PM")
_ZAP_CONSOLE = Pair(rf"^({_DATE}T{_TIME}\.\d{{3}}{_ZONE})", "2006-01-02T15:04:05.000-0700")
_KEYS = (
    Pair(rf'"timestamp": ?"({_RFC3339})"', "rfc3339nano"),
    Pair(rf'"ts": ?"({_RFC3339})"', "rfc3339nano"),
    Pair(rf'"creationTimestamp": ?"({_RFC3339})"', "rfc3339nano"),
    _ZAP_CONSOLE,
    Pair(r'"ts": ?(\d+\.\d+)', "dotnotation"),
    Pair(rf"\bts=({_RFC3339})", "rfc3339nano"),
    Pair(r"/Date\((\d+)\)/", "epochmillis"),
)

TABLE = (
    _EPOCH_KEY,
    _RFC3339_FIRST,
    Pair(rf"^({_DATE} {_TIME}{_FRACTION}{_COLON_ZONE})", _ISO + "Z07:00", plain=True),
    Pair(rf"^({_DATE} {_TIME}{_FRACTION}{_ZONE})", _ISO + "-0700", plain=True),
    Pair(rf"^({_DATE} {_TIME}{_FRACTION} {_ZONE})", _ISO + " -0700", plain=True),
    Pair(rf"^({_DATE} {_TIME}{_FRACTION})", _ISO, plain=True),
    Pair(rf"^({_MONTH} [ \d]\d {_TIME}{_FRACTION})", "Jan _2 15:04:05"),
    _KLOG,
    _BRACKET_COMMA,
    Pair(rf"^(\d{{4}}/\d{{2}}/\d{{2}} {_TIME}{_FRACTION})", "2006/01/02 15:04:05", plain=True),
    _NATS,
    _US_COMMA,
    Pair(rf"^(\d{{2}} {_MONTH} \d{{4}} {_TIME}{_FRACTION})", "02 Jan 2006 15:04:05"),
    Pair(rf"^(\d{{4}} {_MONTH} \d{{2}} {_TIME}{_FRACTION})", "2006 Jan 02 15:04:05"),
    Pair(rf"^(\d{{2}}/{_MONTH}/\d{{4}}:{_TIME}{_FRACTION} {_ZONE})", "02/Jan/2006:15:04:05 -0700"),
    Pair(rf"^(\d{{2}}/{_MONTH}/\d{{4}}:{_TIME}{_FRACTION})", "02/Jan/2006:15:04:05"),
    _US_HALVES,
    *_KEYS,
    # What published engines do not know, after all that they do: where these win, those have nothing to say.
    Pair(rf"^({_DATE}T{_TIME}{_FRACTION}{_ZONE})", _ISO_T + "-0700", plain=True),
    Pair(rf"^({_DATE}T{_TIME}{_FRACTION})", _ISO_T, plain=True),
    Pair(rf"^\[({_RFC3339})", "rfc3339nano"),
    Pair(rf"^\[({_DATE}T{_TIME}{_FRACTION})", _ISO_T),  # Slurm
    Pair(rf"^\[({_DATE} {_TIME}{_FRACTION}{_COLON_ZONE})", _ISO + "Z07:00"),
    Pair(rf"^\[({_DATE} {_TIME}{_FRACTION})", _ISO),  # Envoy
    Pair(rf"^\[({_DAY} {_MONTH} [ \d]\d {_TIME}{_FRACTION} \d{{4}})\]", "Mon Jan _2 15:04:05 2006"),  # Apache, dmesg -T
    Pair(rf"^({_DAY} {_MONTH} [ \d]\d {_TIME} \d{{4}})", "Mon Jan _2 15:04:05 2006"),
    Pair(rf"\[(\d{{2}}/{_MONTH}/\d{{4}}:{_TIME} {_ZONE})\]", "02/Jan/2006:15:04:05 -0700"),  # access logs
    Pair(rf"^<\d{{1,3}}>({_MONTH} [ \d]\d {_TIME}{_FRACTION})", "Jan _2 15:04:05"),  # RFC 3164
    Pair(rf"^<\d{{1,3}}>1 ({_RFC3339})", "rfc3339nano"),  # RFC 5424
    Pair(rf"^[IWEF](\d{{8}} {_TIME}\.\d{{6}})", "20060102 15:04:05.000000"),  # glog since 0.5
    Pair(rf"^\d+:[A-Z] (\d{{2}} {_MONTH} \d{{4}} {_TIME}{_FRACTION})", "02 Jan 2006 15:04:05"),  # Redis
    Pair(rf'"time": ?"({_RFC3339})"', "rfc3339nano"),
    Pair(rf'"@timestamp": ?"({_RFC3339})"', "rfc3339nano"),  # Elastic
    Pair(rf'\btime="({_RFC3339})"', "rfc3339nano"),  # logrus
    Pair(rf"\btime=({_RFC3339})", "rfc3339nano"),  # slog
    Pair(r'"(?:time|timestamp|ts)": ?(\d{10,19})\b', "epochany"),  # pino
    Pair(rf"^({_MONTH} \d{{2}}, \d{{4}} {_TIME} [AP]M)", "Jan 02, 2006 03:04:05 PM"),
    Pair(rf"^(\d{{2}}/\d{{2}}/\d{{2}} {_TIME})", "06/01/02 15:04:05"),  # Spark
    Pair(rf"^[A-Z]{{4,8}}:? +(\d{{2}}-\d{{2}} {_TIME}{_FRACTION})", "01-02 15:04:05"),  # vLLM
    Pair(r"^(\d{10}(?:\.\d+)?) ", "dotnotation"),
    Pair(r"^(\d{13}) ", "epochmillis"),
    # Something before the date: a level, a process, a rank.
    Pair(rf"^[^0-9]{{0,40}}({_RFC3339})", "rfc3339nano"),
    Pair(rf"^[^0-9]{{0,40}}({_DATE} {_TIME}{_FRACTION})", _ISO),
)
"""Ours: fraction and zone are read wherever a log has them."""

PUBLISHED = (
    _EPOCH_KEY,
    _RFC3339_FIRST,
    Pair(rf"^({_DATE} {_TIME},\d{{5}})", "2006-01-02 15:04:05,00000"),
    Pair(rf"^({_DATE} {_TIME}\.\d{{6}}{_ZONE})", "2006-01-02 15:04:05.000000-0700"),
    Pair(rf"^({_DATE} {_TIME}\.\d{{3}})", "2006-01-02 15:04:05.000"),
    Pair(rf"^({_DATE} {_TIME})", _ISO),
    Pair(rf"^({_MONTH} [ \d]\d {_TIME}\.\d{{6}})", "Jan _2 15:04:05.000000"),
    Pair(rf"^({_MONTH} [ \d]\d {_TIME})", "Jan _2 15:04:05"),
    _KLOG,
    _BRACKET_COMMA,
    Pair(rf"^(\d{{4}}/\d{{2}}/\d{{2}} {_TIME})", "2006/01/02 15:04:05"),
    _US_COMMA,
    Pair(rf"^(\d{{2}} {_MONTH} \d{{4}} {_TIME}\.\d{{3}})", "02 Jan 2006 15:04:05.000"),
    Pair(rf"^(\d{{4}} {_MONTH} \d{{2}} {_TIME}\.\d{{3}})", "2006 Jan 02 15:04:05.000"),
    Pair(rf"^(\d{{2}}/{_MONTH}/\d{{4}}:{_TIME}\.\d{{3}})", "02/Jan/2006:15:04:05.000"),
    _US_HALVES,
    *_KEYS,
    _NATS,
)
"""What published engines read: they trim blanks off their patterns, and with them what holds the end of a stamp. The
fraction ends after three digits or is lost, and most zones are lost. For conformance."""
