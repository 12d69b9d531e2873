"""Arithmetic on numbers as PromQL does it: float64, no errors. The kernels' plain twin, used to fold constants."""

from __future__ import annotations

import math

import numpy as np

from fallow.promql.ops import OPERATORS


def binary(operator: str, left: float, right: float) -> float:
    """``left operator right``; a comparison gives 0 or 1."""
    with np.errstate(all="ignore"):
        a, b = np.float64(left), np.float64(right)
        match operator:
            case "+":
                return float(a + b)
            case "-":
                return float(a - b)
            case "*":
                return float(a * b)
            case "/":
                return float(a / b)
            case "%":
                return math.fmod(left, right) if right != 0 and not math.isinf(left) else math.nan
            case "^":
                return float(np.power(a, b))
            case "atan2":
                return math.atan2(left, right)
            case "min_of" | "max_of":
                return float(np.minimum(a, b) if operator == "min_of" else np.maximum(a, b))
            case _:
                return float(compare(OPERATORS[operator], left, right))


def compare(operator: int, left: float, right: float) -> bool:
    """One of the six comparisons, by its number; NaN differs from everything."""
    return (left == right, left != right, left < right, left > right, left <= right, left >= right)[operator - 6]
