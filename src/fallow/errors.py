"""The one error tree.

FallowError
├── PermanentError          the same input fails again: count it, drop it, go on
│   ├── DocumentError       a configuration, rule, playbook or mapping that is wrong; carries every Problem found
│   ├── MalformedRequest    a request that is not OTLP at all
│   ├── WrongStamp          a time in a log file that cannot be read as its format says
│   ├── StateError          a snapshot that is damaged, or of another version
│   ├── NotFound            no recommendation (or component, or file) of that name
│   └── InvalidTransition   a recommendation cannot go from its state to the one asked for
└── TransientError          the same input may succeed later; carries when to try again
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class FallowError(Exception):
    """Base of everything that Fallow raises on purpose."""


class PermanentError(FallowError):
    """The same input fails again."""


class TransientError(FallowError):
    """The same input may succeed later.

    Args:
        retry_after_s: seconds after which a retry is worth while; None where nothing is known.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong at one place of a document; lines and columns count from 1, 0 where there is none."""

    file: str
    line: int = 0
    column: int = 0
    key: str = ""
    message: str
    kind: str = ""

    def __str__(self) -> str:
        place = self.file if not self.line else f"{self.file}:{self.line}"
        return ": ".join(part for part in (place, self.key, self.message) if part)


class DocumentError(PermanentError):
    """A document that is wrong; the message has one line per problem, all of the file at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = tuple(problems)


class MalformedRequest(PermanentError):
    """A request that is not OTLP at all."""


class WrongStamp(PermanentError):
    """A time in a log file that cannot be read as its format says; ``kind`` is one word for it."""

    def __init__(self, message: str, kind: str = "ParseTimestamp") -> None:
        super().__init__(message)
        self.kind = kind


class StateError(PermanentError):
    """A snapshot, or a part of one, that cannot be used."""


class NotFound(PermanentError):
    """Nothing of that name."""


class InvalidTransition(PermanentError):
    """A recommendation cannot go from its state to the one asked for."""
