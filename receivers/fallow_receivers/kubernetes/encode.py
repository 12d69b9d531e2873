"""Events and measurements as OTLP requests: each resource is the node, or the cluster where there is none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

from fallow import otlp_write, semconv
from fallow.batch import OtlpRequest
from fallow.otlp_write import Instrument, Writer, labels
from fallow_receivers.kubernetes.measure import Point
from fallow_receivers.kubernetes.said import Event

SCOPE: Final = "fallow.receivers.kubernetes"
ENOUGH: Final = 1 << 20
"""Bytes after which a request is full: a Collector takes 4 MiB by default."""
AT_ONCE: Final = 1000
_INSTRUMENTS: Final[dict[str, Instrument]] = {}


class Encoder:
    """Writes requests for one cluster; ``domain`` stands behind node names."""

    def __init__(self, cluster: Mapping[str, str], domain: str) -> None:
        self._cluster, self._domain = cluster, domain

    def events(self, events: Sequence[Event]) -> Iterator[OtlpRequest]:
        """Log records in the order given."""
        return _joined(self._events(events))

    def metrics(self, points: Iterable[Point], now_ns: int) -> Iterator[OtlpRequest]:
        """Gauges, as of now."""
        return _joined(self._metrics(points, now_ns))

    def _events(self, events: Sequence[Event]) -> Iterator[OtlpRequest | None]:
        for at in range(0, len(events), AT_ONCE):
            for node, told in groupby(events[at : at + AT_ONCE], key=lambda event: event.node):
                yield self._writer(node).events([_said(event) for event in told])

    def _metrics(self, points: Iterable[Point], now_ns: int) -> Iterator[OtlpRequest | None]:
        for node, of_node in groupby(sorted(points, key=lambda point: point.node), key=lambda point: point.node):
            writer = self._writer(node)
            for point in of_node:
                writer.put(_instrument(point.name), labels(point.attributes), now_ns, float(point.value))
            yield writer.metrics()

    def _writer(self, node: str) -> Writer:
        host = {semconv.HOST_NAME: node + self._domain, semconv.K8S_NODE_NAME: node} if node else {}
        return Writer({**host, **self._cluster}, SCOPE)


def _said(event: Event) -> otlp_write.Event:
    return otlp_write.Event(
        name=event.name,
        time=event.time,
        severity=event.severity,
        attributes={**event.attributes, semconv.RECORD_UID: event.uid()},
        body=event.text,
    )


def _joined(requests: Iterable[OtlpRequest | None]) -> Iterator[OtlpRequest]:
    """Requests of one kind put together: of a message that only repeats fields, two in a row are both in one."""
    bodies, size, kind = list[bytes](), 0, None
    for request in requests:
        if request is None:
            continue
        if kind is not None and size + len(request.body) > ENOUGH:
            yield OtlpRequest(kind=kind, body=b"".join(bodies))
            bodies, size = [], 0
        kind = request.kind
        bodies.append(request.body)
        size += len(request.body)
    if kind is not None and bodies:
        yield OtlpRequest(kind=kind, body=b"".join(bodies))


def _instrument(name: str) -> Instrument:
    """One object for each metric."""
    found = _INSTRUMENTS.get(name)
    if found is None:
        found = _INSTRUMENTS[name] = Instrument(name, semconv.SIGNALS[name])
    return found
