"""Log files: lines with RFC 3339 stamps become records."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from fallow.batch import LogBatch
from fallow.errors import DocumentError, Problem
from fallow.units import SECOND

_STAMP = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:[.,](\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)$")


def read_log(text: str, file: str) -> LogBatch:
    """The records of a log file; a line without a stamp belongs to the record before it, as its own line.

    Raises:
        DocumentError: no line begins with an RFC 3339 time.
    """
    times: list[int] = []
    bodies: list[str] = []
    for line in text.splitlines():
        stamp, _, rest = line.partition(" ")
        time = rfc3339_ns(stamp)
        if time is not None:
            times.append(time)
            bodies.append(rest)
        elif bodies:
            bodies[-1] += "\n" + line
    if not times:
        raise DocumentError([Problem(file=file, message="no line begins with an RFC 3339 time")])
    n = len(times)
    return LogBatch(
        time=np.asarray(times, dtype=np.int64),
        observed=np.asarray(times, dtype=np.int64),
        severity=np.zeros(n, dtype=np.int8),
        source=np.zeros(n, dtype=np.int32),
        resources=({},),
        body=pa.array(bodies, pa.string()),
        event_name=("",) * n,
        attributes=lambda _: {},
    )


def rfc3339_ns(stamp: str) -> int | None:
    """Unix ns of an RFC 3339 time; None where the text is none.

    >>> rfc3339_ns("1970-01-01T00:00:01.5Z")
    1500000000
    """
    found = _STAMP.match(stamp)
    if found is None:
        return None
    zone = "+00:00" if found[3] in "Zz" else found[3]
    try:
        moment = datetime.fromisoformat(found[1].upper() + zone)
    except ValueError:
        return None
    seconds = round((moment - datetime.fromtimestamp(0, UTC)).total_seconds())
    return seconds * SECOND + int((found[2] or "0").ljust(9, "0"))
