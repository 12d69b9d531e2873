"""Where rule files are found: packaged with the wheel, else in the checkout."""

from __future__ import annotations

from pathlib import Path


def builtin_directory() -> Path:
    """The folder of the built-in rule pack.

    Raises:
        FileNotFoundError: neither an installed wheel nor a checkout holds it.
    """
    package = Path(__file__).parent
    candidates = (package.parents[1] / "rules", package / "builtin_rules")
    for found in candidates:
        if found.is_dir():
            return found
    raise FileNotFoundError(f"no built-in rules at {' or '.join(map(str, candidates))}")
