"""The identity of a rule: a hash over its canonical JSON, the same as in other engines.

Canonical JSON is compact; the descriptive parts are in snake case with what is empty left out, the condition has every
field under its long name; ``<``, ``>`` and ``&`` are escaped. The *stable* hash does not change with version and
generation.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from fallow_processors.cre.schema import CreDoc, EventDoc, ItemDoc, MetadataDoc, RuleDoc, SequenceDoc, SetDoc

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def base58(data: bytes) -> str:
    """Base58 with Bitcoin's alphabet."""
    number = int.from_bytes(data, "big")
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def rule_hashes(rule: RuleDoc) -> tuple[str, str]:
    """(hash, stable hash) of a rule as it is written, references unresolved."""
    return _hash(_canonical(rule, stable=False)), _hash(_canonical(rule, stable=True))


def generated_id(cre: str) -> str:
    """The rule id of a rule that states none."""
    return base58(hashlib.sha1(cre.encode(), usedforsecurity=False).digest())


def _hash(canonical: dict[str, Any]) -> str:
    text = json.dumps(canonical, separators=(",", ":"), ensure_ascii=False)
    for plain, escaped in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("\u2028", "\\u2028")):
        text = text.replace(plain, escaped)
    return base58(hashlib.sha256(text.replace("\u2029", "\\u2029").encode()).digest())


def _some(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


def _canonical(rule: RuleDoc, *, stable: bool) -> dict[str, Any]:
    return {
        "metadata": _metadata(rule.metadata, stable=stable),
        "cre": _cre(rule.cre),
        "rule": {
            "Sequence": _sequence(rule.rule.sequence),
            "Set": _set(rule.rule.set),
        },
    }


def _metadata(m: MetadataDoc, *, stable: bool) -> dict[str, Any]:
    return {
        **_some(name=m.name, id=m.id),
        "generation": 0 if stable else m.generation,
        **_some(kind=m.kind, version="" if stable else m.version),
    }


def _cre(c: CreDoc) -> dict[str, Any]:
    return {
        **_some(id=c.id),
        "severity": c.severity,
        **_some(
            title=c.title,
            category=c.category,
            tags=c.tags,
            author=c.author,
            description=c.description,
            impact=c.impact,
            impact_score=c.impactScore,
            cause=c.cause,
            mitigation=c.mitigation,
            mitigation_score=c.mitigationScore,
            references=c.references,
            reports=c.reports,
            applications=[
                _some(
                    name=a.name,
                    process_name=a.processName,
                    process_path=a.processPath,
                    container_name=a.containerName,
                    image_url=a.imageUrl,
                    repo_url=a.repoUrl,
                    version=a.version,
                )
                for a in c.applications or ()
            ],
        ),
    }


def _sequence(s: SequenceDoc | None) -> dict[str, Any] | None:
    if s is None:
        return None
    return {
        "Window": s.window,
        "Correlations": s.correlations,
        "Event": _event(s.event),
        "Origin": False,
        "Order": _items(s.order),
        "Negate": _items(s.negate),
    }


def _set(s: SetDoc | None) -> dict[str, Any] | None:
    if s is None:
        return None
    return {
        "Window": s.window,
        "Correlations": s.correlations,
        "Event": _event(s.event),
        "Match": _items(s.match),
        "Negate": _items(s.negate),
    }


def _event(event: EventDoc | None) -> dict[str, Any] | None:
    return None if event is None else {"Source": event.source, **_some(origin=event.origin)}


def _items(items: list[ItemDoc] | None) -> list[dict[str, Any]] | None:
    return None if items is None else [_item(item) for item in items]


def _item(t: ItemDoc) -> dict[str, Any]:
    return {
        "Field": t.field,
        "StrValue": t.value,
        "JqValue": t.jq,
        "RegexValue": t.regex,
        "Count": t.count,
        "Set": _set(t.set),
        "Sequence": _sequence(t.sequence),
        "NegateOpts": _negate(t),
        "PromQL": _promql(t),
        "Extract": _extract(t),
    }


def _negate(t: ItemDoc) -> dict[str, Any] | None:
    if t.window is None and t.slide is None and t.anchor is None and t.absolute is None:
        return None
    return {
        "Window": t.window or "",
        "Slide": t.slide or "",
        "Anchor": t.anchor or 0,
        "Absolute": bool(t.absolute),
    }


def _promql(t: ItemDoc) -> dict[str, Any] | None:
    if t.promql is None:
        return None
    p = t.promql
    return {"Expr": p.expr, "Interval": p.interval, "For": p.for_, "Event": _event(p.event)}


def _extract(t: ItemDoc) -> list[dict[str, Any]] | None:
    if t.extract is None:
        return None
    return [{"Name": e.name, "JqValue": e.jq, "RegexValue": e.regex} for e in t.extract]
