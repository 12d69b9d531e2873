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
    SIDES,
    SLOPE,
    SQUARES,
    SUM,
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
RELABEL: Final = 15  # slot a under labels made of its own
STAMP: Final = 16  # the instant in seconds where there is slot a
BUCKET: Final = 17  # slot a, the count up to the bound that is the slot's key
HISTOGRAM: Final = 18  # a quantile of the buckets of group b
TOP: Final = 19  # decides over the MEMBER slots of group b, of which fn says which k are chosen
MEMBER: Final = 20  # slot a where TOP, which writes it, has chosen it; key: its rank by labels
FEED: Final = 21  # appends slot a to row b at the instants of a subquery; slot c: whether there is data for it
SUBRANGE: Final = 22  # function fn of the samples of row a, which slot b feeds

# -- flags of a slot --------------------------------------------------------------------------------------------------
PRESENT: Final = 1  # there is an element, as in PromQL on the samples that are there
UNKNOWN: Final = 2  # but the samples do not suffice to say so
WARMING: Final = 4  # because the window reaches before the series' first sample
TRUNCATED: Final = 8  # because a query's window holds more samples than are kept as they are
AT_REST: Final = 16  # of a ROOT: its result says nothing, until its operand does

# -- flags of a node --------------------------------------------------------------------------------------------------
BOOL: Final = 1  # a comparison gives 0 or 1
SWAPPED: Final = 2  # slot a is the right operand
KEEP_A: Final = 4  # a comparison keeps slot a's value though it is the right operand
AT_LEAST: Final = 8  # the operand's true value is not below the observed one (max, count, changes …)
AT_MOST: Final = 16  # … not above (min)
EVENTS: Final = 32  # a selector of events: coverage does not apply
CHANGING_0: Final = 64  # MAP: the number p0 is that of slot b
CHANGING_1: Final = 128  # MAP: p1 is that of slot c
STEADY: Final = 256  # RANGE: looked at where a pane ends and nowhere else; key: the number of the next pane then, and ½

# -- binary operators -------------------------------------------------------------------------------------------------
OPERATORS: Final = {
    "min_of": -3,
    "max_of": -2,
    "atan2": -1,
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
FIRST_OVER: Final = 20
TS_OF_FIRST: Final = 21
TS_OF_LAST: Final = 22
TS_OF_MIN: Final = 23
TS_OF_MAX: Final = 24
SMOOTHING: Final = 25
QUANTILE_SIDE: Final = 26  # a quantile, told apart from the store's limit only

RANGE_FUNCTIONS: Final[dict[str, tuple[int, frozenset[int]]]] = {
    "avg_over_time": (AVG, frozenset({SUM})),
    "sum_over_time": (SUM_OF, frozenset({SUM})),
    "count_over_time": (COUNT, frozenset()),
    "min_over_time": (MIN, frozenset({MINIMUM})),
    "max_over_time": (MAX, frozenset({MAXIMUM})),
    "stddev_over_time": (STDDEV, frozenset({SUM, SQUARES})),
    "stdvar_over_time": (STDVAR, frozenset({SUM, SQUARES})),
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
    "first_over_time": (FIRST_OVER, frozenset({FIRST_V})),
    "ts_of_first_over_time": (TS_OF_FIRST, frozenset()),
    "ts_of_last_over_time": (TS_OF_LAST, frozenset()),
    "ts_of_min_over_time": (TS_OF_MIN, frozenset({RAW})),
    "ts_of_max_over_time": (TS_OF_MAX, frozenset({RAW})),
    "double_exponential_smoothing": (SMOOTHING, frozenset({RAW})),
}
_STATISTICS: Final = dict(RANGE_FUNCTIONS.values()) | {QUANTILE_SIDE: SIDES}


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
    "sin": 15,
    "cos": 16,
    "tan": 17,
    "asin": 18,
    "acos": 19,
    "atan": 20,
    "sinh": 21,
    "cosh": 22,
    "tanh": 23,
    "asinh": 24,
    "acosh": 25,
    "atanh": 26,
    "deg": 27,
    "rad": 28,
    "minute": 29,
    "hour": 30,
    "day_of_week": 31,
    "day_of_month": 32,
    "day_of_year": 33,
    "days_in_month": 34,
    "month": 35,
    "year": 36,
}
ROUND: Final = 3
CLAMP: Final = 4
NEGATE: Final = 13
TIMESTAMP: Final = 14  # of an INSTANT only
CALENDAR: Final = frozenset(
    {"minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year"}
)
"""Functions of the time in UTC; without an argument, of the instant."""

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

# -- choices of TOP ----------------------------------------------------------------------------------------------------
CHOICES: Final[dict[str, int]] = {"topk": 0, "bottomk": 1, "limitk": 2}
