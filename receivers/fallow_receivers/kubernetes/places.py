"""From what is seen of nodes to what happened to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from fallow import semconv
from fallow.clients.kubernetes import Node
from fallow.otlp_write import INFO, WARN
from fallow.units import SECOND
from fallow_receivers.kubernetes.said import Event, present

_NAMES: Final = {"down": semconv.NODE_DOWN, "drain": semconv.NODE_DRAIN}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A node as it was last seen, and since when it takes no pods."""

    node: Node
    troubles: tuple[str, ...] = ()
    since: int = 0
    """Unix s of the last of them."""


class Places:
    """The nodes; ``known`` is what a restart goes on from."""

    def __init__(self, limit: int) -> None:
        self.known: dict[str, Place] = {}
        self.refused = 0
        self._limit = limit

    def listed(self, nodes: Iterable[Node], now: int) -> list[Event]:
        """All nodes that there are now (Unix s)."""
        events: list[Event] = []
        seen: set[str] = set()
        for node in nodes:
            seen.add(node.name)
            events += self.seen(node, now)
        for name in self.known.keys() - seen:
            events += self.deleted(self.known[name].node, now)
        return events

    def seen(self, node: Node, now: int) -> list[Event]:
        """A node that was seen."""
        before = self.known.get(node.name)
        if before is None and len(self.known) >= self._limit:
            self.refused += 1
            return []
        had = before.troubles if before else ()
        has = tuple(name for name, there in (("down", not node.ready), ("drain", node.cordoned)) if there)
        since, events = before.since if before else 0, list[Event]()
        for kind in has:
            if kind not in had:
                # Of a cordon there is no time: it is told when it is seen.
                since = node.ready_since or now if kind == "down" else now
                events.append(_event(_NAMES[kind], node, since, since))
        if had and not has:
            # As the same as when it was told before a crash: by the trouble that is over.
            events.append(
                _event(semconv.NODE_RESUME, node, (node.ready_since if had == ("down",) else None) or now, since)
            )
        self.known[node.name] = Place(node=node, troubles=has, since=since)
        return events

    def deleted(self, node: Node, now: int) -> list[Event]:
        """A node that is gone is down, whatever it was before."""
        before = self.known.pop(node.name, None)
        if before is not None and "down" in before.troubles:
            return []
        return [_event(semconv.NODE_DOWN, node, now, now, reason="NodeDeleted")]


def _event(name: str, node: Node, at: int, mark: int, reason: str = "") -> Event:
    why = reason or node.reason
    return Event(
        name=name,
        time=at * SECOND,
        subject=f"{node.uid}/{mark}",
        attributes=present({semconv.NODE_STATE: node.state, semconv.NODE_REASON: why}),
        node=node.name,
        severity=INFO if name == semconv.NODE_RESUME else WARN,
        text=f"node {node.name} {name.rpartition('.')[2]}" + (f": {why}" if why else ""),
    )
