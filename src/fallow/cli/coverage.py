"""``fallow rules coverage``: what the rules can do on what is delivered, and what to switch on."""

from __future__ import annotations

import importlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.table import Table
from rich.text import Text

from fallow import semconv
from fallow.cli.output import out
from fallow.delivered import Delivered
from fallow.errors import FallowError
from fallow.reference import metadata
from fallow.registry import components
from fallow.replay import BEFORE_RULES, build, raised, read_recording
from fallow.service import Chain
from fallow.testing.components import context

STYLES = {"can fire": "green", "in part": "yellow", "cannot fire": "red"}
FEW = 4
"""Ways to switch a signal on that are shown; JSON has all."""
OWN = {
    semconv.SIGNAL_HEALTH: "processor health",
    semconv.JOB_AGE: "processor attribute, with events of a scheduler (receiver slurm)",
    semconv.JOB_RESTARTS: "processor attribute, with events of a scheduler (receiver slurm)",
    semconv.JOB_GPU_FIRST_ACTIVITY: "processor attribute, with events of a scheduler (receiver slurm)",
    semconv.EVENT: "log records with an event name, such as receiver slurm sends",
}
LABELS = {
    "fallow_job_id": "processor attribute with receiver slurm, or dcgm-exporter's hpc_job (DCGM_HPC_JOB_MAPPING_DIR)",
    "k8s_pod_name": "dcgm-exporter with DCGM_EXPORTER_KUBERNETES=true, or a processor that adds k8s attributes",
}


def of_recording(sources: Sequence[Path], mapping: Path | None) -> dict[str, Any]:
    """What a recording delivers to rules; raises DocumentError where it cannot be read."""
    with TemporaryDirectory() as scratch:
        base = context("coverage", Path(scratch))
        recording = read_recording(sources, mapping, base.series)
        chain = Chain(build(BEFORE_RULES, {}, base), raised)
        seen = Delivered(base.series)
        for batch in recording:
            found = chain.process(batch)
            seen.observe(found.metrics, found.logs)
        for found in chain.finish():
            seen.observe(found.metrics, found.logs)
        return seen.document()


def of_service(endpoint: str) -> dict[str, Any]:
    """What a running service has seen, asked at its health endpoint.

    Raises:
        FallowError: nobody answers there, or not a Fallow that tells it.
    """
    url = f"{endpoint if '://' in endpoint else f'http://{endpoint}'}/delivered"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            found = json.load(answer)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise FallowError(f"{url}: {getattr(error, 'reason', error)}; expected a service's health endpoint") from error
    if not isinstance(found, dict) or not {"signals", "events", "records"} <= found.keys():
        raise FallowError(f"{url}: the answer is no list of what was delivered; is it an older Fallow?")
    return found


def data(covered: Any) -> dict[str, Any]:
    """A rule's coverage for machines, with what to switch on."""
    found: dict[str, Any] = covered.data()
    for want in found["wants"]:
        want["switch_on"] = list(ways(want["kind"], want["name"], want["text"]))
    return found


def show(found: Sequence[Any], delivered: Mapping[str, Any]) -> None:
    """Print what each rule can do, and what to switch on for those that cannot."""
    table = Table("rule", "what", "state", "for want of")
    for one in found:
        wants = [f"{_said(want)}{'' if want.needed else ' (optional)'}" for want in one.wants]
        state = Text(one.state, style=STYLES[one.state])
        table.add_row(one.rule.cre, one.rule.title, state, "\n".join(dict.fromkeys(wants)))
    out.print(table)
    wanted = {(w.kind, w.name, w.text if w.kind == "labels" else ""): w for one in found for w in one.wants}
    if wanted:
        switches = Table("to have", "switch on one of", "for")
        for want in sorted(wanted.values(), key=lambda w: (not w.needed, w.name)):
            rules = [o.rule.cre for o in found if any((w.kind, w.name) == (want.kind, want.name) for w in o.wants)]
            shown = list(ways(want.kind, want.name, want.text))
            more = [f"… and {len(shown) - FEW} more (--json)"] if len(shown) > FEW else []
            switches.add_row(_said(want), "\n".join([*shown[:FEW], *more]), ", ".join(dict.fromkeys(rules)))
        out.print(switches)
    counts = {state: sum(one.state == state for one in found) for state in STYLES}
    out.print(
        f"{len(found)} rules: {counts['can fire']} can fire, {counts['in part']} in part, "
        f"{counts['cannot fire']} cannot; {len(delivered['signals'])} signals, {len(delivered['events'])} kinds of "
        f"events, {delivered['records']:,} records seen."
    )


def _said(want: Any) -> str:
    if want.kind == "labels":
        return f"labels of {want.text}"
    if want.kind == "records":
        return "log records"
    return f"event {want.name}" if want.kind == "event" else str(want.name)


def ways(kind: str, name: str, text: str) -> Iterator[str]:
    """What to switch on to have a signal, labels, an event or records."""
    if kind == "labels":
        yield from (way for label, way in LABELS.items() if f'{label}!=""' in text or f"{label}=~" in text)
    elif kind == "records":
        yield "receiver otlp, with logs of the workload"
    elif kind == "event":
        yield from (f"receiver {type}" for type, events, _ in _receivers() if name in events)
    else:
        if name in OWN:
            yield OWN[name]
        yield from (f"receiver {type}" for type, _, metrics in _receivers() if name in metrics)
        for source, names in _vocabularies().get(name, {}).items():
            yield f"{source}: {' or '.join(names)}"


@cache
def _receivers() -> Sequence[tuple[str, frozenset[str], frozenset[str]]]:
    """(type, its events, its metrics) of each receiver that says what it brings."""
    found: list[tuple[str, frozenset[str], frozenset[str]]] = []
    for type in components("receivers"):
        emits = metadata("receivers", type).emits
        if emits is not None and type != "simulated":
            metrics = frozenset(name for group in emits.groups for name in group.metrics)
            found.append((type, frozenset(emits.events), metrics))
    return found


@cache
def _vocabularies() -> Mapping[str, Mapping[str, list[str]]]:
    """Signal → source → its names for it, exporters before SDKs' own names."""
    rows = importlib.import_module(components("processors")["normalise"]).describe()
    found: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        source, name = str(row["source"]), str(row["name"])
        if not source.startswith("fallow") and name != row["signal"]:
            names = found.setdefault(str(row["signal"]), {}).setdefault(source, [])
            if name not in names:
                names.append(name)
    return {
        signal: dict(sorted(sources.items(), key=lambda item: not item[0].startswith("dcgm")))
        for signal, sources in found.items()
    }
