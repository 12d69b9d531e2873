"""The database behind a URL, opened so that what is committed is on disk."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from fallow.errors import PermanentError, TransientError
from fallow.ledger.tables import METADATA

BUSY_TIMEOUT_S = 10


def open_engine(url: str) -> Engine:
    """The database with the ledger's tables in it.

    Raises:
        PermanentError: the URL is not one, its driver is not installed, or the database cannot be opened.
    """
    engine = _engine(url)
    try:
        METADATA.create_all(engine)
    except SQLAlchemyError as error:
        reason = getattr(error, "orig", None) or error
        raise PermanentError(f"the ledger at {make_url(url).render_as_string()} cannot be opened: {reason}") from error
    return engine


def in_memory(engine: Engine) -> bool:
    """Whether it is SQLite without a file: one connection, which threads must take in turn."""
    return isinstance(engine.pool, StaticPool)


@contextmanager
def failures() -> Generator[None]:
    """What the database raises, in Fallow's words: transient where trying again may help."""
    try:
        yield
    except IntegrityError as error:
        raise TransientError(f"another process writes to the same ledger: {error.orig}") from error
    except OperationalError as error:
        raise TransientError(f"the ledger does not answer: {error.orig}") from error
    except DBAPIError as error:
        raise PermanentError(f"the ledger refused a statement: {error.orig}") from error
    except SQLAlchemyError as error:
        raise TransientError(f"the ledger does not answer: {error}") from error
    except OverflowError as error:
        raise PermanentError("a number is beyond the 64 bits that the ledger holds") from error


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise PermanentError(f"{url!r} is not an SQLAlchemy URL; write it like sqlite:///ledger.db") from error
    if parsed.get_backend_name() != "sqlite":
        try:
            return create_engine(parsed, pool_pre_ping=True, max_overflow=-1)
        except ModuleNotFoundError as error:
            raise PermanentError(f"no driver for {parsed.drivername}: pip install 'fallow[postgresql]'") from error
        except ArgumentError as error:
            raise PermanentError(f"{parsed.drivername!r} is no database that SQLAlchemy knows") from error
    if parsed.database in (None, "", ":memory:"):
        return create_engine(parsed, poolclass=StaticPool, connect_args={"check_same_thread": False})
    # Threads of the analysis and of the event loop's executor read at once; none of them waits for a connection.
    if "timeout" not in parsed.query:
        parsed = parsed.update_query_dict({"timeout": str(BUSY_TIMEOUT_S)})
    engine = create_engine(parsed, connect_args={"check_same_thread": False}, max_overflow=-1)

    @event.listens_for(engine, "connect")
    def _configure(connection: object, _: object) -> None:  # pyright: ignore[reportUnusedFunction]  # registered by the decorator
        cursor = connection.cursor()  # type: ignore[attr-defined]  # a DB-API connection, which has no type
        # WAL with synchronous=FULL: a commit is on disk when it returns, readers never wait for the writer.
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine
