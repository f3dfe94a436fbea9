"""The outbox has one row for each transaction that says something, not one for each record. What waits in it stays."""

from __future__ import annotations

from itertools import groupby
from zlib import crc32

import msgpack
import orjson
from alembic import context, op
from sqlalchemy import text

revision = "runtime_006"
down_revision = "runtime_005"
branch_labels = None
depends_on = None

TABLE = """
ALTER TABLE outbox RENAME TO outbox_before;
ALTER INDEX outbox_pkey RENAME TO outbox_before_pkey;
ALTER SEQUENCE outbox_block RENAME TO outbox_id;
CREATE TABLE outbox (
    id bigint PRIMARY KEY,                 -- drawn after the entities were locked
    keys bigint[] NOT NULL,                -- topic and key of each record, hashed; null where it has no key
    records bytea[] NOT NULL,              -- each in msgpack: [topic, key, [[header, value]], value]
    created_at timestamptz NOT NULL DEFAULT now()
) WITH (
    autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0.0, toast.autovacuum_vacuum_threshold = 5000,
    toast.autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE outbox ALTER keys SET STORAGE EXTERNAL, ALTER records SET STORAGE EXTERNAL;  -- gone before it pays to compress
"""


def upgrade() -> None:
    room = context.config.attributes["schema"]
    op.execute(TABLE)
    op.execute(f"GRANT SELECT ON outbox TO tally_{room}_read, tally_ops")
    conn = op.get_bind()
    found = conn.execute(text("SELECT id, topic, key, headers, value, created_at FROM outbox_before ORDER BY id")).all()
    for row_id, rows in groupby(found, lambda row: row.id // 10_000):  # as they were drawn: a block for a transaction
        said = list(rows)
        conn.execute(
            text("INSERT INTO outbox VALUES (:id, :keys, :records, :created_at)"),
            {
                "id": row_id,
                "keys": [None if row.key is None else crc32(row.key, crc32(row.topic.encode())) for row in said],
                "records": [_record(*row[1:5]) for row in said],
                "created_at": said[0].created_at,
            },
        )
    op.execute("DROP TABLE outbox_before")


def _record(topic: str, key: bytes | None, headers: bytes, value: bytes | None) -> bytes:
    pairs = [(name, None if was is None else was.encode("latin-1")) for name, was in orjson.loads(headers)]
    packed: bytes = msgpack.packb((topic, key, pairs, value))
    return packed
