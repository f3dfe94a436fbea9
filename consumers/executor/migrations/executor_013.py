"""Events of this room that are to be published again, since a break says that another room has not heard them."""

from alembic import op

revision = "executor_013"
down_revision = "executor_012"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE repeats (
    break_id uuid PRIMARY KEY,  -- once per break
    event_id uuid NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('wanted', 'published', 'gone', 'not_needed')),  -- gone: the topic has it no more
    asked_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL
);
CREATE INDEX repeats_wanted ON repeats (asked_at, break_id) WHERE state = 'wanted';
CREATE VIEW repeat_view AS
SELECT replace(break_id::text, '-', '') AS break_id, event_id::text AS event_id, topic, partition, record_offset, state, asked_at,
       changed_at
  FROM repeats;
GRANT SELECT ON repeat_view TO tally_executor_read;
REVOKE DELETE ON repeats FROM tally_executor;
"""


def upgrade() -> None:
    op.execute(TABLE)


def downgrade() -> None:
    op.execute("DROP VIEW repeat_view")
    op.execute("DROP TABLE repeats")
