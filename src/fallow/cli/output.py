"""Where and how the command line prints."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import IO, Any, NoReturn

from rich.console import Console

from fallow.units import moment_text

out = Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else 120)
err = Console(stderr=True, highlight=False, soft_wrap=True)

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def fail(message: str, code: int) -> NoReturn:
    """Say what is wrong, plainly, and end."""
    for line in message.splitlines():
        print(f"fallow: {line}", file=sys.stderr)
    raise SystemExit(code)


@contextmanager
def json_sink(path: str) -> Generator[IO[str]]:
    """The file to which JSON lines go; ``-`` is standard output."""
    if path == "-":
        yield sys.stdout
        sys.stdout.flush()
        return
    with open(path, "w", encoding="utf-8") as sink:
        yield sink


class _Lines(logging.Formatter):
    """``time LEVEL logger: sentence key=value …``"""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {k: v for k, v in vars(record).items() if k not in _STANDARD}
        extra = "".join(f" {k}={json.dumps(v, default=str)}" for k, v in fields.items())
        text = (
            f"{moment_text(int(record.created * 1e9))} {record.levelname} {record.name}: {record.getMessage()}{extra}"
        )
        return text + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


def log_to_stderr(level: str) -> None:
    """Send the service's own log to standard error, a line per record."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
