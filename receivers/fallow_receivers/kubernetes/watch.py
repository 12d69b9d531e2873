"""The cluster as the feeds tell of it: from what was heard to events, metrics and the cursor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from fallow import semconv
from fallow.clients.kubernetes import Gpus, Happening, Resource, happening, job, newer, node, pod
from fallow.otlp_write import INFO, WARN
from fallow_receivers.kubernetes import measure
from fallow_receivers.kubernetes.config import Kind, KubernetesReceiverConfig
from fallow_receivers.kubernetes.cursor import Cursor
from fallow_receivers.kubernetes.feed import Heard
from fallow_receivers.kubernetes.measure import Point
from fallow_receivers.kubernetes.places import Places
from fallow_receivers.kubernetes.said import Event, present
from fallow_receivers.kubernetes.work import Work

_GROUPS: Final[dict[Kind, str]] = {"jobs": "batch"}


class Watch:
    """Goes on from a cursor."""

    def __init__(self, config: KubernetesReceiverConfig, cursor: Cursor) -> None:
        self._config = config
        self._gpus = Gpus(names=tuple(config.gpu_resources))
        self.work, self.places = Work(config.max_objects), Places(config.max_objects)
        self.work.pods, self.work.jobs = dict(cursor.pods), dict(cursor.jobs)
        self.work.over, self.places.known = dict(cursor.over), dict(cursor.nodes)
        self.versions = dict(cursor.versions)
        self._heard: set[str] = {kind for kind in config.watch if kind in self.versions}

    def resource(self, kind: Kind) -> Resource:
        """What of the API is listed and watched."""
        types = self._config.event_types
        only = f"type={types[0]}" if kind == "events" and len(set(types)) == 1 else ""
        place = "" if kind == "nodes" else self._config.namespace
        return Resource(name=kind, group=_GROUPS.get(kind, ""), namespace=place, fields=only)

    def reader(self, kind: Kind) -> Callable[[Any], Any]:
        """An object of that kind → what of it is of use."""
        gpus = self._gpus
        readers: dict[Kind, Callable[[Any], Any]] = {
            "nodes": lambda object: node(object, gpus),
            "jobs": lambda object: job(object, gpus),
            "pods": lambda object: pod(object, gpus),
            "events": happening,
        }
        return readers[kind]

    def take(self, heard: Heard, now: int) -> list[Event]:
        """What follows from it (``now`` in Unix s)."""
        before = self.versions.get(heard.kind, "")
        self.versions[heard.kind] = heard.version
        self._heard.add(heard.kind)
        if heard.changes is None:
            return self._listed(heard.kind, heard.objects, now, before)
        return [event for change, one in heard.changes for event in self._changed(heard.kind, change, one, now)]

    def cursor(self, cluster: str) -> Cursor:
        """What has been taken in so far."""
        return Cursor.model_construct(
            cluster=cluster,
            versions=dict(self.versions),
            pods=dict(self.work.pods),
            jobs=dict(self.work.jobs),
            over=dict(self.work.over),
            nodes=dict(self.places.known),
        )

    def points(self, now: int) -> Iterator[Point]:
        """Metrics of what has been heard of; before it was, nothing is known."""
        if "nodes" in self._heard:
            yield from measure.nodes(self.places, self.work, pods="pods" in self._heard and not self._config.namespace)
        if "pods" in self._heard and ("jobs" in self._heard or "jobs" not in self._config.watch):
            yield from measure.jobs(self.work, now)

    def _listed(self, kind: str, objects: Sequence[Any], now: int, before: str) -> list[Event]:
        if kind == "nodes":
            return self.places.listed(objects, now)
        if kind == "jobs":
            return self.work.jobs_listed(objects, now, first=not before)
        if kind == "pods":
            return self.work.pods_listed(objects, now, first=not before)
        # Of Event objects nothing is kept: what is newer than the last that was told has not been.
        return [_told(one) for one in objects if before and newer(one.version, before)]

    def _changed(self, kind: str, change: str, one: Any, now: int) -> list[Event]:
        gone = change == "DELETED"
        if kind == "nodes":
            return self.places.deleted(one, now) if gone else self.places.seen(one, now)
        if kind == "jobs":
            return self.work.job_deleted(one, now) if gone else self.work.job(one, now)
        if kind == "pods":
            return self.work.pod_deleted(one, now) if gone else self.work.pod(one)
        return [] if gone else [_told(one)]


def _told(one: Happening) -> Event:
    """An Event object; one that is counted up is told each time."""
    of_pod = one.kind == "Pod"
    said = {
        semconv.K8S_EVENT_REASON: one.reason,
        semconv.K8S_EVENT_COUNT: one.count,
        semconv.K8S_EVENT_SOURCE: one.source,
        semconv.K8S_OBJECT_KIND: one.kind,
        semconv.K8S_OBJECT_NAME: one.object,
        semconv.K8S_OBJECT_UID: one.object_uid,
        semconv.K8S_NAMESPACE_NAME: one.namespace,
        semconv.K8S_POD_NAME: one.object if of_pod else "",
        semconv.K8S_POD_UID: one.object_uid if of_pod else "",
    }
    return Event(
        name=semconv.KUBERNETES_EVENT,
        time=one.at,
        subject=f"{one.uid}/{one.count}",
        attributes=present(said),
        node=one.host,
        severity=WARN if one.type == "Warning" else INFO,
        text=f"{one.reason}: {one.message}",
    )
