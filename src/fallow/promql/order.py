"""The order of a query's result, which ``sort`` and its relatives give it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

Key = tuple[tuple[str, str], ...]

_RUNS = re.compile(r"\d+|\D+")


def as_sorted(vector: dict[Key, float], function: str, labels: Sequence[str]) -> dict[Key, float]:
    """The vector as ``sort``, ``sort_desc``, ``sort_by_label`` or ``sort_by_label_desc`` orders it; NaN comes last."""
    if function.startswith("sort_by_label"):
        return _by_labels(vector, labels, reverse=function.endswith("_desc"))
    sign = -1 if function == "sort_desc" else 1
    ordered = sorted(vector.items(), key=lambda item: (math.isnan(item[1]), sign * item[1], item[0]))
    return dict(ordered)


def _by_labels(vector: dict[Key, float], labels: Sequence[str], *, reverse: bool) -> dict[Key, float]:
    def key(item: tuple[Key, float]) -> tuple[object, ...]:
        values = dict(item[0])
        return (*(natural(values.get(label, "")) for label in labels), item[0])

    return dict(sorted(vector.items(), key=key, reverse=reverse))


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """A key by which numbers within texts sort as numbers.

    >>> sorted(["4m600", "4m5", "4m1000"], key=natural)
    ['4m5', '4m600', '4m1000']
    """
    return tuple((0, int(run), run) if run.isdigit() else (1, 0, run) for run in _RUNS.findall(text))
