"""The ledger's tables.

Revisions are numbered by the ledger itself, one after the other without a gap: a reader of the change log sees at
once when something it has not read is gone. The newest entry is never trimmed, so that no number is given twice.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, Text

METADATA = MetaData()

# SQLite takes the row's own number for the key only where its type is exactly INTEGER.
REVISION = BigInteger().with_variant(Integer, "sqlite")

CHANGES = Table(
    "changes",
    METADATA,
    Column("revision", REVISION, primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
    Column("kind", String, nullable=False),  # detection | recommendation
    Column("payload", Text, nullable=False),
)

RECOMMENDATIONS = Table(
    "recommendations",
    METADATA,
    Column("id", String, primary_key=True),
    Column("detection", String, nullable=False, index=True),
    Column("rule", String, nullable=False, index=True),
    Column("state", String, nullable=False),
    Column("dedupe_key", String, nullable=False, index=True),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("payload", Text, nullable=False),
    Index("recommendations_newest", "created", "id"),
    Index("recommendations_due", "state", "expires"),
)

DETECTIONS = Table(
    "detections",
    METADATA,
    Column("id", String, primary_key=True),
    Column("state", String, primary_key=True),
    Column("revision", BigInteger, nullable=False, index=True),
    Column("payload", Text, nullable=False),
)

CURSORS = Table(
    "cursors",
    METADATA,
    Column("name", String, primary_key=True),
    Column("revision", BigInteger, nullable=False),
)
