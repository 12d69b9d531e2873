"""From looks at nodes and reservations to what happened to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass

from fallow import semconv
from fallow.clients.slurm import Node, Reservation
from fallow_receivers.slurm.said import Event, of_reservation, present

_NAMES = {"down": semconv.NODE_DOWN, "drain": semconv.NODE_DRAIN}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a node takes no jobs: down, drain, or both."""

    kinds: tuple[str, ...]
    since: int
    """Unix s of the last of them."""


class Nodes:
    """Which nodes are not available; ``troubles`` is what a restart goes on from."""

    def __init__(self) -> None:
        self.troubles: dict[str, Trouble] = {}

    def observe(self, nodes: Iterable[Node], since: int, now: int) -> list[Event]:
        """What happened between two looks (Unix s; ``since`` 0 for the first of all)."""
        events: list[Event] = []
        for node in nodes:
            if node.state in ("", "UNKNOWN", "FUTURE"):
                continue  # the controller itself does not know yet
            before = self.troubles.get(node.name)
            kinds = tuple(name for name, there in (("down", node.down), ("drain", node.drain)) if there)
            if kinds == (before.kinds if before else ()):
                continue
            if not kinds:
                del self.troubles[node.name]
                # As the same as when it was told before a crash: by the trouble that is over.
                events.append(self._event(semconv.NODE_RESUME, node, now, before.since if before else now))
                continue
            changed = node.reason_time or 0
            fresh = since < changed <= now
            at = changed if fresh else now
            new = [kind for kind in kinds if before is None or kind not in before.kinds]
            # A reason may be older than the trouble: of a node that went down while it was drained.
            events += [self._event(_NAMES[kind], node, at, at if fresh else since or at) for kind in new]
            self.troubles[node.name] = Trouble(kinds=kinds, since=at if new or before is None else before.since)
        return sorted(events, key=lambda event: event.time_s)

    def _event(self, name: str, node: Node, at: int, mark: int) -> Event:
        reason = node.reason if name != semconv.NODE_RESUME else ""  # later releases keep that of before
        return Event(
            name=name,
            time_s=at,
            subject=f"{node.name}/{mark}",
            attributes=present({semconv.NODE_STATE: node.shown, semconv.NODE_REASON: reason}),
            node=node.name,
            text=f"node {node.name} {name.rpartition('.')[2]}" + (f": {reason}" if reason else ""),
        )


class Reservations:
    """Which reservations there are; ``known`` is what a restart goes on from."""

    def __init__(self) -> None:
        self.known: dict[str, Reservation] = {}

    def observe(self, reservations: Iterable[Reservation], now: int) -> list[Event]:
        """What happened since the last look; Slurm has no time of it but that of a reservation's end."""
        found = {one.name: one for one in reservations}
        events = [
            self._event(semconv.RESERVATION_UPDATE if name in self.known else semconv.RESERVATION_CREATE, one, now)
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
            subject="/".join(map(str, astuple(one))),
            attributes=of_reservation(one),
            text=f"reservation {one.name}: {name.rpartition('.')[2]}",
        )
