"""RE2: patterns of rules, selectors and stamps, which no text can make slow."""

from __future__ import annotations

from typing import Any, Final

import re2

MAX_MEMORY: Final = 8 << 20  # RE2's own bound


def options(max_memory: int = MAX_MEMORY) -> Any:
    """Options for patterns that others wrote: what is wrong with one is for the caller to say, not for stderr."""
    made: Any = re2.Options()
    made.log_errors = False
    made.max_mem = max_memory
    return made


def compiled(pattern: str, max_memory: int = MAX_MEMORY) -> Any:
    """The compiled pattern; raises ValueError with RE2's words for what is wrong."""
    try:
        return re2.compile(pattern, options(max_memory))
    except re2.error as error:
        said = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise ValueError(said) from error
