"""What a series becomes when it is known, or not known, whose its device is."""

from __future__ import annotations

from typing import Final

from fallow import semconv
from fallow.series import SeriesKey, SeriesTable
from fallow_processors.attribute.devices import Devices
from fallow_processors.attribute.holding import Holding
from fallow_processors.attribute.subject import Subject

RESOURCE: Final = ("host.", "k8s.", "container.")
"""Labels with these prefixes stand in the resource, where ``normalise`` puts them."""


class Relabel:
    """Interns the series that samples become."""

    def __init__(self, series: SeriesTable, devices: Devices) -> None:
        self._series, self._devices = series, devices
        self._subjects: dict[int, Subject] = {}
        self.refused = 0
        """Series that stay as they are because the table is full."""

    def learn(self, series: int, subject: Subject) -> None:
        """Remember what a series is about."""
        self._subjects[series] = subject

    def of(self, series: int, holding: Holding) -> int:
        """The series that it becomes; itself where nothing is to be added."""
        subject = self._subjects[series]
        key = self._series.key(series)
        labels = key.labels
        if subject.process:
            owner = self._devices.owner_of(subject.host, subject.process)
            added = dict(owner.labels) if owner is not None else dict(holding.labels)
            added.pop(semconv.K8S_POD_UID, None)
        elif holding.ambiguous or _differ(subject, holding):
            added = {semconv.ATTRIBUTION_AMBIGUOUS: "true"}
            if subject.owner.job:
                added[semconv.ATTRIBUTION_CANDIDATE] = subject.owner.job
        else:
            added = dict(holding.labels)
        gone = {semconv.JOB_ID} if semconv.ATTRIBUTION_CANDIDATE in added else set[str]()
        added = {label: value for label, value in added.items() if label not in labels}
        if not added and not gone:
            return series
        resource, point = dict(key.resource), dict(key.attributes)
        for label, value in added.items():
            (resource if label.startswith(RESOURCE) else point)[label] = value
        for label in gone:
            resource.pop(label, None)
            point.pop(label, None)
        made = SeriesKey(key.name, key.unit, key.scope, tuple(sorted(resource.items())), tuple(sorted(point.items())))
        out = self._series.intern(made)
        if out < 0:
            self.refused += 1
            return series
        return out


def _differ(subject: Subject, holding: Holding) -> bool:
    """Whether the series names somebody else than the one who was decided for."""
    owner = subject.owner
    return bool(
        (owner.job and holding.job and owner.job != holding.job)
        or ("/" in owner.pod and "/" in holding.pod and owner.pod != holding.pod)
    )
