"""``label_replace`` and ``label_join``: who an element is afterwards."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fallow.promql.plan import NAME, Element, Labels
from fallow.promql.selectors import prom_name
from fallow.regex import compiled

Relabel = Callable[[Labels, str, bool], Element]

_REFERENCE = re.compile(r"\$(?:\$|(\w+)|\{(\w+)\})")


def replaced(target: str, replacement: str, source: str, pattern: str) -> Relabel:
    """``label_replace(v, target, replacement, source, pattern)``.

    Raises:
        ValueError: the pattern is not RE2, or the target no label's name.
    """
    try:
        matcher = compiled(f"^(?s:{pattern})$")
    except ValueError as error:
        raise ValueError(f"invalid regular expression in label_replace(): {pattern}") from error
    target, source = _label(target, "label_replace"), prom_name(source)

    def change(labels: Labels, name: str, drops: bool) -> Element:
        found = matcher.fullmatch(name if source == NAME else dict(labels).get(source, ""))
        if found is None:
            return labels, name, drops
        return _set(labels, name, drops, target, _expanded(replacement, found))

    return change


def joined(target: str, separator: str, *sources: str) -> Relabel:
    """``label_join(v, target, separator, sources…)``.

    Raises:
        ValueError: the target is no label's name.
    """
    target, names = _label(target, "label_join"), [prom_name(source) for source in sources]

    def change(labels: Labels, name: str, drops: bool) -> Element:
        values = {**dict(labels), NAME: name}
        return _set(labels, name, drops, target, separator.join(values.get(n, "") for n in names))

    return change


def _label(name: str, function: str) -> str:
    if not name:
        raise ValueError(f"invalid destination label name in {function}(): {name}")
    return prom_name(name)


def _set(labels: Labels, name: str, drops: bool, target: str, value: str) -> Element:
    if target == NAME:
        return labels, value, False
    others = {k: v for k, v in labels if k != target} | ({target: value} if value else {})
    return tuple(sorted(others.items())), name, drops


def _expanded(template: str, found: Any) -> str:
    """The template with Go's references ``$1``, ``${name}`` replaced; what does not exist is empty."""

    def text(reference: re.Match[str]) -> str:
        key = reference[1] or reference[2]
        if key is None:
            return "$"
        groups = {str(k): v for k, v in enumerate((found.group(0), *found.groups()))} | found.groupdict()
        return str(groups.get(key) or "")

    return _REFERENCE.sub(text, template)
