"""One command of the ledger: changes are gathered, numbered, and written in a few statements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from fallow.errors import NotFound
from fallow.ledger import codec
from fallow.ledger.change import Change
from fallow.ledger.states import OPEN
from fallow.ledger.tables import CHANGES, DETECTIONS, RECOMMENDATIONS
from fallow.model import Detection, Recommendation
from fallow.units import SECOND

MAX_DOUBLINGS = 6
CHUNK = 1000
"""Values in one IN list; databases bound their number."""
WAITING = ("proposed", "approved")
"""States in which somebody still has to do something, so that they end when their time is over."""
FRUITLESS = ("failed", "reverted")
"""How an action ends that must not be tried again at once."""


class Transaction:
    """The rows that a command reads once and writes at its end (``flush``).

    Args:
        connection: in a transaction that the caller commits.
        room: how many more recommendations may be added before the oldest closed one must go.
    """

    def __init__(self, connection: Connection, room: int) -> None:
        self.changes: list[Change] = []
        self.room = room
        self.refused = 0
        self._connection = connection
        self._next: int | None = None
        self._known_detections: set[tuple[str, str]] = set()
        self._recommendations: dict[str, Recommendation] = {}
        self._open_by_key: dict[str, str] = {}
        self._vain_of_key: dict[str, dict[str, int]] = {}
        self._proposed_of: dict[str, set[str]] = {}
        self._change_rows: list[dict[str, Any]] = []
        self._detection_rows: list[dict[str, Any]] = []
        self._new: dict[str, dict[str, Any]] = {}
        self._changed: dict[str, dict[str, Any]] = {}

    def load(self, detections: Sequence[Detection], recommendations: Sequence[Recommendation]) -> None:
        """Read what is known that these could touch."""
        for ids in _chunks([d.id for d in detections]):
            query = select(DETECTIONS.c.id, DETECTIONS.c.state).where(DETECTIONS.c.id.in_(ids))
            self._known_detections.update((row.id, row.state) for row in self._connection.execute(query))
        table = RECOMMENDATIONS.c
        for ids in _chunks([r.id for r in recommendations]):
            self._read(table.id.in_(ids))
        for keys in _chunks([r.dedupe_key for r in recommendations]):
            self._read(table.dedupe_key.in_(keys) & table.state.in_((*OPEN, *FRUITLESS)))
        for ids in _chunks([d.id for d in detections if d.state == "resolved"]):
            self._read(table.detection.in_(ids) & (table.state == "proposed"))

    def get(self, id: str) -> Recommendation:
        """The recommendation of an id; raises NotFound."""
        self._read(RECOMMENDATIONS.c.id == id)
        if id not in self._recommendations:
            raise NotFound(f"no recommendation {id}")
        return self._recommendations[id]

    def detect(self, found: Detection) -> bool:
        """Put down a detection; False where it is known in this state."""
        if (found.id, found.state) in self._known_detections:
            return False
        self._known_detections.add((found.id, found.state))
        payload = codec.dump(found)
        revision = self._log("detection", found.time, payload)
        self._detection_rows.append({"id": found.id, "state": found.state, "revision": revision, "payload": payload})
        self.changes.append(Change(revision=revision, time=found.time, detection=found))
        return True

    def propose(self, made: Recommendation) -> None:
        """Add a recommendation, where it is not known and no other about the same is open.

        One that nobody decided before its time was over makes room for it. Where the same was tried in vain, it is
        added as refused until a while has passed: the time that it was proposed for, twice as long each further time.
        """
        if made.id in self._recommendations:
            return
        other = self._open_by_key.get(made.dedupe_key)
        if other is not None:
            standing = self._recommendations[other]
            if standing.state not in WAITING or standing.expires > made.created:
                return
            self.expire(standing, made.created)
        if self.room <= 0 and not self._drop_oldest_closed():
            self.refused += 1
            return
        self.room -= 1
        self._new[made.id] = {
            "id": made.id,
            "detection": made.detection,
            "rule": made.rule,
            "dedupe_key": made.dedupe_key,
            "created": made.created,
            "expires": made.expires,
        }
        until = self._held_off(made)
        if made.created < until:
            reason = f"tried in vain before; not again before {_utc(until)}"
            made = replace(made, state="refused", reason=reason)
        self.put(made, made.created)

    def _held_off(self, made: Recommendation) -> int:
        """Unix ns before which it is not proposed again."""
        vain = self._vain_of_key.get(made.dedupe_key)
        if not vain:
            return 0
        return max(vain.values()) + ((made.expires - made.created) << min(len(vain) - 1, MAX_DOUBLINGS))

    def cease(self, found: Detection) -> None:
        """The condition of a detection is over: so is what was still proposed because of it."""
        for id in sorted(self._proposed_of.get(found.id, ())):
            self.put(_expired(self._recommendations[id], "the condition ceased", found.time), found.time)

    def expire_due(self, now: int) -> None:
        """Close everything whose time is over at ``now``."""
        table = RECOMMENDATIONS.c
        due = self._read(table.state.in_(WAITING) & (table.expires <= now))
        for one in sorted(due, key=lambda r: (r.expires, r.id)):
            self.expire(one, now)

    def expire(self, one: Recommendation, now: int) -> None:
        """Close one whose time is over."""
        said = "nobody decided in time" if one.state == "proposed" else "it was not applied in time"
        self.put(_expired(one, said, now), now)

    def put(self, one: Recommendation, time: int) -> Change:
        """The recommendation as it is from now on."""
        payload = codec.dump(one)
        revision = self._log("recommendation", time, payload)
        values = {"state": one.state, "revision": revision, "payload": payload}
        if one.id in self._new:
            self._new[one.id] |= values
        else:
            self._changed[one.id] = {"which": one.id, **values}
        self._know(one)
        self.changes.append(Change(revision=revision, time=time, recommendation=one))
        return self.changes[-1]

    def flush(self) -> None:
        """Write what was gathered."""
        for table, rows in (
            (CHANGES, self._change_rows),
            (DETECTIONS, self._detection_rows),
            (RECOMMENDATIONS, [*self._new.values()]),
        ):
            if rows:
                self._connection.execute(insert(table), rows)
        if self._changed:
            changed = update(RECOMMENDATIONS).where(RECOMMENDATIONS.c.id == bindparam("which"))
            changed = changed.values(**{name: bindparam(name) for name in ("state", "revision", "payload")})
            self._connection.execute(changed, [*self._changed.values()])
        self._change_rows, self._detection_rows, self._new, self._changed = [], [], {}, {}

    def _log(self, kind: str, time: int, payload: str) -> int:
        if self._next is None:
            self._next = newest_revision(self._connection) + 1
        revision, self._next = self._next, self._next + 1
        self._change_rows.append({"revision": revision, "time": time, "kind": kind, "payload": payload})
        return revision

    def _read(self, which: Any) -> list[Recommendation]:
        rows = self._connection.execute(select(RECOMMENDATIONS.c.payload).where(which))
        found = [codec.recommendation(row.payload) for row in rows]
        for one in found:
            self._know(one)
        return found

    def _know(self, one: Recommendation) -> None:
        self._recommendations[one.id] = one
        if one.state in OPEN:
            self._open_by_key[one.dedupe_key] = one.id
        elif self._open_by_key.get(one.dedupe_key) == one.id:
            del self._open_by_key[one.dedupe_key]
        if one.state in FRUITLESS:
            self._vain_of_key.setdefault(one.dedupe_key, {})[one.id] = one.updated
        proposed = self._proposed_of.setdefault(one.detection, set())
        (proposed.add if one.state == "proposed" else proposed.discard)(one.id)

    def _drop_oldest_closed(self) -> bool:
        self.flush()  # what this command closed may be the oldest
        table = RECOMMENDATIONS.c
        oldest = select(table.id).where(table.state.not_in(OPEN)).order_by(table.created, table.id).limit(1)
        id = self._connection.execute(oldest).scalar()
        if id is None:
            return False
        self._connection.execute(delete(RECOMMENDATIONS).where(table.id == id))
        self.room += 1
        return True


def newest_revision(connection: Connection) -> int:
    """The revision of the last change; 0 where there is none."""
    return connection.execute(select(func.max(CHANGES.c.revision))).scalar() or 0


def _expired(one: Recommendation, reason: str, now: int) -> Recommendation:
    return replace(one, state="expired", reason=reason, actor="", updated=now)


def _utc(time: int) -> str:
    return datetime.fromtimestamp(time // SECOND, UTC).isoformat()


def _chunks(values: Sequence[str]) -> Iterator[list[str]]:
    distinct = list(dict.fromkeys(values))
    for start in range(0, len(distinct), CHUNK):
        yield distinct[start : start + CHUNK]
