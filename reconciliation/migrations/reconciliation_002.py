"""What persons have released a file from: each hold by itself."""

from alembic import op

revision = "reconciliation_002"
down_revision = "reconciliation_lookup"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE files ADD COLUMN released text[] NOT NULL DEFAULT '{}'")
    op.execute(
        "UPDATE files SET released = array_remove(ARRAY[refusal->>'code'], NULL) WHERE released_by IS NOT NULL"
        " AND state IN ('received', 'reading', 'quarantined', 'gated', 'folding')"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE files DROP COLUMN released")
