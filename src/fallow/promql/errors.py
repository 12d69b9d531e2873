"""What is wrong with a condition's expression, and where."""

from __future__ import annotations

from fallow.errors import PermanentError


class PromqlError(PermanentError):
    """An expression that is not PromQL, or not the part of it that is supported.

    ``position`` is the 0-based offset in the expression of what is wrong; its length where the end is.
    """

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


class UnsupportedError(PromqlError):
    """PromQL that is not supported, or not in a condition, which is evaluated as time passes."""


class NumberError(PromqlError):
    """An expression that is one number where a vector of results is wanted."""


class EvaluationError(PermanentError):
    """A query for which PromQL has no answer on these samples, such as several matches where one is wanted."""
