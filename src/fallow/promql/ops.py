"""Numbers of what the kernels can do; the compiler writes them, the kernels read them."""

from __future__ import annotations

from typing import Final

from fallow.series.layout import (
    FIRST_CHANGES,
    FIRST_RESET_SUM,
    FIRST_RESETS,
    FIRST_V,
    MAXIMUM,
    MINIMUM,
    RAW,
    SLOPE,
    SQUARES,
    TOTAL,
)

# -- what a slot does -------------------------------------------------------------------------------------------------
INSTANT: Final = 0  # newest sample of row a
RANGE: Final = 1  # function fn of row a's store
MAP: Final = 2  # function fn of slot a's value
WITH_NUMBER: Final = 3  # slot a, operator fn, number p0
WITH_VECTOR: Final = 4  # slot a, operator fn, the one present slot of group b; group c: a's peers or -1
AND: Final = 5  # slot a where group b has a present slot
UNLESS: Final = 6
OR: Final = 7  # slot a (or -1); where absent slot c (or -1) unless group b has a present slot
AGGREGATE: Final = 8  # function fn over group b
ABSENT: Final = 9  # 1 where group b has no present slot
SCALAR: Final = 10  # the value of the one present slot of group b, else NaN
CONSTANT: Final = 11  # p0
TIME: Final = 12  # the instant in seconds
COPY: Final = 13  # slot a under other labels
ROOT: Final = 14  # slot a is a result of a condition; b: its state

# -- flags of a slot --------------------------------------------------------------------------------------------------
PRESENT: Final = 1  # there is an element, as in PromQL on the samples that are there
UNKNOWN: Final = 2  # but the samples do not suffice to say so
WARMING: Final = 4  # because the window reaches before the series' first sample

# -- flags of a node --------------------------------------------------------------------------------------------------
BOOL: Final = 1  # a comparison gives 0 or 1
SWAPPED: Final = 2  # slot a is the right operand
KEEP_A: Final = 4  # a comparison keeps slot a's value though it is the right operand
AT_LEAST: Final = 8  # the operand's true value is not below the observed one (max, count, changes …)
AT_MOST: Final = 16  # … not above (min)
EVENTS: Final = 32  # a selector of events: coverage does not apply

# -- binary operators -------------------------------------------------------------------------------------------------
OPERATORS: Final = {
    "+": 0,
    "-": 1,
    "*": 2,
    "/": 3,
    "%": 4,
    "^": 5,
    "==": 6,
    "!=": 7,
    "<": 8,
    ">": 9,
    "<=": 10,
    ">=": 11,
}
FIRST_COMPARISON: Final = 6
EQ: Final = 6
NE: Final = 7
LT: Final = 8
GT: Final = 9
LE: Final = 10
GE: Final = 11

# -- functions over a window: number and the statistics that it needs --------------------------------------------------
AVG: Final = 0
SUM_OF: Final = 1
COUNT: Final = 2
MIN: Final = 3
MAX: Final = 4
STDDEV: Final = 5
STDVAR: Final = 6
LAST: Final = 7
PRESENT_OVER: Final = 8
RATE: Final = 9
INCREASE: Final = 10
DELTA: Final = 11
IRATE: Final = 12
IDELTA: Final = 13
DERIV: Final = 14
CHANGES_OVER: Final = 15
RESETS_OVER: Final = 16
QUANTILE: Final = 17
PREDICT: Final = 18
MAD: Final = 19

RANGE_FUNCTIONS: Final[dict[str, tuple[int, frozenset[int]]]] = {
    "avg_over_time": (AVG, TOTAL),
    "sum_over_time": (SUM_OF, TOTAL),
    "count_over_time": (COUNT, frozenset()),
    "min_over_time": (MIN, frozenset({MINIMUM})),
    "max_over_time": (MAX, frozenset({MAXIMUM})),
    "stddev_over_time": (STDDEV, TOTAL | {SQUARES}),
    "stdvar_over_time": (STDVAR, TOTAL | {SQUARES}),
    "last_over_time": (LAST, frozenset()),
    "present_over_time": (PRESENT_OVER, frozenset()),
    "rate": (RATE, frozenset({FIRST_V, FIRST_RESET_SUM})),
    "increase": (INCREASE, frozenset({FIRST_V, FIRST_RESET_SUM})),
    "delta": (DELTA, frozenset({FIRST_V})),
    "irate": (IRATE, frozenset()),
    "idelta": (IDELTA, frozenset()),
    "deriv": (DERIV, SLOPE),
    "predict_linear": (PREDICT, SLOPE),
    "changes": (CHANGES_OVER, frozenset({FIRST_CHANGES})),
    "resets": (RESETS_OVER, frozenset({FIRST_RESETS})),
    "quantile_over_time": (QUANTILE, frozenset({RAW})),
    "mad_over_time": (MAD, frozenset({RAW})),
}
_STATISTICS: Final = dict(RANGE_FUNCTIONS.values())


def statistics_of(fn: int) -> frozenset[int]:
    """The statistics that a function over a window needs."""
    return _STATISTICS[fn]


NEVER_BELOW: Final = frozenset({COUNT, MAX, PRESENT_OVER, INCREASE, CHANGES_OVER, RESETS_OVER})
"""Functions whose value on all samples is not below that on some of them."""
NEVER_ABOVE: Final = frozenset({MIN})

# -- functions of a value ----------------------------------------------------------------------------------------------
MAPS: Final[dict[str, int]] = {
    "abs": 0,
    "ceil": 1,
    "floor": 2,
    "round": 3,
    "clamp": 4,
    "clamp_min": 5,
    "clamp_max": 6,
    "exp": 7,
    "ln": 8,
    "log2": 9,
    "log10": 10,
    "sqrt": 11,
    "sgn": 12,
}
NEGATE: Final = 13
TIMESTAMP: Final = 14  # of an INSTANT only

# -- aggregations ------------------------------------------------------------------------------------------------------
AGGREGATIONS: Final[dict[str, int]] = {
    "sum": 0,
    "avg": 1,
    "min": 2,
    "max": 3,
    "count": 4,
    "group": 5,
    "stddev": 6,
    "stdvar": 7,
    "quantile": 8,
}
