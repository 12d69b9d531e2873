"""The truth file: what is simulated, whom it is about, and which rule is to find it, one JSON object a line.

``{"entity": {…}, "behaviour": "notebook", "from": "…Z", "to": "…Z", "rule": "CRE-2026-9002"}``: ``rule`` is null on the line that
each job has for itself, and on all lines of a healthy one. A rule needs some time before it can speak; what was there for
less is on the file too.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from fallow_receivers.simulated.cluster import Cluster, Job, ns
from fallow_receivers.simulated.profiles import rule_of


class TruthFile:
    """Written as jobs start, since what they will do is known then.

    Args:
        origin: second 0 of the simulation, Unix ns.
        until: the second with which it ends; None for never.
    """

    def __init__(self, path: Path, cluster: Cluster, origin: int, until: float | None) -> None:
        self._cluster, self._origin, self._until = cluster, origin, until
        self._file: TextIO = path.open("w", encoding="utf-8")
        self._told = -1.0

    def tell(self, second: float) -> None:
        """Write what started since the last time."""
        for job in self._cluster.started(second):
            if job.start > self._told:
                self._job(job)
        self._told = second
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _job(self, job: Job) -> None:
        self._line(job.labels, job, job.start, job.end, None)
        for fact in job.facts():
            for entity in self._cluster.whom(job, fact):
                self._line(entity, job, job.start + fact.start, job.start + fact.end, rule_of(fact.pattern))

    def _line(self, entity: dict[str, str], job: Job, start: float, end: float, rule: str | None) -> None:
        end = end if self._until is None else min(end, self._until)
        if start >= end:
            return
        said = {
            "entity": entity,
            "behaviour": job.behaviour,
            "from": self._moment(start),
            "to": self._moment(end),
            "rule": rule,
        }
        self._file.write(json.dumps(said) + "\n")

    def _moment(self, second: float) -> str:
        time = datetime.fromtimestamp((self._origin + ns(second)) / 1e9, UTC)
        return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
