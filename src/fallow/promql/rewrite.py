"""Comparisons that can be decided from less than the value that they compare."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

SHORT_S: Final = 120
"""Over so many seconds a quantile is held by its samples."""
# Whether the number itself is on the lower side, by the operator with the quantile on its left.
_INCLUDES: Final = {"<": False, ">=": False, ">": True, "<=": True}
_MIRRORED: Final = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


class Sides(NamedTuple):
    """A quantile of a window against a number: it is enough to know on which side of the number it lies."""

    quantile: Any
    number: Any
    swapped: bool
    """The number stands on the left."""
    includes: bool


def sides_of(tree: Any, operator: str) -> Sides | None:
    """The comparison, where it is one of these."""
    if operator not in _INCLUDES:
        return None
    if _is_long_quantile(_bare(tree.lhs)):
        return Sides(_bare(tree.lhs), tree.rhs, False, _INCLUDES[operator])
    if _is_long_quantile(_bare(tree.rhs)):
        return Sides(_bare(tree.rhs), tree.lhs, True, _INCLUDES[_MIRRORED[operator]])
    return None


def _is_long_quantile(tree: Any) -> bool:
    if type(tree).__name__ != "Call" or tree.func.name != "quantile_over_time":
        return False
    matrix = _bare(tree.args[1])
    return type(matrix).__name__ == "MatrixSelector" and matrix.range.total_seconds() > SHORT_S


def _bare(tree: Any) -> Any:
    while type(tree).__name__ == "ParenExpr":
        tree = tree.expr
    return tree
