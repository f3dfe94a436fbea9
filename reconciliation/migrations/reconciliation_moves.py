"""Executions, wallet movements and journals that are not whole: what an execution wants, and what the rooms have said."""

from alembic import op

revision = "reconciliation_moves"
down_revision = "reconciliation_people"
branch_labels = None
depends_on = None

TABLES = """
-- One row for a fact of which something is still to come, or differs. Amounts are text of one form: equal or not.
CREATE TABLE moves (
    link text PRIMARY KEY,
    subject text NOT NULL,  -- payment order or pay-out
    seller text NOT NULL,
    psp text NOT NULL,
    event_id uuid,  -- of the execution; NULL: not heard
    topic text,  -- and where its record lies
    partition integer,
    record_offset bigint,
    said_at timestamptz NOT NULL,
    wanted_wallet text,
    wanted_ledger text,
    wallet text,
    ledger text,
    counts boolean NOT NULL,  -- false: its other half may have been said before all this, or is kept no more
    look_at timestamptz NOT NULL,
    broken boolean NOT NULL DEFAULT false  -- a break is open for it
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX moves_to_look_at ON moves (look_at) WHERE look_at < 'infinity';

-- How far a room has come: the youngest execution of each partition of which it has spoken.
CREATE TABLE moves_heard (
    room text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (room, topic, partition)
) WITH (fillfactor = 50);

-- A room that has heard executions before this release has not kept them: what was said until now is not compared.
CREATE TABLE moves_since (one boolean PRIMARY KEY CHECK (one), since timestamptz NOT NULL);
DO $$ BEGIN
    IF to_regclass('positions') IS NOT NULL THEN  -- else the store is new
        INSERT INTO moves_since SELECT true, now() WHERE EXISTS (SELECT FROM positions);
    END IF;
END $$;

CREATE VIEW move_view AS
SELECT link, subject, seller, psp, event_id::text AS event_id, topic, partition, record_offset, said_at, wanted_wallet,
       wanted_ledger, wallet, ledger, counts, broken
  FROM moves;
CREATE VIEW move_heard_view AS SELECT room, topic, partition, until FROM moves_heard;
GRANT SELECT ON move_view, move_heard_view TO tally_reconciliation_read;
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    op.execute("DROP VIEW move_view, move_heard_view")
    op.execute("DROP TABLE moves, moves_heard, moves_since")
