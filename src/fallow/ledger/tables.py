"""The ledger's tables."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, Text

METADATA = MetaData()

# SQLite numbers rows by itself only where the key is exactly INTEGER; AUTOINCREMENT keeps a revision from being reused
# after the oldest ones are trimmed.
REVISION = BigInteger().with_variant(Integer, "sqlite")

CHANGES = Table(
    "changes",
    METADATA,
    Column("revision", REVISION, primary_key=True, autoincrement=True),
    Column("time", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),  # detection | recommendation
    Column("payload", Text, nullable=False),
    sqlite_autoincrement=True,
)

RECOMMENDATIONS = Table(
    "recommendations",
    METADATA,
    Column("id", String(128), primary_key=True),
    Column("detection", String(128), nullable=False, index=True),
    Column("rule", String(64), nullable=False, index=True),
    Column("state", String(16), nullable=False, index=True),
    Column("dedupe_key", String(512), nullable=False, index=True),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("payload", Text, nullable=False),
    Index("recommendations_newest", "created", "id"),
)

DETECTIONS = Table(
    "detections",
    METADATA,
    Column("id", String(128), primary_key=True),
    Column("state", String(16), primary_key=True),
    Column("revision", BigInteger, nullable=False, index=True),
    Column("payload", Text, nullable=False),
)

CURSORS = Table(
    "cursors",
    METADATA,
    Column("name", String(128), primary_key=True),
    Column("revision", BigInteger, nullable=False),
)
