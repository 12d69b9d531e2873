"""The ledger: one transaction per command, one growing revision over all changes.

What processing found is written before anybody hears of it, and readers (Watch, events out) follow the change log from
a cursor: ``kill -9`` at any point neither loses what was committed nor tells of it twice with another id.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace

from sqlalchemy import Connection, delete, func, insert, select, update

from fallow.errors import NotFound
from fallow.ledger import codec
from fallow.ledger.change import Change, Page, change_of
from fallow.ledger.engine import failures, in_memory, open_engine
from fallow.ledger.listing import listing, token_after
from fallow.ledger.states import check_transition
from fallow.ledger.tables import CHANGES, CURSORS, DETECTIONS, RECOMMENDATIONS
from fallow.ledger.transaction import Transaction, newest_revision
from fallow.model import Detection, Outcome, Recommendation, RecommendationState

logger = logging.getLogger(__name__)

MAX_PAGE = 1000
TRIM_EVERY = 256
PATIENCE = 2
"""The change log grows to this many times its length for readers that lag behind; then it is cut without them."""

Changes = list[Change]


class Ledger:
    """The store of recommendations, detections and their changes; safe to call from any thread, one process at a time.

    Every call raises TransientError where the database does not answer.

    Args:
        url: SQLAlchemy URL; ``sqlite://`` keeps everything in memory.
        max_recommendations: beyond this the oldest closed ones are deleted; where all are open the newest is refused
            and counted in ``refused``.
        max_changes: length of the change log; the oldest go first. What a named reader (``set_cursor``) has not come
            to is kept until the log is twice as long; then it goes too, and is counted in ``cut``. The detections
            that the log told of go with it.

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
        self.cut = 0
        self._engine = open_engine(url)
        self._reading_lock = self._lock if in_memory(self._engine) else nullcontext()
        with self._reading() as connection:
            self._count = connection.execute(select(func.count()).select_from(RECOMMENDATIONS)).scalar() or 0

    def record(self, detections: Sequence[Detection], recommendations: Sequence[Recommendation]) -> Changes:
        """Write what processing brought, in one transaction; what is already known is left out.

        A recommendation is also left out where another with its dedupe key is open. A detection that is ``resolved``
        closes what was still proposed because of it. Each detection is dealt with together with its
        recommendations, in order, so that how a stream was cut into batches does not matter.
        """
        waiting: dict[str, list[Recommendation]] = {}
        for made in recommendations:
            waiting.setdefault(made.detection, []).append(made)
        with self._writing() as command:
            command.load(detections, recommendations)
            for found in detections:
                new = command.detect(found)
                if found.state == "resolved":
                    if new:
                        command.cease(found)
                    continue
                for made in waiting.pop(found.id, ()):
                    command.propose(made)
            for left in waiting.values():
                for made in left:
                    command.propose(made)
        return command.changes

    def transition(self, id: str, state: RecommendationState, *, actor: str, reason: str, now: int) -> Change:
        """Move a recommendation to another state.

        Raises:
            NotFound: there is none of that id.
            InvalidTransition: its state does not allow it.
        """
        with self._writing() as command:
            found = command.get(id)
            check_transition(id, found.state, state)
            return command.put(replace(found, state=state, actor=actor, reason=reason, updated=now), now)

    def report_outcome(self, id: str, outcome: Outcome) -> Change:
        """Put down what was measured, whatever the state; a success verifies what was applied."""
        with self._writing() as command:
            found = command.get(id)
            verified = found.state == "applied" and outcome.result == "success"
            now = outcome.time or found.updated
            return command.put(
                replace(found, state="verified" if verified else found.state, outcome=outcome, updated=now), now
            )

    def expire(self, now: int) -> Changes:
        """Close what is proposed or approved and whose time is over at ``now`` (Unix ns)."""
        with self._writing() as command:
            command.expire_due(now)
        return command.changes

    def get(self, id: str) -> tuple[int, Recommendation]:
        """The revision of its last change, and the recommendation; raises NotFound."""
        query = select(RECOMMENDATIONS.c.revision, RECOMMENDATIONS.c.payload).where(RECOMMENDATIONS.c.id == id)
        with self._reading() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise NotFound(f"no recommendation {id}")
        return row.revision, codec.recommendation(row.payload)

    def detection(self, id: str) -> Detection:
        """The detection as it was last written; raises NotFound."""
        table = DETECTIONS.c
        newest = select(table.payload).where(table.id == id).order_by(table.revision.desc()).limit(1)
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
        """Recommendations, newest first, at most 1,000 a page.

        Raises:
            PermanentError: the page token is not one that ``list`` gave.
        """
        size = min(page_size or 100, MAX_PAGE)
        query = listing(states, rule, page_token)
        wanted = dict(target or {})
        found: list[tuple[int, Recommendation]] = []
        token = ""
        with self._reading() as connection:
            # Before the rows: who watches from this revision may hear of a change again, but misses none.
            revision = newest_revision(connection)
            for row in connection.execute(query):
                one = codec.recommendation(row.payload)
                if any(one.target.get(key) != value for key, value in wanted.items()):
                    continue
                if len(found) == size:
                    token = token_after(found[-1][1])
                    break
                found.append((row.revision, one))
        return Page(recommendations=tuple(found), next_token=token, revision=revision)

    def changes(self, after: int, limit: int = 1000) -> Changes:
        """Entries of the change log after a revision, oldest first.

        Revisions have no gaps: where the first is not ``after + 1``, those between are not kept any more.
        """
        query = select(CHANGES).where(CHANGES.c.revision > after).order_by(CHANGES.c.revision).limit(limit)
        with self._reading() as connection:
            return [change_of(row) for row in connection.execute(query)]

    def revision(self) -> int:
        """The newest revision; 0 at first."""
        with self._reading() as connection:
            return newest_revision(connection)

    def first_revision(self) -> int:
        """The oldest revision that is kept; 1 where nothing was written yet."""
        with self._reading() as connection:
            return connection.execute(select(func.min(CHANGES.c.revision))).scalar() or 1

    def cursor(self, name: str) -> int:
        """How far the named reader of the change log has come; 0 at first."""
        with self._reading() as connection:
            return connection.execute(select(CURSORS.c.revision).where(CURSORS.c.name == name)).scalar() or 0

    def set_cursor(self, name: str, revision: int) -> None:
        """Put down how far the named reader has come."""
        with self._lock, failures(), self._engine.begin() as connection:
            done = connection.execute(update(CURSORS).where(CURSORS.c.name == name).values(revision=revision))
            if done.rowcount == 0:
                connection.execute(insert(CURSORS).values(name=name, revision=revision))

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back after each commit that added changes; returns how to stop it.

        The callback runs in the thread that wrote, must be quick, and must not raise.
        """
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
    def _writing(self) -> Generator[Transaction]:
        """A command: on commit, subscribers hear of the changes it made."""
        callbacks: list[Callable[[], None]] = []
        with self._lock, failures():
            room = self._max_recommendations - self._count
            with self._engine.begin() as connection:
                if connection.dialect.name == "sqlite":
                    # From the first read on, so that another process cannot write in between.
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                command = Transaction(connection, room)
                yield command
                command.flush()
                cut = self._trim(connection, len(command.changes))
            self._count += room - command.room
            self._tell_of_limits(command.refused, cut)
            if command.changes:
                callbacks = list(self._callbacks.values())
        for callback in callbacks:
            callback()

    @contextmanager
    def _reading(self) -> Generator[Connection]:
        with self._reading_lock, failures(), self._engine.connect() as connection:
            yield connection

    def _trim(self, connection: Connection, added: int) -> int:
        """Keep the change log within its length; returns how many entries some reader will miss."""
        self._since_trim += added
        if self._since_trim < TRIM_EVERY:
            return 0
        self._since_trim = 0
        newest = newest_revision(connection)
        slowest = connection.execute(select(func.min(CURSORS.c.revision))).scalar()
        last = newest - self._max_changes
        if slowest is not None:
            last = max(min(last, slowest), newest - PATIENCE * self._max_changes)
        missed = 0
        if slowest is not None and last > slowest:
            unread = select(func.count()).select_from(CHANGES)
            unread = unread.where(CHANGES.c.revision > slowest, CHANGES.c.revision <= last)
            missed = connection.execute(unread).scalar() or 0
        connection.execute(delete(CHANGES).where(CHANGES.c.revision <= last))
        connection.execute(delete(DETECTIONS).where(DETECTIONS.c.revision <= last))
        return missed

    def _tell_of_limits(self, refused: int, cut: int) -> None:
        if refused and not self.refused:
            logger.warning(
                "The ledger is full of open recommendations; new ones are refused.",
                extra={"max_recommendations": self._max_recommendations},
            )
        if cut and not self.cut:
            logger.error(
                "A reader of the change log is too far behind; changes it has not read are dropped.",
                extra={"max_changes": self._max_changes},
            )
        self.refused += refused
        self.cut += cut
