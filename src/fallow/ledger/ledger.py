"""The ledger: one transaction per command, one growing revision over all changes.

What processing found is written before anybody hears of it, and readers (Watch, events out) follow the change log from
a cursor: ``kill -9`` at any point neither loses what was committed nor tells of it twice with another id.
"""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, create_engine, delete, event, func, insert, select, update
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from fallow.errors import NotFound, PermanentError, TransientError
from fallow.ledger import codec
from fallow.ledger.states import OPEN, check_transition
from fallow.ledger.tables import CHANGES, CURSORS, DETECTIONS, METADATA, RECOMMENDATIONS
from fallow.model import Detection, Outcome, Recommendation, RecommendationState

MAX_PAGE = 1000
TRIM_EVERY = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One entry of the change log: a detection as it was written, or a recommendation after a state change."""

    revision: int
    time: int
    """Unix ns: event time for what processing brought, wall clock for what a person or program did."""
    detection: Detection | None = None
    recommendation: Recommendation | None = None


Changes = list[Change]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a listing."""

    recommendations: tuple[tuple[int, Recommendation], ...]
    """(revision, recommendation), newest first."""
    next_token: str
    revision: int


class Ledger:
    """The store of recommendations, detections and their changes; safe to call from any thread.

    Args:
        url: SQLAlchemy URL; ``sqlite://`` keeps everything in memory.
        max_recommendations: beyond this the oldest closed ones are deleted; where all are open the newest is refused
            and counted in ``refused``.
        max_changes: length of the change log; the oldest go first.

    Raises:
        PermanentError: the URL is not one, its driver is not installed, or the database cannot be opened.
    """

    def __init__(
        self, url: str = "sqlite://", *, max_recommendations: int = 100_000, max_changes: int = 1_000_000
    ) -> None:
        self._max_recommendations = max_recommendations
        self._max_changes = max_changes
        self._lock = threading.RLock()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._next_callback = 0
        self._since_trim = 0
        self.refused = 0
        self._engine = _engine(url)
        try:
            METADATA.create_all(self._engine)
        except SQLAlchemyError as error:
            reason = getattr(error, "orig", None) or error
            raise PermanentError(
                f"the ledger at {make_url(url).render_as_string()} cannot be opened: {reason}"
            ) from error

    def record(self, detections: Sequence[Detection], recommendations: Sequence[Recommendation]) -> Changes:
        """Write what processing brought, in one transaction; what is already known is left out.

        A recommendation is also left out where another with its dedupe key is open. A detection that is ``resolved``
        closes what was still proposed because of it.
        """
        with self._writing() as (connection, changes):
            for found in detections:
                if self._new_detection(connection, found):
                    changes.append(self._put_detection(connection, found))
                    if found.state == "resolved":
                        changes += self._expire_of(connection, found)
            for made in recommendations:
                if self._may_add(connection, made):
                    changes.append(self._put(connection, made, made.created, new=True))
            self._since_trim += len(changes)
            if self._since_trim >= TRIM_EVERY:
                self._since_trim = 0
                self._trim(connection)
        return changes

    def transition(self, id: str, state: RecommendationState, *, actor: str, reason: str, now: int) -> Change:
        """Move a recommendation to another state.

        Raises:
            NotFound: there is none of that id.
            InvalidTransition: its state does not allow it.
        """
        with self._writing() as (connection, changes):
            _, found = self._get(connection, id)
            check_transition(id, found.state, state)
            changes.append(
                self._put(connection, replace(found, state=state, actor=actor, reason=reason, updated=now), now)
            )
        return changes[0]

    def report_outcome(self, id: str, outcome: Outcome) -> Change:
        """Put down what was measured, whatever the state; a success verifies what was applied."""
        with self._writing() as (connection, changes):
            _, found = self._get(connection, id)
            state: RecommendationState = found.state
            if state == "applied" and outcome.result == "success":
                state = "verified"
            changed = replace(found, state=state, outcome=outcome, updated=outcome.time)
            changes.append(self._put(connection, changed, outcome.time))
        return changes[0]

    def expire(self, now: int) -> Changes:
        """Close what is proposed or approved and whose time is over at ``now`` (Unix ns)."""
        over = select(RECOMMENDATIONS.c.payload).where(
            RECOMMENDATIONS.c.state.in_(("proposed", "approved")), RECOMMENDATIONS.c.expires <= now
        )
        with self._writing() as (connection, changes):
            for (payload,) in connection.execute(over).all():
                found = codec.recommendation(payload)
                expired = replace(found, state="expired", reason="nobody decided in time", actor="", updated=now)
                changes.append(self._put(connection, expired, now))
        return changes

    def get(self, id: str) -> tuple[int, Recommendation]:
        """The revision of its last change, and the recommendation; raises NotFound."""
        with self._reading() as connection:
            return self._get(connection, id)

    def detection(self, id: str) -> Detection:
        """The detection as it was last written; raises NotFound."""
        newest = (
            select(DETECTIONS.c.payload).where(DETECTIONS.c.id == id).order_by(DETECTIONS.c.revision.desc()).limit(1)
        )
        with self._reading() as connection:
            payload = connection.execute(newest).scalar()
        if payload is None:
            raise NotFound(f"no detection {id}")
        return codec.detection(payload)

    def list(
        self,
        *,
        states: Sequence[RecommendationState] = (),
        rule: str = "",
        target: Mapping[str, str] | None = None,
        page_size: int = 100,
        page_token: str = "",
    ) -> Page:
        """Recommendations, newest first.

        Raises:
            PermanentError: the page token is not one that ``list`` gave.
        """
        size = min(page_size or 100, MAX_PAGE)
        query = _filtered(states, rule, page_token)
        wanted = dict(target or {})
        found: list[tuple[int, Recommendation]] = []
        token = ""
        with self._reading() as connection:
            revision = self._revision(connection)
            for row in connection.execute(query):
                one = codec.recommendation(row.payload)
                if any(one.target.get(key) != value for key, value in wanted.items()):
                    continue
                if len(found) == size:
                    last = found[-1][1]
                    token = _token(last.created, last.id)
                    break
                found.append((row.revision, one))
        return Page(recommendations=tuple(found), next_token=token, revision=revision)

    def changes(self, after: int, limit: int = 1000) -> Changes:
        """Entries of the change log after a revision, oldest first."""
        query = select(CHANGES).where(CHANGES.c.revision > after).order_by(CHANGES.c.revision).limit(limit)
        with self._reading() as connection:
            return [_change(row) for row in connection.execute(query)]

    def revision(self) -> int:
        """The newest revision; 0 at first."""
        with self._reading() as connection:
            return self._revision(connection)

    def first_revision(self) -> int:
        """The oldest revision that is kept; one more than the newest where none is."""
        with self._reading() as connection:
            first = connection.execute(select(func.min(CHANGES.c.revision))).scalar()
            return first if first is not None else self._revision(connection) + 1

    def cursor(self, name: str) -> int:
        """How far the named reader of the change log has come; 0 at first."""
        with self._reading() as connection:
            found = connection.execute(select(CURSORS.c.revision).where(CURSORS.c.name == name)).scalar()
            return found or 0

    def set_cursor(self, name: str, revision: int) -> None:
        """Put down how far the named reader has come."""
        with self._writing() as (connection, _):
            done = connection.execute(update(CURSORS).where(CURSORS.c.name == name).values(revision=revision))
            if done.rowcount == 0:
                connection.execute(insert(CURSORS).values(name=name, revision=revision))

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back (from any thread, cheaply) after each commit that added changes; returns how to stop it."""
        with self._lock:
            key = self._next_callback
            self._next_callback += 1
            self._callbacks[key] = callback

        def stop() -> None:
            with self._lock:
                self._callbacks.pop(key, None)

        return stop

    def close(self) -> None:
        """Let go of the database; safe to call twice."""
        self._engine.dispose()

    # -- one transaction ----------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Generator[tuple[Connection, Changes]]:
        """A transaction; on commit, subscribers hear of the changes put into the list."""
        changes: Changes = []
        with self._lock:
            try:
                with self._engine.begin() as connection:
                    yield connection, changes
            except OperationalError as error:
                raise TransientError(f"the ledger could not be written: {error.orig}") from error
            callbacks = list(self._callbacks.values()) if changes else []
        for callback in callbacks:
            callback()

    @contextmanager
    def _reading(self) -> Generator[Connection]:
        with self._lock, self._engine.connect() as connection:
            yield connection

    def _get(self, connection: Connection, id: str) -> tuple[int, Recommendation]:
        query = select(RECOMMENDATIONS.c.revision, RECOMMENDATIONS.c.payload).where(RECOMMENDATIONS.c.id == id)
        row = connection.execute(query).first()
        if row is None:
            raise NotFound(f"no recommendation {id}")
        return row.revision, codec.recommendation(row.payload)

    def _revision(self, connection: Connection) -> int:
        return connection.execute(select(func.max(CHANGES.c.revision))).scalar() or 0

    def _new_detection(self, connection: Connection, found: Detection) -> bool:
        known = select(DETECTIONS.c.id).where(DETECTIONS.c.id == found.id, DETECTIONS.c.state == found.state)
        return connection.execute(known).first() is None

    def _may_add(self, connection: Connection, made: Recommendation) -> bool:
        table = RECOMMENDATIONS.c
        same = select(table.id).where(
            (table.id == made.id) | ((table.dedupe_key == made.dedupe_key) & table.state.in_(OPEN))
        )
        if connection.execute(same).first() is not None:
            return False
        count = connection.execute(select(func.count()).select_from(RECOMMENDATIONS)).scalar() or 0
        if count >= self._max_recommendations and not self._drop_oldest_closed(connection):
            self.refused += 1
            return False
        return True

    def _drop_oldest_closed(self, connection: Connection) -> bool:
        table = RECOMMENDATIONS.c
        oldest = select(table.id).where(table.state.not_in(OPEN)).order_by(table.created, table.id).limit(1)
        id = connection.execute(oldest).scalar()
        if id is None:
            return False
        connection.execute(delete(RECOMMENDATIONS).where(table.id == id))
        return True

    def _log(self, connection: Connection, kind: str, time: int, payload: str) -> int:
        done = connection.execute(insert(CHANGES).values(time=time, kind=kind, payload=payload))
        key = done.inserted_primary_key
        return int(key[0]) if key else 0

    def _put_detection(self, connection: Connection, found: Detection) -> Change:
        payload = codec.dump(found)
        revision = self._log(connection, "detection", found.time, payload)
        connection.execute(
            insert(DETECTIONS).values(id=found.id, state=found.state, revision=revision, payload=payload)
        )
        return Change(revision=revision, time=found.time, detection=found)

    def _put(self, connection: Connection, one: Recommendation, time: int, *, new: bool = False) -> Change:
        payload = codec.dump(one)
        revision = self._log(connection, "recommendation", time, payload)
        values = {"state": one.state, "revision": revision, "payload": payload}
        if new:
            values |= {
                "id": one.id,
                "detection": one.detection,
                "rule": one.rule,
                "dedupe_key": one.dedupe_key,
                "created": one.created,
                "expires": one.expires,
            }
            connection.execute(insert(RECOMMENDATIONS).values(values))
        else:
            connection.execute(update(RECOMMENDATIONS).where(RECOMMENDATIONS.c.id == one.id).values(values))
        return Change(revision=revision, time=time, recommendation=one)

    def _expire_of(self, connection: Connection, found: Detection) -> Changes:
        table = RECOMMENDATIONS.c
        query = select(table.payload).where(table.detection == found.id, table.state == "proposed")
        changes: Changes = []
        for (payload,) in connection.execute(query).all():
            closed = replace(
                codec.recommendation(payload),
                state="expired",
                reason="the condition ceased",
                actor="",
                updated=found.time,
            )
            changes.append(self._put(connection, closed, found.time))
        return changes

    def _trim(self, connection: Connection) -> None:
        """Keep the change log, and the detections it told of, within their length."""
        oldest = self._revision(connection) - self._max_changes
        connection.execute(delete(CHANGES).where(CHANGES.c.revision <= oldest))
        connection.execute(delete(DETECTIONS).where(DETECTIONS.c.revision <= oldest))


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise PermanentError(f"{url!r} is not an SQLAlchemy URL; write it like sqlite:///ledger.db") from error
    if parsed.get_backend_name() != "sqlite":
        try:
            return create_engine(parsed, pool_pre_ping=True)
        except ModuleNotFoundError as error:
            raise PermanentError(f"no driver for {parsed.drivername}: pip install 'fallow[postgresql]'") from error
    if parsed.database in (None, "", ":memory:"):
        return create_engine(parsed, poolclass=StaticPool, connect_args={"check_same_thread": False})
    engine = create_engine(parsed, connect_args={"check_same_thread": False, "timeout": 10})

    @event.listens_for(engine, "connect")
    def _configure(connection: object, _: object) -> None:  # pyright: ignore[reportUnusedFunction]  # registered by the decorator
        cursor = connection.cursor()  # type: ignore[attr-defined]  # a DB-API connection, which has no type
        # WAL with synchronous=FULL: a commit is on disk when it returns, readers never wait for the writer.
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine


def _filtered(states: Sequence[RecommendationState], rule: str, token: str) -> Any:
    """The query behind ``list``: (revision, payload) of each."""
    table = RECOMMENDATIONS.c
    query = select(table.revision, table.payload).order_by(table.created.desc(), table.id.desc())
    if states:
        query = query.where(table.state.in_(states))
    if rule:
        query = query.where(table.rule == rule)
    if token:
        created, id = _from_token(token)
        query = query.where((table.created < created) | ((table.created == created) & (table.id < id)))
    return query


def _token(created: int, id: str) -> str:
    return base64.urlsafe_b64encode(f"{created} {id}".encode()).decode()


def _from_token(token: str) -> tuple[int, str]:
    try:
        created, _, id = base64.urlsafe_b64decode(token.encode()).decode().partition(" ")
        return int(created), id
    except (binascii.Error, ValueError) as error:
        raise PermanentError(f"{token!r} is not a page token of this service") from error


def _change(row: Row[Any]) -> Change:
    if row.kind == "detection":
        return Change(revision=row.revision, time=row.time, detection=codec.detection(row.payload))
    return Change(revision=row.revision, time=row.time, recommendation=codec.recommendation(row.payload))
