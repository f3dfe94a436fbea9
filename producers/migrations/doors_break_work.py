"""What persons have asked for about breaks of reconciliation: each operation once."""

from alembic import op

revision = "doors_break_work"
down_revision = "doors_recon_closes"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE break_work (
    operation_id text PRIMARY KEY,
    break_id text NOT NULL,
    asked jsonb NOT NULL,  -- the event as it was said
    asked_by text NOT NULL,
    asked_at timestamptz NOT NULL,
    event_id uuid NOT NULL
);
REVOKE UPDATE, DELETE ON break_work FROM tally_doors;
CREATE VIEW break_work_view AS SELECT operation_id, break_id, asked, asked_by, asked_at, event_id FROM break_work;
GRANT SELECT ON break_work_view TO tally_doors_read;
"""


def upgrade() -> None:
    op.execute(TABLE)


def downgrade() -> None:
    op.execute("DROP VIEW break_work_view")
    op.execute("DROP TABLE break_work")
