"""Timers that a room sets for itself."""

from alembic import context, op

revision = "runtime_008"
down_revision = "runtime_007"
branch_labels = None
depends_on = None

TIMERS = """
CREATE TABLE timers (
    id uuid PRIMARY KEY,                   -- of the message that it becomes
    kind text NOT NULL,
    key text COLLATE "C" NOT NULL,
    due_at timestamptz NOT NULL,           -- business time
    UNIQUE (kind, key, due_at)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX timers_due ON timers (due_at, id);
"""


def upgrade() -> None:
    op.execute(TIMERS)
    op.execute(f"GRANT SELECT ON timers TO tally_{context.config.attributes['schema']}_read, tally_ops")


def downgrade() -> None:
    op.execute("DROP TABLE timers")
