"""What is expected, in files: compared, or with ``--update-golden`` written anew, which fails the test so that it is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1] / "golden"


class Golden:
    """Compares with files of one component."""

    def __init__(self, folder: Path, *, update: bool) -> None:
        self._folder, self._update = folder, update

    def check(self, case: str, found: Any) -> None:
        """Fails where ``CASE/expected.yaml`` is not what was found."""
        path = self._folder / case / "expected.yaml"
        shown = yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=1000)
        known = path.read_text(encoding="utf-8") if path.exists() else ""
        if self._update and shown != known:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(shown, encoding="utf-8")
            pytest.fail(f"{path} was written: look at the difference")
        assert shown == known, f"{path}: run with --update-golden, then look at the difference"
