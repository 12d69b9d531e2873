"""From looks at nodes and reservations to what happened to them."""

from __future__ import annotations

from collections.abc import Iterable

from fallow import semconv
from fallow.clients.slurm import Node, Reservation
from fallow_receivers.slurm.said import Event, of_reservation, present


class Nodes:
    """Which nodes are not available; ``troubles`` (node → down, drain) is what a restart goes on from."""

    def __init__(self) -> None:
        self.troubles: dict[str, list[str]] = {}

    def observe(self, nodes: Iterable[Node], since: int, now: int) -> list[Event]:
        """What happened between two looks (Unix s; ``since`` 0 for the first of all)."""
        events: list[Event] = []
        for node in nodes:
            if node.state in ("", "UNKNOWN", "FUTURE"):
                continue  # the controller itself does not know yet
            before = self.troubles.get(node.name, [])
            troubles = [name for name, there in (("down", node.down), ("drain", node.drain)) if there]
            changed = node.reason_time or 0
            at = changed if since < changed <= now else now
            events += [self._event(_NAMES[t], node, at) for t in troubles if t not in before]
            if before and not troubles:
                events.append(self._event(semconv.NODE_RESUME, node, now))
            self.troubles[node.name] = troubles
        self.troubles = {name: troubles for name, troubles in self.troubles.items() if troubles}
        return sorted(events, key=lambda event: event.time_s)

    def _event(self, name: str, node: Node, at: int) -> Event:
        reason = node.reason if name != semconv.NODE_RESUME else ""  # later releases keep that of before
        return Event(
            name=name,
            time_s=at,
            subject=f"{node.name}/{at}",
            attributes=present({semconv.NODE_STATE: node.shown, semconv.NODE_REASON: reason}),
            node=node.name,
            text=f"node {node.name} {name.rpartition('.')[2]}" + (f": {reason}" if reason else ""),
        )


_NAMES = {"down": semconv.NODE_DOWN, "drain": semconv.NODE_DRAIN}


class Reservations:
    """Which reservations there are; ``known`` is what a restart goes on from."""

    def __init__(self) -> None:
        self.known: dict[str, Reservation] = {}

    def observe(self, reservations: Iterable[Reservation], now: int) -> list[Event]:
        """What happened since the last look; Slurm has no time of it but that of a reservation's end."""
        found = {one.name: one for one in reservations}
        events = [
            self._event(semconv.RESERVATION_CREATE if name not in self.known else semconv.RESERVATION_UPDATE, one, now)
            for name, one in found.items()
            if one != self.known.get(name)
        ]
        for name, one in self.known.items():
            if name not in found:
                events.append(self._event(semconv.RESERVATION_OVER, one, min(one.end, now)))
        self.known = found
        return sorted(events, key=lambda event: event.time_s)

    def _event(self, name: str, one: Reservation, at: int) -> Event:
        return Event(
            name=name,
            time_s=at,
            subject=f"{one.name}/{one.start}/{at}",
            attributes=of_reservation(one),
            text=f"reservation {one.name}: {name.rpartition('.')[2]}",
        )
